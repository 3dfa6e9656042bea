"""`bramble run` as a person has it: the embedded model, the page, kills, Ctrl-C."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml
from bramble.commands.run import Announcer
from playwright.sync_api import Browser
from rich.console import Console

from tests.ports import free_ports
from tests.web.conftest import get_json

ROOT = Path(__file__).parent.parent.parent
READY_S = 90.0
NAMES = ("stage", "head", "web")


@dataclass
class Run:
    process: subprocess.Popen[str]
    url: str
    environment: dict[str, str]
    said: Path

    def children(self) -> dict[int, str]:
        """Pid → command word of each process that the supervisor started."""
        found = {}
        for pid in children_of(self.process.pid):
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            found[pid] = words[3] if len(words) > 3 else ""
        return found

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            try:
                get_json(f"{self.url}/readyz")
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError("the ring does not get ready")

    def wait_for_all_rings(self) -> list[dict[str, Any]]:
        """Return them once each serves; `wait_until_ready` is content with one."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            rings: list[dict[str, Any]] = get_json(f"{self.url}/api/status")["plan"]["rings"]
            if all(ring["state"] == "serving" for ring in rings):
                return rings
            time.sleep(0.1)
        raise AssertionError("not all rings serve")

    def ask(self, *turns: str) -> str:
        """Hold a conversation; return the last answer."""
        with openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", timeout=30) as client:
            messages: list[dict[str, str]] = []
            for turn in turns:
                messages.append({"role": "user", "content": turn})
                reply = client.chat.completions.create(
                    model="bramble-demo", messages=messages, temperature=0
                )
                assert reply.choices[0].finish_reason == "stop"
                answer = str(reply.choices[0].message.content)
                messages.append({"role": "assistant", "content": answer})
        return answer

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "bramble", *words, "--port", self.url.rsplit(":", 1)[1]]
        return subprocess.run(
            line, env=self.environment, capture_output=True, text=True, timeout=60
        )


@contextmanager
def running(folder: Path, *flags: str) -> Iterator[Run]:
    """`bramble run`, ready, and ended with Ctrl-C."""
    (port,) = free_ports(1)
    environment = os.environ | {"XDG_RUNTIME_DIR": str(folder), "XDG_CACHE_HOME": str(folder)}
    said = folder / "said"
    with said.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "bramble", "run", "--port", str(port), *flags],
            env=environment,
            stdout=file,
            text=True,
        )
    started = Run(process, f"http://127.0.0.1:{port}", environment, said)
    try:
        started.wait_until_ready()
        yield started
    finally:
        children = started.children()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        left = [pid for pid in children if Path(f"/proc/{pid}").exists()]
        assert not left, "Ctrl-C left processes behind"
        assert not list(folder.glob("bramble-*")), "Ctrl-C left sockets behind"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with running(tmp_path_factory.mktemp("run")) as started:
        yield started


@pytest.mark.parametrize(
    ("flags", "sizes"), [(("--replicas=2",), [1, 1]), (("--replicas=2", "--stages=2"), [2, 2])]
)
def test_replicas_are_rings_with_the_whole_model_each(
    flags: tuple[str, ...], sizes: list[int], tmp_path: Path
) -> None:
    with running(tmp_path, *flags) as started:
        rings = started.wait_for_all_rings()
        assert [len(ring["stages"]) for ring in rings] == sizes
        for ring in rings:
            first, last = ring["stages"][0], ring["stages"][-1]
            assert (first["start"], first["has_embed"]) == (0, True)
            assert (last["stop"], last["has_lm_head"]) == (last["num_layers_total"], True)
        assert "8080" in started.ask("which port do I open in the browser")


def test_a_group_answers_as_one_process_does(tmp_path: Path) -> None:
    with running(tmp_path, "--tensor=2") as started:
        (ring,) = started.wait_for_all_rings()
        (stage,) = ring["stages"]
        assert [member["part"] for member in stage["members"]] == ["2 of 4 heads"] * 2
        assert "8080" in started.ask("which port do I open in the browser")


def test_three_stages_a_head_and_a_web_process_run(run: Run) -> None:
    assert sorted(run.children().values()) == ["head", "stage", "stage", "stage", "web"]


def test_the_embedded_model_answers_what_it_was_taught(run: Run) -> None:
    assert "site.yml" in run.ask("hey, how could I add one more raspberry to my setup?")
    assert "8080" in run.ask("which port do I open in the browser")
    assert "small demonstration model" in run.ask("Write me a poem about the sea")
    assert "rollback.yml" in run.ask("How do I update Bramble?", "and how do I undo that?")
    assert "Mona" in run.ask("hi, my name is Mona", "what's my name?")
    assert "= 42" in run.ask("what is 25 plus 17?")


