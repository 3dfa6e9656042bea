"""Why a plan is as it is: one sentence per stage, with what a token reads and memory holds."""

from __future__ import annotations

from dataclasses import replace

from bramble.model.disk import size
from bramble.model.manifest import Manifest
from bramble.plan.cost import read_bytes
from bramble.plan.planner import Node, Plan, StagePlan, plan_ring

ENDLESS = 1 << 62  # bytes: memory that never binds


def explain(manifest: Manifest, nodes: list[Node], plan: Plan) -> list[str]:
    """One sentence for each stage of `plan`, which was made of these nodes."""
    machines = {node.name: node.machine for node in nodes}
    reads = [
        max(read_bytes(manifest, each.share, machines[each.node]) for each in stage.members)
        for stage in plan.stages
    ]
    by_time = _planned(manifest, nodes, plan)
    is_by_time = all(a.start == b.start for a, b in zip(plan.stages, by_time, strict=True))
    rich = [replace(node, memory_bytes=ENDLESS) for node in nodes]
    free = _planned(manifest, rich, plan)  # what differs, memory has decided
    tokens = [stage.cache_tokens(manifest.shape, plan.kv_cache) for stage in plan.stages]
    sentences = []
    for index, stage in enumerate(plan.stages):
        words = [f"{stage.name} runs {_layers(stage, manifest.shape.num_layers)}"]
        words.append(_pace(reads, index))
        words.append(_memory(stage, tokens, index))
        if not is_by_time:
            words.append("layers go by memory, so that the cache holds the most")
        elif stage.num_layers != free[index].num_layers:
            words.append(f"were memory no limit, it would run {free[index].num_layers}")
        sentences.append("; ".join(words) + ".")
    return sentences


def _layers(stage: StagePlan, num_layers: int) -> str:
    last = stage.stop - 1
    layers = f"layer {last}" if stage.num_layers == 1 else f"layers {stage.start} to {last}"
    ends = ["the embedding"] * stage.has_embed + ["lm_head"] * stage.has_lm_head
    more = f" and {' and '.join(ends)}" if ends else ""
    return f"{layers} of {num_layers}{more}"


def _pace(reads: list[float], index: int) -> str:
    share = f"it reads {size(int(reads[index]))} for each token"
    if len(reads) == 1:
        return share
    slowest = reads[index] == max(reads)
    return f"{share}, {'the most, which is the ring’s pace' if slowest else 'not the most'}"


def _memory(stage: StagePlan, tokens: list[int], index: int) -> str:
    least = min(member.kv_bytes for member in stage.members)
    left = f"{size(least)} are left for {tokens[index]} tokens of KV cache"
    if len(tokens) > 1 and tokens[index] == min(tokens):
        left += ", the fewest, which is the ring’s limit"
    return left


def _planned(manifest: Manifest, nodes: list[Node], plan: Plan) -> tuple[StagePlan, ...]:
    return plan_ring(
        manifest, plan.manifest_sha256, nodes, plan.rows, plan.max_length, plan.kv_cache
    ).stages
