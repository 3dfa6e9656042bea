"""A ring of engines in one process, without sockets: what the golden and sampling tests run on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from bramble.model import manifest as manifests
from bramble.model.share import Share
from bramble.stage.engine import Engine, StepResult
from bramble.wire.messages import Assign, Open, Sampling, Step, StepKind

ROOT = Path(__file__).parents[1]
GOLDENS = ROOT / "golden"
GREEDY = Sampling(temperature=0.0)


def assign(manifest, stage: int = 0, num_stages: int = 1, **changes) -> Assign:
    layers = manifest.shape.num_layers
    bounds = [layers * i // num_stages for i in range(num_stages + 1)]
    made = Assign(
        plan_id="0" * 32,
        epoch=1,
        model=manifest.name,
        manifest_sha256="",
        stage=stage,
        num_stages=num_stages,
        share=Share.whole(
            manifest.shape, *bounds[stage : stage + 2], stage == 0, stage == num_stages - 1
        ),
        next=(),
        rows=4,
        max_length=96,
        kv_bytes=1 << 30,
    )
    return replace(made, **changes)


@dataclass
class Ring:
    """Runs steps through `num_stages` engines; `steps` numbers them."""

    folder: Path
    num_stages: int = 1
    kv_cache: str = "float32"
    engines: list[Engine] = field(default_factory=list)
    steps: int = 0

    def __post_init__(self) -> None:
        manifest = manifests.read(self.folder)
        for stage in range(self.num_stages):
            shard = assign(manifest, stage, self.num_stages, kv_cache=self.kv_cache)
            self.engines.append(Engine(self.folder, manifest, shard, 1))

    def step(self, kind: StepKind, tokens, positions, first_row: int = 0, **more) -> Step:
        self.steps += 1
        tokens = np.array(tokens, np.int32)
        rows = np.arange(first_row, first_row + len(tokens))
        fields = {
            "plan_id": bytes(16),
            "epoch": 1,
            "step": self.steps,
            "lane": 0,
            "is_sampled": False,
            "is_check": False,
            "sequences": rows.astype(np.uint64),
        } | more
        return Step(
            kind=kind,
            first_row=first_row,
            positions=np.array(positions, np.int32),
            token_ids=tokens,
            **fields,
        )

    def run(self, step: Step) -> list[StepResult]:
        results = []
        for engine in self.engines:
            results.append(engine.run(step))
            step = replace(step, hidden=results[-1].hidden)
        return results

    def prefill(self, tokens, position: int = 0, row: int = 0, **more) -> StepResult:
        return self.run(self.step(StepKind.PREFILL, [tokens], [position], row, **more))[-1]

    def decode(self, tokens, positions, first_row: int = 0, **more) -> StepResult:
        column = [[token] for token in tokens]
        return self.run(self.step(StepKind.DECODE, column, positions, first_row, **more))[-1]

    def verify(self, tokens, position: int, row: int = 0, **more) -> StepResult:
        step = self.step(StepKind.VERIFY, [tokens], [position], row, is_sampled=True, **more)
        return self.run(step)[-1]

    def generate(self, prompt, count: int, row: int = 0, sampling: Sampling = GREEDY) -> list[int]:
        opened = Open(row, len(prompt), sampling, tuple(prompt))
        result = self.prefill(prompt, 0, row, opens=(opened,), is_sampled=True)
        tokens = [int(result.token_ids[0])]
        while len(tokens) < count:
            position = len(prompt) + len(tokens) - 1
            result = self.decode([tokens[-1]], [position], row, is_sampled=True)
            tokens.append(int(result.token_ids[0]))
        return tokens


class Logits(Ring):
    """A one-stage ring that shows the logits at every position instead of sampling."""

    def prefill_logits(self, tokens, position=0, row=0):
        shard = self.engines[0]._shard
        hidden = shard.forward(
            np.array([tokens], np.int32), row, np.array([position], np.int32), len(tokens)
        )
        return shard.logits(hidden[0]).copy()

    def decode_logits(self, tokens, positions):
        shard = self.engines[0]._shard
        column = np.array(tokens, np.int32)[:, None]
        hidden = shard.forward(column, 0, np.array(positions, np.int32), 1)
        return shard.logits(hidden[:, -1]).copy()
