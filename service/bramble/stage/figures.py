"""What a stage tells of itself: figures for the head, a sentence for `systemctl status`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bramble.stage.engine import StepResult
from bramble.wire import messages as m


def sentence_of(assign: m.Assign | None, stats: dict[str, Any], failure: str) -> str:
    """What `systemctl status` shows: model, layers, speed, memory, temperature."""
    if assign is None:
        return failure or "connected to the head, no shard assigned"
    share = assign.share
    ends = ("embedding, " if share.has_embed else "", ", lm_head" if share.has_lm_head else "")
    layers = f"{ends[0]}layers {share.start} to {share.stop - 1}{ends[1]}"
    parts = [
        f"{assign.model}: {layers}{_group(assign)}",
        f"{stats['tokens_s']:.1f} tokens/s with {stats['threads']}",
        f"{_counted(stats['sequences'], 'sequence')} in the cache",
        f"{stats['resident_bytes'] >> 20} MiB, {stats['kv_used_bytes'] >> 20} of it KV cache",
    ]
    if "exchange_own_us" in stats:
        own, waiting = stats["exchange_own_us"], stats["exchange_waiting_us"]
        parts.append(f"an exchange takes {own:.0f} µs and waits {waiting:.0f}")
    if stats["temperature_c"] is not None:
        parts.append(f"{stats['temperature_c']:.0f} °C")
    parts.append(f"THROTTLED: {stats['throttled']}" if stats["throttled"] else "not throttled")
    return ", ".join(parts)


def _group(assign: m.Assign) -> str:
    """Say what a member of a group has of each layer, and whom it serves them with."""
    if not assign.group:
        return ""
    first, last = assign.share.heads[0], assign.share.heads[1] - 1
    heads = f"head {first}" if first == last else f"heads {first} to {last}"
    group = "+".join(member.node for member in assign.group)
    return f", of each {heads} as rank {assign.rank} of {group}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def damage(files: dict[Path, str]) -> str:
    """Say what is wrong with files that nothing is computed with, for the node's next start."""
    path, why = next(iter(files.items()))
    more = f", and {len(files) - 1} more" if len(files) > 1 else ""
    return f"DAMAGED: {path} {why}{more}"


class Work:
    """What the stage did since its last beat."""

    def __init__(self) -> None:
        self.bad_frames = 0
        self.refused = 0
        self.foreseen = 0
        self._tokens = 0
        self._compute_us = 0.0

    def count(self, tokens: int, result: StepResult) -> None:
        self.foreseen += result.foreseen_us > 0
        self._tokens += tokens
        self._compute_us += result.compute_us

    def drain(self, span_s: float) -> dict[str, float]:
        stats = {
            "busy": round(min(1.0, self._compute_us / 1e6 / max(span_s, 1e-3)), 3),
            "tokens_s": round(self._tokens / max(span_s, 1e-3), 1),
            "bad_frames": self.bad_frames,
            "refused_steps": self.refused,
            "foreseen_steps": self.foreseen,
        }
        self._tokens, self._compute_us = 0, 0.0
        return stats
