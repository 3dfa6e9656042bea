"""The tools of Anthropic's protocol, and which of them the reply has to call."""

from __future__ import annotations

from typing import Any

from bramble.errors import BadInput
from bramble.web.faults import Faults
from bramble.web.fields import Fields
from bramble.web.toolbox import Toolbox, check_neutral, read_toolbox

_KNOWN = ("type", "name", "description", "input_schema", "strict", "cache_control")
_WITHOUT_EFFECT = ("eager_input_streaming",)
# What asks for something only at other values than these.
_NEUTRAL: dict[str, Any] = {
    "defer_loading": False,
    "allowed_callers": ["direct"],
    "input_examples": [],
}
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def read_tools(body: Fields, faults: Faults) -> dict[str, Any]:
    """Return the members of Generate that tools are about.

    Faults of single tools are kept; raises BadInput with the path of what else is wrong.
    """
    box = read_toolbox(body, _read_tool, faults)
    if box is None:
        return {}
    choice, parallel = _read_choice(body, box)
    return {"tools": box.tools or None, "tool_choice": choice, "parallel_calls": parallel}


def _read_tool(fields: Fields, box: Toolbox) -> None:
    kind = fields.text("type") or "custom"
    if kind != "custom":
        raise BadInput(
            f"{fields.path}type: {kind[:40]!r} is a tool that Anthropic's models know, or its "
            "servers run; here a tool has a name, a description and an input_schema",
            fields.path + "type",
        )
    check_neutral(fields, _NEUTRAL)
    fields.check_names((*_KNOWN, *_WITHOUT_EFFECT, *_NEUTRAL))
    if not isinstance(fields.get("input_schema"), dict):
        raise fields.refuse("input_schema", "a JSON schema, which is an object")
    box.add(fields, "input_schema")


def _read_choice(body: Fields, box: Toolbox) -> tuple[str, bool]:
    choice = body.get("tool_choice")
    if choice is None:
        return "auto", True
    if not isinstance(choice, dict):
        raise body.refuse("tool_choice", 'an object such as {"type": "auto"}')
    fields = Fields(choice, "tool_choice.")
    fields.check_names(("type", "name", "disable_parallel_tool_use"))
    parallel = not fields.flag("disable_parallel_tool_use")
    kind = fields.text("type")
    if kind == "tool":
        return box.choose(fields), parallel
    if kind not in _CHOICES:
        raise fields.refuse("type", "auto, any, tool or none")
    if kind == "any" and not box.tools:
        raise BadInput("tool_choice: there are no tools to choose from", "tool_choice")
    return _CHOICES[kind], parallel
