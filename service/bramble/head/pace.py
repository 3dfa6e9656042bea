"""How long chunks of a prompt are: beside running streams, which keep their pace, and alone.

Learns from what steps took; has no clock of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

PACE = 3.0  # longest gap between a stream's tokens while one prompt enters, in undisturbed gaps
MIN_CHUNK = 8  # tokens; costs 1.3 × as much per token as 128 do (service/DESIGN.md)
FIXED_TOKENS = 4  # of a chunk's time, in tokens: what it takes at any length (service/DESIGN.md)
MIN_LONE_CHUNK = 32  # tokens
WEIGHT = 0.2  # of the newest step in the averages


@dataclass(slots=True)
class Pace:
    """Compute summed over all stages, in µs; 0 = not known yet."""

    decode_us: float = 0.0  # of a decode step, of whatever width they are at present
    token_us: float = 0.0  # of a prompt's token, in chunks of whatever length they are at present

    def count_decode(self, compute_us: float) -> None:
        self.decode_us = _mean(self.decode_us, compute_us)

    def count_chunk(self, num_tokens: int, compute_us: float) -> None:
        self.token_us = _mean(self.token_us, compute_us / num_tokens)

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


def lone_chunk_tokens(num_stages: int, num_tokens: int, max_tokens: int) -> int:
    """Return how long chunks are best while no stream runs and `num_tokens` are to enter.

    The last stage waits for the first chunk and the first stage idles behind the last one, so
    that (num_tokens / c + num_stages - 1) chunks' time passes, (FIXED_TOKENS + c) each: least at
    the root of FIXED_TOKENS * num_tokens / (num_stages - 1).
    """
    if num_stages == 1:
        return max_tokens
    best = math.isqrt(FIXED_TOKENS * num_tokens // (num_stages - 1))
    return min(max_tokens, max(MIN_LONE_CHUNK, best))


def _mean(mean: float, newest: float) -> float:
    return mean + WEIGHT * (newest - mean) if mean else newest