def test_the_embedded_model_answers_most_of_what_it_was_never_asked(run: Run) -> None:
    """Its full score is in service/training/README.md; here every second question, int8, a ring."""
    held_out = yaml.safe_load((ROOT / "service/training/held_out.yml").read_text())
    cases = [(q, topic["need"]) for topic in held_out["topics"] for q in topic["ask"][::2]]
    cases += [(q, ["small demonstration model"]) for q in held_out["outside"][::2]]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(run.ask, [question for question, _ in cases]))
    wrong = [
        f"{question}: {answer[:80]}"
        for (question, need), answer in zip(cases, answers, strict=True)
        if not all(any(word in answer for word in words.split("|")) for words in need)
    ]
    assert len(wrong) < 0.2 * len(cases), "\n".join(wrong)


@pytest.mark.parametrize("victim", NAMES)
def test_a_killed_process_is_restarted_and_the_next_question_answered(
    run: Run, victim: str
) -> None:
    before = run.children()
    pid = next(pid for pid, name in before.items() if name == victim)
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + READY_S
    while pid in run.children() or len(run.children()) < len(before):
        assert time.monotonic() < deadline, "it was not restarted"
        time.sleep(0.1)
    run.wait_until_ready()
    assert "site.yml" in run.ask("How do I add a Pi?")


def test_who_asks_while_the_web_and_the_head_are_away_waits_and_is_answered(run: Run) -> None:
    killed = [pid for pid, name in run.children().items() if name in ("web", "head")]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    while set(killed) & set(run.children()):
        time.sleep(0.01)
    with openai.OpenAI(base_url=f"{run.url}/v1", api_key="none", max_retries=0) as client:
        question = {"role": "user", "content": "How do I add a Pi?"}
        reply = client.chat.completions.create(
            model="bramble-demo", messages=[question], temperature=0
        )
    assert "site.yml" in str(reply.choices[0].message.content)


@pytest.mark.parametrize("victims", [("web",), ("web", "head")])
def test_a_stream_goes_on_to_the_same_bytes_though_what_served_it_was_killed(
    run: Run, victims: tuple[str, ...]
) -> None:
    body = {
        "messages": [{"role": "user", "content": "How do I add a Pi?"}],
        "temperature": 0.9,
        "seed": 7,
        "max_tokens": 250,
        "ignore_eos": True,
    }
    place = f"{run.url}/v1/chat/completions"
    with send(place, body) as whole:
        wanted = json.loads(whole.read())["choices"][0]["message"]["content"]
    key = {"Idempotency-Key": "-".join(victims)} if "head" in victims else {}
    text, last, reply_id = "", "", ""
    with send(place, body | {"stream": True}, **key) as stream:
        for event in read_events(stream):
            text, last, reply_id = text + event.text, event.id, event.reply_id
            if int(last.partition(".")[0]) > 20:
                break
        killed = [pid for pid, name in run.children().items() if name in victims]
        # The web's worker first: it would tell the head that its client has left
        workers = [pid for parent in killed for pid in children_of(parent)]
        for pid in (*workers, *killed):
            os.kill(pid, signal.SIGKILL)
    assert text and text != wanted
    while set(killed) & set(run.children()):
        time.sleep(0.01)
    back = {"Last-Event-ID": last} | key
    by_id = (f"{place}/{reply_id}", None)
    with send(*((place, body | {"stream": True}) if key else by_id), **back) as stream:
        rest = list(read_events(stream))
    assert text + "".join(event.text for event in rest) == wanted
    assert {event.reply_id for event in rest} == {reply_id}


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@dataclass
class StreamEvent:
    id: str
    reply_id: str
    text: str


def send(url: str, body: dict[str, Any] | None, **headers: str) -> Any:
    """POST a body, or GET without one."""
    data = None if body is None else json.dumps(body).encode()
    return urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60)


def read_events(stream: Any) -> Iterator[StreamEvent]:
    """Yield the numbered events, until the stream ends."""
    event_id = ""
    for line in stream:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "id":
            event_id = value
        elif name == "data" and value != "[DONE]":
            chunk = json.loads(value)
            delta = chunk["choices"][0]["delta"]
            yield StreamEvent(event_id, chunk["id"], delta.get("content", ""))


def test_chat_status_and_bench_in_the_terminal(run: Run) -> None:
    chat = run.command("chat", "What is a stage?", "--temperature", "0")
    assert chat.returncode == 0 and "bramble-stage@N" in chat.stdout
    status = run.command("status")
    assert status.returncode == 0 and "bramble-demo" in status.stdout
    bench = run.command("bench", "--prompt", "64", "--tokens", "8", "--streams", "1,2", "--json")
    assert bench.returncode == 0 and '"prefill_tokens_s"' in bench.stdout
    turns = run.command("bench", "--turns", "--prompt", "100", "--repeat", "1", "--json")
    assert turns.returncode == 0 and '"second_turn_of_cold"' in turns.stdout
    pace = run.command("bench", "--pace", "--prompt", "100", "--streams", "2")
    assert pace.returncode == 0 and "2 streams, ms between tokens" in pace.stdout


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--seed", "-1"), "seed: got -1, need 0 to"),
        (("--max-tokens", "0"), "--max-tokens 0: need 1 or more"),
        (("--temperature", "nan"), "--temperature nan: need 0 to 2"),
    ],
)
def test_a_question_that_cannot_be_asked_so_is_refused_and_the_next_one_answered(
    run: Run, flags: tuple[str, str], told: str
) -> None:
    refused = run.command("chat", "hello", *flags)
    assert refused.returncode == 2 and f"bramble chat: {told}" in refused.stderr
    assert "8080" in run.ask("which port do I open in the browser")


