"""What systemd hears: through a real datagram socket, as it listens."""

import socket
from pathlib import Path

from bramble.observe.notify import Notifier


def test_systemd_hears_ready_alive_and_each_new_status_once(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        notifier = Notifier(address)
        notifier.ready()
        notifier.alive()
        notifier.status("layers 0 to 5")
        notifier.status("layers 0 to 5")
        notifier.status("layers 0 to 6")
        heard = [systemd.recv(100) for _ in range(4)]
        systemd.setblocking(False)
        assert heard == [
            b"READY=1",
            b"WATCHDOG=1",
            b"STATUS=layers 0 to 5",
            b"STATUS=layers 0 to 6",
        ]


def test_nobody_listening_is_no_matter(tmp_path: Path) -> None:
    Notifier(None).ready()
    Notifier(str(tmp_path / "gone")).alive()
