"""The process that times one setting of the threads on real layers, started by tune.py.

`python -m bramble.stage.timing FOLDER START STOP THREADS` prints one line of JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from bramble.model import manifest as manifests
from bramble.model.manifest import Shape
from bramble.model.share import Share
from bramble.stage.arena import Arena, ArenaShape
from bramble.stage.proof import Proofs
from bramble.stage.session import Threads, start_threads
from bramble.stage.shard import Shard
from bramble.wire.messages import Assign

CHUNK = 32  # tokens of a prompt, scaled to PROMPT: a chunk of 128 takes one thread of a Pi seconds
PROMPT = 128
HISTORY = 64  # tokens in the cache of the row that decodes
BUDGET_S = 0.4  # of decoding, pauses included
MIN_STEPS, MAX_STEPS = 5, 40
PAUSE_S = 0.005  # between steps, as in a ring: threads fall asleep meanwhile, or spin in vain


def measure(folder: Path, layers: range, threads: Threads) -> dict[str, float]:
    """Return the medians of a token's and of a prompt's seconds through these layers."""
    manifest = manifests.read(folder)
    shape = manifest.shape
    start_threads(threads)
    room = HISTORY + CHUNK
    arena = Arena(
        ArenaShape(len(layers), 1, shape.num_kv_heads, room, shape.head_dim), max_bytes=1 << 62
    )
    assign = _assign(shape, layers, room)
    shard = Shard(folder, manifest, assign, arena, threads, None, Proofs(None), lambda: None)
    random = np.random.default_rng(0)

    def step(tokens: int) -> float:
        hidden = random.normal(0, 1, (tokens, shape.hidden_size)).astype(np.float32)
        positions = np.array([HISTORY], np.int32)
        started = time.perf_counter()
        shard.forward(hidden, 0, positions, tokens)
        return time.perf_counter() - started

    step(1)
    decode: list[float] = []
    deadline = time.perf_counter() + BUDGET_S
    while len(decode) < MIN_STEPS or (len(decode) < MAX_STEPS and time.perf_counter() < deadline):
        time.sleep(PAUSE_S)
        decode.append(step(1))
    step(CHUNK)
    prefill = [step(CHUNK) for _ in range(2)]
    return {
        "decode_s": statistics.median(decode),
        "prefill_s": min(prefill) * PROMPT / CHUNK,
    }


def _assign(shape: Shape, layers: range, room: int) -> Assign:
    return Assign(
        plan_id="",
        epoch=0,
        model="",
        manifest_sha256="",
        stage=0,
        num_stages=1,
        share=Share.whole(shape, layers.start, layers.stop, False, False),
        next=(),
        rows=1,
        max_length=room,
        kv_bytes=0,
    )


if __name__ == "__main__":
    folder, start, stop, threads = sys.argv[1:]
    found = measure(Path(folder), range(int(start), int(stop)), Threads(**json.loads(threads)))
    print(json.dumps(found))
