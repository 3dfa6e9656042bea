"""How fast a ring of stages is: one stream, several, and the first token of a prompt.

Pure arithmetic over stages in order; it knows no node by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bramble.model.manifest import Manifest
from bramble.plan.pace import Link, Load, Pace, decode_s, member_load, prefill_s
from bramble.plan.planner import Plan

CHUNK_TOKENS = 128  # of a prompt, as the head cuts it
ACTIVATION_BYTES = 4  # float32
TOKEN_BYTES = 200  # what the last stage sends to the head instead of a hidden state


@dataclass(frozen=True, slots=True)
class Ring:
    """One ring's stages, in order."""

    loads: tuple[Load, ...]
    paces: tuple[Pace, ...]
    link: Link
    hidden_size: int

    def token_s(self, context: float = 0) -> float:
        """The time from one token of a lone stream to its next."""
        return sum(self._decode(1, context)) + self._hops(1)

    def aggregate(self, streams: float, context: float = 0) -> float:
        """Tokens per second of `streams` sequences together.

        They go round in as many lanes as there are stages: either the slowest stage is always
        busy, or, with few lanes, each waits for its own way round.
        """
        if streams <= 0:
            return 0.0
        lanes = min(streams, len(self.loads))
        rows = streams / lanes
        stages = self._decode(rows, context)
        return streams / max(lanes * max(stages), sum(stages) + self._hops(rows))

    def first_token_s(self, prompt: int) -> float:
        """The time from a prompt to its first token, nothing cached and nobody else there.

        The chunks follow one another, so that the slowest stage is busy with all of them and
        the others only add their share of the last one.
        """
        chunks = [min(CHUNK_TOKENS, prompt - at) for at in range(0, prompt, CHUNK_TOKENS)]
        ready = [0.0] * len(self.loads)
        for index, tokens in enumerate(chunks):
            arrives = 0.0
            for stage, (load, pace) in enumerate(zip(self.loads, self.paces, strict=True)):
                took = prefill_s(load, pace, tokens, index * CHUNK_TOKENS)
                ready[stage] = max(arrives, ready[stage]) + took
                arrives = ready[stage] + self._hop(stage, tokens)
        return arrives + self.loads[-1].head_bytes / self.paces[-1].read_bytes_s

    def request_s(self, prompt: int, reply: int) -> float:
        """The time of a lone request from its prompt to its last token."""
        return self.first_token_s(prompt) + (reply - 1) * self.token_s(prompt + reply / 2)

    def _decode(self, rows: float, context: float) -> list[float]:
        pairs = zip(self.loads, self.paces, strict=True)
        return [decode_s(load, pace, rows, context) for load, pace in pairs]

    def _hops(self, tokens: float) -> float:
        """The way round: from the head and back to it beside the hops between stages."""
        between = sum(self._hop(stage, tokens) for stage in range(len(self.loads)))
        return between + self.link.seconds(TOKEN_BYTES)

    def _hop(self, stage: int, tokens: float) -> float:
        is_last = stage == len(self.loads) - 1
        hidden = tokens * self.hidden_size * ACTIVATION_BYTES
        return self.link.seconds(TOKEN_BYTES if is_last else hidden)


def ring_of(manifest: Manifest, plan: Plan, paces: Mapping[str, Pace], link: Link) -> Ring:
    """Join a plan, each stage of which is one node, with what its nodes can do."""
    assert len(plan.members) == len(plan.stages)
    return Ring(
        tuple(member_load(manifest, member, plan.kv_cache) for member in plan.members),
        tuple(paces[member.node] for member in plan.members),
        link,
        manifest.shape.hidden_size,
    )
