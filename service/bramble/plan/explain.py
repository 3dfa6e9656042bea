"""Why a plan is as it is: one sentence per stage, with what a token reads and memory holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bramble.model.disk import size
from bramble.model.manifest import Manifest
from bramble.model.share import Range
from bramble.plan.cost import read_bytes
from bramble.plan.planner import Group, Plan, StagePlan, plan_ring

ENDLESS = 1 << 62  # bytes: memory that never binds


def explain(manifest: Manifest, groups: Sequence[Group], plan: Plan) -> list[str]:
    """One sentence for each stage of `plan`, which was made of these groups."""
    machines = {node.name: node.machine for group in groups for node in group}
    reads = [
        max(read_bytes(manifest, each.share, machines[each.node]) for each in stage.members)
        for stage in plan.stages
    ]
    by_time = _planned(manifest, groups, plan)
    is_by_time = all(a.start == b.start for a, b in zip(plan.stages, by_time, strict=True))
    rich = [tuple(replace(node, memory_bytes=ENDLESS) for node in group) for group in groups]
    free = _planned(manifest, rich, plan)  # what differs, memory has decided
    tokens = [stage.cache_tokens(manifest.shape, plan.kv_cache) for stage in plan.stages]
    sentences = []
    for index, stage in enumerate(plan.stages):
        words = [f"{_who(stage)} {_layers(stage, manifest.shape.num_layers)}"]
        words += _parts(manifest, stage)
        words.append(_pace(stage, reads, index))
        words.append(_memory(stage, tokens, index))
        if not is_by_time:
            words.append("layers go by memory, so that the cache holds the most")
        elif stage.num_layers != free[index].num_layers:
            words.append(f"were memory no limit, it would run {free[index].num_layers}")
        sentences.append("; ".join(words) + ".")
    return sentences


def _who(stage: StagePlan) -> str:
    return f"{stage.name} {'run together' if len(stage.members) > 1 else 'runs'}"


def _parts(manifest: Manifest, stage: StagePlan) -> list[str]:
    """What each member of a group has of every layer."""
    if len(stage.members) == 1:
        return []
    shape = manifest.shape
    said = [
        f"{member.node} {_count(member.share.heads)} and {_count(member.share.columns)}"
        for member in stage.members
    ]
    each = f"{shape.num_heads} query heads and {shape.intermediate_size} feed-forward columns"
    return [f"of each layer's {each} {', '.join(said)}"]


def _count(held: Range) -> int:
    return held[1] - held[0]


def _layers(stage: StagePlan, num_layers: int) -> str:
    last = stage.stop - 1
    layers = f"layer {last}" if stage.num_layers == 1 else f"layers {stage.start} to {last}"
    ends = ["the embedding"] * stage.has_embed + ["lm_head"] * stage.has_lm_head
    more = f" and {' and '.join(ends)}" if ends else ""
    return f"{layers} of {num_layers}{more}"


def _pace(stage: StagePlan, reads: list[float], index: int) -> str:
    who = "each of them reads" if len(stage.members) > 1 else "it reads"
    most = f"{who} {size(int(reads[index]))}{' at most' * (len(stage.members) > 1)} for each token"
    if len(reads) == 1:
        return most
    slowest = reads[index] == max(reads)
    return f"{most}, {'the most, which is the ring’s pace' if slowest else 'not the most'}"


def _memory(stage: StagePlan, tokens: list[int], index: int) -> str:
    left = min(member.kv_bytes for member in stage.members)
    said = f"{size(left)} are left for {tokens[index]} tokens of KV cache"
    if len(stage.members) > 1:
        said += " on the member that has least"
    if len(tokens) > 1 and tokens[index] == min(tokens):
        said += ", the fewest, which is the ring’s limit"
    return said


def _planned(manifest: Manifest, groups: Sequence[Group], plan: Plan) -> tuple[StagePlan, ...]:
    return plan_ring(
        manifest, plan.manifest_sha256, groups, plan.rows, plan.max_length, plan.kv_cache
    ).stages
