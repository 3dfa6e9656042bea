"""How fast a ring of stages is: one stream, several, and the first token of a prompt.

Pure arithmetic over stages in order; it knows no node by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bramble.model.manifest import Manifest
from bramble.plan.pace import Link, Pace, attention_s
from bramble.plan.planner import Plan
from bramble.plan.stage_speed import Exchanges, Stage, stage_of

CHUNK_TOKENS = 128  # of a prompt, as the head cuts it
ACTIVATION_BYTES = 4  # float32
TOKEN_BYTES = 200  # what the last stage sends to the head instead of a hidden state


@dataclass(frozen=True, slots=True)
class Terms:
    """What the time of a lone stream's token consists of, in seconds; all stages together."""

    weights_s: float  # of the layers, read by the slowest member of each stage
    head_s: float  # lm_head, likewise
    cache_s: float  # keys and values of the context
    exchange_s: float  # within the groups
    stages_s: float  # the stages' own time, sampling included
    hops_s: float  # between stages, and from the head and back to it

    @property
    def total_s(self) -> float:
        computing = self.weights_s + self.head_s + self.cache_s
        return computing + self.exchange_s + self.stages_s + self.hops_s


@dataclass(frozen=True, slots=True)
class Ring:
    """One ring's stages, in order."""

    stages: tuple[Stage, ...]
    exchanges: Exchanges

    @property
    def link(self) -> Link:
        return self.exchanges.link

    def token_s(self, context: float = 0) -> float:
        """The time from one token of a lone stream to its next."""
        return sum(self._decode(1, context)) + self._hops(1)

    def terms(self, context: float = 0) -> Terms:
        """Of what `token_s` is the sum."""
        slowest = [stage.slowest(context) for stage in self.stages]
        return Terms(
            sum(load.read_bytes(1) / pace.read_bytes_s for load, pace in slowest),
            sum(load.head_bytes / pace.read_bytes_s for load, pace in slowest),
            sum(attention_s(load, pace, context) for load, pace in slowest),
            sum(self.exchanges.decode_s(stage, 1) for stage in self.stages),
            sum(pace.step_s for _, pace in slowest),
            self._hops(1),
        )

    def aggregate(self, streams: float, context: float = 0) -> float:
        """Tokens per second of `streams` sequences together.

        They go round in as many lanes as there are stages: either the slowest stage is always
        busy, or, with few lanes, each waits for its own way round.
        """
        if streams <= 0:
            return 0.0
        lanes = min(streams, len(self.stages))
        rows = streams / lanes
        stages = self._decode(rows, context)
        return streams / max(lanes * max(stages), sum(stages) + self._hops(rows))

    def first_token_s(self, prompt: int) -> float:
        """The time from a prompt to its first token, nothing cached and nobody else there.

        The chunks follow one another, so that the slowest stage is busy with all of them and
        the others only add their share of the last one.
        """
        chunks = [min(CHUNK_TOKENS, prompt - at) for at in range(0, prompt, CHUNK_TOKENS)]
        ready = [0.0] * len(self.stages)
        for index, tokens in enumerate(chunks):
            arrives = 0.0
            for at, stage in enumerate(self.stages):
                took = self.exchanges.chunk_s(stage, tokens, index * CHUNK_TOKENS)
                ready[at] = max(arrives, ready[at]) + took
                arrives = ready[at] + self._hop(at, tokens)
        return arrives + self.stages[-1].head_s + self.exchanges.gather_s(self.stages[-1], 1)

    def request_s(self, prompt: int, reply: int) -> float:
        """The time of a lone request from its prompt to its last token."""
        return self.first_token_s(prompt) + (reply - 1) * self.token_s(prompt + reply / 2)

    def _decode(self, rows: float, context: float) -> list[float]:
        return [
            stage.decode_s(rows, context) + self.exchanges.decode_s(stage, rows)
            for stage in self.stages
        ]

    def _hops(self, tokens: float) -> float:
        """The way round: from the head and back to it beside the hops between stages."""
        between = sum(self._hop(stage, tokens) for stage in range(len(self.stages)))
        return between + self.link.seconds(TOKEN_BYTES * len(self.stages[0].loads))

    def _hop(self, at: int, tokens: float) -> float:
        """From a stage's first member to all of the next stage, or to the head."""
        if at == len(self.stages) - 1:
            return self.link.seconds(TOKEN_BYTES)
        hidden = tokens * self.exchanges.hidden_size * ACTIVATION_BYTES
        return self.link.seconds(hidden * len(self.stages[at + 1].loads))


def ring_of(
    manifest: Manifest, plan: Plan, paces: Mapping[str, Pace], link: Link, form: str = "q8"
) -> Ring:
    """Join a plan with what its nodes can do.

    form    of the numbers that the members of a group exchange: exchange_time.FORMS
    """
    shape = manifest.shape
    stages = tuple(stage_of(manifest, stage, plan.kv_cache, paces) for stage in plan.stages)
    return Ring(stages, Exchanges(link, shape.hidden_size, shape.vocab_size, form))
