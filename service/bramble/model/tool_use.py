"""How a model's chat template lays out tools and calls, found by laying out an example.

A template's author says nowhere what it can do. So it is given one tool, one call and one result:
what it writes tells whether it knows tools, and in which format the model was taught to call them.
For a template that does not, or in a format that cannot be read, the tools are written into the
conversation's text (see tool_text.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bramble.errors import BadInput
from bramble.model.chat_template import TOOL_USE, ChatTemplate

HERMES, LLAMA, MISTRAL = "hermes", "llama", "mistral"  # the formats that replies.py reads

Message = dict[str, Any]
Render = Callable[[list[Message]], str]

_NAME, _KEY, _VALUE, _RESULT = "zqtool", "zqkey", "zqvalue", "zqresult"
_TOOL = {
    "type": "function",
    "function": {
        "name": _NAME,
        "description": "An example.",
        "parameters": {"type": "object", "properties": {_KEY: {"type": "string"}}},
    },
}
_USER: Message = {"role": "user", "content": "a"}


@dataclass(frozen=True, slots=True)
class ToolUse:
    """call_format        how the model writes calls
    is_native          the template lays out tools, calls and results itself
    takes_text         it wants a call's arguments as JSON text, not as an object
    takes_several      it takes a message with several calls
    takes_system       it takes a system message
    """

    call_format: str = HERMES
    is_native: bool = False
    takes_text: bool = False
    takes_several: bool = True
    takes_system: bool = True


def examine(template: ChatTemplate) -> ToolUse:
    """Find out what a template does with tools. Without one, nothing is asked of it."""

    def render(messages: list[Message]) -> str:
        try:
            return template.render(messages, tools=[_TOOL])
        except BadInput:
            return ""

    takes_system = "zqsystem" in render([{"role": "system", "content": "zqsystem"}, _USER])
    if _NAME in render([_USER]):
        for takes_text in (False, True):
            call_format = _call_format(render(_example(1, takes_text)))
            if call_format:
                several = render(_example(2, takes_text))
                takes_several = all(f"{_VALUE}{i}" in several for i in range(2))
                return ToolUse(call_format, True, takes_text, takes_several, takes_system)
    plain = template.name_for(None) if template.name_for([_TOOL]) == TOOL_USE else None
    if plain is not None:  # tools written as text go to the template for conversations without
        takes_system = "zqsystem" in _plain(template)
    return ToolUse(takes_system=takes_system)


def _plain(template: ChatTemplate) -> str:
    try:
        return template.render([{"role": "system", "content": "zqsystem"}, _USER])
    except BadInput:
        return ""


def _example(num_calls: int, takes_text: bool) -> list[Message]:
    """A question, a message with calls, and their results."""
    calls, results = [], []
    for index in range(num_calls):
        value = f"{_VALUE}{index}"
        arguments: Any = f'{{"{_KEY}": "{value}"}}' if takes_text else {_KEY: value}
        name = f"abcdefgh{index}"  # nine letters and digits, as Mistral's templates want them
        function = {"name": _NAME, "arguments": arguments}
        calls.append({"id": name, "type": "function", "function": function})
        result = {"role": "tool", "tool_call_id": name, "name": _NAME, "content": _RESULT}
        results.append(result)
    return [_USER, {"role": "assistant", "content": "", "tool_calls": calls}, *results]


def _call_format(text: str) -> str:
    """The format of the call in a laid out example; "" if it is none that can be read."""
    before, found, behind = text.partition(_VALUE + "0")
    if not found or _RESULT not in behind or _NAME not in before:
        return ""
    call = before.rpartition(_NAME)[0][-60:] + _NAME + before.rpartition(_NAME)[2]
    squeezed = "".join(call.split())
    if "[TOOL_CALLS]" in squeezed:
        return MISTRAL
    if squeezed.endswith(f'<tool_call>{{"name":"{_NAME}","arguments":{{"{_KEY}":"'):
        return HERMES
    if squeezed.endswith(f'{{"name":"{_NAME}","parameters":{{"{_KEY}":"'):
        return LLAMA
    return ""
