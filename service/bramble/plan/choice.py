"""Which rings to make of the nodes: one of all, or several with a copy of the model each.

Every grouping of the nodes that fits is planned by `planner.plan_ring` and timed by
`ring_speed`; the objective says which figure decides. Pure, as both of them are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bramble.errors import BadInput
from bramble.model.manifest import Manifest
from bramble.plan.devices import GIGABIT, PI5_PACE
from bramble.plan.groups import Group, groupings
from bramble.plan.pace import Link, Pace
from bramble.plan.planner import Node, Plan, StagePlan, plan_ring
from bramble.plan.reasons import why
from bramble.plan.ring_speed import Ring, ring_of
from bramble.plan.rings import (
    CAPACITY,
    LATENCY,
    OBJECTIVES,
    THROUGHPUT,
    Figures,
    Rings,
    Work,
    aggregate,
)

SAME = 0.002  # figures this close count as equal, and the next one decides


@dataclass(frozen=True, slots=True)
class Choice:
    objective: str
    chosen: Rings
    spare: tuple[str, ...]  # nodes that no ring uses
    candidates: tuple[Rings, ...]  # every set that fits, the chosen one among them
    reason: str  # in plain sentences, with the figures

    @property
    def rings(self) -> tuple[Plan, ...]:
        """One plan per ring: what a head makes its rings of."""
        return self.chosen.plans


def choose(
    manifest: Manifest,
    manifest_sha256: str,
    nodes: list[Node],
    objective: str,
    work: Work | None = None,
    paces: Mapping[str, Pace] | None = None,
    link: Link = GIGABIT,
) -> Choice:
    """Choose the rings that serve `objective` best; no node is in two of them.

    latency     the shortest time of one request alone
    throughput  the most tokens/s at work.rows sequences together
    capacity    the most tokens of KV cache for whichever ring a conversation is on
    paces       by node name; without, a Raspberry Pi 5's times the node's `speed`

    Raises BadInput if the model fits no ring of these nodes, or the objective is unknown.
    """
    if objective not in OBJECTIVES:
        raise BadInput(f"objective is {objective!r}, it has to be one of {', '.join(OBJECTIVES)}")
    names = [node.name for node in nodes]
    if not names or len(set(names)) < len(names):
        raise BadInput("the nodes need a name each, and at least one node is needed")
    paces = paces or {node.name: pace_of(node) for node in nodes}
    work = work or Work()
    for_cache = objective == CAPACITY
    found = _Planner(manifest, manifest_sha256, nodes, work, paces, link, for_cache).candidates()
    if not found:
        # A ring of as many as there may be says which node lacks how much.
        some = nodes[: manifest.shape.num_layers]
        plan_ring(manifest, manifest_sha256, some, 1, 1, work.kv_cache)
        raise AssertionError("a ring of all nodes fits, yet no grouping does")
    chosen = best(found, objective)
    spare = tuple(name for name in names if name not in chosen.nodes)
    reason = why(objective, chosen, found, spare, work)
    return Choice(objective, chosen, spare, tuple(found), reason)


def pace_of(node: Node) -> Pace:
    """The pace of a node of which only the speed relative to a Raspberry Pi 5 is known."""
    return PI5_PACE.times(node.speed)


def best(found: list[Rings], objective: str) -> Rings:
    """The objective's figure decides; among equals the next ones, then fewer hops, more nodes."""
    for key in _keys(objective):
        top = max(key(each.figures) for each in found)
        found = [each for each in found if key(each.figures) >= top * (1 - SAME)]
    return min(found, key=lambda each: (len(each.nodes) - len(each.plans), -len(each.nodes)))


def _keys(objective: str) -> list[Callable[[Figures], float]]:
    """Figures to be as large as can be, the first before the second."""
    keys: dict[str, Callable[[Figures], float]] = {
        LATENCY: lambda figures: 1 / figures.request_s,
        THROUGHPUT: lambda figures: figures.aggregate,
        CAPACITY: lambda figures: figures.cache_tokens,
    }
    return [keys[objective], *(key for name, key in keys.items() if name != objective)]


class _Planner:
    """Plans and times rings, each kind of ring once though many nodes are alike."""

    def __init__(
        self,
        manifest: Manifest,
        manifest_sha256: str,
        nodes: list[Node],
        work: Work,
        paces: Mapping[str, Pace],
        link: Link,
        for_cache: bool,
    ) -> None:
        self._manifest = manifest
        self._sha256 = manifest_sha256
        self._nodes = nodes
        self._work = work
        self._paces = paces
        self._link = link
        self._for_cache = for_cache
        self._known: dict[tuple[object, ...], tuple[Plan, Ring] | None] = {}
        self._alone: dict[Ring, float] = {}

    def candidates(self) -> list[Rings]:
        """Every set of rings that fits."""
        kinds = [self._kind(index) for index in range(len(self._nodes))]
        found = []
        for grouping in groupings(kinds):
            rings = [self._ring(group) for group in sorted(grouping)]
            fitting = [ring for ring in rings if ring is not None]
            if len(fitting) == len(rings):
                plans, speeds = zip(*fitting, strict=True)
                limits = tuple(map(self._limit, plans))
                figures = self._figures(plans, speeds, limits)
                found.append(Rings(plans, speeds, limits, figures))
        return found

    def _kind(self, index: int) -> tuple[object, ...]:
        node = self._nodes[index]
        return node.memory_bytes, node.speed, self._paces[node.name]

    def _ring(self, group: Group) -> tuple[Plan, Ring] | None:
        """Plan a ring of these nodes, or say None: it does not fit."""
        kind = tuple(self._kind(index) for index in group)
        if kind not in self._known:
            self._known[kind] = self._plan(group)
        if (known := self._known[kind]) is None:
            return None
        plan, speed = known
        names = [self._nodes[index].name for index in group]
        stages = zip(plan.stages, names, strict=True)
        renamed = tuple(
            StagePlan((dataclasses.replace(stage.members[0], node=name),)) for stage, name in stages
        )
        return dataclasses.replace(plan, stages=renamed), speed

    def _plan(self, group: Group) -> tuple[Plan, Ring] | None:
        nodes, work = [self._nodes[index] for index in group], self._work
        try:
            plan = plan_ring(
                self._manifest,
                self._sha256,
                nodes,
                work.rows,
                work.max_length,
                work.kv_cache,
                for_cache=self._for_cache,
            )
        except BadInput:
            return None
        return plan, ring_of(self._manifest, plan, self._paces, self._link)

    def _figures(
        self, plans: tuple[Plan, ...], speeds: tuple[Ring, ...], limits: tuple[int, ...]
    ) -> Figures:
        work = self._work
        return Figures(
            max(map(self._request_s, speeds)),
            aggregate(speeds, limits, work.rows, work.prompt),
            min(map(self._cache_tokens, plans)),
        )

    def _request_s(self, ring: Ring) -> float:
        if ring not in self._alone:
            self._alone[ring] = ring.request_s(self._work.prompt, self._work.reply)
        return self._alone[ring]

    def _limit(self, plan: Plan) -> int:
        tokens = self._work.prompt + self._work.reply
        return max(1, min(plan.rows, plan.budget_tokens // tokens))

    def _cache_tokens(self, plan: Plan) -> int:
        """What the tightest stage can hold; more than budget_tokens where rows are few."""
        shape = self._manifest.shape
        return min(stage.cache_tokens(shape, plan.kv_cache) for stage in plan.stages)
