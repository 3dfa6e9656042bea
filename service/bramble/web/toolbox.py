"""The tools of one request, whatever protocol it came by, as OpenAI's chat API lists them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from bramble.errors import BadInput
from bramble.web.faults import Faults
from bramble.web.fields import Fields, refusal

MAX_TOOLS = 256
NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")
NAME_RULE = "a name of 1 to 128 letters, digits, _ . : / or -"


class Toolbox:
    def __init__(self) -> None:
        self.tools: list[dict[str, Any]] = []
        self._names: set[str] = set()

    def add(self, tool: Fields, schema: str) -> None:
        """Add a tool with name, description and strict; its JSON schema is the member `schema`.

        Raises BadInput for a name that is none, or another tool's, and a schema of no object.
        """
        name = tool.text("name")
        if name is None or not NAME.fullmatch(name):
            raise tool.refuse("name", NAME_RULE)
        if name in self._names:
            raise tool.refuse("name", "a name that no other tool has")
        if len(self.tools) == MAX_TOOLS:
            path = tool.path.removesuffix(".")
            raise BadInput(f"{path}: more than {MAX_TOOLS} tools; send fewer", path)
        told = {
            "name": name,
            "description": tool.text("description"),
            schema: tool.get(schema),
            "strict": tool.choice("strict"),
        }
        if told[schema] is not None:
            check_parameters(told[schema], tool.path + schema)
        function = {  # in the client's order, in which a template writes it
            "parameters" if member == schema else member: told[member]
            for member in tool.values
            if told.get(member) is not None
        }
        self._names.add(name)
        self.tools.append({"type": "function", "function": function})

    def choose(self, choice: Fields) -> str:
        """Return Generate.tool_choice of the one that is named. Raises BadInput."""
        name = choice.text("name")
        if name is None:
            raise choice.refuse("name", "the name of a tool")
        if name not in self._names:
            path = f"{choice.path}name"
            offered = ", ".join(sorted(self._names)[:20]) or "none"
            raise BadInput(f"{path}: no tool is called {name[:80]!r}; tools are: {offered}", path)
        return f"function:{name}"

    def keep(self, names: set[str]) -> None:
        """Leave out all tools but these."""
        self.tools = [tool for tool in self.tools if tool["function"]["name"] in names]
        self._names &= names


def read_toolbox(
    body: Fields, read_tool: Callable[[Fields, Toolbox], None], faults: Faults
) -> Toolbox | None:
    """Return the `tools` of a body, each added by `read_tool`.

    None if one of them is wrong: the fault is kept. Raises BadInput for what is no list.
    """
    tools = body.get("tools")
    if tools is not None and not isinstance(tools, list):
        raise body.refuse("tools", "a list")
    box = Toolbox()
    for i, tool in enumerate(tools or []):
        if faults.is_full:
            break
        faults.attempt(partial(_read_one, tool, f"tools[{i}]", read_tool, box), None)
    return box if len(box.tools) == len(tools or []) else None


def check_neutral(fields: Fields, neutral: Mapping[str, Any]) -> None:
    """Refuse members that ask for something, which they do at all values but these."""
    for name, value in neutral.items():
        if fields.has(name) and fields.get(name) != value:
            path = fields.path + name
            raise BadInput(f"{path}: not offered here; leave it out", path)


def _read_one(
    tool: Any, path: str, read_tool: Callable[[Fields, Toolbox], None], box: Toolbox
) -> None:
    if not isinstance(tool, dict):
        raise refusal(path, tool, "an object with a name and a JSON schema")
    read_tool(Fields(tool, path + "."), box)


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
