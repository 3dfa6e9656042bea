"""How a model's chat template lays out tools and calls, found by laying out an example.

A template's author says nowhere what it can do. So it is given one tool, one call and one result:
what it writes tells whether it knows tools, and in which format the model was taught to call them.
For a template that does not, or in a format that cannot be read, the tools are written into the
conversation's text (see tool_text.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bramble.errors import BadInput
from bramble.model.chat_template import ChatTemplate
from bramble.model.replies import Arguments, Call, open_reader

HERMES, LLAMA, MISTRAL = "hermes", "llama", "mistral"  # the formats that replies/ reads

Message = dict[str, Any]

_NAME, _KEY, _VALUE, _RESULT = "zqtool", "zqkey", "zqvalue", "zqresult"
_TOOL = {
    "type": "function",
    "function": {
        "name": _NAME,
        "description": "An example.",
        "parameters": {"type": "object", "properties": {_KEY: {"type": "string"}}},
    },
}
_BARE_TOOL = {"type": "function", "function": {"name": _NAME}}
_USER: Message = {"role": "user", "content": "a"}


@dataclass(frozen=True, slots=True)
class ToolUse:
    """call_format        how the model writes calls
    is_native          the template lays out tools, calls and results itself
    names_calls        it writes a call as its name and its arguments, not as an object (Mistral)
    takes_text         it wants a call's arguments as JSON text, not as an object
    takes_several      it takes a message with several calls
    takes_bare         it takes a tool that is a name alone, without description and parameters
    takes_system       it takes a system message
    """

    call_format: str = HERMES
    is_native: bool = False
    names_calls: bool = False
    takes_text: bool = False
    takes_several: bool = True
    takes_bare: bool = True
    takes_system: bool = True


def examine(template: ChatTemplate) -> ToolUse:
    """Find out what a template does with tools. Without one, nothing is asked of it."""
    call_format = ""
    for takes_text in (False, True):
        call_format = call_format or _call_format(template, takes_text)
        if call_format:
            one = _render(template, _example(1, takes_text), _TOOL)
            several = _render(template, _example(2, takes_text), _TOOL)
            return ToolUse(
                call_format=call_format,
                is_native=True,
                names_calls=f"[TOOL_CALLS]{_NAME}" in one,
                takes_text=takes_text,
                takes_several=all(f"{_VALUE}{i}" in several for i in range(2)),
                takes_bare=_NAME in _render(template, [_USER], _BARE_TOOL),
            )
    system = {"role": "system", "content": _RESULT}
    return ToolUse(takes_system=_RESULT in _render(template, [system, _USER], None))


def _call_format(template: ChatTemplate, takes_text: bool) -> str:
    """The format whose reader reads the example's call back; "" if there is none."""
    before = _render(template, [_USER], _TOOL)
    text = _render(template, _example(1, takes_text), _TOOL)
    if _NAME not in before or _RESULT not in text:
        return ""
    reply = text.removeprefix(before)
    for call_format in (HERMES, LLAMA, MISTRAL):
        reader = open_reader(call_format, has_tools=True)
        pieces = [*reader.push(reply), *reader.end()]
        names = [piece.name for piece in pieces if isinstance(piece, Call)]
        arguments = [piece.text for piece in pieces if isinstance(piece, Arguments)]
        if names == [_NAME] and _VALUE in "".join(arguments):
            return call_format
    return ""


def _render(template: ChatTemplate, messages: list[Message], tool: Message | None) -> str:
    """The text, or none if the template refuses."""
    try:
        return template.render(messages, tools=[tool] if tool else None)
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
