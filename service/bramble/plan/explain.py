"""Why a plan is as it is: one sentence per stage, from the figures that the planner weighs."""

from __future__ import annotations

from bramble.model.disk import size
from bramble.model.manifest import Manifest, shard_parts
from bramble.plan.planner import Node, Plan, StagePlan, plan_ring

ENDLESS = 1 << 62  # bytes: memory that never binds


def explain(manifest: Manifest, nodes: list[Node], plan: Plan) -> list[str]:
    """One sentence for each stage of `plan`, which was made of these nodes."""
    reads = [_read_bytes(manifest, stage) for stage in plan.stages]
    free = _without_limits(manifest, nodes, plan)
    per_token = [
        manifest.shape.kv_bytes_per_token(stage.num_layers, plan.kv_cache) for stage in plan.stages
    ]
    tokens = [stage.kv_bytes // each for stage, each in zip(plan.stages, per_token, strict=True)]
    sentences = []
    for index, stage in enumerate(plan.stages):
        words = [f"{stage.node} runs {_layers(stage, manifest.shape.num_layers)}"]
        words.append(_pace(reads, index))
        words.append(_memory(stage, free[index], tokens, index))
        sentences.append("; ".join(words) + ".")
    return sentences


def _layers(stage: StagePlan, num_layers: int) -> str:
    last = stage.stop - 1
    layers = f"layer {last}" if stage.num_layers == 1 else f"layers {stage.start} to {last}"
    ends = ["the embedding"] * stage.has_embed + ["lm_head"] * stage.has_lm_head
    more = f" and {' and '.join(ends)}" if ends else ""
    return f"{layers} of {num_layers}{more}"


def _pace(reads: list[int], index: int) -> str:
    share = f"it reads {size(reads[index])} for each token"
    if len(reads) == 1:
        return share
    slowest = reads[index] == max(reads)
    return f"{share}, {'the most, which is the ring’s pace' if slowest else 'not the most'}"


def _memory(stage: StagePlan, free: StagePlan, tokens: list[int], index: int) -> str:
    left = f"{size(stage.kv_bytes)} are left for {tokens[index]} tokens of KV cache"
    if len(tokens) > 1 and tokens[index] == min(tokens):
        left += ", the fewest, which is the ring’s limit"
    if stage.num_layers != free.num_layers:
        left += f"; were memory no limit, it would run {free.num_layers}"
    return left


def _read_bytes(manifest: Manifest, stage: StagePlan) -> int:
    """What a decode step reads: all of the shard but the embedding, of which it takes one row."""
    return manifest.part_bytes(*shard_parts(stage.start, stage.stop, False, stage.has_lm_head))


def _without_limits(manifest: Manifest, nodes: list[Node], plan: Plan) -> tuple[StagePlan, ...]:
    """The stages if no node's memory were short: what differs, memory has decided."""
    rich = [Node(node.name, ENDLESS, node.speed) for node in nodes]
    return plan_ring(
        manifest, plan.manifest_sha256, rich, plan.rows, plan.max_length, plan.kv_cache
    ).stages
