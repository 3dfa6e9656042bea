"""The `messages` of a chat request, checked and reduced to what the chat template is given."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from bramble.errors import BadInput
from bramble.web.body import check_depth
from bramble.web.faults import Faults
from bramble.web.fields import Fields, check_distinct, refusal, shown

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
# What clients send back with a message, and the template is not told.
_IGNORED = (
    *("refusal", "annotations", "reasoning_details", "thinking_blocks", "cache_control"),
    *("provider_specific_fields", "id"),
)
# Without effect when empty, else not offered.
_EMPTY_ONLY = ("function_call", "audio", "prefix", "images")
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")  # names of several servers
_KNOWN = (
    *("role", "content", "name", "tool_calls", "tool_call_id"),
    *(*_THOUGHTS, *_EMPTY_ONLY, *_IGNORED),
)
_NO_ARGUMENTS = "{}"


def read_messages(body: Fields, faults: Faults) -> list[dict[str, Any]]:
    """Return messages of role and content; content parts are joined to one text.

    An assistant's also have `tool_calls` (arguments as text) and `reasoning_content`, a tool's
    `tool_call_id` and the `name` of the tool that was called. Faults of single messages are kept.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise body.refuse("messages", "a list of at least one message")
    called: dict[str, str] = {}  # id to name
    read = []
    for i, message in enumerate(messages):
        if faults.is_full:
            break
        one = partial(_read_message, message, f"messages[{i}]", called, faults)
        read.append(faults.attempt(one, {}))
    return read


def _read_message(
    message: Any, path: str, called: dict[str, str], faults: Faults
) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise refusal(path, message, "an object with role and content")
    fields = Fields(message, path + ".")
    role = _read_role(fields)
    Fields(message, path + ".", faults).check_names(_KNOWN)
    for name in _EMPTY_ONLY:
        if fields.get(name):
            hint = "; send tool_calls" if name == "function_call" else ""
            raise BadInput(
                f"{path}.{name}: not offered here{hint}; leave it out", path + "." + name
            )
    if role == "tool":
        return _read_result(fields, called)
    read: dict[str, Any] = {"role": role}
    if role == "assistant":
        calls = _read_calls(fields, called)
        read["content"] = _read_content(fields, may_be_empty=True)
        thoughts = [text for name in _THOUGHTS if (text := fields.text(name))]
        return read | ({"reasoning_content": thoughts[0]} if thoughts else {}) | calls
    return read | {"content": _read_content(fields)}


def _read_role(fields: Fields) -> str:
    role = fields.get("role")
    path = fields.path + "role"
    if role == "function":
        raise BadInput(f"{path}: 'function' is not offered; send role tool, tool_call_id", path)
    if not isinstance(role, str) or role not in _ROLES:
        raise fields.refuse("role", f"one of {', '.join(_ROLES)}")
    return _ROLES[role]


def _read_result(fields: Fields, called: dict[str, str]) -> dict[str, Any]:
    """Read what a tool returned: of a call that stands before it."""
    call_id = fields.text("tool_call_id")
    if call_id not in called:
        path = fields.path + "tool_call_id"
        got = (
            f"no call before this message has the id {shown(call_id)}" if call_id else "got nothing"
        )
        raise BadInput(f"{path}: {got}; need the id of one in an assistant's tool_calls", path)
    content = _read_content(fields, may_be_empty=True)
    return {"role": "tool", "content": content, "tool_call_id": call_id, "name": called[call_id]}


def _read_calls(fields: Fields, called: dict[str, str]) -> dict[str, Any]:
    calls = fields.get("tool_calls")
    if not calls and (calls is None or isinstance(calls, list)):
        return {}
    if not isinstance(calls, list):
        raise fields.refuse("tool_calls", "a list of calls")
    path = fields.path + "tool_calls"
    for call in calls:  # where it is wrong itself, its result is not
        if isinstance(call, dict) and isinstance(call_id := call.get("id"), str):
            called.setdefault(call_id, "")
    read = [_read_call(call, f"{path}[{i}]") for i, call in enumerate(calls)]
    check_distinct([call["id"] for call in read], path + "[{}].id")
    called |= {call["id"]: call["function"]["name"] for call in read}
    return {"tool_calls": read}


def _read_call(call: Any, path: str) -> dict[str, Any]:
    if not isinstance(call, dict):
        raise refusal(path, call, "an object with id, type and function")
    fields = Fields(call, path + ".")
    call_id = fields.text("id")
    if not call_id:
        raise fields.refuse("id", "a text, not empty")
    if fields.get("type") not in (None, "function"):
        raise fields.refuse("type", '"function"')
    function = fields.object("function")
    if function is None:
        raise fields.refuse("function", "an object with name and arguments")
    name = function.text("name")
    if not name:
        raise function.refuse("name", "the name of a tool")
    read = {"name": name, "arguments": _read_arguments(function)}
    return {"id": call_id, "type": "function", "function": read}


def _read_arguments(function: Fields) -> str:
    """Return the text of a JSON object; none counts as an empty one."""
    arguments = function.get("arguments")
    if arguments is None or arguments == "":
        return _NO_ARGUMENTS
    if isinstance(arguments, dict):  # as Ollama's clients keep them
        return json.dumps(arguments, ensure_ascii=False)
    parsed = _parse(arguments)
    if not isinstance(parsed, dict):
        raise function.refuse("arguments", "a JSON object as text")
    check_depth(parsed, function.path + "arguments")
    return str(arguments)


def _parse(text: Any) -> Any:
    """Return what a text spells as JSON; None = nothing."""
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None


def _read_content(fields: Fields, may_be_empty: bool = False) -> str:
    content, path = fields.get("content"), fields.path + "content"
    if isinstance(content, str):
        return content
    if may_be_empty and content in (None, []):
        return ""
    if not isinstance(content, list) or not content:
        raise refusal(path, content, "a string or a list of text parts")
    return "".join(_read_part(part, f"{path}[{i}]") for i, part in enumerate(content))


def _read_part(part: Any, path: str) -> str:
    if not isinstance(part, dict):
        raise refusal(path, part, '{"type": "text", "text": …}')
    fields = Fields(part, path + ".")
    kind = fields.text("type")
    if kind not in ("text", "refusal"):
        raise BadInput(f"{path}: a part of type {str(kind)[:40]!r}; only text is offered", path)
    fields.check_names(("type", kind, "cache_control", "annotations"))
    text = fields.text(kind)
    if text is None:
        raise fields.refuse(kind, "a string")
    return text
