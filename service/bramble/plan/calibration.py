"""A node's pace from what `bramble bench --json` measured there, instead of the published one.

Three figures of one bench give the three of a pace: compute per token the streaming, prefill the
arithmetic, and what a token takes beyond compute the step. Streams together are not used, nor is
any other bench: they tell how well the calibrated predictor fits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bramble.errors import BadInput
from bramble.model.manifest import Manifest
from bramble.plan.cost import CHUNK_INSTRUCTIONS
from bramble.plan.devices import PI5_PACE
from bramble.plan.pace import Link, Pace
from bramble.plan.paper import SHA256
from bramble.plan.planner import GIB, Node, plan_ring
from bramble.plan.ring_speed import Ring, ring_of

PROMPT_TOKENS, REPLY_TOKENS = 16, 64  # of a bench's decode runs, unless it says otherwise
CONTEXT_TOKENS = PROMPT_TOKENS + REPLY_TOKENS // 2
FAST, SLOW = 1e12, 1e7  # parameters per second between which the arithmetic is sought
HALVINGS = 60


@dataclass(frozen=True, slots=True)
class Bench:
    """What calibration takes from a bench's JSON."""

    model: str
    num_stages: int
    prompt_tokens: int
    prefill_tokens_s: float
    compute_s: float  # of one token, all stages together
    ring_s_per_stage: float  # of one token, beyond compute
    reply_tokens: int
    together: tuple[tuple[int, float], ...]  # streams, tokens per second


@dataclass(frozen=True, slots=True)
class Compared:
    what: str
    measured: float  # tokens per second
    predicted: float

    @property
    def error(self) -> float:
        return self.predicted / self.measured - 1


def read_bench(path: Path) -> Bench:
    """Raises BadInput if the file is not what `bramble bench --json` prints."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["costs"] is None:
            raise BadInput(f"{path}: the bench has no single stream; run it with --streams 1,2,4,8")
        bench = _bench(document)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInput(
            f"{path} is not a bench's result ({error!r}); make one: "
            "bramble bench --json > bench.json"
        ) from error
    for name in ("num_stages", "prompt_tokens", "prefill_tokens_s", "compute_s"):
        if not getattr(bench, name) > 0:
            raise BadInput(f"{path}: {name} is {getattr(bench, name)}, it has to be above 0")
    return bench


def _bench(document: Mapping[str, Any]) -> Bench:
    # With one stream the aggregate is prefill and decode mixed; it says nothing of its own.
    runs = [run for run in document["runs"] if run["streams"] > 1]
    return Bench(
        str(document["model"]),
        int(document["stages"]),
        int(document["prompt_tokens"]),
        float(document["prefill_tokens_s"]),
        document["costs"]["compute_ms"] / 1000,
        document["costs"]["ring_ms_per_stage"] / 1000,
        int(document.get("reply_tokens", REPLY_TOKENS)),
        tuple((int(run["streams"]), float(run["aggregate_tokens_s"])) for run in runs),
    )


def calibrate(bench: Bench, manifest: Manifest, link: Link) -> Pace:
    """The pace with which the predictor gives this bench's figures; its nodes count as alike."""
    step_s = max(0.0, bench.ring_s_per_stage - link.latency_s)
    ring = _ring(manifest, bench.num_stages, replace(PI5_PACE, step_s=step_s), link)
    read = sum(
        load.read_bytes(1) + load.head_bytes + CONTEXT_TOKENS * load.kv_bytes_per_token
        for stage in ring.stages
        for load in stage.loads
    )
    pace = replace(PI5_PACE, step_s=step_s, read_bytes_s=read / bench.compute_s)
    wanted = bench.prompt_tokens / bench.prefill_tokens_s
    slow, fast = SLOW, FAST
    for _ in range(HALVINGS):
        parameters_s = (slow * fast) ** 0.5  # attention is as fast as the products are, see cost.py
        pace = replace(
            pace, parameters_s=parameters_s, instructions_s=parameters_s * CHUNK_INSTRUCTIONS
        )
        if _with(ring, pace).first_token_s(bench.prompt_tokens) > wanted:
            slow = pace.parameters_s
        else:
            fast = pace.parameters_s
    return pace


def compare(bench: Bench, manifest: Manifest, pace: Pace, link: Link) -> list[Compared]:
    """A bench's figures beside those of the predictor for a ring of as many such nodes."""
    ring = _ring(manifest, bench.num_stages, pace, link)
    prefill = bench.prompt_tokens / ring.first_token_s(bench.prompt_tokens)
    token_s = bench.compute_s + bench.num_stages * bench.ring_s_per_stage
    return [
        Compared(f"prompt of {bench.prompt_tokens}", bench.prefill_tokens_s, prefill),
        Compared("1 stream", 1 / token_s, 1 / ring.token_s(CONTEXT_TOKENS)),
        *(
            Compared(f"{streams} streams", measured, _together(ring, bench, streams))
            for streams, measured in bench.together
        ),
    ]


def _together(ring: Ring, bench: Bench, streams: int) -> float:
    """As a bench counts it: over all of the time, which begins with everybody's short prompt."""
    prompt_s = max(stage.prefill_s(PROMPT_TOKENS, 0) + stage.head_s for stage in ring.stages)
    decode = ring.aggregate(streams, CONTEXT_TOKENS)
    seconds = streams * prompt_s + streams * (bench.reply_tokens - 1) / decode
    return streams * bench.reply_tokens / seconds


def _ring(manifest: Manifest, num_stages: int, pace: Pace, link: Link) -> Ring:
    nodes = [Node(str(index), 1024 * GIB) for index in range(num_stages)]
    plan = plan_ring(manifest, SHA256, nodes, 1, 1)
    return ring_of(manifest, plan, {node.name: pace for node in nodes}, link)


def _with(ring: Ring, pace: Pace) -> Ring:
    stages = (replace(stage, paces=(pace,) * len(stage.paces)) for stage in ring.stages)
    return replace(ring, stages=tuple(stages))
