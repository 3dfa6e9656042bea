"""The `instructions` and `input` of OpenAI's Responses, as the chat templates read a conversation.

What a model gave in one reply comes back as several items: thoughts, texts and calls of tools
that follow one another are one message. So are neighbouring messages of one role: many templates
know no others than turns that alternate.
"""

from __future__ import annotations

import json
from typing import Any

from bramble.errors import BadInput
from bramble.web.body import check_depth
from bramble.web.fields import Fields, refusal

Message = dict[str, Any]

_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_TYPES = ("message", "function_call", "function_call_output", "reasoning")
_MESSAGE = ("type", "id", "role", "content", "status", "phase")
_PARTS = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}
# Beside OpenAI's there is what their client adds to a reply, and sends back with it.
_PART = ("type", "text", "refusal", "annotations", "logprobs", "prompt_cache_breakpoint", "parsed")
_CALL = (
    *("type", "id", "call_id", "name", "arguments", "status", "async", "caller", "namespace"),
    *("async_", "parsed_arguments"),
)
_OUTPUT = ("type", "id", "call_id", "output", "status", "name", "caller", "namespace")
_REASONING = ("type", "id", "summary", "content", "encrypted_content", "status")


def read_input(body: Fields) -> list[Message]:
    """Return the conversation. Raises BadInput with the path of what is wrong."""
    asked = body.get("input")
    if isinstance(asked, str):
        items = [{"role": "user", "content": asked}]
    elif isinstance(asked, list) and asked:
        items = asked
    else:
        raise body.refuse("input", "a text or a list of at least one item")
    conversation: list[Message] = []
    if instructions := body.text("instructions"):
        conversation.append({"role": "system", "content": instructions})
    calls: dict[str, str] = {}  # names of tools by the ids of their calls
    for i, item in enumerate(items):
        _append(conversation, _read_item(item, f"input[{i}]", calls))
    return conversation


def _append(conversation: list[Message], message: Message) -> None:
    """Add a message; what continues a turn of the same role is joined to it."""
    last = conversation[-1] if conversation else {"role": ""}
    if message["role"] == "tool" or message["role"] != last["role"]:
        conversation.append(message)
        return
    for name in ("reasoning_content", "content"):
        texts = [last.get(name), message.get(name)]
        if joined := "\n".join(text for text in texts if text):
            last[name] = joined
    if "tool_calls" in message:
        last["tool_calls"] = last.get("tool_calls", []) + message["tool_calls"]


def _read_item(item: Any, path: str, calls: dict[str, str]) -> Message:
    if not isinstance(item, dict):
        raise refusal(path, item, "an item such as a message")
    fields = Fields(item, path + ".")
    kind = fields.text("type") or ("message" if fields.has("role") else "")
    match kind:
        case "message":
            return _read_message(fields)
        case "function_call":
            return _read_call(fields, calls)
        case "function_call_output":
            return _read_output(fields, calls)
        case "reasoning":
            return _read_reasoning(fields)
    allowed = ", ".join(_TYPES)
    raise BadInput(f"{path}: got an item of type {kind[:40]!r}, need one of {allowed}", path)


def _read_message(fields: Fields) -> Message:
    fields.check_names(_MESSAGE)
    role = fields.text("role")
    if role not in _ROLES:
        raise fields.refuse("role", f"one of {', '.join(_ROLES)}")
    return {"role": _ROLES[role], "content": _read_parts(fields, "content")}


def _read_parts(fields: Fields, name: str) -> str:
    """Return a text, or the texts of a list of parts."""
    content = fields.get(name)
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise fields.refuse(name, "a text or a list of text parts")
    return "".join(
        _read_part(part, f"{fields.path}{name}[{i}]", _PARTS) for i, part in enumerate(content)
    )


def _read_part(part: Any, path: str, texts: dict[str, str]) -> str:
    """Return the text of a part; `texts` says where each type has it."""
    if not isinstance(part, dict):
        raise refusal(path, part, 'a part such as {"type": "input_text", "text": …}')
    fields = Fields(part, path + ".")
    kind = fields.text("type") or ""
    if kind not in texts:
        allowed = ", ".join(texts)
        raise BadInput(f"{path}: got a part of type {kind[:40]!r}, need one of {allowed}", path)
    fields.check_names(_PART)
    return _required(fields, texts[kind])


def _read_call(fields: Fields, calls: dict[str, str]) -> Message:
    fields.check_names(_CALL)
    call_id, name = _required(fields, "call_id"), _required(fields, "name")
    arguments = _required(fields, "arguments")
    check_depth(_parse(fields, arguments), fields.path + "arguments")
    if call_id in calls:
        raise fields.refuse("call_id", "an id that no other call has")
    calls[call_id] = name
    function = {"name": name, "arguments": arguments}
    call = {"id": call_id, "type": "function", "function": function}
    return {"role": "assistant", "content": "", "tool_calls": [call]}


def _read_output(fields: Fields, calls: dict[str, str]) -> Message:
    fields.check_names(_OUTPUT)
    call_id = _required(fields, "call_id")
    if call_id not in calls:
        raise fields.refuse("call_id", "the call_id of an earlier function_call")
    content = _read_parts(fields, "output")
    return {"role": "tool", "tool_call_id": call_id, "name": calls[call_id], "content": content}


def _read_reasoning(fields: Fields) -> Message:
    """Return the thought itself or, where there is none, its summary."""
    fields.check_names(_REASONING)
    texts: list[str] = []
    for name, kind in (("content", "reasoning_text"), ("summary", "summary_text")):
        parts = fields.get(name)
        if parts is not None and not isinstance(parts, list):
            raise fields.refuse(name, "a list of parts")
        for i, part in enumerate([] if texts else parts or []):
            texts.append(_read_part(part, f"{fields.path}{name}[{i}]", {kind: "text"}))
    return {"role": "assistant", "content": "", "reasoning_content": "\n".join(texts)}


def _parse(fields: Fields, arguments: str) -> dict[str, Any]:
    try:
        found = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise fields.refuse("arguments", "a text that is a JSON object")
    return found


def _required(fields: Fields, name: str) -> str:
    value = fields.text(name)
    if value is None:
        raise fields.refuse(name, "a text")
    return value
