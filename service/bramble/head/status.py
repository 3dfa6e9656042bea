"""The status document: what /api/status, `bramble status` and the status page show."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import Any

import bramble
from bramble.config import MEMBER_SIGN
from bramble.head.fleet import Fleet
from bramble.head.outcomes import Outcomes
from bramble.head.registry import StageEntry
from bramble.head.ring import Ring
from bramble.head.served_ring import ServedRing
from bramble.head.speed import Speed
from bramble.model.share import Share
from bramble.observe import health
from bramble.plan.planner import MemberPlan

STATES = ("failed", "lost", "waiting", "loading", "ready")  # of a stage's process, the worst first
# What a stage's Beat may tell of itself, and what stands there until it does.
STAGE_STATS = {
    "kv_used_bytes": None,
    "busy": 0.0,
    "tokens_s": 0.0,
    "temperature_c": None,
    "throttled": None,
    "threads": None,
    "foreseen_steps": 0,
    "exchange_own_us": None,  # of a member of a group: an exchange itself,
    "exchange_waiting_us": None,  # and until the others have sent theirs
    "exchange_dropped": None,  # connections and messages that were not of its group and epoch
}


def document(
    fleet: Fleet, outcomes: Outcomes, now: float, since: float, restarts: str = ""
) -> dict[str, Any]:
    """Describe the rings and their work; plain values only.

    restarts  what is to be said of the head's own
    """
    rings = [_ring(served, now) for served in fleet.rings]
    speeds = [served.speed for served in fleet.rings]
    schedulers = [served.scheduler for served in fleet.rings]
    return {
        "version": bramble.__version__,
        "state": _state(fleet),
        "reason": fleet.reason,
        "model": _model(fleet.rings[0].ring, fleet.max_length),
        "plan": _plan(fleet, rings),
        "speed": _total([ring["speed"] for ring in rings]),
        "requests": {
            **_total([ring["requests"] for ring in rings]),
            "max_queue": fleet.max_queue,
            "completed": outcomes.completed,
            "failed": outcomes.failed,
            "cancelled": outcomes.cancelled,
            "preemptions": sum(scheduler.counters.preemptions for scheduler in schedulers),
        },
        "counters": {
            "prompt_tokens_total": sum(speed.prefill_tokens for speed in speeds),
            "prefix_tokens_total": sum(each.counters.prefix_tokens for each in schedulers),
            "draft_tokens_total": sum(each.counters.guessed_tokens for each in schedulers),
            "accepted_tokens_total": sum(each.counters.true_tokens for each in schedulers),
            "completion_tokens_total": sum(speed.decode_tokens for speed in speeds),
            "steps_total": sum(speed.steps for speed in speeds),
            "decode_steps_total": sum(speed.decode_steps for speed in speeds),
            "bad_frames_total": outcomes.bad_frames,
            "impostors_total": outcomes.impostors,
        },
        "uptime_s": round(now - since, 1),
        "troubles": [asdict(trouble) for trouble in health.judge_restarts(restarts)],
    }


def sentence(fleet: Fleet, now: float) -> str:
    """What `systemctl status` shows of the head."""
    name = fleet.rings[0].ring.manifest.name
    if not fleet.is_serving:
        return f"{name}: not serving, {fleet.reason}"
    total = _total([_requests(served) for served in fleet.rings])
    decode = sum(served.speed.per_second(now)[0] for served in fleet.rings)
    return (
        f"serving {name} over {_extent(fleet)}, "
        f"{total['running']} requests running, {total['queued']} queued, {decode:.1f} tokens/s"
    )


def _extent(fleet: Fleet) -> str:
    num_stages = sum(served.ring.registry.num_stages for served in fleet.rings)
    if len(fleet.rings) == 1:
        return f"{num_stages} stages"
    num_serving = sum(served.is_serving for served in fleet.rings)
    return f"{num_serving} of {len(fleet.rings)} rings with {num_stages} stages"


def _state(fleet: Fleet) -> str:
    """One ring that serves is enough; else what the ring that is furthest does."""
    states = {_ring_state(served) for served in fleet.rings}
    return next(s for s in ("serving", "loading", "waiting", "failed") if s in states)


def _ring_state(served: ServedRing) -> str:
    return "loading" if served.ring.state == "checking" else str(served.ring.state)


def _total(each: list[dict[str, Any]]) -> dict[str, Any]:
    """Add up dicts of numbers that have the same keys."""
    return {key: round(sum(one[key] for one in each), 2) for key in each[0]}


def _model(ring: Ring, max_length: int | None) -> dict[str, Any]:
    manifest = ring.manifest
    return {
        "name": manifest.name,
        "export": ring.manifest_sha256,
        "bytes": sum(file.bytes for file in manifest.files.values()),
        "architecture": manifest.architecture,
        "num_parameters": manifest.num_parameters,
        "vocab_size": manifest.shape.vocab_size,
        "num_layers": manifest.shape.num_layers,
        "quantization": manifest.quantization.layers,
        "quantization_parts": asdict(manifest.quantization),
        "fidelity": asdict(manifest.fidelity) if manifest.fidelity else None,
        "max_length": max_length or manifest.shape.max_length,
        "defaults": manifest.defaults,
        "is_demo": manifest.source.get("id") == "bramble-demo",
        "source": manifest.source,
        "created": int(manifest.extra.get("created", 0)),
    }


def _plan(fleet: Fleet, rings: list[dict[str, Any]]) -> dict[str, Any]:
    """What all rings come to, and each of them; of none planned yet, None."""
    planned = [ring for ring in rings if ring["plan_id"] is not None]
    return {
        "plan_id": _plan_id([ring["plan_id"] for ring in planned]),
        "epoch": max(ring["epoch"] for ring in rings),
        "rows": sum(ring["rows"] for ring in planned) or None,
        "budget_tokens": sum(ring["budget_tokens"] for ring in planned) or None,
        "rings": rings,
    }


def _plan_id(ids: list[str]) -> str | None:
    """One ring's own; of several a hash of theirs."""
    if len(ids) < 2:
        return ids[0] if ids else None
    return hashlib.sha256("".join(ids).encode()).hexdigest()[:32]


