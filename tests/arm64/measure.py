"""What this machine's onnxruntime computes, written down; the same script runs on both processors.

usage: measure.py MODELS OUT.npz [REFERENCE.npz]

MODELS      folder of model folders; those that hold a golden.npz are compared with transformers
REFERENCE   OUT of another machine: logits are computed behind its tokens, to be comparable
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from bramble.model import manifest as manifests
from bramble.model.digest import error
from bramble.model.tokenizer import Tokenizer
from bramble.stage.nucleus import nucleus
from bramble.wire.messages import StepKind
from ring import Logits, Ring

NUM_STAGES = 3
NUM_TOKENS = 16
HALVES = ("float32", "int8")  # of these a KV cache of float16 is measured too
QUESTIONS = (
    "How do I add a Pi?",
    "what is 25 plus 17?",
    "which port do I open in the browser",
    "Write me a poem about the sea",
)

Arrays = dict[str, np.ndarray]


def measure(folder: Path, reference: Arrays) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (name, array) of everything that is compared."""
    if (folder / "golden.npz").exists():
        yield "logits", checkpoint_logits(folder)
        return
    ring = Ring(folder, NUM_STAGES)
    yield "golden", golden_errors(ring)
    alone, tokenizer = Logits(folder), Tokenizer(folder)
    questions = QUESTIONS[:1] if folder.name.endswith("unrounded") else QUESTIONS  # slow kernels
    for index, question in enumerate(questions):
        prompt = tokenizer.encode_chat([{"role": "user", "content": question}])
        tokens = ring.generate(prompt, NUM_TOKENS, row=index)
        yield f"tokens-{index}", np.array(tokens, np.int32)
        behind = reference.get(f"{folder.name}/tokens-{index}", tokens)
        reply = [int(token) for token in behind[:-1]]
        yield f"logits-{index}", logits(alone, prompt, reply)
        if index == 0:
            yield "replayed-0", replayed(alone, prompt, reply)
            if folder.name in HALVES:
                half = Logits(folder, kv_cache="float16")
                yield "half-golden", golden_errors(half)
                yield "half-logits", logits(half, prompt, reply)
                yield "half-replayed", replayed(half, prompt, reply)


def golden_errors(ring: Ring) -> np.ndarray:
    """Replay the export's golden check; return each stage's difference as the head judges it."""
    want = manifests.read(ring.folder).golden
    step = ring.step(StepKind.PREFILL, [want.token_ids], [0], is_check=True)
    results = zip(ring.engines, ring.run(step), strict=True)
    return np.array([error(r.digest, want.digests[e._assign.share.stop]) for e, r in results])


def checkpoint_logits(folder: Path) -> np.ndarray:
    """Logits at every position of the checkpoint's first prompt and its continuation."""
    want = np.load(folder / "golden.npz")
    return logits(Logits(folder), want["prompt_0"].tolist(), want["decoded_0"].tolist())


def logits(ring: Logits, prompt: list[int], tokens: list[int]) -> np.ndarray:
    """float32 (prompt and tokens, vocab_size): one prefill, then a decode per token."""
    rows = [ring.prefill_logits(prompt)]
    for position, token in enumerate(tokens, len(prompt)):
        rows.append(ring.decode_logits([token], [position]))
    return np.concatenate(rows)


def replayed(ring: Logits, prompt: list[int], tokens: list[int]) -> np.ndarray:
    """float32 (tokens, vocab_size): a reply's tokens in one step, behind the prompt."""
    ring.prefill_logits(prompt)
    shard = ring.engines[0]._shard
    hidden = shard.forward_singly(np.array([tokens], np.int32), 0, len(prompt), len(tokens))
    return shard.logits(hidden[0]).copy()


def kept() -> np.ndarray:
    """What numba's code keeps of a seeded distribution over a vocabulary as large as Llama 3's."""
    weights = np.exp(np.random.default_rng(1).normal(0, 3, 128_256)).astype(np.float32)
    return nucleus(weights / weights.max(), 0.9)


def main() -> None:
    models, out, *rest = map(Path, sys.argv[1:])
    reference = dict(np.load(rest[0])) if rest else {}
    found: Arrays = {"nucleus": kept()}
    print(f"  libraries loaded, sampler compiled in {time.process_time():.0f} s", flush=True)
    for folder in sorted(path for path in models.iterdir() if path.is_dir()):
        started = time.monotonic()
        for name, array in measure(folder, reference):
            found[f"{folder.name}/{name}"] = array
        print(f"  {folder.name} measured in {time.monotonic() - started:.0f} s", flush=True)
    np.savez(out, **found)


main()
