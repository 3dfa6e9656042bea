"""Which rings to make of the nodes: one of all, or several with a copy of the model each.

Every grouping of the nodes that fits is planned by `planner.plan_ring` and timed by
`ring_speed`; the objective says which figure decides. Pure, as both of them are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bramble.errors import BadInput
from bramble.model.manifest import Manifest
from bramble.plan.candidates import Candidates
from bramble.plan.devices import GIGABIT, PI5_PACE
from bramble.plan.pace import Link, Pace
from bramble.plan.planner import Node, Plan, plan_ring
from bramble.plan.reasons import why
from bramble.plan.rings import OBJECTIVES, Rings, Work, keys

SAME = 0.002  # figures this close count as equal, and the next one decides
PAYS = 1.1  # so much better groups have to be: an exchange is known to about 10 %


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
    planner = Candidates(manifest, manifest_sha256, nodes, work, paces, link, objective)
    found = planner.found()
    if not found:
        # A ring of as many as there may be says which node lacks how much.
        some = nodes[: manifest.shape.num_layers]
        plan_ring(manifest, manifest_sha256, some, 1, 1, work.kv_cache)
        raise AssertionError("a ring of all nodes fits, yet no grouping does")
    chosen = best(found, objective)
    spare = tuple(name for name in names if name not in chosen.nodes)
    reason = why(objective, chosen, found, spare, work)
    if planner.undivided:
        reason += f" Larger groups cannot be: {planner.undivided}."
    return Choice(objective, chosen, spare, tuple(found), reason)


def pace_of(node: Node) -> Pace:
    """The pace of a node of which only the speed relative to a Raspberry Pi 5 is known."""
    return PI5_PACE.times(node.speed)


def best(found: list[Rings], objective: str) -> Rings:
    """What is best by the objective; and groups only where they pay for certain."""
    single = [each for each in found if not each.has_groups]
    groups = [each for each in found if each.has_groups]
    if not single or not groups:
        return _best(single or groups, objective)
    plain, grouped = _best(single, objective), _best(groups, objective)
    key = keys(objective)[0]
    return grouped if key(grouped.figures) >= PAYS * key(plain.figures) else plain


def _best(found: list[Rings], objective: str) -> Rings:
    """The objective's figure decides; among equals the next ones, then fewer hops, more nodes."""
    for key in keys(objective):
        top = max(key(each.figures) for each in found)
        found = [each for each in found if key(each.figures) >= top * (1 - SAME)]
    return min(found, key=lambda each: (len(each.nodes) - len(each.plans), -len(each.nodes)))
