"""What the roles write onto a node, reset.yml takes away, or says why it stays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.roles.interface import load
from tests.roles.tasks import files, flat

ROLES = Path(__file__).parent.parent / "roles"
RESET = ROLES / "bramble_reset"
# Of this machine, or of nothing: they write no file onto a node
ELSEWHERE = ("flash", "backup", "preflight", "doctor", "status", "ready", "reset")
WRITERS = {
    **dict.fromkeys(("copy", "template", "unarchive"), "dest"),
    **dict.fromkeys(("file", "blockinfile", "lineinfile", "replace"), "path"),
}
NODE_ROLES = [
    path for path in sorted(ROLES.iterdir()) if path.name.removeprefix("bramble_") not in ELSEWHERE
]


def tasks(role: Path) -> Iterator[dict[str, Any]]:
    for path in files(role, "tasks", "handlers"):
        yield from flat(load(path))


def variables(role: Path) -> dict[str, Any]:
    return {name: value for path in files(role, "vars") for name, value in load(path).items()}


def spelled_out(text: str, task: dict[str, Any], known: dict[str, Any]) -> Iterator[str]:
    """Yield what a path stands for: each item of its loop, each variable of its role."""
    found = re.search(r"\{\{ *(\w+)(?:\.(\w+))?[^}]*\}\}", text)
    if found is None:
        yield text
        return
    values = [known.get(found[1])]
    if found[1] == (task.get("loop_control") or {}).get("loop_var"):
        loop = task["loop"]
        values = known.get(loop.strip("{} "), [None]) if isinstance(loop, str) else loop
    for value in values:
        part = value[found[2]] if found[2] and isinstance(value, dict) else value
        if isinstance(part, str):
            yield from spelled_out(text.replace(found[0], part), task, known)
        elif found.start():
            yield text[: found.start()]  # what lies below does not matter


def written(role: Path) -> Iterator[str]:
    known = variables(role)
    for task in tasks(role):
        for module, where in WRITERS.items():
            given = task.get(f"ansible.builtin.{module}")
            if given and given.get("state") != "absent" and "delegate_to" not in task:
                yield from spelled_out(given.get(where) or given.get("dest"), task, known)


def started(role: Path) -> Iterator[str]:
    for task in tasks(role):
        given = task.get("ansible.builtin.systemd_service") or {}
        if "name" in given:
            yield from spelled_out(given["name"], task, variables(role))


def is_below(path: str, folders: list[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


@pytest.mark.parametrize("role", NODE_ROLES, ids=lambda role: role.name)
def test_nothing_that_a_role_writes_is_forgotten(role: Path) -> None:
    lists = variables(RESET)
    taken = [*lists["__bramble_reset_paths"], *lists["__bramble_reset_kept"], "/var/lib/bramble"]
    for task in tasks(RESET):
        taken += [
            item["path"]
            for item in task.get("loop") or []
            if isinstance(item, dict) and "ansible.builtin.blockinfile" in task
        ]
    taken += ["/etc/avahi/avahi-daemon.conf"]  # put back by tasks/avahi.yml
    assert [path for path in written(role) if not is_below(path.rstrip("/"), taken)] == []


@pytest.mark.parametrize("role", NODE_ROLES, ids=lambda role: role.name)
def test_no_unit_of_bramble_goes_on(role: Path) -> None:
    (stop,) = (task for task in tasks(RESET) if "enabled" in str(task) and "loop" in task)
    ours = {unit for unit in started(role) if unit.startswith("bramble-") and "{" not in unit}
    assert ours <= set(stop["loop"])


def test_the_lists_find_what_is_missing() -> None:
    task = {"loop": [{"name": "a.service"}], "loop_control": {"loop_var": "one"}}
    paths = list(spelled_out("/etc/{{ one.name }}.d/{{ other }}", task, {}))
    assert paths == ["/etc/a.service.d/"]
    assert not is_below("/etc/bramble-other", ["/etc/bramble"])
