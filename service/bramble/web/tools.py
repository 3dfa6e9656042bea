"""The tools that a chat request offers, and which of them the reply may or has to call."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Any

from bramble.errors import BadInput
from bramble.web.faults import Faults
from bramble.web.fields import Fields, check_distinct, refusal, shown

NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")
NAME_RULE = "a name of 1 to 128 letters, digits, _ . : / or -"
_FUNCTION = ("name", "description", "parameters", "strict")  # what a template is shown
_CHOICES = {"auto": "auto", "none": "none", "required": "required", "any": "required"}


@dataclass(frozen=True, slots=True)
class Tools:
    """As Generate has them."""

    tools: list[dict[str, Any]] | None = None
    choice: str = "auto"
    has_parallel: bool = True


def read_tools(body: Fields, faults: Faults) -> Tools:
    """Return the tools of OpenAI's chat API. Faults of single tools are kept; raises BadInput."""
    tools = body.get("tools")
    if tools is not None and not isinstance(tools, list):
        raise body.refuse("tools", "a list of tools")
    read = []
    for i, tool in enumerate(tools or []):
        if faults.is_full:
            break
        if (told := faults.attempt(partial(_read_tool, tool, f"tools[{i}]"), None)) is not None:
            read.append(told)
    has_parallel = body.choice("parallel_tool_calls") is not False
    if len(read) < len(tools or []):
        return Tools()
    names = [tool["function"]["name"] for tool in read]
    check_distinct(names, "tools[{}].function.name")
    return Tools(read or None, _read_choice(body, names), has_parallel)


def check_parameters(parameters: Any, path: str) -> None:
    """Refuse what cannot be the schema of a call's arguments, which are an object."""
    if not isinstance(parameters, dict):
        raise refusal(path, parameters, "a JSON schema of an object")
    kind = parameters.get("type", "object")
    if kind != "object":
        raise refusal(f"{path}.type", kind, '"object": the arguments of a call are an object')
    properties = parameters.get("properties")  # templates go through them
    if properties is not None and not isinstance(properties, dict):
        raise refusal(f"{path}.properties", properties, "an object of schemas by name")
    for name, each in (properties or {}).items():
        if not isinstance(each, dict | bool):
            raise refusal(f"{path}.properties.{name[:60]}", each, "a JSON schema: an object")


def _read_tool(tool: Any, path: str) -> dict[str, Any] | None:
    if not isinstance(tool, dict):
        raise refusal(path, tool, 'an object {"type": "function", "function": …}')
    kind = tool.get("type", "function")
    if kind != "function":
        param = f"{path}.type"
        raise BadInput(f'{param}: got {shown(kind)}; only "function" is offered here', param)
    function = tool.get("function")
    if function is None:
        function = {}  # the name is what is missing
    if not isinstance(function, dict):
        raise refusal(f"{path}.function", function, "an object with name and parameters")
    _check_function(Fields(function, f"{path}.function."))
    told = {name: function[name] for name in function if name in _FUNCTION}
    told = {name: value for name, value in told.items() if value is not None}
    return {"type": "function", "function": told}


def _check_function(function: Fields) -> None:
    name = function.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise function.refuse("name", NAME_RULE)
    function.text("description")
    function.choice("strict")
    if function.has("parameters"):
        check_parameters(function.get("parameters"), f"{function.path}parameters")


def _read_choice(body: Fields, names: list[str]) -> str:
    choice = body.get("tool_choice")
    if choice is None:
        return "auto"
    if isinstance(choice, str) and choice in _CHOICES:
        if _CHOICES[choice] == "required" and not names:
            raise BadInput(f"tool_choice: got {choice!r} without tools; send tools", "tool_choice")
        return _CHOICES[choice]
    if not isinstance(choice, dict):
        allowed = 'auto, none, required or {"type": "function", "function": {"name": …}}'
        raise body.refuse("tool_choice", allowed)
    return _read_named(Fields(choice, "tool_choice."), names)


def _read_named(choice: Fields, names: list[str]) -> str:
    if choice.get("type") != "function":
        raise choice.refuse("type", '"function"')
    function = choice.object("function")
    name = function.text("name") if function else choice.text("name")
    param = "tool_choice.function.name"
    if name is None:
        raise refusal(param, None, "the name of a tool")
    if name not in names:
        offered = ", ".join(names[:20]) or "none"
        raise BadInput(f"{param}: no tool is called {name[:80]!r}; tools are: {offered}", param)
    return f"function:{name}"
