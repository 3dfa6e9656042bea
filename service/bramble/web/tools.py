"""The tools that a chat request offers, and which of them the reply may or has to call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bramble.errors import BadInput
from bramble.web.faults import Faults
from bramble.web.fields import Fields, shown
from bramble.web.toolbox import Toolbox, read_toolbox

_CHOICES = {"auto": "auto", "none": "none", "required": "required", "any": "required"}


@dataclass(frozen=True, slots=True)
class Tools:
    """As Generate has them."""

    tools: list[dict[str, Any]] | None = None
    choice: str = "auto"
    has_parallel: bool = True


def read_tools(body: Fields, faults: Faults) -> Tools:
    """Return the tools of OpenAI's chat API. Faults of single tools are kept; raises BadInput."""
    box = read_toolbox(body, _read_tool, faults)
    has_parallel = body.choice("parallel_tool_calls") is not False
    if box is None:
        return Tools()
    return Tools(box.tools or None, _read_choice(body, box), has_parallel)


def _read_tool(tool: Fields, box: Toolbox) -> None:
    kind = "function" if tool.get("type") is None else tool.get("type")
    if kind != "function":
        param = f"{tool.path}type"
        raise BadInput(f'{param}: got {shown(kind)}; only "function" is offered here', param)
    function = tool.get("function")
    if function is None:
        function = {}  # the name is what is missing
    if not isinstance(function, dict):
        raise tool.refuse("function", "an object with name and parameters")
    box.add(Fields(function, f"{tool.path}function."), "parameters")


def _read_choice(body: Fields, box: Toolbox) -> str:
    choice = body.get("tool_choice")
    if choice is None:
        return "auto"
    if isinstance(choice, str) and choice in _CHOICES:
        if _CHOICES[choice] == "required" and not box.tools:
            raise BadInput(f"tool_choice: got {choice!r} without tools; send tools", "tool_choice")
        return _CHOICES[choice]
    if not isinstance(choice, dict):
        allowed = 'auto, none, required or {"type": "function", "function": {"name": …}}'
        raise body.refuse("tool_choice", allowed)
    named = Fields(choice, "tool_choice.")
    if named.get("type") != "function":
        raise named.refuse("type", '"function"')
    function = named.object("function") or named  # flat, as in Responses
    return box.choose(Fields(function.values, "tool_choice.function."))
