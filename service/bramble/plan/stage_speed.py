"""How fast one stage is: its slowest member computes, and they exchange what each of them has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bramble.model.manifest import Manifest
from bramble.plan.exchange_time import exchange_s
from bramble.plan.pace import Link, Load, Pace, decode_s, prefill_s, share_load
from bramble.plan.planner import StagePlan

PER_LAYER = 2  # exchanges: behind o_proj and behind down_proj
LOGIT_BYTES = 4  # a reply that is sampled needs the logits of all tokens at one member


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage's members, each with what a step asks of it and what it can do."""

    loads: tuple[Load, ...]
    paces: tuple[Pace, ...]
    num_layers: int

    def decode_s(self, rows: float, context: float) -> float:
        """The time of a decode step on the slowest member, without exchanges."""
        return max(decode_s(*pair, rows, context) for pair in self._members())

    def prefill_s(self, tokens: float, context: float) -> float:
        """The time of a prompt's chunk on the slowest member, without exchanges and lm_head."""
        return max(prefill_s(*pair, tokens, context) for pair in self._members())

    def slowest(self, context: float) -> tuple[Load, Pace]:
        """The member that a lone stream's token waits for."""
        return max(self._members(), key=lambda each: decode_s(each[0], each[1], 1, context))

    @property
    def head_s(self) -> float:
        return max(load.head_bytes / pace.read_bytes_s for load, pace in self._members())

    def _members(self) -> list[tuple[Load, Pace]]:
        return list(zip(self.loads, self.paces, strict=True))


@dataclass(frozen=True, slots=True)
class Exchanges:
    """What the members of a stage exchange, and how long that takes; nothing for one member.

    form        of the numbers on the wire: exchange_time.FORMS
    vocab_size  logits of a token; a greedy reply brings only the best of them together
    """

    link: Link
    hidden_size: int
    vocab_size: int
    form: str = "q8"

    def decode_s(self, stage: Stage, rows: float) -> float:
        """All exchanges of a decode step."""
        return self._sums_s(stage, rows) + self.gather_s(stage, rows)

    def chunk_s(self, stage: Stage, tokens: float, context: float) -> float:
        """A chunk of a prompt, compute and exchanges."""
        return stage.prefill_s(tokens, context) + self._sums_s(stage, tokens)

    def gather_s(self, stage: Stage, rows: float) -> float:
        """The logits that members have go to the first of them; 0 without lm_head."""
        others = len(stage.loads) - 1
        if not others or not any(load.head_bytes for load in stage.loads):
            return 0.0
        own = max(pace.exchange_s for pace in stage.paces)
        share = others / len(stage.loads)
        return own + self.link.seconds(rows * share * self.vocab_size * LOGIT_BYTES)

    def _sums_s(self, stage: Stage, tokens: float) -> float:
        members = len(stage.loads)
        if members == 1:
            return 0.0
        numbers = tokens * self.hidden_size
        own = max(
            pace.exchange_s + members * numbers / pace.numbers_s  # packs its own, adds the others'
            for pace in stage.paces
        )
        each = own + exchange_s(numbers, members, self.form, self.link)
        return PER_LAYER * stage.num_layers * each


def stage_of(
    manifest: Manifest, stage: StagePlan, kv_cache: str, paces: Mapping[str, Pace]
) -> Stage:
    """Join a plan's stage with what its nodes can do."""
    own = tuple(paces[node] for node in stage.nodes)
    loads = tuple(
        share_load(manifest, member.share, kv_cache, pace.machine)
        for member, pace in zip(stage.members, own, strict=True)
    )
    return Stage(loads, own, stage.num_layers)
