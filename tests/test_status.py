"""`bramble status` as a terminal shows it."""

from __future__ import annotations

import io
from typing import Any

import pytest
from bramble.commands.status import look, show
from bramble.errors import Unavailable
from rich.console import Console

from tests.web.fake_client import FakeClient

STAGE = {
    "stage": 0,
    "node": "pi-1",
    "state": "loading",
    "start": 0,
    "stop": 16,
    "has_embed": True,
    "has_lm_head": True,
    "busy": 0.33,
    "compute_ms": 12.3,
    "resident_bytes": 1 << 31,
    "kv_used_bytes": 1 << 28,
    "temperature_c": 61.2,
    "throttled": None,
    "troubles": [],
}


def document(reason: str | None = None) -> dict[str, Any]:
    found = FakeClient().status()
    found["model"] |= {"quantization": "int4"}
    found["plan"]["rings"] = [{"stages": [STAGE]}]
    return found | {"reason": reason}


def seen(shown: Any, console: Console) -> str:
    console.print(shown)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("width", "lost"),
    [(100, set()), (80, set()), (60, {"KV"}), (40, {"KV", "memory", "compute", "busy"})],
)
def test_a_narrow_terminal_shows_fewer_columns_that_can_be_read(width: int, lost: set[str]) -> None:
    console = Console(file=io.StringIO(), width=width)
    screen = seen(show(document(), console), console)
    assert "loading" in screen and "pi-1" in screen and "61 °C" in screen
    assert {name for name in ("busy", "compute", "memory", "KV") if name not in screen} == lost
    assert "…" not in screen


def test_what_ails_a_board_and_how_far_a_prompt_is_read_is_said() -> None:
    hot = document()
    hot["requests"] |= {"reading": 1, "prompt_tokens_read": 512, "prompt_tokens": 1900}
    trouble = {"level": "bad", "sentence": "too hot (85 °C), so it is slowed down"}
    stage = STAGE | {"troubles": [trouble | {"advice": "fit the active cooler"}]}
    hot["plan"]["rings"] = [{"stages": [stage]}]
    console = Console(file=io.StringIO(), width=100)
    screen = seen(show(hot, console), console)
    assert "⚠ pi-1: too hot (85 °C), so it is slowed down. fit the active cooler" in screen
    assert "reading a prompt: 512 of 1900 tokens" in screen and "61 °C ⚠" in screen


def test_a_reason_with_brackets_is_shown_whole() -> None:
    console = Console(file=io.StringIO(), width=200)
    reason = "nothing gets from pi1 to tcp://[fd00::2]:5001 [/x]"
    assert reason in seen(show(document(reason), console), console)


def test_watching_goes_on_while_the_head_is_away() -> None:
    class Away(FakeClient):
        def status(self) -> dict[str, Any]:
            raise Unavailable("the head does not answer")

    console = Console(file=io.StringIO(), width=80)
    assert seen(look(Away(), console), console) == "the head does not answer\n"
