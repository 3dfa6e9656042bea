"""How each token of a sequence is computed: as a prompt, in chunks, or as a reply, one by one.

onnxruntime rounds the two differently, so keys and values are the same bits again only where every
token before them is computed the same way. A sequence says it by its flips: the rising positions at
which the way changes, the first token being a prompt's. A chat without history has one, where its
reply begins; an answer in the history adds two.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

Flips = tuple[int, ...]


def is_reply(flips: Flips, position: int) -> bool:
    """True if the token at `position` is computed as a reply's."""
    return bisect_right(flips, position) % 2 == 1


def next_flip(flips: Flips, position: int, end: int) -> int:
    """Return where the way changes behind `position`, at most `end`."""
    index = bisect_right(flips, position)
    return min(flips[index], end) if index < len(flips) else end


def num_alike(a: Flips, b: Flips, length: int) -> int:
    """Return how many of `length` first tokens are computed the same way."""
    for one, other in zip(a, b, strict=False):
        if one != other:
            return min(one, other, length)
    rest = a[len(b) :] or b[len(a) :]
    return min(rest[0], length) if rest else length


def spliced(a: Flips, b: Flips, length: int) -> Flips:
    """Return the flips of tokens of which the first `length` follow `a` and the others `b`."""
    first = a[: bisect_left(a, length)]
    behind = bisect_right(b, length)
    border = (length,) if len(first) % 2 != behind % 2 else ()
    return first + border + b[behind:]


def without_lone(flips: Flips) -> Flips:
    """Return flips in which a prompt's token between two replies, or at the very beginning, counts
    as a reply's: it is computed alone as well."""
    kept = list(flips)
    if kept[:1] == [1]:
        kept[0] = 0
    index = 1
    while index + 1 < len(kept):
        if kept[index + 1] - kept[index] == 1:
            del kept[index : index + 2]
        else:
            index += 2
    return tuple(kept)


def whole_chunks(flips: Flips, num_known: int, length: int) -> int:
    """Return how many of `num_known` first tokens may be taken as computed: at least the last of
    `length` is computed anew, and of a prompt never a single token, which would be rounded
    differently from several."""
    known = min(num_known, length - 1)
    if known <= 0 or is_reply(flips, known):
        return max(0, known)
    return known - 1 if next_flip(flips, known, length) - known == 1 else known
