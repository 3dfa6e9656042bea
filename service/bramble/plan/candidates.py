"""Every set of rings that a model fits on these nodes, planned and timed. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from bramble.errors import BadInput
from bramble.model.manifest import Manifest
from bramble.model.share import Share
from bramble.plan.cut import block_of, cut
from bramble.plan.groups import MAX_MEMBERS, Nodes, group_sizes, groupings
from bramble.plan.pace import Link, Pace
from bramble.plan.planner import Node, Plan, StagePlan, plan_ring
from bramble.plan.ring_speed import Ring, ring_of
from bramble.plan.rings import CAPACITY, Figures, Rings, Work, aggregate, keys

Planned = tuple[Plan, Ring]


@dataclass(frozen=True, slots=True)
class _Kind:
    """A ring of nodes of certain kinds, with each node a stage, and in the best groups."""

    single: Planned | None
    grouped: Planned | None


class Candidates:
    """Plans and times rings, each kind of ring once though many nodes are alike."""

    def __init__(
        self,
        manifest: Manifest,
        manifest_sha256: str,
        nodes: list[Node],
        work: Work,
        paces: Mapping[str, Pace],
        link: Link,
        objective: str,
    ) -> None:
        self._manifest = manifest
        self._sha256 = manifest_sha256
        self._nodes = nodes
        self._work = work
        self._paces = paces
        self._link = link
        self._objective = objective
        self._known: dict[tuple[object, ...], _Kind] = {}
        self._alone: dict[Ring, float] = {}
        # Members that the model's layers can be divided among, and why not more, if so
        self._most, self.undivided = most_members(manifest, min(MAX_MEMBERS, len(nodes)))

    def found(self) -> list[Rings]:
        """Every set of rings that fits, with each node a stage; and once more in groups."""
        kinds = [self._kind(index) for index in range(len(self._nodes))]
        found = []
        for grouping in groupings(kinds):
            known = [(nodes, self._ring(nodes)) for nodes in sorted(grouping)]
            found += self._rings([(nodes, kind.single) for nodes, kind in known])
            if any(kind.grouped for _, kind in known):
                found += self._rings(
                    [(nodes, kind.grouped or kind.single) for nodes, kind in known]
                )
        return found

    def _rings(self, planned: list[tuple[Nodes, Planned | None]]) -> list[Rings]:
        """The set of these rings, or none: one does not fit."""
        fitting = [(self._renamed(each[0], nodes), each[1]) for nodes, each in planned if each]
        if len(fitting) < len(planned):
            return []
        plans, speeds = zip(*fitting, strict=True)
        limits = tuple(map(self._limit, plans))
        return [Rings(plans, speeds, limits, self._figures(plans, speeds, limits))]

    def _kind(self, index: int) -> tuple[object, ...]:
        node = self._nodes[index]
        return node.memory_bytes, node.speed, self._paces[node.name]

    def _ring(self, nodes: Nodes) -> _Kind:
        """Plan rings of these nodes, unless it was done for others of their kinds."""
        kind = tuple(self._kind(index) for index in nodes)
        if kind not in self._known:
            single, *groups = (self._plan(nodes, sizes) for sizes in self._sizes(len(nodes)))
            fitting = [each for each in groups if each is not None]
            grouped = max(fitting, key=lambda each: self._merit(*each), default=None)
            self._known[kind] = _Kind(single, grouped)
        return self._known[kind]

    def _sizes(self, count: int) -> list[tuple[int, ...]]:
        """Ways to serve a ring of so many nodes in groups that the model can be divided among."""
        return [sizes for sizes in group_sizes(count) if max(sizes) <= self._most]

    def _merit(self, plan: Plan, ring: Ring) -> float:
        """The objective's figure of a ring on its own, to be as large as can be."""
        share = self._work.rows * len(plan.members) / len(self._nodes)
        figures = Figures(
            self._request_s(ring),
            ring.aggregate(min(share, self._limit(plan)), self._work.prompt),
            self._cache_tokens(plan),
        )
        return keys(self._objective)[0](figures)

    def _renamed(self, plan: Plan, nodes: Nodes) -> Plan:
        """The plan with these nodes, in the place of others of their kinds."""
        names = iter(self._nodes[index].name for index in nodes)
        stages = tuple(
            StagePlan(tuple(dataclasses.replace(each, node=next(names)) for each in stage.members))
            for stage in plan.stages
        )
        return dataclasses.replace(plan, stages=stages)

    def _plan(self, nodes: Nodes, sizes: tuple[int, ...]) -> Planned | None:
        """Plan a ring of these nodes in groups of such sizes; None where it does not fit."""
        left, work = iter(self._nodes[index] for index in nodes), self._work
        groups = [tuple(islice(left, size)) for size in sizes]
        try:
            plan = plan_ring(
                self._manifest,
                self._sha256,
                groups,
                work.rows,
                work.max_length,
                work.kv_cache,
                for_cache=self._objective == CAPACITY,
            )
        except BadInput:
            return None
        return plan, ring_of(self._manifest, plan, self._paces, self._link, work.exchange)

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


def most_members(manifest: Manifest, most: int) -> tuple[int, str]:
    """How many members each layer can be divided among, up to `most`; and why not among more."""
    shape = manifest.shape
    whole = Share.whole(shape, 0, shape.num_layers, True, True)
    for members in range(2, most + 1):
        try:
            cut(whole, shape, block_of(manifest), (1.0,) * members)
        except BadInput as error:
            return members - 1, str(error)
    return most, ""
