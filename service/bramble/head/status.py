"""The status document: what /api/status, `bramble status` and the status page show."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import bramble
from bramble.head.registry import StageEntry
from bramble.head.ring import Ring
from bramble.head.scheduler import Scheduler
from bramble.head.speed import Speed
from bramble.model.manifest import Manifest
from bramble.plan.planner import Plan, StagePlan

# What a stage's Beat may tell of itself, and what stands there until it does.
STAGE_STATS = {
    "kv_used_bytes": None,
    "busy": 0.0,
    "tokens_s": 0.0,
    "temperature_c": None,
    "throttled": None,
}


def document(
    ring: Ring,
    scheduler: Scheduler,
    speed: Speed,
    outcomes: dict[str, int],
    now: float,
    since: float,
) -> dict[str, Any]:
    """Describe the ring and its work; plain values only.

    outcomes  requests by how they ended, and bad_frames
    """
    decode, prefill = speed.per_second(now)
    return {
        "version": bramble.__version__,
        "state": "loading" if ring.state == "checking" else str(ring.state),
        "reason": ring.reason,
        "model": _model(ring.manifest, ring.plan),
        "plan": _plan(ring, speed),
        "speed": {"decode_tokens_s": round(decode, 2), "prefill_tokens_s": round(prefill, 2)},
        "requests": {
            "running": len(scheduler.running),
            "queued": len(scheduler.waiting),
            "max_queue": scheduler.limits.max_queue,
            "completed": outcomes["completed"],
            "failed": outcomes["failed"],
            "cancelled": outcomes["cancelled"],
            "preemptions": scheduler.counters.preemptions,
        },
        "counters": {
            "prompt_tokens_total": speed.prefill_tokens,
            "prefix_tokens_total": scheduler.counters.prefix_tokens,
            "guessed_tokens_total": scheduler.counters.guessed_tokens,
            "guessed_true_tokens_total": scheduler.counters.true_tokens,
            "completion_tokens_total": speed.decode_tokens,
            "steps_total": speed.steps,
            "decode_steps_total": speed.decode_steps,
            "bad_frames_total": outcomes["bad_frames"],
        },
        "uptime_s": round(now - since, 1),
    }


def sentence(ring: Ring, scheduler: Scheduler, speed: Speed, now: float) -> str:
    """What `systemctl status` shows of the head."""
    if ring.reason is not None:
        return f"{ring.manifest.name}: not serving, {ring.reason}"
    decode, _ = speed.per_second(now)
    return (
        f"serving {ring.manifest.name} over {len(ring.registry.stages)} stages, "
        f"{len(scheduler.running)} requests running, {len(scheduler.waiting)} queued, "
        f"{decode:.1f} tokens/s"
    )


def _model(manifest: Manifest, plan: Plan | None) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "architecture": manifest.architecture,
        "num_parameters": manifest.num_parameters,
        "vocab_size": manifest.shape.vocab_size,
        "num_layers": manifest.shape.num_layers,
        "quantization": manifest.quantization.layers,
        "quantization_parts": asdict(manifest.quantization),
        "max_length": plan.max_length if plan else manifest.shape.max_length,
        "defaults": manifest.defaults,
        "is_demo": manifest.source.get("id") == "bramble-demo",
        "source": manifest.source,
        "created": int(manifest.extra.get("created", 0)),
    }


def _plan(ring: Ring, speed: Speed) -> dict[str, Any]:
    plan = ring.plan
    shards = plan.stages if plan else (None,) * len(ring.registry.stages)
    stages = [
        _stage(index, entry, shard, ring.manifest, speed)
        for index, (entry, shard) in enumerate(zip(ring.registry.stages, shards, strict=True))
    ]
    return {
        "plan_id": plan.plan_id.hex() if plan else None,
        "epoch": ring.epoch,
        "rows": plan.rows if plan else None,
        "budget_tokens": plan.budget_tokens if plan else None,
        "rings": [{"stages": stages}],
    }


def _stage(
    index: int, entry: StageEntry, shard: StagePlan | None, manifest: Manifest, speed: Speed
) -> dict[str, Any]:
    waiting, compute, python = speed.stage_ms(index) or (None, None, None)
    compute_total, python_total = speed.stage_totals_ms(index) or (None, None)
    hello = entry.hello
    return {
        "stage": index,
        "node": entry.node,
        "state": entry.state,
        "reason": entry.reason,
        "start": shard.start if shard else None,
        "stop": shard.stop if shard else None,
        "has_embed": shard.has_embed if shard else None,
        "has_lm_head": shard.has_lm_head if shard else None,
        "num_layers_total": manifest.shape.num_layers,
        "weight_bytes": shard.weight_bytes if shard else None,
        "kv_bytes": shard.kv_bytes if shard else None,
        "endpoint": hello.endpoint if hello else None,
        "machine": hello.machine if hello else None,
        "version": hello.version if hello else None,
        "load_s": entry.ready.load_s if entry.ready else None,
        "resident_bytes": _resident_bytes(entry),
        "waiting_ms": waiting,
        "compute_ms": compute,
        "python_ms": python,
        "compute_total_ms": compute_total,
        "python_total_ms": python_total,
        **{key: entry.stats.get(key, default) for key, default in STAGE_STATS.items()},
    }


def _resident_bytes(entry: StageEntry) -> int | None:
    loaded = entry.ready.resident_bytes if entry.ready else None
    found: int | None = entry.stats.get("resident_bytes", loaded)
    return found
