"""What a play keeps: roles and playbooks that are there, and variables that these roles take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.roles.interface import in_defaults, load
from tests.roles.tasks import ROLE_CALLS, SECTIONS, flat, unknown_words


def plays(path: Path) -> list[dict[str, Any]]:
    """The plays of a file; a file of tasks, which plays include, counts as one."""
    return [{"hosts": "all", "tasks": load(path)}] if path.parent.name == "tasks" else load(path)


def calls(play: dict[str, Any]) -> Iterator[tuple[str, set[str]]]:
    """Each role that a play uses, and the variables that it passes."""
    for role in play.get("roles") or []:
        one = {"role": role} if isinstance(role, str) else role
        yield one["role"], set(one.get("vars") or {}) | {n for n in one if n.startswith("bramble_")}
    for task in flat([play]):
        for call in ROLE_CALLS:
            if call in task:
                yield task[call]["name"], set(task.get("vars") or {})


def play_problems(path: Path, roles: Path) -> Iterator[str]:
    for play in plays(path):
        if "ansible.builtin.import_playbook" in play:
            if not (path.parent / play["ansible.builtin.import_playbook"]).is_file():
                yield f"{path.name}: no playbook {play['ansible.builtin.import_playbook']}"
            continue
        if "hosts" not in play:
            yield f"{path.name}: a play without hosts: {play.get('name')}"
        yield from unknown_words([t for s in SECTIONS for t in flat(play.get(s))])
        for name, passed in calls(play):
            if not (roles / name / "tasks/main.yml").is_file():
                yield f"{path.name}: no role {name}"
                continue
            for variable in sorted(passed - in_defaults(roles / name).keys()):
                yield f"{path.name}: {name} takes no {variable}"
