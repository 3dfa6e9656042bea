"""The tools of one request, as OpenAI's chat API lists them, whatever protocol they came by."""

from __future__ import annotations

import re
from typing import Any

from bramble.errors import BadInput
from bramble.web.fields import Fields

MAX_TOOLS = 256
_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")


class Toolbox:
    def __init__(self) -> None:
        self.tools: list[dict[str, Any]] = []
        self._names: set[str] = set()

    def add(self, tool: Fields, schema: str, path: str) -> None:
        """Add a tool with name, description and strict; its JSON schema is the member `schema`.

        Raises BadInput for a name that is none, or another tool's, and a schema that is no object.
        """
        name = tool.text("name")
        if name is None or not _NAME.fullmatch(name):
            raise tool.refuse("name", "1 to 128 letters, digits, underscores, dots or hyphens")
        if name in self._names:
            raise tool.refuse("name", "a name that no other tool has")
        if len(self.tools) == MAX_TOOLS:
            raise BadInput(f"{path}: more than {MAX_TOOLS} tools; send fewer", path)
        function: dict[str, Any] = {"name": name}
        if (description := tool.text("description")) is not None:
            function["description"] = description
        if (parameters := tool.get(schema)) is not None:
            if not isinstance(parameters, dict):
                raise tool.refuse(schema, "a JSON schema, which is an object")
            function["parameters"] = parameters
        if tool.has("strict"):
            function["strict"] = tool.flag("strict")
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
