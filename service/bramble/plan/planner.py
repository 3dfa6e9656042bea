"""Which node runs which layers: a pure function of the manifest and the nodes.

A token passes every layer, so what it reads there is its cost (cost.py), and the slowest stage is
the ring's pace. Only a reply's tokens pass the lm_head, of a prompt's just the last.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate, pairwise, product

from bramble.errors import BadInput
from bramble.model.manifest import Manifest, Shape
from bramble.model.share import NONE, Share
from bramble.plan.cost import AARCH64, head_bytes, layer_bytes, resident_bytes
from bramble.plan.cut import block_of, cut, weight_bytes

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


Group = tuple[Node, ...]  # the nodes that serve one stage together, by rank
Divided = tuple[tuple[Node, Share], ...]  # a group's nodes, and what each has of the whole model


@dataclass(frozen=True, slots=True)
class MemberPlan:
    """A node and its share of the model."""

    node: str
    share: Share
    weight_bytes: int
    kv_bytes: int  # ceiling of the share's KV cache


@dataclass(frozen=True, slots=True)
class StagePlan:
    """Decoder layers [start, stop), and who serves them: one node, or a group by rank."""

    members: tuple[MemberPlan, ...]

    @property
    def start(self) -> int:
        return self.members[0].share.start

    @property
    def stop(self) -> int:
        return self.members[0].share.stop

    @property
    def num_layers(self) -> int:
        return self.members[0].share.num_layers

    @property
    def has_embed(self) -> bool:
        return self.members[0].share.has_embed

    @property
    def has_lm_head(self) -> bool:
        return self.members[0].share.has_lm_head

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(member.node for member in self.members)

    @property
    def name(self) -> str:
        """Its nodes, as an inventory spells them: pi1+pi2."""
        return "+".join(self.nodes)

    def cache_tokens(self, shape: Shape, kv_cache: str) -> int:
        """Tokens of KV cache that the tightest of its members can hold."""
        return min(
            member.kv_bytes // member.share.kv_bytes_per_token(shape, kv_cache)
            for member in self.members
        )


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
    def members(self) -> tuple[MemberPlan, ...]:
        """All members of all stages, in their order."""
        return tuple(member for stage in self.stages for member in stage.members)

    @property
    def plan_id(self) -> bytes:
        """16 bytes that differ whenever anything in the plan does."""
        document = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(document.encode()).digest()[:16]


def plan_ring(
    manifest: Manifest,
    manifest_sha256: str,
    nodes: Sequence[Node | Group],
    rows: int,
    max_length: int,
    kv_cache: str = "float32",
    *,
    for_cache: bool = False,
) -> Plan:
    """Spread the model over `nodes`, in their order, so that the slowest stage is fastest.

    nodes       for each stage the node that serves it, or the group
    rows        sequences in the KV cache at once; rounded to a multiple of the stages
    max_length  tokens of one row; lowered to what the tightest stage can hold
    kv_cache    float32, or float16 or int8, of which two or four times the tokens fit
    for_cache   where the rows do not fit so, spread it such that the tightest stage holds the most
    Raises BadInput if there are more stages than layers, memory does not suffice, or a group has
    more members than a layer can be divided among.
    """
    num_layers = manifest.shape.num_layers
    if not 1 <= len(nodes) <= num_layers:
        raise BadInput(
            f"{manifest.name} has {num_layers} layers: a ring of it takes 1 to {num_layers} "
            f"stages, got {len(nodes)}"
        )
    rows = max(1, rows // len(nodes)) * len(nodes)
    groups = [each if isinstance(each, tuple) else (each,) for each in nodes]
    parted = [_divide(manifest, group) for group in groups]
    stages, tokens = _stages(manifest, parted, kv_cache, for_cache=False)
    if for_cache and tokens < rows * max_length:
        stages, tokens = _stages(manifest, parted, kv_cache, for_cache=True)
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


def _stages(
    manifest: Manifest, parted: list[Divided], kv_cache: str, *, for_cache: bool
) -> tuple[tuple[StagePlan, ...], int]:
    """Return the stages, and the tokens of KV cache that the tightest of them can hold."""
    stages = tuple(
        _stage(manifest, divided, start, stop, kv_cache)
        for divided, (start, stop) in zip(
            parted, pairwise(_split(manifest, parted, kv_cache, for_cache)), strict=True
        )
    )
    return stages, min(stage.cache_tokens(manifest.shape, kv_cache) for stage in stages)


def _split(manifest: Manifest, parted: list[Divided], kv_cache: str, for_cache: bool) -> list[int]:
    """Return len(parted) + 1 borders: every stage has a layer and the dearest one costs least.

    Dynamic programming over (stages, layers): the linear partition problem. Of equals, the one
    whose last stage has the fewest layers, as replies pass the lm_head too.
    """
    num_layers = manifest.shape.num_layers
    kinds = {_kind(divided): divided for divided in parted}
    known = {
        kind: _costs(manifest, divided, kv_cache, for_cache) for kind, divided in kinds.items()
    }
    costs = [known[_kind(divided)] for divided in parted]
    # Borders are negated, so that of equals min() takes the later ones
    best = [(costs[0][0][stop], [0, -stop]) for stop in range(num_layers + 1)]
    for count in range(1, len(parted)):
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
        return [num_layers * i // len(parted) for i in range(len(parted) + 1)]
    return [-border for border in borders]


def _divide(manifest: Manifest, group: Group) -> Divided:
    """Divide the whole model among a group; of its stage each member takes the same part."""
    shape = manifest.shape
    whole = Share.whole(shape, 0, shape.num_layers, True, True)
    shares = cut(whole, shape, block_of(manifest), [node.speed for node in group])
    return tuple(zip(group, shares, strict=True))


def _kind(divided: Divided) -> tuple[object, ...]:
    """The same for stages that cost the same."""
    return tuple(replace(node, name="") for node, _ in divided)


def _part(manifest: Manifest, share: Share, start: int, stop: int) -> Share:
    """Of layers [start, stop) and of what belongs to their ends, what `share` has of the model."""
    is_last = stop == manifest.shape.num_layers
    vocab = share.vocab if is_last else NONE
    return replace(share, start=start, stop=stop, has_embed=start == 0, vocab=vocab)


def _costs(
    manifest: Manifest, divided: Divided, kv_cache: str, for_cache: bool
) -> list[list[float]]:
    """[start][stop] time per token, in bytes per `speed`; infinite if it does not fit.

    for_cache   instead the share of the room for a cache that a token of it takes
    """
    tables = [_member_costs(manifest, node, share, kv_cache, for_cache) for node, share in divided]
    return [[max(cells) for cells in zip(*rows, strict=True)] for rows in zip(*tables, strict=True)]


def _member_costs(
    manifest: Manifest, node: Node, share: Share, kv_cache: str, for_cache: bool
) -> list[list[float]]:
    num_layers, machine = manifest.shape.num_layers, node.machine
    single = [
        replace(share, start=index, stop=index + 1, vocab=NONE) for index in range(num_layers)
    ]
    read = [0.0, *accumulate(layer_bytes(manifest, layer, machine) for layer in single)]
    ends = {
        (first, last): resident_bytes(manifest, _ends(share, first, last), machine)
        for first, last in product((False, True), repeat=2)
    }
    lm_head = LM_HEAD_SHARE * head_bytes(manifest, share, machine)  # of embed it reads a row
    kv_bytes = single[0].kv_bytes_per_token(manifest.shape, kv_cache)
    costs = [[math.inf] * (num_layers + 1) for _ in range(num_layers + 1)]
    for start in range(num_layers):
        for stop in range(start + 1, num_layers + 1):
            layers = read[stop] - read[start]
            left = node.memory_bytes - int(layers) - ends[start == 0, stop == num_layers]
            if left < MIN_CACHE_TOKENS * kv_bytes * (stop - start):
                continue
            if for_cache:
                costs[start][stop] = kv_bytes * (stop - start) / left
            else:
                costs[start][stop] = (layers + lm_head * (stop == num_layers)) / node.speed
    return costs


def _ends(share: Share, has_embed: bool, has_lm_head: bool) -> Share:
    vocab = share.vocab if has_lm_head else NONE
    return replace(share, start=0, stop=0, has_embed=has_embed, vocab=vocab)


def _stage(manifest: Manifest, divided: Divided, start: int, stop: int, kv_cache: str) -> StagePlan:
    return StagePlan(
        tuple(
            _member(manifest, node, _part(manifest, share, start, stop), kv_cache)
            for node, share in divided
        )
    )


def _member(manifest: Manifest, node: Node, share: Share, kv_cache: str) -> MemberPlan:
    left = node.memory_bytes - resident_bytes(manifest, share, node.machine)
    need = MIN_CACHE_TOKENS * share.kv_bytes_per_token(manifest.shape, kv_cache)
    if left < need:
        what = "" if share.is_whole(manifest.shape) else "its part of "
        raise BadInput(
            f"{node.name}: {what}layers {share.start}–{share.stop - 1} of {manifest.name} need "
            f"{(node.memory_bytes - left + need) / GIB:.2f} GiB with a cache of "
            f"{MIN_CACHE_TOKENS} tokens, {node.memory_bytes / GIB:.2f} GiB may be used; "
            "add a node, or choose a smaller model or a smaller quantisation"
        )
    return MemberPlan(node.name, share, weight_bytes(manifest, share), left)