def test_a_port_in_use_is_said_plainly(run: Run) -> None:
    second = run.command("run")
    assert second.returncode == 2
    assert "another `bramble run` has port" in second.stderr


def test_a_port_of_another_program_is_said_plainly(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        line = [sys.executable, "-m", "bramble", "run", "--port", str(other.getsockname()[1])]
        environment = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}
        ended = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert "stop what uses it or choose another with --port" in ended.stderr


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--rows", "0"), "--rows 0: a ring has one sequence or more"),
        (("--context", "-1"), "--context -1: need 1 or more, or 0 for the default"),
        (("--tensor", "0"), "--tensor 0: a stage has one member or more"),
        (("--tensor", "5"), "a group of 5 members was asked for; the model has 4 query heads"),
        (("--threads", "-1"), "--threads -1: need 1 or more, or 0 for the default"),
        (("--speculation", "maybe"), "argument --speculation: invalid choice: 'maybe'"),
        (("--context", "5"), "a context of 5 tokens was asked for; bramble-demo needs 24 or more"),
    ],
)
def test_what_no_ring_can_have_ends_the_run_with_a_sentence(
    flags: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    line = [sys.executable, "-m", "bramble", "run", "--port", str(*free_ports(1)), *flags]
    environment = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    ended = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 2
    assert f"bramble run: {told}" in ended.stderr or f"error: {told}" in ended.stderr
    assert not list(tmp_path.glob("bramble-*/*.sock"))


def test_two_runs_that_start_at_once_do_not_share_sockets(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "bramble", "run", "--port", str(*free_ports(1))]
    environment = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    runs = [
        subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(2)
    ]
    deadline = time.monotonic() + 30
    while not (ended := [run for run in runs if run.poll() is not None]):
        assert time.monotonic() < deadline, "both go on"
        time.sleep(0.1)
    for each in runs:
        each.terminate()
    told = [each.communicate(timeout=20)[0].decode() for each in runs]
    assert len(ended) == 1 and ended[0].returncode == 2
    assert "another `bramble run` has port" in "".join(told)


def test_the_time_until_a_real_ring_was_ready_is_told(run: Run) -> None:
    deadline = time.monotonic() + 10
    while not (told := re.search(r"ready after ([\d.]+) s", run.said.read_text())):
        assert time.monotonic() < deadline, run.said.read_text()
        time.sleep(0.1)
    assert float(told[1]) >= 0.3  # no process of it has imported what it needs before


def test_readiness_counts_from_when_the_ring_ceased_to_serve() -> None:
    screen = io.StringIO()
    announcer = Announcer(Console(file=screen, width=200), "http://x", since=0.0)
    states = {1: "loading", 4: "serving", 900: "stage 1 is lost", 903: "serving"}
    states |= {950: "serving, but not all: ring 1", 960: "serving, but not all: 2", 970: "serving"}
    for now, state in states.items():
        announcer.tell(state, float(now))
    lines = [line.partition(": chat")[0] for line in screen.getvalue().splitlines()]
    assert lines == [
        "loading",
        "ready after 4.0 s",
        "stage 1 is lost",
        "ready after 3.0 s",
        "serving, but not all: ring 1",
        "serving, but not all: 2",
        "ready after 20.0 s",
    ]


def test_a_death_that_the_ring_hardly_notices_ends_in_ready_too() -> None:
    screen = io.StringIO()
    announcer = Announcer(Console(file=screen, width=200), "http://x", since=0.0)
    announcer.tell("serving", 2.0)
    announcer.tell_event("head", "killed by SIGKILL; restarting")
    announcer.tell("serving", announcer.since + 1)
    announcer.tell("serving", announcer.since + 2)
    lines = [line.partition(": chat")[0] for line in screen.getvalue().splitlines()]
    assert lines == ["ready after 2.0 s", "head killed by SIGKILL; restarting", "ready after 1.0 s"]


def test_the_page_shows_an_answer_of_the_real_ring(run: Run, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(run.url)
    page.locator("textarea").first.fill("How do I add a Pi?")
    page.keyboard.press("Enter")
    page.get_by_text("and run ansible-playbook site.yml again").wait_for(timeout=20_000)
    page.get_by_text("tokens/s").first.wait_for(timeout=20_000)
    page.close()
