"""What a play shows: events as Ansible sends them, with results made here, and one real play."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.plugins.loader import callback_loader

from tests.cluster.plays import ROOT, Played, ansible_playbook, environment

FOLDER = ROOT / "ansible/plugins/callback"
PLAY = """
- name: Look around
  hosts: all
  strategy: bramble
  gather_facts: false
  tasks:
    - name: Nothing changes
      ansible.builtin.command: "true"
      changed_when: false
    - name: Write a file
      ansible.builtin.copy:
        dest: "{{ folder }}/{{ inventory_hostname }}"
        content: "{{ 'line\n' * 40 }}"
        mode: "0644"
      notify: A handler
    - name: Try
      block:
        - name: Break
          ansible.builtin.command: "false"
      rescue:
        - name: Mend
          ansible.builtin.debug:
            msg: mended
      when: inventory_hostname == 'b'
  handlers:
    - name: A handler
      ansible.builtin.command: "true"
- name: Node by node
  hosts: all
  serial: 1
  gather_facts: false
  tasks:
    - name: Refuse
      ansible.builtin.assert:
        that: inventory_hostname == 'a'
        fail_msg: b is not a, make it one
"""


@dataclass
class Screen:
    verbosity: int = 0
    lines: list[str] = field(default_factory=list)

    def display(self, text: str, color: str | None = None, **_: Any) -> None:
        self.lines += text.split("\n")

    def warning(self, text: str) -> None:
        self.lines.append(f"[WARNING]: {text}")

    def banner(self, text: str, **_: Any) -> None:
        self.lines.append(text)


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Run:
    """A play whose events a test sends."""

    def __init__(self, verbosity: int = 0, check_mode: bool = False, serial: object = None) -> None:
        callback_loader.add_directory(str(FOLDER))
        self.clock = Clock()
        self.shown = callback_loader.get("bramble", now=self.clock)
        self.shown.set_options(direct={"result_format": "yaml"})
        self.screen = self.shown._display = Screen(verbosity)
        self.shown._is_default = verbosity > 0
        self.play = SimpleNamespace(
            get_name=lambda: "Prepare", check_mode=check_mode, serial=serial, strategy="linear"
        )
        self.shown.v2_playbook_on_play_start(self.play)

    def begin(self, task: Any, *hosts: str) -> None:
        self.shown.v2_playbook_on_task_start(task, False)
        for host in hosts:
            self.shown.v2_runner_on_start(SimpleNamespace(get_name=lambda host=host: host), task)

    def end(self, stats: dict[str, dict[str, int]]) -> list[str]:
        sums = {host: dict.fromkeys(KINDS, 0) | given for host, given in stats.items()}
        self.shown.v2_playbook_on_stats(
            SimpleNamespace(processed=sums, summarize=sums.__getitem__, custom={})
        )
        return self.screen.lines


KINDS = ("ok", "changed", "failures", "unreachable", "skipped", "rescued", "ignored")


def task(name: str = "bramble_base : Write it", action: str = "copy", **given: Any) -> Any:
    usual = {"loop": None, "delegate_to": None, "run_once": False, "ignore_unreachable": False}
    return SimpleNamespace(
        **{
            "get_name": lambda: name,
            "action": f"ansible.builtin.{action}",
            "_uuid": name,
            "_parent": None,
            "get_path": lambda: "roles/x/tasks/main.yml:3",
            "check_mode": False,
            "no_log": False,
            "args": {},
        }
        | usual
        | given
    )


def result(of: Any, host: str, **data: Any) -> Any:
    return SimpleNamespace(
        task=of, host=SimpleNamespace(get_name=lambda: host), result=data, task_fields={"delay": 2}
    )


def test_a_phase_is_named_when_it_has_something_to_do() -> None:
    run = Run()
    assert run.screen.lines == []
    run.clock.now_s += 75
    run.begin(task(), "pi1", "pi2")
    assert run.screen.lines == ["1:15  Prepare"]


def test_a_phase_that_goes_node_by_node_names_the_node() -> None:
    run = Run(serial=[1])
    run.begin(task(), "pi1")
    run.shown.v2_playbook_on_play_start(run.play)
    run.begin(task(), "pi2")
    assert run.screen.lines == ["0:00  Prepare: pi1", "0:00  Prepare: pi2"]


def test_what_changes_nothing_is_not_shown() -> None:
    run, one = Run(), task()
    run.begin(one, "pi1")
    run.shown.v2_runner_on_ok(result(one, "pi1", changed=False))
    run.shown.v2_runner_on_skipped(result(one, "pi2", skipped=True))
    assert run.end({"pi1": {"ok": 9}, "pi2": {"ok": 9}})[1:] == [
        *("", "pi1  0 changes", "pi2  0 changes"),
        "Done in 0 s: nothing had to change.",
    ]


@pytest.mark.parametrize(("is_check", "verb"), [(False, "changed"), (True, "would change")])
def test_a_change_is_one_line_for_all_nodes(is_check: bool, verb: str) -> None:
    run, one = Run(check_mode=is_check), task()
    run.begin(one, "pi1", "pi2")
    for host in ("pi10", "pi2", "pi1"):
        run.shown.v2_runner_on_ok(result(one, host, changed=True))
    lines = run.end({"pi1": {"changed": 1}})
    assert lines[1] == f"      {verb}: Write it (pi1, pi2, pi10)"
    assert ("nothing was changed: 1 change would be made" in lines[-1]) is is_check


def test_a_diff_is_shown_once_and_cut() -> None:
    run, one = Run(), task()
    diff = {"before": "", "after": "line\n" * 40, "after_header": "/tmp/x"}
    run.begin(one, "pi1")
    for host in ("pi1", "pi2"):
        data = result(one, host, changed=True, diff=dict(diff), dest="/etc/x")
        run.shown.v2_on_file_diff(data)
        run.shown.v2_runner_on_ok(data)
    lines = run.end({})
    assert lines[1:5] == [
        "      changed: Write it (pi1, pi2)",
        "          /etc/x",
        "          +line",
        "          +line",
    ]
    assert "… 28 more lines (-v shows all)" in lines[15]


def test_many_nodes_fit_a_line() -> None:
    run, one = Run(), task()
    run.begin(one)
    for number in range(20):
        run.shown.v2_runner_on_ok(result(one, f"pi{number}", changed=True))
    run.shown._show_changes()
    assert run.screen.lines[0].endswith("pi6, pi7 and 12 more)")


def test_a_step_that_lasts_is_named_with_who_is_not_done() -> None:
    run, one = Run(), task("bramble_runtime : Install packages")
    run.begin(one, "pi1", "pi2", "pi3")
    for seconds in (5, 6, 1, 20, 1, 27, 60):  # 5, 11, 12, 32, 33, 60, 120 s
        run.clock.now_s += seconds
        run.shown._beat()
        if run.clock.now_s == 111:
            run.shown.v2_runner_on_ok(result(one, "pi2", changed=True))
    assert run.screen.lines[1:] == [
        "      … Install packages (pi1, pi2, pi3): 11 s",
        "      … Install packages (pi1, pi3): 32 s",
        "      … Install packages (pi1, pi3): 60 s",
        "      … Install packages (pi1, pi3): 2 min",
    ]


def test_a_wait_tells_its_end() -> None:
    run, one = Run(), task("Wait for the package manager")
    run.begin(one, "pi1")
    run.clock.now_s += 35
    run.shown.v2_runner_retry(result(one, "pi1", retries=601, attempts=2))
    run.shown._beat()
    assert (
        run.screen.lines[-1] == "      … Wait for the package manager (pi1): 35 s of at most 20 min"
    )


def test_an_own_check_says_its_sentence_alone() -> None:
    run, one = Run(), task("Stop at it", "assert")
    run.begin(one, "pi1", "pi2")
    for host in ("pi1", "pi2"):
        run.shown.v2_runner_on_failed(result(one, host, msg="pi1 has no sudo", failed=True))
    once = task("Stop at it", "fail", run_once=True)
    run.shown.v2_runner_on_failed(result(once, "pi1", msg="pi9 is in no ring", failed=True))
    assert run.screen.lines[1:] == [
        "FAILED  pi1 has no sudo",
        "FAILED  pi2: pi1 has no sudo",
        "FAILED  pi9 is in no ring",
    ]


def test_a_failure_is_shown_whole_with_its_node_and_place() -> None:
    run, one = Run(), task("bramble_base : Install", "apt")
    run.begin(one, "pi1")
    run.shown.v2_runner_on_failed(
        result(one, "pi1", msg="cannot", failed=True, rc=100, stderr="a\nb", exception="(trace)")
    )
    lines = run.end({"pi1": {"failures": 1}})
    assert lines[1] == "FAILED  pi1: Install: cannot"
    assert {"    rc: 100", "        a", "        b"} <= set(lines)
    assert "      this task: roles/x/tasks/main.yml:3" in lines
    assert lines[-2:] == [
        "pi1  0 changes, failed",
        "Ended after 0 s, not well on pi1: what is wrong stands above. -v shows every step.",
    ]


def test_a_program_that_failed_is_quoted() -> None:
    run, one = Run(), task("Plan it", "command")
    run.begin(one, "pi1")
    nothing = {"msg": "non-zero return code", "failed": True, "rc": 2}
    for said in ({"stderr": "1\n2\n3\nx: too\nlarge\n"}, {"stderr": "", "stdout": "no"}, {}):
        run.shown.v2_runner_on_failed(result(one, "pi1", **nothing, **said, delta="0:1"))
    failed = [line for line in run.screen.lines if line.startswith("FAILED")]
    assert failed == [
        "FAILED  pi1: Plan it: 3 x: too large",
        "FAILED  pi1: Plan it: no",
        "FAILED  pi1: Plan it: non-zero return code",
    ]
    assert not [line for line in run.screen.lines if "delta" in line or "stderr: ''" in line]


def test_each_item_that_fails_is_shown_and_not_their_sum() -> None:
    run, one = Run(), task("Start them", "systemd_service", loop=["a", "b"])
    run.begin(one, "pi1")
    run.shown.v2_runner_item_on_ok(result(one, "pi1", item="a", changed=False))
    run.shown.v2_runner_item_on_failed(result(one, "pi1", item="b", msg="no b", failed=True))
    run.shown.v2_runner_on_failed(result(one, "pi1", msg="One or more items failed", results=[{}]))
    assert [line for line in run.screen.lines if "FAILED" in line] == [
        "FAILED  pi1: Start them (b): no b"
    ]


def test_a_secret_stays_one() -> None:
    run, one = Run(), task("Say it", "command")
    run.begin(one, "pi1")
    hidden = "the output has been hidden due to the fact that 'no_log: true' was specified"
    run.shown.v2_runner_on_failed(result(one, "pi1", censored=hidden, failed=True))
    assert f"    censored: '{hidden}'".replace("'no_log: true'", "''no_log: true''") in (
        run.screen.lines
    )
    run.shown.v2_runner_on_unreachable(result(one, "pi1", censored=hidden, unreachable=True))
    assert run.screen.lines[-1] == (
        "LOST    pi1 does not answer (at “Say it”): "
        "what was said may hold a secret and is not shown (no_log)"
    )


def test_what_is_rescued_or_ignored_is_no_failure() -> None:
    one = task("Try", "command")
    block = SimpleNamespace(rescue=["mend"], block=[one], _uuid="block", _parent=None)
    one._parent = SimpleNamespace(rescue=[], block=[one], _uuid="inner", _parent=block)
    block.block = [one._parent]
    run = Run()
    run.begin(one, "pi1")
    run.shown.v2_runner_on_failed(result(one, "pi1", msg="no", failed=True))
    run.shown.v2_runner_on_failed(result(task("Other"), "pi1", msg="no"), ignore_errors=True)
    assert run.screen.lines[1:] == [
        "      pi1: Try did not succeed, and the play goes on: no",
        "      pi1: Other did not succeed, and the play goes on: no",
    ]


def test_a_failure_while_rescuing_is_one() -> None:
    one = task("Mend", "command")
    one._parent = SimpleNamespace(rescue=[one], block=[task("Try")], _uuid="block", _parent=None)
    run = Run()
    run.begin(one, "pi1")
    run.shown.v2_runner_on_failed(result(one, "pi1", msg="no", failed=True))
    assert run.screen.lines[1] == "FAILED  pi1: Mend: no"


def test_a_node_that_does_not_answer_is_red_only_where_it_counts() -> None:
    run, one = Run(), task("Knock", "raw", ignore_unreachable=True)
    run.begin(one, "pi9")
    run.shown.v2_runner_on_unreachable(result(one, "pi9", msg="Task failed: timed out"))
    run.shown.v2_runner_on_unreachable(result(task("Copy"), "pi9", msg="timed out"))
    assert run.screen.lines[1:] == [
        "      pi9 does not answer (timed out)",
        "LOST    pi9 does not answer (at “Copy”): timed out",
    ]


def test_messages_are_shown_as_they_are() -> None:
    run, one = Run(), task("Say", "debug")
    run.begin(one, "pi1")
    run.shown.v2_runner_on_ok(result(one, "pi1", msg="a\nb", changed=False))
    run.shown.v2_runner_on_ok(result(one, "pi1", msg=["c", 4]))
    run.shown.v2_runner_on_ok(result(one, "pi1", port=8080, changed=False))
    assert run.screen.lines[1:] == ["a", "b", "c", "4", "    port: 8080"]


def test_a_fault_of_the_output_hides_no_result() -> None:
    run, one = Run(), task()
    run.begin(one, "pi1")
    run.shown.v2_runner_on_ok(result(one, "pi1", changed=True))
    run.shown._show_failure = lambda *_: 1 / 0
    run.shown.v2_runner_on_failed(result(one, "pi2", msg="cannot", failed=True))
    run.begin(task("Next"), "pi1")
    lines = run.screen.lines
    assert lines[1].startswith("[WARNING]: the short output failed (ZeroDivisionError")
    assert lines[2] == "changed: Write it ['pi1']"
    text = "\n".join(lines)
    assert "fatal: [pi2]: FAILED!" in text and "msg: cannot" in text and "TASK [Next]" in text


def test_with_v_everything_is_shown_as_ansible_does() -> None:
    run, one = Run(verbosity=1), task()
    run.begin(one, "pi1")
    run.shown.v2_runner_on_ok(result(one, "pi1", changed=False))
    assert run.screen.lines[:3] == [
        "PLAY [Prepare]",
        "TASK [bramble_base : Write it]",
        "ok: [pi1] => ",
    ]


def test_a_real_play_is_shown_so(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(PLAY)
    python = f"ansible_python_interpreter={sys.executable}"
    words = ["-i", "a,b,", "-c", "local", "-e", python, "-e", f"folder={tmp_path}", "--diff"]
    done = subprocess.run(
        [ansible_playbook(), *words, tmp_path / "play.yml"],
        cwd=ROOT / "ansible",
        env=environment(tmp_path),
        text=True,
        capture_output=True,
    )
    played = Played(done.returncode, done.stdout)
    said = [line for line in done.stdout.splitlines() if not line.startswith("          ")]
    assert [line.partition("  ")[2] if line[1:2] == ":" else line for line in said[:-1]] == [
        "Look around",
        "      changed: Write a file (a, b)",
        *("        a:", "        b:"),
        "      b: Break did not succeed, and the play goes on: non-zero return code",
        "mended",
        "      changed: A handler (a, b)",
        *("Node by node: a", "Node by node: b"),
        "FAILED  b is not a, make it one",
        *("", "a  2 changes", "b  2 changes, failed"),
    ]
    assert said[-1].startswith("Ended after ")
    assert done.stderr == "" and played.sentences == ["b is not a, make it one"]
    assert played.changed == {"a": 2, "b": 2}
