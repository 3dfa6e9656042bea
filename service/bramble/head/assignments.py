"""What each member of a plan is told to run, and whom it hears and tells. Pure but for new keys."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass

import bramble
from bramble.errors import BadInput
from bramble.plan.planner import Plan, StagePlan
from bramble.wire.messages import Assign, Hello, Member

KEY_BYTES = 32  # AES-256


@dataclass(frozen=True, slots=True)
class Epoch:
    """What of an assignment is of the head and not of the plan."""

    number: int
    term: int
    head: Member  # where the last stage's answers go
    suspects: Collection[str] = ()  # nodes that have to take their files anew
    exchange: str = "float32"  # form of what the members of a group send each other


def assignments(plan: Plan, epoch: Epoch, hello_of: Callable[[str], Hello]) -> list[Assign]:
    """One assignment for each of `plan.members`, in that order.

    A step goes from rank 0 of a stage to all members of the next; the others of the stage send
    nothing. Raises BadInput where a group has a member that cannot exchange.
    """
    groups = [_group(stage, hello_of) for stage in plan.stages]
    steps = [_listeners(stage, hello_of) for stage in plan.stages]
    return [
        _assign(plan, epoch, index, rank, groups[index], steps)
        for index, stage in enumerate(plan.stages)
        for rank in range(len(stage.members))
    ]


def _assign(
    plan: Plan,
    epoch: Epoch,
    index: int,
    rank: int,
    group: tuple[tuple[Member, ...], str],
    steps: list[tuple[Member, ...]],
) -> Assign:
    """The assignment of one member; steps are the stages' own listeners, by rank."""
    member = plan.stages[index].members[rank]
    is_last, is_lead = index == len(plan.stages) - 1, rank == 0
    following = (epoch.head,) if is_last else steps[index + 1]
    # A group computes ahead of nothing: each of its members would have to do so at the same time
    can_foresee = len(plan.stages) - 1 > 0 and len(steps[0]) == 1
    first = steps[0][0] if can_foresee and is_last and is_lead else Member("", "")
    return Assign(
        plan_id=plan.plan_id.hex(),
        epoch=epoch.number,
        model=plan.model,
        manifest_sha256=plan.manifest_sha256,
        stage=index,
        num_stages=len(plan.stages),
        share=member.share,
        next=following if is_lead else (),
        rows=plan.rows,
        max_length=plan.max_length,
        kv_bytes=member.kv_bytes,
        kv_cache=plan.kv_cache,
        first_endpoint=first.endpoint,
        first_node=first.node,
        previous_node=steps[index - 1][0].node if index else epoch.head.node,
        last_node=steps[-1][0].node if can_foresee and index == 0 else "",
        is_suspect=member.node in epoch.suspects,
        term=epoch.term,
        rank=rank,
        group=group[0],
        exchange_key=group[1],
        exchange=epoch.exchange,
    )


def _listeners(stage: StagePlan, hello_of: Callable[[str], Hello]) -> tuple[Member, ...]:
    """Where the members of a stage take steps."""
    return tuple(Member(node, hello_of(node).endpoint) for node in stage.nodes)


def _group(stage: StagePlan, hello_of: Callable[[str], Hello]) -> tuple[tuple[Member, ...], str]:
    """Where its members exchange, and a key for that; nothing for a stage of one member."""
    if len(stage.members) == 1:
        return (), ""
    for node in stage.nodes:
        hello = hello_of(node)
        if hello.exchange:
            continue
        why = (
            f"it listens for no other members; run site.yml with {stage.name} in bramble_rings, or "
            "set its `exchange` to tcp://ADDRESS:PORT"
        )
        if hello.version != bramble.__version__:
            why = f"its release is {hello.version}; have all nodes of {stage.name} run one release"
        raise BadInput(f"{node} cannot serve a stage together with others: {why}")
    members = tuple(Member(node, hello_of(node).exchange) for node in stage.nodes)
    return members, secrets.token_hex(KEY_BYTES)
