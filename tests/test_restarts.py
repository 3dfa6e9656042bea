"""A fault that comes back: how long a service waits, what it says, and when all is forgotten."""

from __future__ import annotations

import argparse
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bramble.commands import lives
from bramble.commands.lives import counted
from bramble.errors import Broken
from bramble.observe.notify import Notifier
from bramble.observe.restarts import CALM_S, DELAYS_S, SERVED_S, Restarts, reason_of


def lived(life: Restarts, seconds: float) -> Restarts:
    """Have it end after so long, and start anew."""
    return life.begin(life.began + seconds, "06:12", "memory was full")


def test_a_first_start_neither_waits_nor_is_told() -> None:
    life = Restarts().begin(100.0, "06:12", "?")
    assert (life.count, life.delay_s, life.words(100.0)) == (0, 0.0, "")


def test_who_ends_at_once_waits_longer_and_longer_up_to_a_stated_time() -> None:
    life, delays = Restarts().begin(0.0, "06:12", "?"), []
    for _ in range(20):
        life = lived(life, 2.0)
        delays.append(life.delay_s)
    assert delays[: len(DELAYS_S)] == list(DELAYS_S) and set(delays[len(DELAYS_S) :]) == {15.0}
    assert (life.count, life.at) == (20, "06:12")


def test_who_has_served_waits_no_more_but_is_counted() -> None:
    life = Restarts().begin(0.0, "06:12", "?")
    for _ in range(9):
        life = lived(life, 2.0)
    life = lived(life, SERVED_S + 1)
    assert life.delay_s == 0.0 and life.count == 10
    assert life.words(life.began) == (
        "restarted 10 times since 06:12; the last time because memory was full"
    )


def test_after_ten_minutes_in_peace_all_is_forgotten() -> None:
    life = lived(lived(Restarts().begin(0.0, "05:00", "?"), 2.0), 2.0)
    assert life.words(life.began + CALM_S - 1) and not life.words(life.began + CALM_S + 1)
    assert lived(life, CALM_S + 1).words(life.began + CALM_S + 2).startswith("restarted once, at")


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ("oom-kill killed KILL", "the system ended it, as memory was full"),
        ("watchdog dumped ABRT", "it hung, and systemd ended it"),
        ("signal killed KILL", "it was ended by SIGKILL"),
        ("core-dump dumped SEGV", "it crashed with SIGSEGV"),
        ("exit-code exited 2", "it ended with exit code 2"),
        ("", "it ended without a word"),
        ("\x00 \x00", "it ended without a word"),
    ],
)
def test_systemds_word_for_an_end_is_told_in_a_sentence(result: str, reason: str) -> None:
    assert reason_of(result) == reason


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Callable[[], list[str]]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)

        def read() -> list[str]:
            lines = []
            try:
                while True:
                    lines.append(systemd.recv(4096).decode())
            except BlockingIOError:
                return lines

        yield read


def start(folder: Path, fault: Exception | None = None, status: str = "serving") -> None:
    """Live once; the fault, or a killer, ends it."""
    args = argparse.Namespace(restarts=folder, config=folder / "settings.yml")
    notifier = Notifier(str(folder / "notify"))
    with counted(args, notifier):
        notifier.status(status)
        if fault is not None:
            raise fault


def test_the_status_says_how_often_since_when_and_why(
    tmp_path: Path, told: Callable[[], list[str]]
) -> None:
    start(tmp_path)
    assert told() == ["STATUS=serving"]
    (tmp_path / "ended").write_text("oom-kill killed KILL\n")
    start(tmp_path)
    (line,) = told()
    assert line.startswith("STATUS=serving; restarted once, at ")
    assert line.endswith("; the last time because the system ended it, as memory was full")


def test_an_error_of_its_own_says_more_than_an_exit_code(
    tmp_path: Path, told: Callable[[], list[str]]
) -> None:
    with pytest.raises(Broken):
        start(tmp_path, Broken("disk full: need 3 GB"))
    with (tmp_path / "ended").open("a") as file:  # as the unit's ExecStopPost does
        file.write("\nexit-code exited 1\n")
    told()
    start(tmp_path)
    assert told()[-1].endswith("because disk full: need 3 GB")
    assert not (tmp_path / "ended").exists()


def test_who_waits_says_so_and_starts_at_once_when_its_settings_change(
    tmp_path: Path, told: Callable[[], list[str]]
) -> None:
    (tmp_path / "settings.yml").write_text("a: 1")
    for _ in range(len(DELAYS_S)):
        life = lives._read(tmp_path / lives.FILE_NAME).begin(lives._now(), "06:12", "?")
        lives._write(tmp_path, life)
    told()
    thread = threading.Thread(target=start, args=(tmp_path,))
    started = time.monotonic()
    thread.start()
    time.sleep(0.3)
    (tmp_path / "settings.yml").write_text("a: 2")
    thread.join(10)
    assert time.monotonic() - started < 5
    first, *_, last = told()
    assert first.startswith("STATUS=NOT RUNNING: tries again in 15 s; ") and "7 times" in first
    assert last.startswith("STATUS=serving; ")


def test_what_is_remembered_and_cannot_be_read_is_forgotten(
    tmp_path: Path, told: Callable[[], list[str]]
) -> None:
    for content in (
        "",
        "[]",
        '{"count": 1, "colour": 2}',
        "\0",
        '{"began": "x"}',
        '{"count": 1.5}',
    ):
        (tmp_path / lives.FILE_NAME).write_text(content)
        start(tmp_path)
    assert json.loads((tmp_path / lives.FILE_NAME).read_text())["count"] == 0
