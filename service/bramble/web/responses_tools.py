"""The tools of OpenAI's Responses, which are flat, and which of them the reply has to call."""

from __future__ import annotations

from typing import Any

from bramble.errors import BadInput
from bramble.web.faults import Faults
from bramble.web.fields import Fields, refusal
from bramble.web.toolbox import Toolbox, check_neutral, read_toolbox

_KNOWN = ("type", "name", "description", "parameters", "strict")
# What asks for something only at other values than these.
_NEUTRAL: dict[str, Any] = {
    "defer_loading": False,
    "allowed_callers": ["direct"],
    "output_schema": None,
    "async": False,
}
_CHOICES = ("auto", "none", "required")


def read_tools(body: Fields, faults: Faults) -> dict[str, Any]:
    """Return the members of Generate that tools are about.

    Faults of single tools are kept; raises BadInput with the path of what else is wrong.
    """
    box = read_toolbox(body, _read_tool, faults)
    parallel = body.choice("parallel_tool_calls") is not False
    if box is None:
        return {}
    choice = _read_choice(body, box)
    return {"tools": box.tools or None, "tool_choice": choice, "parallel_calls": parallel}


def _read_tool(fields: Fields, box: Toolbox) -> None:
    kind = fields.text("type") or ""
    if kind != "function":
        raise BadInput(
            f"{fields.path}type: {kind[:40]!r} runs at OpenAI, or is known to its models alone; "
            "here tools are of the type function",
            fields.path + "type",
        )
    check_neutral(fields, _NEUTRAL)
    fields.check_names((*_KNOWN, *_NEUTRAL))
    box.add(fields, "parameters")


def _read_choice(body: Fields, box: Toolbox) -> str:
    choice = body.get("tool_choice")
    if choice is None:
        return "auto"
    if isinstance(choice, dict):
        return _read_named(Fields(choice, "tool_choice."), box)
    if choice not in _CHOICES:
        raise body.refuse("tool_choice", "auto, none, required or an object")
    if choice == "required" and not box.tools:
        raise BadInput("tool_choice: there are no tools to choose from", "tool_choice")
    return str(choice)


def _read_named(choice: Fields, box: Toolbox) -> str:
    if choice.get("type") == "function":
        choice.check_names(("type", "name"))
        return box.choose(choice)
    if choice.get("type") != "allowed_tools":
        raise choice.refuse("type", "function or allowed_tools")
    choice.check_names(("type", "mode", "tools"))
    allowed, mode = choice.get("tools"), choice.get("mode")
    if not isinstance(allowed, list) or not allowed:
        raise choice.refuse("tools", "a list of at least one tool")
    names = set()
    for i, tool in enumerate(allowed):
        path = f"tool_choice.tools[{i}]"
        if not isinstance(tool, dict):
            raise refusal(path, tool, 'an object such as {"type": "function", "name": …}')
        fields = Fields(tool, path + ".")
        box.choose(fields)
        names.add(str(fields.get("name")))
    if mode not in ("auto", "required"):
        raise choice.refuse("mode", "auto or required")
    box.keep(names)
    return str(mode)
