"""Tools, calls and results in a conversation's messages, as a chat template takes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from bramble.errors import BadInput
from bramble.model.tool_use import MISTRAL, ToolUse
from bramble.model.writable import check_writable

Message = dict[str, Any]

# What a model is told whose template knows no tools. The calls are in the form of Hermes and Qwen,
# which most models have met in training.
INTRODUCTION = """\
# Tools

You can call functions to help with the user's request. These are the functions, one JSON object \
a line, inside <tools></tools>:
<tools>
{tools}
</tools>

To call a function, write a JSON object with its name and its arguments inside \
<tool_call></tool_call>, and nothing after it:
<tool_call>
{{"name": "the function's name", "arguments": {{"an argument's name": "its value"}}}}
</tool_call>

The result then comes inside <tool_response></tool_response>. Call a function only where it helps; \
otherwise answer as usual."""


def lay_out(
    messages: Sequence[Message], tools: Sequence[Message] | None, use: ToolUse, has_own: bool
) -> tuple[list[Message], list[Message] | None]:
    """Return messages and tools as the chat template is to have them.

    has_own  the template that this conversation takes lays out calls itself

    Raises BadInput for a call whose arguments are no JSON object.
    """
    offered = [_function(tool, f"tools[{i}]", use) for i, tool in enumerate(tools or ())]
    read = [_read_calls(message, f"messages[{i}]") for i, message in enumerate(messages)]
    if not has_own:
        return _as_text(read, offered, use), None
    if not use.takes_several:
        read = _one_by_one(read)
    return [_native(message, use) for message in read], offered or None


def _function(tool: Message, where: str, use: ToolUse) -> Message:
    """A tool as templates expect it: no nulls and no `strict`; what they cannot do without."""
    found = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        raise BadInput(f"{where}.function: need an object with a name", f"{where}.function")
    function = {k: v for k, v in found.items() if v is not None and k != "strict"}
    if not isinstance(function.get("parameters", {}), dict):
        path = f"{where}.function.parameters"
        kind = type(function["parameters"]).__name__
        raise BadInput(f"{path}: got a {kind}, need an object, a JSON schema", path)
    check_writable(function, f"{where}.function")
    if use.is_native and not use.takes_bare:
        function = {"name": function["name"], "description": ""} | function
        function.setdefault("parameters", {"type": "object", "properties": {}})
    return {"type": "function", "function": function}


# ------------------------------------------------------------------------------------------ calls


def _read_calls(message: Message, where: str) -> Message:
    """The message with its calls' arguments as objects, and a text, if there are calls."""
    calls = message.get("tool_calls")
    if not calls:
        return {k: v for k, v in message.items() if k != "tool_calls"}
    if not isinstance(calls, list):
        path = f"{where}.tool_calls"
        raise BadInput(f"{path}: got a {type(calls).__name__}, need a list of calls", path)
    read = [_read_call(call, f"{where}.tool_calls[{i}]") for i, call in enumerate(calls)]
    return message | {"content": message.get("content") or "", "tool_calls": read}


def _read_call(call: Any, where: str) -> Message:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadInput(f"{where}.function: need an object with a name and arguments", where)
    path = f"{where}.function.arguments"
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{path} is not JSON: {error}; need a JSON object", path) from error
    if not isinstance(arguments, dict):
        kind = type(arguments).__name__
        raise BadInput(f"{path}: got a {kind}, need a JSON object of arguments", path)
    check_writable(arguments, path)
    kept = {key: call[key] for key in ("id", "type") if call.get(key) is not None}
    return kept | {"function": {"name": function["name"], "arguments": arguments}}


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def _one_by_one(messages: list[Message]) -> list[Message]:
    """Each call in a message of its own, its result behind it."""
    found: list[Message] = []
    rest = list(messages)
    while rest:
        message = rest.pop(0)
        calls = message.get("tool_calls") or []
        if len(calls) < 2:
            found.append(message)
            continue
        results = _leading_results(rest)
        for number, call in enumerate(calls):
            said = message["content"] if number == 0 else ""
            found.append(message | {"content": said, "tool_calls": [call]})
            found += [each for each in results if each.get("tool_call_id") == call.get("id")]
        known = [call.get("id") for call in calls]
        found += [each for each in results if each.get("tool_call_id") not in known]
    return found


def _leading_results(rest: list[Message]) -> list[Message]:
    """Take the results off that a list begins with."""
    results = []
    while rest and rest[0].get("role") == "tool":
        results.append(rest.pop(0))
    return results


# ----------------------------------------------------------------------- for a template that knows


def _native(message: Message, use: ToolUse) -> Message:
    if use.call_format == MISTRAL and message.get("tool_call_id"):
        message = message | {"tool_call_id": _short_id(str(message["tool_call_id"]))}
    if not message.get("tool_calls"):
        return message
    return message | {"tool_calls": [_native_call(call, use) for call in message["tool_calls"]]}


def _native_call(call: Message, use: ToolUse) -> Message:
    if use.call_format == MISTRAL:
        call = call | {"id": _short_id(str(call.get("id", "")))}
    if not use.takes_text:
        return call
    function: Message = call["function"]
    return call | {"function": function | {"arguments": _json(function["arguments"])}}


def _short_id(text: str) -> str:
    """Mistral's templates take ids of nine letters and digits, and refuse others."""
    if len(text) == 9 and text.isascii() and text.isalnum():
        return text
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:9]


# -------------------------------------------------------------------- for a template that does not


def _as_text(messages: list[Message], tools: list[Message], use: ToolUse) -> list[Message]:
    found: list[Message] = []
    for message in messages:
        is_result = message.get("role") == "tool"
        written = _written(message)
        follows_result = bool(found) and "<tool_response>" in found[-1].get("content", "")
        if (
            found
            and written.get("role") == "user" == found[-1].get("role")
            and (is_result or follows_result)
        ):
            found[-1] = found[-1] | {"content": f"{found[-1]['content']}\n{written['content']}"}
        else:
            found.append(written)
    return _introduced(found, tools, use) if tools else found


def _written(message: Message) -> Message:
    """A message of role and content alone."""
    if message.get("role") == "tool":
        result = f"<tool_response>\n{_text(message.get('content'))}\n</tool_response>"
        return {"role": "user", "content": result}
    if not message.get("tool_calls"):
        return message
    parts = [_text(message.get("content"))]
    for call in message["tool_calls"]:
        parts.append(f"<tool_call>\n{_json(call['function'])}\n</tool_call>")
    content = "\n".join(part for part in parts if part)
    return {k: v for k, v in message.items() if k != "tool_calls"} | {"content": content}


def _introduced(messages: list[Message], tools: list[Message], use: ToolUse) -> list[Message]:
    """Tell of the tools at the end of the system message, or before the first message's text."""
    text = INTRODUCTION.format(tools="\n".join(_json(tool) for tool in tools))
    is_system = bool(messages) and messages[0].get("role") in ("system", "developer")
    if is_system:
        own = _text(messages[0].get("content"))
        told = f"{own}\n\n{text}" if own else text
        return [messages[0] | {"content": told}, *messages[1:]]
    if use.takes_system or not messages or messages[0].get("role") != "user":
        return [{"role": "system", "content": text}, *messages]
    told = f"{text}\n\n{_text(messages[0].get('content'))}"
    return [messages[0] | {"content": told}, *messages[1:]]


def _text(content: Any) -> str:
    """A message's text, also where it comes in parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
