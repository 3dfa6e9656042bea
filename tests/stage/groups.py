"""Shares of a group by hand, and a group of engines in threads of this process."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from bramble.model.manifest import Shape
from bramble.model.share import Share


def bounds(total: int, parts: tuple[int, ...]) -> list[tuple[int, int]]:
    """Ranges in these proportions, one behind another."""
    edges = [round(total * sum(parts[:i]) / sum(parts)) for i in range(len(parts) + 1)]
    return list(pairwise(edges))


def shares(shape: Shape, parts: tuple[int, ...], block: int, whole: Share) -> list[Share]:
    """One member's share for each of `parts`: KV heads, or query heads where there are more
    members than those, feed-forward blocks and rows of the lm_head in these proportions."""
    group = shape.num_heads // shape.num_kv_heads
    if len(parts) <= shape.num_kv_heads:
        kv_heads = bounds(shape.num_kv_heads, parts)
        heads = [(start * group, stop * group) for start, stop in kv_heads]
    else:
        heads = bounds(shape.num_heads, parts)
        kv_heads = [(start // group, -(-stop // group)) for start, stop in heads]
    columns = [(a * block, b * block) for a, b in bounds(shape.intermediate_size // block, parts)]
    vocab = bounds(shape.vocab_size, parts)
    made = [
        replace(whole, heads=h, kv_heads=k, columns=c, vocab=v if whole.has_lm_head else (0, 0))
        for h, k, c, v in zip(heads, kv_heads, columns, vocab, strict=True)
    ]
    for share in made:
        share.check(shape)
    return made
