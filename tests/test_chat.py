"""`bramble chat`: a conversation in the terminal, with a head in memory."""

from __future__ import annotations

import argparse
import fcntl
import io
import os
import pty
import select
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest
from bramble.commands import chat
from bramble.commands.chat import message, speed, talk
from bramble.commands.chat_commands import COMMANDS
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
    program = "from bramble.commands.line_editor import read_all, read_lines; "
    read = "read_all()" if "-" in words else "next(read_lines(()))"
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


def test_commands_are_obeyed_and_not_sent() -> None:
    client = FakeClient()
    lines = ["/help", "/system", "/system be brief", "one", "/system", "/NEW", "two", "//etc"]
    kept, screen = hold(client, *lines, "/q", "no")
    assert kept == [
        ("system", "be brief"),
        ("user", "two"),
        ("assistant", TEXT),
        ("user", "/etc"),
        ("assistant", TEXT),
    ]
    asked = [[str(one["content"]) for one in request.messages or []] for request in client.asked]
    assert asked == [["be brief", "one"], ["be brief", "two"], ["be brief", "two", TEXT, "/etc"]]
    for name in COMMANDS:
        assert f"/{name} " in screen
    for said in ("there is no system prompt", "be brief", "a new conversation"):
        assert said in screen


def test_a_question_is_asked_again_and_a_system_prompt_taken_away() -> None:
    client = FakeClient()
    kept, screen = hold(client, "/retry", "/system a", "one", "/system -", "/retry")
    assert kept == [("user", "one"), ("assistant", TEXT)]
    assert [len(request.messages or []) for request in client.asked] == [2, 1]
    assert "nothing was asked yet" in screen


def test_a_question_that_was_refused_can_be_asked_again() -> None:
    client = FakeClient()
    kept, _ = hold(client, "one", "full", "/retry", "/retry")
    assert kept == [("user", "one"), ("assistant", TEXT)]
    assert [str((each.messages or [])[-1]["content"]) for each in client.asked] == [
        *("one", "full", "full", "full")
    ]


@pytest.mark.parametrize("line", ["/etc/passwd is what?", "/halp", "/", "/new one"])
def test_a_command_that_there_is_not_is_told_and_not_sent(line: str) -> None:
    client = FakeClient()
    kept, screen = hold(client, line, "hi")
    assert kept == [("user", "hi"), ("assistant", TEXT)] and len(client.asked) == 1
    assert ("takes nothing" if line == "/new one" else "/help lists them, and //") in screen


def test_lines_from_a_pipe_are_taken_plainly_and_blank_ones_passed_over() -> None:
    program = "from bramble.commands.line_editor import read_lines; print(list(read_lines(())))"
    done = subprocess.run(
        [sys.executable, "-c", program], input=b"one\n\n two \n/help", capture_output=True
    )
    assert done.stdout == b"['one', 'two', '/help']\n" and not done.stderr


class Terminal:
    """A program at a terminal of its own; every wait is for something to appear on it."""

    def __init__(self, program: str, home: Path) -> None:
        self._screen, inside = pty.openpty()
        environment = os.environ | {"TERM": "xterm", "HOME": str(home), "PYTHONUTF8": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=inside, stdout=inside, stderr=inside,
            env=environment, start_new_session=True, preexec_fn=_take_terminal,
        )  # fmt: skip
        os.close(inside)
        self._seen = b""

    def press(self, keys: str) -> None:
        """Type once the program waits for it: Python's readline misses a Ctrl-C just before."""
        state = Path(f"/proc/{self._process.pid}/stat")
        while state.read_text().rpartition(")")[2].split()[0] != "S":
            time.sleep(0.001)
        os.write(self._screen, keys.encode())

    def wait_for(self, text: str) -> None:
        """Read on until `text` was shown behind what was waited for before."""
        while text.encode() not in self._seen:
            assert select.select([self._screen], [], [], 20)[0], self._seen
            self._seen += os.read(self._screen, 4096)
        self._seen = self._seen.partition(text.encode())[2]

    def end(self) -> int:
        return self._process.wait(20)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._screen)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_a_line_is_edited_and_called_back_and_written_nowhere(tmp_path: Path) -> None:
    program = (
        "from bramble.commands.line_editor import read_lines\n"
        "for line in read_lines(['/help']): print('got', ascii(line))"
    )
    # Typed, at a prompt, and what is shown of it: up, left, Tab, Ctrl-C, nothing
    typed = {
        "one\r": "got 'one'",
        "\x1b[A\r": "got 'one'",
        "ac\x1b[Db\r": "got 'abc'",
        "/h\t\r": "got '/help'",
        "half a li\x03": "Ctrl-D or /quit ends",
        "\r": "\n",
    }
    with Terminal(program, tmp_path) as terminal:
        for keys, shown in typed.items():
            terminal.wait_for("> ")
            terminal.press(keys)
            terminal.wait_for(shown)
        terminal.wait_for("> ")
        terminal.press("\x04")  # Ctrl-D
        assert terminal.end() == 0
    assert not list(tmp_path.iterdir())


def test_a_model_cannot_steer_the_terminal(tmp_path: Path) -> None:
    program = (
        "import io\n"
        "from bramble.commands.chat import _ask, message\n"
        "from bramble.wire.messages import Generate, Sampling\n"
        "from rich.console import Console\n"
        "from tests.test_chat import Thinking\n"
        "said = [message('user', 'a\\x1b]0;title\\x07b\\x9b2Jc\\td')]\n"
        "asked, console = Generate('1', Sampling(), messages=said), Console(file=io.StringIO())\n"
        "_ask(Thinking(), asked, console, [])"
    )
    with Terminal(program, tmp_path) as terminal:
        terminal.wait_for("a]0;titleb2Jc\td")
        assert terminal.end() == 0
