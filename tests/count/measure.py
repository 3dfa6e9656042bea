"""Run on the emulated board: count what a token costs, part by part.

usage: measure.py FOLDER [all]

FOLDER    a model of models.py
all       also what does not depend on its weights
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from bramble.model import manifest as manifests
from bramble.model.manifest import CACHE_BYTES
from bramble.stage.engine import Engine
from bramble.stage.sampler import Sampler
from bramble.wire import frames
from bramble.wire.messages import Open, Sampling, Step, StepKind
from ring import assign

from tests.count.marks import Marks

CHUNK = 128  # tokens of a prompt in one step, as the head cuts it
CONTEXTS = (64, 1_000, 4_000)
CHUNKS_BEHIND = (0, 512, 2_048)
MAX_LENGTH = 4_224
VOCABULARY = 128_256
TOP_P = Sampling(temperature=0.8, top_p=0.95)
GREEDY = Sampling(temperature=0.0)


class Stage:
    """One engine, and steps for it."""

    def __init__(
        self, folder: Path, number: int, num_stages: int, kv_cache: str = "float32"
    ) -> None:
        self._manifest = manifests.read(folder)
        given = assign(self._manifest, number, num_stages, kv_cache=kv_cache)
        given = replace(given, rows=1, max_length=MAX_LENGTH)
        self.engine = Engine(folder, self._manifest, given, 1, None)
        self._is_first, self._is_last = number == 0, number == num_stages - 1
        self._steps = 0

    def step(
        self, t: int, context: int, opens: tuple[Open, ...] = (), is_sampled: bool = False
    ) -> Step:
        """One of t new tokens behind `context` others; the last stage samples if asked."""
        self._steps += 1
        hidden = np.full((t, self._manifest.shape.hidden_size), 0.1, np.float32)
        return Step(
            plan_id=bytes(16),
            epoch=1,
            step=self._steps,
            lane=0,
            kind=StepKind.DECODE if t == 1 else StepKind.PREFILL,
            first_row=0,
            sequences=np.zeros(1, np.uint64),
            positions=np.array([context], np.int32),
            token_ids=np.full((1, t), 7, np.int32),
            opens=opens,
            hidden=None if self._is_first else hidden,
            is_sampled=is_sampled,
            is_check=False,
        )

    def run(self, t: int, context: int, is_sampled: bool = False) -> Callable[[], object]:
        step = self.step(t, context, is_sampled=is_sampled and self._is_last)
        return partial(self.engine.run, step)

    def open(self, sampling: Sampling) -> None:
        """Have the sequence sampled so from now on."""
        step = self.step(1, 0, (Open(0, 1, sampling, (7,)),))
        self.engine.run(replace(step, closes=(0,)))


def count_tokens(marks: Marks, folder: Path) -> None:
    """Last stages that differ by one layer: what a layer costs follows, and what the end does."""
    for number, num_stages in ((1, 2), (2, 3)):
        stage = Stage(folder, number, num_stages)
        layers = 4 - num_stages
        stage.open(GREEDY)
        for t, context in ((1, 64), (CHUNK, 0)):
            marks.count(f"{layers} layers, {t}", stage.run(t, context))
            sampled = stage.run(t, context, is_sampled=True)
            marks.count(f"{layers} layers and the end, {t}", sampled)


def count_sampling(marks: Marks) -> None:
    """Of a token over a whole vocabulary, from its logits."""
    logits = np.random.default_rng(0).normal(0, 3, (1, VOCABULARY)).astype(np.float32)
    for name, sampling in (("greedy", GREEDY), ("top-p", TOP_P)):
        sampler = Sampler()
        sampler.open(Open(0, 1, sampling, (7,)))
        marks.count(f"sampling, {name}", partial(sampler.sample, logits, [0], [1]))


def count_attention(marks: Marks, folder: Path) -> None:
    """Of one layer, by the cache's kind and by what is cached."""
    for kv_cache in CACHE_BYTES:
        shard = Stage(folder, 1, 3, kv_cache).engine._shard
        for t, contexts in ((1, CONTEXTS), (CHUNK, CHUNKS_BEHIND)):
            batch = shard._batch((0, 1, t))
            for context in contexts:
                batch.lengths[:], batch.total[0] = context + t - 1, context + t
                name = f"attention, {kv_cache}, {t} behind {context}"
                marks.count(name, batch.layers[0].attention)


def count_python(marks: Marks, folder: Path) -> None:
    """A middle stage's step from its frames to its answer's, beside its engine alone, and beside
    onnxruntime's part of that.
    """
    stage = Stage(folder, 1, 3)
    packed = [bytes(frame) for frame in frames.pack(stage.step(1, 64))]
    marks.count("middle, engine", stage.run(1, 64))
    marks.count("middle, from frames to frames", partial(_serve, stage.engine, packed))
    layer = stage.engine._shard._batch((0, 1, 1)).layers[0]
    marks.count("middle, layer", lambda: list(_each(layer)))


def _serve(engine: Engine, packed: list[bytes]) -> None:
    step = frames.unpack(packed)
    assert isinstance(step, Step)
    result = engine.run(step)
    assert result.hidden is not None
    frames.forward(packed, result.hidden, (0, 0, 0), None)


def _each(layer: object) -> Iterator[None]:
    for run in (layer.before, layer.attention, layer.behind):
        yield run()


def main() -> None:
    folder, has_rest = Path(sys.argv[1]), sys.argv[2:] == ["all"]
    marks = Marks()
    count_tokens(marks, folder)
    if has_rest:
        count_sampling(marks)
        count_attention(marks, folder)
        count_python(marks, folder)
    marks.write()


main()
