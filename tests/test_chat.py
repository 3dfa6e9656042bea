"""`bramble chat`: a conversation in the terminal, with a head in memory."""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
from typing import Any

import pytest
from bramble.commands import chat
from bramble.commands.chat import message, speed, talk
from bramble.errors import BadInput
from bramble.wire.messages import Delta, Done, Finish, Generate, Sampling
from rich.console import Console

from tests.web.fake_client import WORDS, FakeClient

TEXT = "".join(WORDS)


class Interrupted(FakeClient):
    """Somebody presses Ctrl-C at the third word of an answer to "stop"."""

    def _play(self, script: str, request: Generate) -> Any:
        for count, event in enumerate(super()._play(script, request)):
            if script == "stop" and count == 2:
                raise KeyboardInterrupt
            yield event


class Thinking(FakeClient):
    """Says what it is asked to say."""

    def _play(self, script: str, request: Generate) -> Any:
        yield Delta(request.request, script, (1,))
        yield Done(request.request, Finish.STOP, 3, 1, 0.0, 0.1, 0.2)


def hold(client: FakeClient, *questions: str) -> tuple[list[tuple[str, str]], str]:
    """Return the conversation as it was kept, and what was said on standard error."""
    said: list[dict[str, Any]] = []
    screen = io.StringIO()
    console = Console(file=screen, width=200)
    talk(
        client, lambda so_far: Generate("1", Sampling(), messages=so_far), said, console, questions
    )
    return [(one["role"], one["content"]) for one in said], screen.getvalue()


def test_an_interrupted_answer_stays_with_what_was_said_and_is_cancelled() -> None:
    client = Interrupted()
    kept, screen = hold(client, "stop", "hi")
    assert kept[:2] == [("user", "stop"), ("assistant", "Hello there")]
    assert kept[2:] == [("user", "hi"), ("assistant", TEXT)]
    assert "stopped" in screen and client.cancelled == 1


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ("<think>\nIs it 4?\n</think>\n\nIt is 4.", "It is 4."),
        ("Write <think>\n</think>.", "Write <think>\n</think>."),
        ("<think>\nIs it", None),  # it was stopped there
    ],
)
def test_what_was_thought_before_an_answer_is_shown_and_not_sent_back(
    answer: str, kept: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = [("user", answer), ("assistant", kept)] if kept else []
    assert hold(Thinking(), answer)[0] == turns
    assert capsys.readouterr().out == f"{answer}\n"


def test_an_error_amid_an_answer_keeps_its_beginning(capsys: pytest.CaptureFixture[str]) -> None:
    kept, screen = hold(FakeClient(), "break")
    assert kept == [("user", "break"), ("assistant", "Hello there")]
    assert "the ring ended it" in screen and capsys.readouterr().out == "Hello there\n"


def test_a_refused_question_is_not_part_of_the_conversation() -> None:
    kept, screen = hold(FakeClient(), "long", "h\udcff", "hi")
    assert kept == [("user", "hi"), ("assistant", TEXT)]
    assert "the context is 100 tokens" in screen
    assert "the text is not UTF-8 at character 1" in screen


@pytest.mark.parametrize(
    ("count", "total_s", "said"),
    [
        (9, 3.0, "9 tokens, 4.0/s, first after 1.00 s"),
        (1, 3.0, "1 token, first after 1.00 s"),
        (9, 1.0, "9 tokens, first after 1.00 s"),  # all of it was there already
    ],
)
def test_a_speed_is_told_where_there_is_one(count: int, total_s: float, said: str) -> None:
    assert speed(Done("r", Finish.STOP, 3, count, 0.0, 1.0, total_s)) == said


def test_text_that_is_not_utf_8_is_bad_input() -> None:
    with pytest.raises(BadInput, match="not UTF-8"):
        message("user", "\ud83d")


@pytest.mark.parametrize("words", [["chat", "-"], ["chat"]])
def test_bytes_from_a_pipe_that_are_no_text_are_kept_for_the_refusal(words: list[str]) -> None:
    program = "from bramble.commands.chat import _read_all, _read_lines as lines; "
    read = "_read_all()" if "-" in words else "next(lines())"
    done = subprocess.run(
        [sys.executable, "-c", f"{program} print(ascii({read}))"],
        input=b"h\xffi\n",
        env=os.environ | {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8:strict"},
        capture_output=True,
    )
    assert done.stdout.strip() in (rb"'h\udcffi'", rb"'h\udcffi\n'"), done.stderr


def test_a_model_that_is_not_to_be_sampled_answers_the_same_in_the_terminal() -> None:
    flags = argparse.Namespace(temperature=None, seed=None, max_tokens=None)
    defaults = {"do_sample": False, "temperature": 0.6, "min_p": 0.1, "repetition_penalty": 1.1}
    sampling = chat._request([], flags, {"defaults": defaults}).sampling
    assert (sampling.temperature, sampling.min_p, sampling.repetition_penalty) == (0.0, 0.1, 1.1)