def _ring(served: ServedRing, now: float) -> dict[str, Any]:
    ring, plan, speed = served.ring, served.ring.plan, served.speed
    members = plan.members if plan else (None,) * len(ring.registry.entries)
    shares = dict(zip((entry.node for entry in ring.registry.entries), members, strict=True))
    decode, prefill = speed.per_second(now)
    return {
        "state": _ring_state(served),
        "reason": served.reason,
        "plan_id": plan.plan_id.hex() if plan else None,
        "epoch": ring.epoch,
        "rows": plan.rows if plan else None,
        "kv_cache": plan.kv_cache if plan else None,
        "budget_tokens": plan.budget_tokens if plan else None,
        "speed": {"decode_tokens_s": round(decode, 2), "prefill_tokens_s": round(prefill, 2)},
        "requests": _requests(served),
        "decode_steps_total": speed.decode_steps,
        "stages": [
            _stage(
                [
                    _member(index, rank, ring.registry.entry(node), shares[node], ring, speed)
                    for rank, node in enumerate(group)
                ]
            )
            for index, group in enumerate(ring.registry.groups)
        ],
    }


def _requests(served: ServedRing) -> dict[str, int]:
    """Count a ring's requests, and how far those are whose prompts it is reading."""
    running = served.scheduler.running
    reading = [one for one in running if one.num_prefilled < one.num_prompt_tokens]
    return {
        "running": len(running),
        "queued": len(served.scheduler.waiting),
        "reading": len(reading),
        "prompt_tokens": sum(one.num_prompt_tokens for one in reading),
        "prompt_tokens_read": sum(one.num_prefilled for one in reading),
    }


def _stage(members: list[dict[str, Any]]) -> dict[str, Any]:
    """A stage: as its only member; of several as rank 0, with the state of who is worst off."""
    lead = members[0]
    if len(members) == 1:
        return lead | {"members": members}
    worst = min(members, key=lambda member: STATES.index(member["state"]))
    return lead | {
        "node": MEMBER_SIGN.join(member["node"] for member in members),
        "state": worst["state"],
        "reason": worst["reason"],
        "share": None,
        "part": None,
        "weight_bytes": _sum(members, "weight_bytes"),
        "kv_bytes": _sum(members, "kv_bytes"),
        "resident_bytes": _sum(members, "resident_bytes"),
        "kv_used_bytes": _sum(members, "kv_used_bytes"),
        "troubles": [trouble for member in members for trouble in member["troubles"]],
        "members": members,
    }


def _sum(members: list[dict[str, Any]], key: str) -> int | None:
    """The sum over members, None if one of them is not known."""
    values = [member[key] for member in members]
    return None if None in values else sum(values)


def _member(
    index: int, rank: int, entry: StageEntry, plan: MemberPlan | None, ring: Ring, speed: Speed
) -> dict[str, Any]:
    """One process. The times of a step are those that rank 0 tells, for the whole stage."""
    is_lead = rank == 0
    waiting, compute, python = (is_lead and speed.stage_ms(index)) or (None, None, None)
    compute_total, python_total = (is_lead and speed.stage_totals_ms(index)) or (None, None)
    share = plan.share if plan else None
    hello = entry.hello
    stats = {key: entry.stats.get(key, default) for key, default in STAGE_STATS.items()}
    return {
        "stage": index,
        "rank": rank,
        "node": entry.node,
        "state": entry.state,
        "reason": entry.reason,
        "start": share.start if share else None,
        "stop": share.stop if share else None,
        "has_embed": share.has_embed if share else None,
        "has_lm_head": share.has_lm_head if share else None,
        "share": asdict(share) if share else None,
        "part": _part(share, ring) if share else None,
        "num_layers_total": ring.manifest.shape.num_layers,
        "weight_bytes": plan.weight_bytes if plan else None,
        "kv_bytes": plan.kv_bytes if plan else None,
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
        **stats,
        "troubles": [asdict(trouble) for trouble in _troubles(entry)],
    }


def _part(share: Share, ring: Ring) -> str | None:
    """What a member of a group has of each layer, for a person; None of one that is alone."""
    shape = ring.manifest.shape
    if share.is_whole(shape):
        return None
    return f"{share.heads[1] - share.heads[0]} of {shape.num_heads} heads"


def _troubles(entry: StageEntry) -> list[health.Trouble]:
    stats = entry.stats
    return [
        *health.judge(stats.get("temperature_c"), stats.get("throttled")),
        *health.judge_files(stats.get("damaged", "")),
        *health.judge_restarts(stats.get("restarts", "")),
    ]


def _resident_bytes(entry: StageEntry) -> int | None:
    loaded = entry.ready.resident_bytes if entry.ready else None
    found: int | None = entry.stats.get("resident_bytes", loaded)
    return found
