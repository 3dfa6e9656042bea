"""Every way to put nodes into rings and groups, each counted once although many are alike."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from itertools import pairwise
from typing import Any

MAX_GROUPINGS = 5000  # beyond, only equal shares are tried; 20 like nodes have 2,713

# Of a group that is chosen. For more of them in two steps the arithmetic says that they gain; of
# others' groups of eight it is published that they were slower than four, and ours are not measured
MAX_MEMBERS = 4

Nodes = tuple[int, ...]  # of a ring: indices into the nodes, ascending
Grouping = tuple[Nodes, ...]


def group_sizes(count: int) -> list[tuple[int, ...]]:
    """The ways to serve a ring of `count` nodes: members of each stage's group, in their order.

    First each node a stage of its own, then groups as equal as can be, of at most 2, 3 and so on.
    """
    found: dict[tuple[int, ...], None] = {}
    for most in range(1, MAX_MEMBERS + 1):
        stages = -(-count // most)
        borders = [count * at // stages for at in range(stages + 1)]
        found[tuple(stop - start for start, stop in pairwise(borders))] = None
    return list(found)


def groupings(kinds: Sequence[Any]) -> list[Grouping]:
    """List groupings of nodes 0 … len(kinds) - 1 into one or more rings; a node may be left out.

    Nodes of one kind stand for each other. Where the list would be too long, it has the
    groupings into equal shares alone: the m largest nodes, by kind, dealt out to r rings.
    """
    found: list[Grouping] = []
    for each in _exhaustive(kinds):
        found.append(each)
        if len(found) > MAX_GROUPINGS:
            return _shares(kinds)
    return found


def _exhaustive(kinds: Sequence[Any]) -> Iterator[Grouping]:
    """Deal node by node: to a ring there is, to a new one, or to none; skip what is the same."""
    numbers = {kind: number for number, kind in enumerate(dict.fromkeys(kinds))}
    numbered = [numbers[kind] for kind in kinds]
    level: dict[Hashable, list[list[int]]] = {(): []}
    for index in range(len(kinds)):
        following: dict[Hashable, list[list[int]]] = {}
        for groups in level.values():
            options = [groups]
            options += [
                [*groups[:at], [*groups[at], index], *groups[at + 1 :]] for at in range(len(groups))
            ]
            options.append([*groups, [index]])
            for option in options:
                following.setdefault(_name(option, numbered), option)
        level = following
        if len(level) > MAX_GROUPINGS:
            break
    yield from (tuple(tuple(group) for group in groups) for groups in level.values() if groups)


def _name(groups: list[list[int]], kinds: Sequence[int]) -> Hashable:
    """The same for groupings that only exchange like nodes, or whole rings."""
    return tuple(sorted(tuple(kinds[index] for index in group) for group in groups))


def _shares(kinds: Sequence[Any]) -> list[Grouping]:
    order = sorted(range(len(kinds)), key=lambda index: kinds[index], reverse=True)
    return [
        tuple(tuple(sorted(order[ring:used:rings])) for ring in range(rings))
        for used in range(1, len(kinds) + 1)
        for rings in range(1, used + 1)
    ]
