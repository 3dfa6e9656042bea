"""`bramble run` keeps its processes alive, says why one ends, and does not fill the terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from bramble.commands import supervisor as module
from bramble.commands.supervisor import Supervisor
from bramble.errors import BadInput


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(module, "RESTART_S", 0.01)
    monkeypatch.setattr(module, "RESTART_MAX_S", 0.05)
    return []


@pytest.fixture
def supervisor(events: list[str]) -> Iterator[Supervisor]:
    made = Supervisor(lambda name, line: None, lambda name, event: events.append(event))
    yield made
    made.stop()


def tend_until(supervisor: Supervisor, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        supervisor.tend()
        time.sleep(0.005)


def test_the_last_words_of_a_process_are_told_once(
    supervisor: Supervisor, events: list[str]
) -> None:
    supervisor.start("stage", ["sh", "-c", "echo disk full; exit 1"])
    tend_until(supervisor, lambda: supervisor.children[0].restarts >= 5)
    assert events == ["ended with 1: disk full; restarting"]
    assert supervisor.children[0].delay_s == 0.05


def test_bad_settings_end_all_of_it_at_the_beginning(supervisor: Supervisor) -> None:
    supervisor.start("head", ["sh", "-c", "echo 'bramble head: no such model'; exit 2"])
    with pytest.raises(BadInput, match="no such model"):
        tend_until(supervisor, lambda: False)


def test_what_turns_bad_later_ends_nothing_and_is_waited_for(
    supervisor: Supervisor, events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "YOUNG_S", 0.0)
    supervisor.start("head", ["sh", "-c", "echo 'bramble head: manifest damaged'; exit 2"])
    tend_until(supervisor, lambda: supervisor.children[0].restarts >= 2)
    assert events[0] == "ended with 2: bramble head: manifest damaged; restarting"
