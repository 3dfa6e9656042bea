"""Groups of members on loopback, each in a thread, for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from bramble.stage.exchange.door import Door
from bramble.stage.exchange.forms import form_of
from bramble.stage.exchange.tcp import TcpExchange

KEY = "5a" * 32
EPOCH = 7


@contextmanager
def doors(count: int) -> Iterator[list[Door]]:
    opened = [Door("tcp://127.0.0.1:0") for _ in range(count)]
    try:
        yield opened
    finally:
        for door in opened:
            door.close()


def member(
    doors: Sequence[Door],
    rank: int,
    *,
    key: str = KEY,
    epoch: int = EPOCH,
    form: str = "float32",
    alive: Callable[[], None] = lambda: None,
    patience_s: float = 10.0,
    endpoints: Sequence[str] = (),
) -> TcpExchange:
    places = endpoints or [door.endpoint for door in doors]
    members = [(f"pi{index}", endpoint) for index, endpoint in enumerate(places)]
    return TcpExchange(doors[rank], members, rank, epoch, key, form_of(form), alive, patience_s)


def together(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run each call in a thread; return what each gave, or the error that it raised."""
    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(call) for call in calls]
        return [future.exception() or future.result() for future in futures]


def partial(rank: int, rows: int, hidden: int, seed: int = 0) -> Any:
    """What a member of this rank adds: float32 (rows, hidden)."""
    random = np.random.default_rng((seed, rank, rows, hidden))
    return random.standard_normal((rows, hidden), np.float32) * np.float32(3.0)


def in_rank_order(size: int, rows: int, hidden: int, seed: int = 0) -> Any:
    total = partial(0, rows, hidden, seed)
    for rank in range(1, size):
        total = total + partial(rank, rows, hidden, seed)
    return total


@contextmanager
def group(size: int, **settings: Any) -> Iterator[list[TcpExchange]]:
    """The connected members of a group at step 0."""
    with doors(size) as opened:
        members = [member(opened, rank, **settings) for rank in range(size)]
        try:
            assert together([lambda m=m: m.begin_step(0) for m in members]) == [None] * size
            yield members
        finally:
            for one in members:
                one.close()


def reduced(members: Sequence[TcpExchange], rows: int, hidden: int, seed: int = 0) -> list[Any]:
    """Return each member's array after one exchange, or what it raised."""

    def one(exchange: TcpExchange) -> Any:
        array = partial(exchange.rank, rows, hidden, seed)
        exchange.reduce(array)
        return array

    return together([lambda m=m: one(m) for m in members])
