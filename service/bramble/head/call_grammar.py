"""Grammars of replies that have to call tools, or to think first: llguidance's dialect of Lark.

Pure. A grammar begins where the reply does, which may be inside of a thought.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bramble.errors import BadInput
from bramble.model.schema import embedded
from bramble.model.tool_use import HERMES, LLAMA, MISTRAL

MARKERS = {HERMES: "<tool_call>", MISTRAL: "[TOOL_CALLS]", LLAMA: ""}
ANY_OBJECT = {"type": "object"}
SPACE = r"SPACE: /[ \n]{1,4}/"


@dataclass(frozen=True, slots=True)
class Writing:
    """How a model writes calls.

    call_format  hermes, llama or mistral
    names_calls  Mistral's newer way: a name, then its arguments
    markers      special tokens by their names: they are no text in a grammar
    """

    call_format: str
    names_calls: bool
    markers: dict[str, int]

    def marker(self, name: str) -> str:
        return f"<[{self.markers[name]}]>" if name in self.markers else _quoted(name)


@dataclass(frozen=True, slots=True)
class Thought:
    """A reply may begin with a thought between these tags; is_open: the prompt has begun it."""

    opening: str
    closing: str
    is_open: bool


@dataclass(frozen=True, slots=True)
class Demand:
    """What of calls is asked for.

    tools       those that may be called, each with its place in the request
    must_call   the reply is a call; else it may be text
    is_single   no more than one call
    checks_all  arguments fulfil the schema also of a function that is not strict
    """

    tools: Sequence[tuple[int, dict[str, Any]]]
    must_call: bool
    is_single: bool
    checks_all: bool


def call_rules(writing: Writing, demand: Demand, answer: Sequence[str] = ()) -> list[str]:
    """Return the rules of `reply`: calls, or what may come instead. Raises BadInput for a schema.

    answer  the rules of `answer`, a text that is no call; none for any text

    A first call has its marker apart, as text before it ends only where a marker does.
    """
    for index, tool in demand.tools:
        _check_object(parameters_of(tool, demand), place(index))
    arguments = [
        f"arguments_{number}: %json {embedded(parameters_of(tool, demand), place(index))}"
        for number, (index, tool) in enumerate(demand.tools)
    ]
    written = [_written(writing, number, tool) for number, (_, tool) in enumerate(demand.tools)]
    marker = writing.marker(MARKERS[writing.call_format])
    rules = [*arguments, f"call: {' | '.join(written)}", *_behind_marker(writing, demand)]
    if writing.call_format == LLAMA:
        marker = ""  # a call is a bare object
    if demand.must_call:
        return [f"reply: {marker} marked", *rules]
    if answer:
        return [f"reply: {marker} marked | answer", *answer, *rules]
    return [*_text_or(writing, marker), *rules]


def _written(writing: Writing, number: int, tool: dict[str, Any]) -> str:
    """One call, without its marker."""
    name, arguments = tool["function"]["name"], f"arguments_{number}"
    if writing.names_calls:
        return f"{_quoted(name)} {writing.marker('[ARGS]')} {arguments}"
    key = "parameters" if writing.call_format == LLAMA else "arguments"
    head = f'{{"name": {json.dumps(name, ensure_ascii=False)}, "{key}": '
    return f'{_quoted(head)} {arguments} "}}"'


def _behind_marker(writing: Writing, demand: Demand) -> list[str]:
    """What follows the first marker: the rest of the first call, and more of them."""
    if writing.call_format == LLAMA:
        return ["marked: call"]  # its templates lay out no more than one
    if writing.call_format == MISTRAL and not writing.names_calls:
        more = "" if demand.is_single else ' (", " call)*'
        return [f'marked: " "? "[" call{more} "]"']
    marker = writing.marker(MARKERS[writing.call_format])
    one = "call"
    if writing.call_format == HERMES:
        one = f'"\\n" call "\\n" {writing.marker("</tool_call>")}'
    more = "" if demand.is_single else f" (SPACE? {marker} one)*"
    return [f"marked: one{more}", f"one: {one}", SPACE]


def _text_or(writing: Writing, marker: str) -> list[str]:
    """Text that cannot be taken for a call, or calls, with a text before them."""
    if writing.call_format == LLAMA:
        return ["reply: FREE | marked", r"FREE: /\s*([^\s{](.|\n)*)?/"]
    name = MARKERS[writing.call_format]
    if name in writing.markers:  # a special token is in no text
        return [f"reply: FREE ({marker} marked)?", r"FREE: /(.|\n)*/"]
    escaped = re.escape(name)
    return [
        "reply: FREE | begun marked",
        rf"FREE: /(.|\n)*/ & ~/(.|\n)*{escaped}(.|\n)*/",
        rf"begun[lazy]: /(.|\n)*{escaped}/",
    ]


def grammar(rules: Sequence[str], thought: Thought | None) -> str:
    """Return the whole grammar of a reply from the rules of `reply`."""
    if thought is None:
        return _lines("start: reply", *rules)
    begin = "thought" if thought.is_open else f"({_quoted(thought.opening)} thought)?"
    close = re.escape(thought.closing).replace("/", r"\/")
    written = [rule for rule in rules if rule != SPACE]
    return _lines(
        f"start: {begin} SPACE? reply", rf"thought[lazy]: /(.|\n)*{close}/", *written, SPACE
    )


def _lines(*rules: str) -> str:
    return "\n".join(rules) + "\n"


def parameters_of(tool: dict[str, Any], demand: Demand) -> Any:
    """The schema that a call's arguments fulfil: any object's, where no other is promised."""
    function = tool["function"]
    parameters = function.get("parameters")
    if not parameters or not (demand.checks_all or function.get("strict") is True):
        return ANY_OBJECT
    return parameters if "type" in parameters else {"type": "object", **parameters}


def _check_object(parameters: Any, where: str) -> None:
    kind = parameters.get("type", "object")
    if kind != "object":
        raise BadInput(f"{where}.type: got {kind!r:.80}, need object", f"{where}.type")


def place(index: int) -> str:
    return f"tools[{index}].function.parameters"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
