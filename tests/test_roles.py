"""Every role tells its interface three times, and the same; plays name roles that are there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.roles.interface import in_defaults, interface_problems, load, type_problems
from tests.roles.plays import calls, play_problems
from tests.roles.tasks import (
    flat,
    length_problems,
    module_problems,
    name_problems,
    tasks_of,
    use_problems,
)

ROOT = Path(__file__).parent.parent
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
PLAYS = sorted([*(ROOT / "ansible").glob("*.yml"), *(ROOT / "ansible/tasks").glob("*.yml")])
Check = Callable[[Path], Iterator[str]]
CHECKS: tuple[Check, ...] = (
    *(interface_problems, type_problems, name_problems, use_problems),
    *(module_problems, length_problems),
)


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_role_keeps_its_interface(role: Path, check: Check) -> None:
    assert list(check(role)) == []


@pytest.mark.parametrize("play", PLAYS, ids=lambda play: play.name)
def test_a_play_names_roles_that_are_there(play: Path) -> None:
    assert list(play_problems(play, ROOT / "roles")) == []


def test_the_preflight_asks_for_every_package_that_the_roles_install() -> None:
    named = [
        task["ansible.builtin.apt"].get("name")
        for role in ROLES
        for task in tasks_of(role)
        if "ansible.builtin.apt" in task
    ]
    installed = {name for name in named if name and "{{" not in name}
    runtime = in_defaults(ROOT / "roles/bramble_runtime")
    for name in ("bramble_runtime_packages", "bramble_runtime_compiler"):
        installed.update(runtime[name].default)
    installed |= set(re.findall(r"'([a-z-]+)'", base_needs()))
    asked = in_defaults(ROOT / "roles/bramble_preflight")["bramble_preflight_packages"].default
    optional = {"systemd-timesyncd", "keepalived"}  # without a time client; for a virtual address
    assert set(asked) == installed - optional


def test_whatever_installs_packages_waits_for_an_automatic_update() -> None:
    for task in (task for role in ROLES for task in tasks_of(role)):
        if "ansible.builtin.apt" in task:
            assert "lock_timeout" in task["ansible.builtin.apt"], task["name"]


def test_what_is_installed_in_one_go_is_what_later_roles_need() -> None:
    site = load(ROOT / "ansible/vars/site.yml")
    asked = in_defaults(ROOT / "roles/bramble_preflight")["bramble_preflight_packages"].default
    needs = re.findall(r"'([a-z-]+)'", base_needs())
    assert set(asked) == {*site["bramble_base_packages"], *needs, "clang"}  # which comes last


def test_an_upgrade_looks_for_its_model_before_anything_changes() -> None:
    prepare = load(ROOT / "ansible/prepare.yml")
    (looks,) = places_of("bramble_model", "expect", prepare)
    changes = [i for i, play in enumerate(prepare) if play.get("roles")]
    assert looks < min(changes)
    assert prepare[looks]["any_errors_fatal"]  # no node is switched where the head lacks it
    first = load(ROOT / "ansible/upgrade.yml")[0]
    assert first["ansible.builtin.import_playbook"] == "prepare.yml"
    assert first["vars"] == {"bramble_is_upgrade": True}


def test_the_compiler_is_installed_behind_the_answer() -> None:
    site = load(ROOT / "ansible/site.yml")
    (compiler,) = places_of("bramble_runtime", "compiler", site)
    (answer,) = [i for i, play in enumerate(site) if "bramble_ready" in dict(calls(play))]
    assert compiler > answer
    assert not places_of("bramble_runtime", "compiler", load(ROOT / "ansible/prepare.yml"))


def places_of(role: str, tasks: str, plays: list[dict[str, Any]]) -> list[int]:
    """Which plays, counted from 0, have these tasks of a role."""
    called = {"name": role, "tasks_from": tasks}
    return [
        index
        for index, play in enumerate(plays)
        if any(called in task.values() for task in flat(play.get("tasks")))
    ]


def base_needs() -> str:
    return str(load(ROOT / "roles/bramble_base/vars/main.yml")["__bramble_base_needs"])


# --- and that these checks find what they look for ------------------------------------------------

BAD_ROLE = {
    "defaults/main.yml": """\
