"""The tools of one request, as OpenAI's chat API lists them, where a protocol has them flat."""

from __future__ import annotations

from typing import Any

from bramble.errors import BadInput
from bramble.web.fields import Fields
from bramble.web.tools import NAME, NAME_RULE, check_parameters

MAX_TOOLS = 256


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
        function: dict[str, Any] = {"name": name}
        if (description := tool.text("description")) is not None:
            function["description"] = description
        if (parameters := tool.get(schema)) is not None:
            check_parameters(parameters, tool.path + schema)
            function["parameters"] = parameters
        if (is_strict := tool.choice("strict")) is not None:
            function["strict"] = is_strict
        self._names.add(name)
        self.tools.append({"type": "function", "function": function})

    def choose(self, choice: Fields) -> str:
        """Return Generate.tool_choice of the one that is named. Raises BadInput."""
        name = choice.text("name")
        if name not in self._names:
            raise choice.refuse("name", "the name of one of the tools")
        return f"function:{name}"

    def keep(self, names: set[str]) -> None:
        """Leave out all tools but these."""
        self.tools = [tool for tool in self.tools if tool["function"]["name"] in names]
        self._names &= names
