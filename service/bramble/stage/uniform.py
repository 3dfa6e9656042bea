"""Random numbers as a function of (seed, position) alone: no state, so nothing to lose.

SplitMix64 (Steele, Lea, Flood 2014), used as a counter-based generator: the seed picks a stream,
the position its element.
"""

from __future__ import annotations

MASK = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15  # 2**64 / golden ratio, SplitMix64's increment


def uniform(seed: int, position: int) -> float:
    """Return the float64 in [0, 1) that belongs to the token at `position` (0-based)."""
    state = (_mix(seed + GAMMA) + (position + 1) * GAMMA) & MASK
    return (_mix(state) >> 11) * 2.0**-53  # float64 holds 53 bits


def _mix(z: int) -> int:
    z &= MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)
