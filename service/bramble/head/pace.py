"""How long chunks of a prompt are: beside running streams, which keep their pace, and alone.

Learns from what steps took; has no clock of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

PACE = 3.0  # longest gap between a stream's tokens while one prompt enters, in undisturbed gaps
MIN_CHUNK = 8  # tokens; costs 1.3 × as much per token as 128 do (service/DESIGN.md)
FIXED_TOKENS = 2  # of a chunk's time, in tokens: what it takes at any length (service/DESIGN.md)
MIN_LONE_CHUNK = 16  # tokens
WEIGHT = 0.2  # of the newest step in the averages


@dataclass(slots=True)
class Pace:
    """Compute summed over all stages, in µs; 0 = not known yet."""

    decode_us: float = 0.0  # of a decode step, of whatever width they are at present
    token_us: float = 0.0  # of a prompt's token, in chunks of whatever length they are at present
    later_share: float = 0.0  # of a chunk's time at the first stage: at the slowest one behind it

    def count_decode(self, compute_us: float) -> None:
        self.decode_us = _mean(self.decode_us, compute_us)

    def count_chunk(self, num_tokens: int, stage_us: Sequence[float]) -> None:
        """stage_us is each stage's compute, in the ring's order."""
        self.token_us = _mean(self.token_us, sum(stage_us) / num_tokens)
        if len(stage_us) > 1 and stage_us[0] > 0:
            self.later_share = _mean(self.later_share, max(stage_us[1:]) / stage_us[0])

    def chunk_tokens(self, num_stages: int, max_tokens: int, share: float = 1.0) -> int:
        """Return how long chunks may be, of which `num_stages` are under way at once.

        share  prompts that enter per stream that runs: where many wait for their first token and
               few already read, these wait longer for their next

        A decode step that finds all of them before it comes after the last one: that takes the
        time of 2 - 1 / num_stages chunks, as each spends 1 / num_stages of its own per stage.
        """
        if not self.decode_us or not self.token_us:
            return max_tokens
        chunk_us = (PACE - 1) * max(1.0, share) * self.decode_us / (2 - 1 / num_stages)
        return min(max_tokens, max(MIN_CHUNK, int(chunk_us / self.token_us)))

    def lone_chunk_tokens(
        self, num_stages: int, num_tokens: int, max_tokens: int, num_entered: int = 0
    ) -> int:
        """Return how long the next chunk is best, no stream running, `num_tokens` still to enter.

        num_entered  tokens of the same prompts that are in already

        Of stages that are equally fast the last one waits for the first chunk and the first one
        idles behind the last chunk, so that of all n tokens (n / c + num_stages - 1) chunks' time
        passes, (FIXED_TOKENS + c) each: least at the root of FIXED_TOKENS * n / (num_stages - 1).
        Where the others are faster than the first stage by `later_share`, only the last chunk
        counts: each may be shorter by that share than the one before it, and nobody waits.
        """
        if num_stages == 1:
            return max_tokens
        equal = math.isqrt(FIXED_TOKENS * (num_tokens + num_entered) // (num_stages - 1))
        shrinking = int(num_tokens * (1 - self.later_share)) if self.later_share else 0
        return min(max_tokens, max(MIN_LONE_CHUNK, equal, shrinking))


def _mean(mean: float, newest: float) -> float:
    return mean + WEIGHT * (newest - mean) if mean else newest
