"""The ceiling: the same ONNX files in one process, a bare loop, nothing of the ring.

usage: python -m tests.bench.loop MODEL THREADS
One JSON task per line on stdin, such as ["streams", 4]; one JSON answer per line on stdout.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import bramble  # noqa: F401  its settings of onnxruntime's environment come first
import numpy as np
import onnxruntime
from bramble.model import manifest as manifests
from bramble.model.manifest import layer_name
from bramble.model.rope import tables
from numpy.typing import NDArray
from onnxruntime import OrtValue

from tests.bench.streams import (
    DECODE_TOKENS,
    PREFILL_TOKENS,
    SMALL_PROMPT,
    STREAM_PROMPT,
    STREAM_TOKENS,
    Measured,
)

ROWS, MAX_LENGTH = 8, 1024
CHUNK = 128  # tokens of a prompt in one run, as the ring's head cuts it

Ids = NDArray[np.int32]


class Model:
    """Greedy continuation of rows 0 … n-1, all of the same length."""

    def __init__(self, folder: Path, threads: int) -> None:
        if threads > 1:
            onnxruntime.set_global_thread_pool_sizes(threads, 1)
        manifest = manifests.read(folder)
        shape = manifest.shape
        self.vocab, self.hidden = shape.vocab_size, shape.hidden_size
        names = ["embed", *map(layer_name, range(shape.num_layers)), "lm_head"]
        sessions = [_session(folder / manifest.part(name).onnx, threads) for name in names]
        self._embed, self._layers, self._lm_head = sessions[0], sessions[1:-1], sessions[-1]
        cache = (shape.num_layers, 2, ROWS, shape.num_kv_heads, MAX_LENGTH, shape.head_dim)
        self._cache = np.zeros(cache, np.float32)
        cos, sin = tables(manifest.rope, MAX_LENGTH)
        self._rope = {"cos": _value(cos), "sin": _value(sin)}
        self._bound: dict[tuple[int, int, int], Bound] = {}

    def step(self, row: int, prompt: Ids, position: int) -> Ids:
        """Run prompt int32 (n, t) of rows [row, row + n); return the next ids int32 (n,)."""
        return self.sample(self.layers(row, prompt, position))

    def layers(self, row: int, prompt: Ids, position: int) -> Bound:
        """As `step`, without picking a token."""
        n, t = prompt.shape
        bound = self._bound.get((row, n, t)) or self._bind(row, n, t)
        bound.token_ids[:] = prompt
        bound.lengths[:] = position + t - 1
        bound.total[0] = position + t
        for session, binding in bound.layers:
            session.run_with_iobinding(binding)
        return bound

    def sample(self, bound: Bound) -> Ids:
        """Greedily, behind the last position only."""
        bound.last[:] = bound.output[:, -1]
        self._lm_head.run_with_iobinding(bound.head)
        token_ids: Ids = bound.logits.argmax(axis=1).astype(np.int32)
        return token_ids

    def _bind(self, row: int, n: int, t: int) -> Bound:
        bound = Bound(n, t, self.hidden, self.vocab)
        ends = [_value(array) for array in bound.ends]
        bound.add(self._embed, {"token_ids": _value(bound.token_ids)}, {"hidden": ends[0]})
        shared = {
            "sequence_lengths": _value(bound.lengths),
            "total_length": _value(bound.total),
            **self._rope,
        }
        for index, layer in enumerate(self._layers):
            keys, values = (_value(self._cache[index, kind, row : row + n]) for kind in (0, 1))
            bound.add(
                layer,
                {"hidden": ends[index % 2], "past_key": keys, "past_value": values} | shared,
                {
                    "hidden_out": ends[(index + 1) % 2],
                    "present_key": keys,
                    "present_value": values,
                },
            )
        bound.output = bound.ends[len(self._layers) % 2]
        bound.head = _binding(
            self._lm_head, {"hidden": _value(bound.last)}, {"logits": _value(bound.logits)}
        )
        self._bound[row, n, t] = bound
        return bound


class Bound:
    """The arrays of one batch shape, which onnxruntime reads and writes in place."""

    def __init__(self, n: int, t: int, hidden: int, vocab: int) -> None:
        self.token_ids = np.zeros((n, t), np.int32)
        self.ends = (np.zeros((n, t, hidden), np.float32), np.zeros((n, t, hidden), np.float32))
        self.lengths, self.total = np.zeros(n, np.int32), np.zeros(1, np.int32)
        self.last = np.zeros((n, hidden), np.float32)
        self.logits = np.zeros((n, vocab), np.float32)
        self.output = self.ends[0]
        self.layers: list[tuple[Any, Any]] = []
        self.head: Any = None

    def add(self, session: Any, inputs: dict[str, OrtValue], outputs: dict[str, OrtValue]) -> None:
        self.layers.append((session, _binding(session, inputs, outputs)))


def decode(model: Model) -> Measured:
    token = prefill(model, 0, _prompt(model, SMALL_PROMPT), CHUNK)
    started = time.monotonic()
    generate(model, token, SMALL_PROMPT, DECODE_TOKENS - 1)
    return {"decode": [(DECODE_TOKENS - 1) / (time.monotonic() - started)]}


def prefill_speed(model: Model, chunk: int) -> float:
    prompt = _prompt(model, PREFILL_TOKENS)
    started = time.monotonic()
    prefill(model, 0, prompt, chunk)
    return PREFILL_TOKENS / (time.monotonic() - started)


def together(model: Model, rows: int) -> Measured:
    """`rows` prompts one after the other, then all of them continued as one batch."""
    prompts = [_prompt(model, STREAM_PROMPT) for _ in range(rows)]
    started = time.monotonic()
    first_ms, tokens = [], []
    for row, prompt in enumerate(prompts):
        tokens.append(prefill(model, row, prompt, CHUNK))
        first_ms.append(1000 * (time.monotonic() - started))
    generate(model, np.concatenate(tokens), STREAM_PROMPT, STREAM_TOKENS - 1)
    seconds = time.monotonic() - started
    return {
        f"streams {rows}": [rows * STREAM_TOKENS / seconds],
        f"first {rows}": [float(np.median(first_ms))],
    }


def prefill(model: Model, row: int, prompt: Ids, chunk: int) -> Ids:
    """Return the first token behind the prompt, int32 (1,)."""
    starts = range(0, len(prompt), chunk)
    bound = [model.layers(row, prompt[None, start : start + chunk], start) for start in starts]
    return model.sample(bound[-1])


def generate(model: Model, tokens: Ids, position: int, count: int) -> None:
    for index in range(count):
        tokens = model.step(0, tokens[:, None], position + index)


def _prompt(model: Model, length: int) -> Ids:
    return np.random.default_rng().integers(300, model.vocab, length, np.int32)


def _session(path: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.use_per_session_threads = threads == 1  # else one pool for all
    options.log_severity_level = 3
    # As the ring's sessions: an arena that one shape has grown is slow for another (88 for 125
    # tokens/s of prefill where they alternate)
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _value(array: NDArray[Any]) -> OrtValue:
    """An OrtValue over the array's own memory."""
    return OrtValue.ortvalue_from_numpy(array)


def _binding(session: Any, inputs: dict[str, OrtValue], outputs: dict[str, OrtValue]) -> Any:
    binding = session.io_binding()
    for name, value in inputs.items():
        binding.bind_ortvalue_input(name, value)
    for name, value in outputs.items():
        binding.bind_ortvalue_output(name, value)
    return binding


def answer(model: Model, task: str) -> Measured:
    match task.split():
        case ["decode"]:
            return decode(model)
        case ["prefill"]:
            return {f"prefill {PREFILL_TOKENS}": [prefill_speed(model, CHUNK)]}
        case ["prefill", "whole"]:
            return {f"prefill {PREFILL_TOKENS} whole": [prefill_speed(model, PREFILL_TOKENS)]}
        case ["streams", rows]:
            return together(model, int(rows))
    raise AssertionError(task)


def main() -> None:
    model = Model(Path(sys.argv[1]), int(sys.argv[2]))
    model.step(0, np.zeros((1, 1), np.int32), 0)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(model, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
