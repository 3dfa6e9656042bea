"""A role's interface, as its defaults, its argument specs and its README tell it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

TYPES = {"str": str, "path": str, "int": int, "float": float, "bool": bool, "list": list}
TYPES["dict"] = dict
COMPUTED = "computed by a template; the README tells it in words"


@dataclass(frozen=True, slots=True)
class Variable:
    is_required: bool
    default: Any = None

    def __str__(self) -> str:
        return "required" if self.is_required else str(self.default)


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def declared(role: Path) -> Iterator[tuple[str, str, bool, bool]]:
    """Each variable of defaults/main.yml: name, example, whether it is required, is commented."""
    before = ""
    for line in (role / "defaults/main.yml").read_text(encoding="utf-8").splitlines():
        found = re.match(r"(# )?((?:__)?[a-z]\w*): *(.*)$", line)
        if found and (not found[1] or found[2].startswith(role.name)):
            yield found[2], found[3], bool(found[1]), before.startswith("# ")
            before = ""
        elif not line.startswith(" "):
            before = line


def in_defaults(role: Path) -> dict[str, Variable]:
    given = load(role / "defaults/main.yml") or {}
    return {
        name: Variable(True) if is_required else Variable(False, given[name])
        for name, _, is_required, _ in declared(role)
    }


def options(role: Path) -> list[tuple[str, dict[str, Any]]]:
    """Each option of each entry point; a variable that two entry points take comes twice."""
    specs = load(role / "meta/argument_specs.yml")["argument_specs"]
    return [pair for entry in specs.values() for pair in (entry.get("options") or {}).items()]


def in_specs(role: Path) -> dict[str, Variable]:
    """Raises AssertionError if two entry points tell one variable differently."""
    told: dict[str, Variable] = {}
    for name, option in options(role):
        is_required = bool(option.get("required"))
        one = Variable(is_required, None if is_required else option.get("default"))
        assert told.setdefault(name, one) == one, f"{name} is told in two ways"
    return told


def in_readme(role: Path) -> dict[str, Variable]:
    rows = re.findall(
        rf"^\| `(_*{role.name}_\w+)` \| (.*?) \| (.+) \|$",
        (role / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    return {name: _cell(default) for name, default, _ in rows}


def _cell(text: str) -> Variable:
    if text == "required":
        return Variable(True)
    quoted = re.fullmatch(r"`(.*)`", text)
    return Variable(False, yaml.safe_load(quoted[1]) if quoted else COMPUTED)


def _is_computed(value: Any) -> bool:
    return isinstance(value, str) and (value == COMPUTED or "{{" in value)


def interface_problems(role: Path) -> Iterator[str]:
    defaults = in_defaults(role)
    told = {
        name: Variable(False, COMPUTED) if _is_computed(one.default) else one
        for name, one in defaults.items()
    }
    yield from _differences("argument_specs.yml", defaults, in_specs(role))
    yield from _differences("README.md", told, in_readme(role))
    yield from (f"{name} has no comment" for name, _, _, has in declared(role) if not has)


def _differences(
    place: str, expected: dict[str, Variable], found: dict[str, Variable]
) -> Iterator[str]:
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            yield f"{place} lacks {name}"
        elif name not in expected:
            yield f"{place} has {name}, which defaults/main.yml lacks"
        elif found[name] != expected[name]:
            yield f"{place} says {found[name]} of {name}, defaults/main.yml {expected[name]}"


def type_problems(role: Path) -> Iterator[str]:
    """Defaults and the examples of required variables are of the type that the specs ask for."""
    given = load(role / "defaults/main.yml") or {}
    examples = {
        name: yaml.safe_load(text) for name, text, is_required, _ in declared(role) if is_required
    }
    for name, option in options(role):
        value = (examples | given).get(name, COMPUTED)
        if _is_computed(value):
            continue
        if type(value) is not TYPES[option["type"]]:
            yield f"{name} is {value!r}, and its spec wants {option['type']}"
        if "choices" in option and name in given and value not in option["choices"]:
            yield f"{name} is {value!r}, and its spec wants one of {option['choices']}"
