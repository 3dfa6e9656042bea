"""What a service tells systemd of itself (sd_notify(3)): ready, alive, and a sentence."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable


class Notifier:
    def __init__(self, address: str | None) -> None:
        """Tell the socket at `address`, $NOTIFY_SOCKET; None, where nobody listens, is silent."""
        self._address = address and address.replace("@", "\0", 1)  # @ begins an abstract name
        self._status = ""
        self._also: Callable[[], str] = str  # what every status says besides

    def add(self, also: Callable[[], str]) -> None:
        """Have every status end with what `also` then says, if it says anything."""
        self._also = also

    @property
    def also(self) -> str:
        """What every status says besides, for whoever tells the head of it."""
        return self._also()

    def ready(self) -> None:
        """The service has begun its work: units that wait for it may start."""
        self._send("READY=1")

    def alive(self) -> None:
        """The service does its work: said by its own loop, or by whom it has just answered."""
        self._send("WATCHDOG=1")

    def status(self, sentence: str) -> None:
        """Set the Status line of `systemctl status`."""
        sentence = "; ".join(filter(None, (sentence, self.also))).replace("\n", " ")
        if sentence != self._status:
            self._status = sentence
            self._send(f"STATUS={sentence}")

    def _send(self, line: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            try:
                channel.sendto(line.encode(), socket.MSG_DONTWAIT, self._address)
            except OSError:
                return  # systemd restarts itself, or is full: the next line will do


def from_environment() -> Notifier:
    """Return the notifier of this process; for the CLI alone, as it reads the environment."""
    return Notifier(os.environ.get("NOTIFY_SOCKET"))
