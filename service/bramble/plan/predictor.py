"""What a stack of boards would give with a model, before anything is bought. Pure.

It chooses rings as the head would (`choice.choose`) and reads their speed off the same arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from bramble.errors import BadInput
from bramble.model.manifest import Manifest
from bramble.plan.choice import Choice, choose
from bramble.plan.cost import resident_bytes
from bramble.plan.cut import layer_fraction
from bramble.plan.devices import DEVICES, GIGABIT, Device
from bramble.plan.pace import Link
from bramble.plan.paper import SHA256
from bramble.plan.planner import Node, plan_ring
from bramble.plan.ring_speed import Ring, Terms
from bramble.plan.rings import Work, shares

MAX_NODES = 32  # of one kind, tried when a stack is too small


@dataclass(frozen=True, slots=True)
class Setup:
    """What is to be predicted: boards in the ring's order, and what they are asked to do."""

    boards: tuple[Device, ...]
    objective: str
    work: Work = field(default_factory=Work)
    streams: tuple[int, ...] = (1, 2, 4, 8, 16)
    link: Link = GIGABIT


@dataclass(frozen=True, slots=True)
class Together:
    streams: int
    at_once: int  # of these; the cache has no room for the others, which wait
    aggregate: float  # tokens per second
    watts: float


@dataclass(frozen=True, slots=True)
class Memory:
    """One node's, in bytes: what it has for a shard, and what the shard takes."""

    node: str
    board: str
    ring: int
    layers: str
    part: float  # of each of these layers, 1 = all: others of its group have the rest
    system: int  # what the system and the programs keep
    usable: int
    resident: int
    cache: int  # KV cache that the ring's budget may fill

    @property
    def free(self) -> int:
        return self.usable - self.resident - self.cache


@dataclass(frozen=True, slots=True)
class Prediction:
    choice: Choice
    memory: tuple[Memory, ...]
    token_s: float  # one stream alone, at the prompt's context, on the slowest ring
    terms: Terms  # of what token_s is the sum
    first_token_s: float  # of work.prompt tokens
    together: tuple[Together, ...]
    idle_watts: float
    price_usd: int | None  # of the boards alone


def predict(manifest: Manifest, setup: Setup) -> Prediction:
    """Predict this setup, whose first board is the head.

    Raises BadInput that says what is short and what would fit.
    """
    nodes = _nodes(setup.boards)
    boards = {node.name: board for node, board in zip(nodes, setup.boards, strict=True)}
    paces = {name: board.pace for name, board in boards.items()}
    try:
        choice = choose(manifest, SHA256, nodes, setup.objective, setup.work, paces, setup.link)
    except BadInput as error:
        remedy = what_fits(manifest, setup)
        raise BadInput(f"{error}. Would fit: {remedy}" if remedy else str(error)) from error
    rings = choice.chosen.speeds
    slowest = max(rings, key=lambda ring: ring.token_s(setup.work.prompt))
    prices = [board.price_usd for board in setup.boards]
    return Prediction(
        choice,
        _memory(manifest, choice, boards, {node.name: node.memory_bytes for node in nodes}),
        slowest.token_s(setup.work.prompt),
        slowest.terms(setup.work.prompt),
        max(ring.first_token_s(setup.work.prompt) for ring in rings),
        tuple(_together(choice, boards, setup.work.prompt, count) for count in setup.streams),
        sum(board.idle_watts for board in setup.boards),
        None if None in prices else sum(price for price in prices if price is not None),
    )


def what_fits(manifest: Manifest, setup: Setup) -> str:
    """Stacks of one kind of board that hold the model: the fewest of each, none where none do."""
    found = []
    for board in sorted(DEVICES.values(), key=lambda each: each.memory_bytes):
        if board.price_usd is not None and (count := fewest(manifest, board, setup)):
            found.append(f"{count}x {board.name}")
    return ", ".join(found)


def fewest(manifest: Manifest, board: Device, setup: Setup) -> int | None:
    """How many of this board hold the model in one ring; None if more than MAX_NODES."""
    for count in range(1, min(MAX_NODES, manifest.shape.num_layers) + 1):
        if fits(manifest, replace(setup, boards=(board,) * count)):
            return count
    return None


def fits(manifest: Manifest, setup: Setup) -> bool:
    try:
        plan_ring(manifest, SHA256, _nodes(setup.boards), 1, 1, setup.work.kv_cache)
    except BadInput:
        return False
    return True


def _nodes(boards: Sequence[Device]) -> list[Node]:
    return [
        Node(
            f"{board.name}-{index}",
            board.usable_bytes(is_head=index == 0),
            _relative(board, boards),
            board.pace.machine,
        )
        for index, board in enumerate(boards)
    ]


def _relative(board: Device, boards: Sequence[Device]) -> float:
    return board.pace.read_bytes_s / boards[0].pace.read_bytes_s


def _memory(
    manifest: Manifest, choice: Choice, boards: dict[str, Device], usable: dict[str, int]
) -> tuple[Memory, ...]:
    lines = []
    for index, plan in enumerate(choice.rings):
        for member in plan.members:
            share, node = member.share, member.node
            per_token = share.kv_bytes_per_token(manifest.shape, plan.kv_cache)
            board = boards[node]
            lines.append(
                Memory(
                    node,
                    board.name,
                    index,
                    f"{share.start}–{share.stop - 1}",
                    layer_fraction(manifest, share),
                    board.memory_bytes - usable[node],
                    usable[node],
                    resident_bytes(manifest, share, board.pace.machine),
                    plan.budget_tokens * per_token,
                )
            )
    return tuple(lines)


def _together(choice: Choice, boards: dict[str, Device], context: int, streams: int) -> Together:
    chosen = choice.chosen
    watts = sum(board.idle_watts for board in boards.values())
    total = at_once = 0.0
    split = shares(chosen.speeds, chosen.limits, streams, context)
    for plan, ring, share in zip(chosen.plans, chosen.speeds, split, strict=True):
        at_once += share
        total += ring.aggregate(share, context)
        for stage, busy in zip(plan.stages, _busy(ring, share, context), strict=True):
            for node in stage.nodes:
                watts += busy * (boards[node].load_watts - boards[node].idle_watts)
    return Together(streams, int(at_once + 0.5), total, watts)


def _busy(ring: Ring, streams: float, context: int) -> list[float]:
    """The share of its time that each stage computes, or waits for an exchange at full speed."""
    lanes = min(streams, len(ring.stages))
    rows = streams / lanes
    round_s = streams / ring.aggregate(streams, context)
    exchange_s = ring.exchanges.decode_s
    return [
        min(1.0, lanes * (stage.decode_s(rows, context) + exchange_s(stage, rows)) / round_s)
        for stage in ring.stages
    ]