# Told alike everywhere
# bramble_bad_address: 192.168.1.11
# The README says another number
bramble_bad_port: 8080
# Nobody else tells it, and nothing uses it
bramble_bad_lonely: yes please
bramble_bad_silent: 0
# The name of another role
port: 1
""",
    "meta/argument_specs.yml": """\
argument_specs:
  main:
    options:
      bramble_bad_address: {type: str, required: true}
      bramble_bad_port: {type: str, default: 8080}
      bramble_bad_silent: {type: int, default: 0}
      bramble_bad_gone: {type: int, default: 1}
      port: {type: int, default: 1}
""",
    "README.md": """\
| `bramble_bad_address` | required | where |
| `bramble_bad_port` | `8081` | which |
| `bramble_bad_lonely` | `yes please` | why |
| `bramble_bad_silent` | `0` | how much |
""",
    "tasks/main.yml": """\
- name: Outer
  block:
    - name: Inner
      community.general.ufw:
        port: "{{ bramble_bad_port }} {{ bramble_bad_unknown }}"
      register: result
      ignore_errors: true
  when: bramble_bad_address and bramble_bad_silent
- name: Publish
  ansible.builtin.set_fact:
    bramble_bad_secretly: 1
"""
    + "# long\n" * 60,
}
BAD_PLAY = """\
- ansible.builtin.import_playbook: nowhere.yml
- name: Of nobody
  roles: [bramble_missing]
- hosts: all
  tasks:
    - name: Call
      ansible.builtin.import_role: {name: bramble_bad}
      vars: {bramble_bad_prot: 1}
    - name: Short
      command: "true"
"""


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    role = tmp_path / "roles" / "bramble_bad"
    for name, text in BAD_ROLE.items():
        (role / name).parent.mkdir(parents=True, exist_ok=True)
        (role / name).write_text(text)
    return role


FOUND = {
    interface_problems: [
        "argument_specs.yml has bramble_bad_gone, which defaults/main.yml lacks",
        "argument_specs.yml lacks bramble_bad_lonely",
        "README.md says 8081 of bramble_bad_port, defaults/main.yml 8080",
        "README.md lacks port",
        "bramble_bad_silent has no comment",
    ],
    type_problems: ["bramble_bad_port is 8080, and its spec wants str"],
    name_problems: [
        "port does not begin with bramble_bad_",
        "result does not begin with __bramble_bad_",
        "the fact bramble_bad_secretly neither begins with __bramble_bad_ nor is in README.md",
    ],
    use_problems: [
        "bramble_bad_lonely has no effect",
        "port has no effect",
        "bramble_bad_secretly is used, and README.md lacks it",
        "bramble_bad_unknown is used, and README.md lacks it",
    ],
    module_problems: [
        "Inner uses community.general.ufw: need a module of ansible.builtin",
        "Inner uses ignore_errors: say with failed_when what is no failure",
    ],
    length_problems: ["main.yml has 71 lines: 60 at most"],
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_bad_role_is_found_out(bad: Path, check: Check) -> None:
    assert sorted(check(bad)) == sorted(FOUND[check])


def test_a_bad_play_is_found_out(bad: Path, tmp_path: Path) -> None:
    play = tmp_path / "bad.yml"
    play.write_text(BAD_PLAY)
    assert list(play_problems(play, bad.parent)) == [
        "bad.yml: no playbook nowhere.yml",
        "bad.yml: a play without hosts: Of nobody",
        "bad.yml: no role bramble_missing",
        "Short uses command: need a module of ansible.builtin",
        "bad.yml: bramble_bad takes no bramble_bad_prot",
    ]
