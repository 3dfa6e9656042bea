"""Which node runs which layers: a pure function of the manifest and the nodes.

A token passes every layer, so what it reads there is its cost (cost.py), and the slowest stage is
the ring's pace. Only a reply's tokens pass the lm_head, of a prompt's just the last.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from itertools import accumulate, pairwise, product

from bramble.errors import BadInput
from bramble.model.manifest import Manifest
from bramble.model.share import Share
from bramble.plan.cost import AARCH64, head_bytes, layer_bytes, resident_bytes

# A lone stream's reply takes as long however layers are split, its prompt does not; of many streams
# about half of the time goes into prompts. Under a quarter, as an lm_head of four layers (1B) is
# not to move a border (measured in service/DESIGN.md).
LM_HEAD_SHARE = 0.2
MIN_CACHE_TOKENS = 512  # a ring that holds less is of no use
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    memory_bytes: int  # what weights and KV cache may take
    speed: float = 1.0  # bytes of weights per second, relative to the other nodes
    machine: str = AARCH64  # platform.machine(): how its kernels pack weights


@dataclass(frozen=True, slots=True)
class StagePlan:
    """A node and its share of the model."""

    node: str
    share: Share
    weight_bytes: int
    kv_bytes: int  # ceiling of the shard's KV cache

    @property
    def start(self) -> int:
        return self.share.start

    @property
    def stop(self) -> int:
        return self.share.stop

    @property
    def num_layers(self) -> int:
        return self.share.num_layers

    @property
    def has_embed(self) -> bool:
        return self.share.has_embed

    @property
    def has_lm_head(self) -> bool:
        return self.share.has_lm_head


@dataclass(frozen=True, slots=True)
class Plan:
    model: str
    manifest_sha256: str
    rows: int
    max_length: int
    budget_tokens: int  # of KV cache over all rows, what the tightest stage can hold
    stages: tuple[StagePlan, ...]
    kv_cache: str = "float32"  # one of manifest.CACHE_BYTES

    @property
    def plan_id(self) -> bytes:
        """16 bytes that differ whenever anything in the plan does."""
        document = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(document.encode()).digest()[:16]


def plan_ring(
    manifest: Manifest,
    manifest_sha256: str,
    nodes: list[Node],
    rows: int,
    max_length: int,
    kv_cache: str = "float32",
    *,
    for_cache: bool = False,
) -> Plan:
    """Spread the model over all `nodes`, in their order, so that the slowest stage is fastest.

    rows        sequences in the KV cache at once; rounded to a multiple of the stages
    max_length  tokens of one row; lowered to what the tightest stage can hold
    kv_cache    float32, or float16 or int8, of which two or four times the tokens fit
    for_cache   where the rows do not fit so, spread it such that the tightest stage holds the most
    Raises BadInput if there are more nodes than layers, or memory does not suffice.
    """
    num_layers = manifest.shape.num_layers
    if not 1 <= len(nodes) <= num_layers:
        raise BadInput(
            f"{manifest.name} has {num_layers} layers: a ring of it takes 1 to {num_layers} "
            f"stages, got {len(nodes)}"
        )
    rows = max(1, rows // len(nodes)) * len(nodes)
    stages, tokens = _stages(manifest, nodes, kv_cache, for_cache=False)
    if for_cache and tokens < rows * max_length:
        stages, tokens = _stages(manifest, nodes, kv_cache, for_cache=True)
    max_length = min(max_length, tokens)
    budget = min(tokens, rows * max_length)
    return Plan(manifest.name, manifest_sha256, rows, max_length, budget, stages, kv_cache)


def check_context(manifest: Manifest, max_length: int) -> None:
    """Raise BadInput for rows that do not hold the golden check, which every ring replays."""
    least = len(manifest.golden.token_ids) if manifest.golden else 1
    if max_length < least:
        raise BadInput(
            f"a context of {max_length} tokens was asked for; {manifest.name} needs {least} or "
            "more, which its golden check has"
        )


def weight_bytes(manifest: Manifest, start: int, stop: int) -> int:
    """Bytes of the shard with layers [start, stop) and what belongs to its ends."""
    return manifest.part_bytes(*_whole(manifest, start, stop).part_names)


def _whole(manifest: Manifest, start: int, stop: int) -> Share:
    """All of layers [start, stop), and of what belongs to their ends."""
    shape = manifest.shape
    return Share.whole(shape, start, stop, start == 0, stop == shape.num_layers)


def _stages(
    manifest: Manifest, nodes: list[Node], kv_cache: str, *, for_cache: bool
) -> tuple[tuple[StagePlan, ...], int]:
    """Return the stages, and the tokens of KV cache that the tightest of them can hold."""
    stages = tuple(
        _stage(manifest, node, start, stop, kv_cache)
        for node, (start, stop) in zip(
            nodes, pairwise(_split(manifest, nodes, kv_cache, for_cache)), strict=True
        )
    )
    tokens = min(
        stage.kv_bytes // manifest.shape.kv_bytes_per_token(stage.num_layers, kv_cache)
        for stage in stages
    )
    return stages, tokens


def _split(manifest: Manifest, nodes: list[Node], kv_cache: str, for_cache: bool) -> list[int]:
    """Return len(nodes) + 1 borders: every stage has a layer and the dearest one costs least.

    Dynamic programming over (stages, layers): the linear partition problem. Of equals, the one
    whose last stage has the fewest layers, as replies pass the lm_head too.
    """
    num_layers = manifest.shape.num_layers
    kinds = {replace(node, name=""): node for node in nodes}
    known = {kind: _costs(manifest, node, kv_cache, for_cache) for kind, node in kinds.items()}
    costs = [known[replace(node, name="")] for node in nodes]
    # Borders are negated, so that of equals min() takes the later ones
    best = [(costs[0][0][stop], [0, -stop]) for stop in range(num_layers + 1)]
    for count in range(1, len(nodes)):
        best = [
            min(
                (
                    (max(best[start][0], costs[count][start][stop]), [*best[start][1], -stop])
                    for start in range(count, stop)
                ),
                default=(math.inf, []),
            )
            for stop in range(num_layers + 1)
        ]
    dearest, borders = best[num_layers]
    if math.isinf(dearest):
        # Nothing fits: split evenly, and let _stage say which node lacks how much.
        return [num_layers * i // len(nodes) for i in range(len(nodes) + 1)]
    return [-border for border in borders]


def _resident_table(manifest: Manifest, machine: str) -> list[list[int]]:
    """[start][stop] what `resident_bytes` says, for all of them at once."""
    num_layers = manifest.shape.num_layers
    sizes = _packed_layers(manifest, machine)
    ends = {
        (first, last): resident_bytes(
            manifest, Share.whole(manifest.shape, 0, 0, first, last), machine
        )
        for first, last in product((False, True), repeat=2)
    }
    table = [[0] * (num_layers + 1) for _ in range(num_layers + 1)]
    for start in range(num_layers):
        sums = accumulate(sizes[start:])
        for stop, layers in enumerate(sums, start + 1):
            table[start][stop] = int(layers) + ends[start == 0, stop == num_layers]
    return table


def _packed_layers(manifest: Manifest, machine: str) -> list[float]:
    shape = manifest.shape
    return [
        layer_bytes(manifest, Share.whole(shape, index, index + 1, False, False), machine)
        for index in range(shape.num_layers)
    ]


def _costs(manifest: Manifest, node: Node, kv_cache: str, for_cache: bool) -> list[list[float]]:
    """[start][stop] time per token, in bytes per `speed`; infinite if it does not fit.

    for_cache   instead the share of the room for a cache that a token of it takes
    """
    shape = manifest.shape
    resident = _resident_table(manifest, node.machine)
    read = [0.0, *accumulate(_packed_layers(manifest, node.machine))]
    end = Share.whole(shape, 0, 0, False, True)
    lm_head = LM_HEAD_SHARE * head_bytes(manifest, end, node.machine)  # of embed it reads a row
    costs = [[math.inf] * (shape.num_layers + 1) for _ in range(shape.num_layers + 1)]
    for start in range(shape.num_layers):
        for stop in range(start + 1, shape.num_layers + 1):
            left = node.memory_bytes - resident[start][stop]
            if left < _least_cache(manifest, start, stop, kv_cache):
                continue
            if for_cache:
                costs[start][stop] = (stop - start) / left
            else:
                total = read[stop] - read[start] + (lm_head if stop == shape.num_layers else 0)
                costs[start][stop] = total / node.speed
    return costs


def _least_cache(manifest: Manifest, start: int, stop: int, kv_cache: str) -> int:
    return MIN_CACHE_TOKENS * manifest.shape.kv_bytes_per_token(stop - start, kv_cache)


def _stage(manifest: Manifest, node: Node, start: int, stop: int, kv_cache: str) -> StagePlan:
    share = _whole(manifest, start, stop)
    left = node.memory_bytes - resident_bytes(manifest, share, node.machine)
    need = _least_cache(manifest, start, stop, kv_cache)
    if left < need:
        raise BadInput(
            f"{node.name}: layers {start}–{stop - 1} of {manifest.name} need "
            f"{(node.memory_bytes - left + need) / GIB:.2f} GiB with a cache of "
            f"{MIN_CACHE_TOKENS} tokens, {node.memory_bytes / GIB:.2f} GiB may be used; "
            "add a node, or choose a smaller model or a smaller quantisation"
        )
    return StagePlan(node.name, share, weight_bytes(manifest, start, stop), left)
