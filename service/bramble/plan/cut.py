"""Which member of a group holds what of each layer: by their speeds, along what may be cut. Pure.

Behind attention and behind the feed-forward part all members wait for the slowest, so each of the
two is divided on its own, and so is the lm_head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from math import gcd, inf

from bramble.errors import BadInput
from bramble.model.manifest import Manifest, Shape
from bramble.model.share import NONE, Range, Share

VOCAB_ROWS = 64  # of the lm_head go together, as kernels take several at once
MANY = 16  # units for each member, below which rows of the lm_head go one by one: a toy's


def block_of(manifest: Manifest) -> int:
    """How many inputs of a layer's matrices share a scale, and so cannot be divided."""
    kinds = manifest.quantization
    return 1 if kinds.layers == "float32" else kinds.block_size


def cut(whole: Share, shape: Shape, block: int, speeds: Sequence[float]) -> tuple[Share, ...]:
    """Divide a stage among the members of a group, in the order of their ranks.

    whole   what the stage holds
    block   inputs that share a scale: o_proj and down_proj are cut between such blocks
    speeds  of the members, relative to each other

    Each has whole KV heads with their query heads. Where there are more members than these, query
    heads of one KV head are divided, and each of their members has that KV head.

    Raises BadInput for a group that has more members than there is to divide, with the numbers.
    """
    if not speeds or min(speeds) <= 0:
        raise BadInput(f"a group's speeds are {list(speeds)}; need a number above 0 for each")
    if len(speeds) == 1:
        return (whole,)
    heads = _heads(shape, block, speeds)
    columns = _columns(shape, block, speeds)
    vocab = _vocab(shape, speeds) if whole.has_lm_head else [NONE] * len(speeds)
    per_kv = shape.num_heads // shape.num_kv_heads
    return tuple(
        replace(
            whole,
            heads=own,
            kv_heads=(own[0] // per_kv, -(-own[1] // per_kv)),
            columns=columns[rank],
            vocab=vocab[rank],
        )
        for rank, own in enumerate(heads)
    )


def divide(num_units: int, speeds: Sequence[float]) -> list[int]:
    """Units for each, one or more, so that the slowest is done soonest. Needs a unit for each."""
    assert num_units >= len(speeds)
    total = sum(speeds)
    counts = [max(1, int(num_units * speed / total)) for speed in speeds]
    members = range(len(speeds))
    while sum(counts) > num_units:
        rich = [rank for rank in members if counts[rank] > 1]
        counts[max(rich, key=lambda rank: counts[rank] / speeds[rank])] -= 1
    while sum(counts) < num_units:
        counts[min(members, key=lambda rank: (counts[rank] + 1) / speeds[rank])] += 1
    return counts


# ------------------------------------------------------------------------------------------ heads


def _heads(shape: Shape, block: int, speeds: Sequence[float]) -> list[Range]:
    most = shape.num_heads
    if len(speeds) > most:
        raise BadInput(
            f"a group of {len(speeds)} members was asked for; the model has {most} query heads, "
            f"and each member needs one: at most {most} members can serve a stage together"
        )
    step = block // gcd(block, shape.head_dim)  # heads whose inputs of o_proj are whole blocks
    places = [*range(0, most, step), most]
    per_kv = most // shape.num_kv_heads
    borders = [place for place in places if place % per_kv == 0]
    if len(borders) <= len(speeds):
        borders = places
    found = _spread(borders, per_kv, speeds)
    if found is None:
        raise BadInput(
            f"a group of {len(speeds)} members was asked for; the model's {most} query heads of "
            f"{shape.head_dim} values, of which {per_kv} share a KV head, cannot be divided "
            f"among so many between quantisation blocks of {block}; choose fewer members, or "
            "export with smaller blocks"
        )
    return found


def _spread(borders: list[int], per_kv: int, speeds: Sequence[float]) -> list[Range] | None:
    """Divide the heads at some of these borders, each member with whole groups of `per_kv` heads
    or with a part of one; None if that cannot be.

    Dynamic programming over (members, borders). A head costs as much as a KV head: q and o_proj,
    or k and v. Of what is as soon done, the most even.
    """
    start: tuple[float, float, tuple[int, ...]] = (0.0, 0.0, (0,))
    best = {0: start}
    for speed in speeds:
        following: dict[int, tuple[float, float, tuple[int, ...]]] = {}
        for begin, (slowest, unevenness, path) in best.items():
            for end in borders:
                if not _is_share(begin, end, per_kv):
                    continue
                time = (end - begin + _num_kv(begin, end, per_kv)) / speed
                found = (max(slowest, time), unevenness + time * time, (*path, end))
                if end not in following or found < following[end]:
                    following[end] = found
        best = following
    _, _, path = best.get(borders[-1], (inf, inf, ()))
    return list(pairwise(path)) or None


def _is_share(begin: int, end: int, per_kv: int) -> bool:
    if end <= begin:
        return False
    return begin % per_kv == end % per_kv == 0 or _num_kv(begin, end, per_kv) == 1


def _num_kv(begin: int, end: int, per_kv: int) -> int:
    return -(-end // per_kv) - begin // per_kv


# --------------------------------------------------------------------------------- all the rest


def _columns(shape: Shape, block: int, speeds: Sequence[float]) -> list[Range]:
    size = shape.intermediate_size
    num_blocks = -(-size // block)
    if num_blocks < len(speeds):
        raise BadInput(
            f"a group of {len(speeds)} members was asked for; the model's {size} feed-forward "
            f"columns are {num_blocks} quantisation blocks of {block}, and each member needs one: "
            "choose fewer members, or export with smaller blocks"
        )
    return _ranges(divide(num_blocks, speeds), block, size)


def _vocab(shape: Shape, speeds: Sequence[float]) -> list[Range]:
    size = shape.vocab_size
    if size < len(speeds):
        raise BadInput(
            f"a group of {len(speeds)} members was asked for; the lm_head has {size} rows, and "
            "each member needs one"
        )
    unit = VOCAB_ROWS if size >= VOCAB_ROWS * MANY * len(speeds) else 1
    return _ranges(divide(-(-size // unit), speeds), unit, size)


def _ranges(counts: list[int], unit: int, size: int) -> list[Range]:
    """Consecutive ranges of so many units each; the last unit may be a smaller one."""
    borders = [min(size, count * unit) for count in accumulate(counts, initial=0)]
    return list(pairwise(borders))


# ----------------------------------------------------------------------------------------- bytes


def weight_bytes(manifest: Manifest, share: Share) -> int:
    """Bytes of weights in a share, about: of what is cut, by its part of the parameters."""
    fraction = layer_fraction(manifest, share)
    if share.is_whole(manifest.shape):
        return manifest.part_bytes(*share.part_names)
    layers = replace(share, has_embed=False, vocab=NONE)
    cut_bytes = fraction * manifest.part_bytes(*layers.part_names)
    if share.has_lm_head:
        rows = share.vocab[1] - share.vocab[0]
        cut_bytes += manifest.part_bytes("lm_head") * rows / manifest.shape.vocab_size
    return int(cut_bytes) + (manifest.part_bytes("embed") if share.has_embed else 0)


def layer_fraction(manifest: Manifest, share: Share) -> float:
    """How much of each layer's weights a share has: 1 is all. Norms are too few to count."""
    shape = manifest.shape
    if share.is_whole(shape):
        return 1.0
    heads, kv_heads, columns = (
        stop - start for start, stop in (share.heads, share.kv_heads, share.columns)
    )
    attention = (heads + kv_heads) / (shape.num_heads + shape.num_kv_heads)
    mlp = _mlp_fraction(manifest)
    return (1 - mlp) * attention + mlp * columns / shape.intermediate_size


def _mlp_fraction(manifest: Manifest) -> float:
    """The feed-forward part's fraction of a layer's weights; of experts, all of them."""
    found = manifest.extra.get("experts")
    if found:
        return float(found["share"])
    shape = manifest.shape
    attention = 2 * shape.head_dim * (shape.num_heads + shape.num_kv_heads)
    mlp = 3 * shape.intermediate_size
    return mlp / (attention + mlp)
