"""This process among those that serve its stage: where they meet, and the exchange of an epoch."""

from __future__ import annotations

from collections.abc import Callable

from bramble.errors import BadInput
from bramble.stage.exchange.door import Door, resolve
from bramble.stage.exchange.forms import form_of
from bramble.stage.exchange.protocol import Exchange
from bramble.stage.exchange.tcp import TcpExchange
from bramble.wire.messages import Assign


class Membership:
    def __init__(self, node: str, listen: str, alive: Callable[[], None]) -> None:
        """Listen for other members, where an address is given. Raises BadInput, Broken.

        alive   called about each 0.1 s while others are waited for; what it raises ends the epoch
        """
        self._node, self._alive = node, alive
        self._door = Door(listen) if listen else None
        self._exchange: Exchange | None = None
        self._told = (0, 0.0, 0.0)  # exchanges, and their µs, of which a beat has told

    @property
    def endpoint(self) -> str:
        """Where others reach this member; "" = it can be of no group."""
        return "" if self._door is None else self._door.endpoint

    def join(self, assign: Assign) -> Exchange | None:
        """Leave the last epoch's group, and join the assigned one; None where there is none.

        Nobody is connected yet: the epoch's first step does that. Raises BadInput for a group that
        this process cannot be of.
        """
        self.leave()
        if not assign.group:
            return None
        nodes = [member.node for member in assign.group]
        if self._door is None:
            raise BadInput(
                f"this stage was assigned to {'+'.join(nodes)}, and listens for no other members; "
                "set `exchange` to tcp://ADDRESS:PORT"
            )
        if not 0 <= assign.rank < len(nodes) or nodes[assign.rank] != self._node:
            raise BadInput(
                f"{self._node} was assigned rank {assign.rank} of {'+'.join(nodes)}, which it "
                "does not have there"
            )
        for member in assign.group:
            resolve(member.endpoint)  # now, and not amid the first step
        self._exchange = TcpExchange(
            self._door,
            [(member.node, member.endpoint) for member in assign.group],
            assign.rank,
            assign.epoch,
            assign.exchange_key,
            form_of(assign.exchange),
            self._alive,
        )
        self._told = (0, 0.0, 0.0)
        return self._exchange

    def leave(self) -> None:
        """End the exchange: the other members notice at once."""
        if self._exchange is not None:
            self._exchange.close()
            self._exchange = None

    def close(self) -> None:
        """Leave, and listen no more."""
        self.leave()
        if self._door is not None:
            self._door.close()

    def drain(self) -> dict[str, float]:
        """Return what an exchange has cost since this was last asked; nothing without any."""
        if self._exchange is None:
            return {}
        tally = self._exchange.tally
        now = (tally.exchanges, tally.own_us, tally.waiting_us)
        count, own_us, waiting_us = (a - b for a, b in zip(now, self._told, strict=True))
        stats: dict[str, float] = {"exchange_dropped": tally.dropped}
        if count:
            self._told = now
            stats["exchange_own_us"] = round(own_us / count, 1)
            stats["exchange_waiting_us"] = round(waiting_us / count, 1)
        return stats
