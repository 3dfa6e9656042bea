"""What a role's tasks keep: ansible-core's modules alone, short files, the role's names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.roles.interface import in_defaults, load

MAX_LINES = 60
SECTIONS = ("pre_tasks", "tasks", "post_tasks", "handlers", "block", "rescue", "always")
KEYWORDS = {
    *("name", "when", "register", "loop", "loop_control", "vars", "tags", "notify", "listen"),
    *("become", "become_user", "delegate_to", "run_once", "environment", "no_log", "args"),
    *("changed_when", "failed_when", "check_mode", "ignore_unreachable", "any_errors_fatal"),
    *("until", "retries", "delay", "async", "poll", "throttle", "timeout", "connection"),
    *("block", "rescue", "always"),
}
ROLE_CALLS = ("ansible.builtin.import_role", "ansible.builtin.include_role")


def files(role: Path, *folders: str) -> list[Path]:
    return sorted(p for folder in folders for p in (role / folder).rglob("*") if p.is_file())


def flat(tasks: list[dict[str, Any]] | None) -> Iterator[dict[str, Any]]:
    for task in tasks or []:
        yield task
        for section in SECTIONS:
            yield from flat(task.get(section))


def tasks_of(role: Path) -> list[dict[str, Any]]:
    return [task for path in files(role, "tasks", "handlers") for task in flat(load(path))]


def module_problems(role: Path) -> Iterator[str]:
    yield from unknown_words(tasks_of(role))


def unknown_words(tasks: list[dict[str, Any]]) -> Iterator[str]:
    for task in tasks:
        for key in sorted(task.keys() - KEYWORDS):
            if key == "ignore_errors":
                yield f"{task.get('name')} uses {key}: say with failed_when what is no failure"
            elif not key.startswith("ansible.builtin."):
                yield f"{task.get('name')} uses {key}: need a module of ansible.builtin"


def length_problems(role: Path) -> Iterator[str]:
    for path in files(role, "tasks"):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > MAX_LINES:
            yield f"{path.name} has {lines} lines: {MAX_LINES} at most"


def internals(task: dict[str, Any]) -> Iterator[str]:
    """The variables that a task makes for its own role."""
    yield from filter(None, [task.get("register")])
    yield from filter(None, [(task.get("loop_control") or {}).get("loop_var")])
    yield from (task.get("vars") or {}) if not task.keys() & set(ROLE_CALLS) else ()


def name_problems(role: Path) -> Iterator[str]:
    readme = (role / "README.md").read_text(encoding="utf-8")
    for name in in_defaults(role):
        if not name.startswith(f"{role.name}_"):
            yield f"{name} does not begin with {role.name}_"
    tasks, private = tasks_of(role), f"__{role.name}_"
    made = {name for task in tasks for name in internals(task)}
    made |= {name for path in files(role, "vars") for name in load(path)}
    for name in sorted(made - {"item"}):
        if not name.startswith(private):
            yield f"{name} does not begin with {private}"
    facts = {name for task in tasks for name in task.get("ansible.builtin.set_fact") or {}}
    for name in sorted(facts):
        if not name.startswith((private, "ansible_")) and f"`{name}`" not in readme:
            yield f"the fact {name} neither begins with {private} nor is in README.md"


def use_problems(role: Path) -> Iterator[str]:
    """What the interface offers is used, and what is used is told."""
    paths = files(role, "tasks", "handlers", "templates", "vars")
    text = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    text += str([one.default for one in in_defaults(role).values()])
    used = set(re.findall(rf"(?<![\w/.-]){role.name}_\w+", text))
    yield from (f"{name} has no effect" for name in sorted(in_defaults(role).keys() - used))
    readme = (role / "README.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`(\w+)`", readme))
    yield from (f"{name} is used, and README.md lacks it" for name in sorted(used - told))
