"""The `messages` of a chat request, checked and reduced to role and content for the template."""

from __future__ import annotations

from typing import Any

from bramble.errors import BadInput
from bramble.web.fields import Fields, refusal

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_TOOL_ROLES = ("tool", "function")
# What clients send back with an assistant message: without effect when empty, else unsupported.
_EMPTY_ONLY = ("tool_calls", "function_call", "audio")
_IGNORED = ("name", "refusal", "annotations", "reasoning_content")
_KNOWN = ("role", "content", *_EMPTY_ONLY, *_IGNORED)


def read_messages(body: Fields) -> list[dict[str, Any]]:
    """Return [{role, content}]; content parts are joined to one text. Raises BadInput."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise body.refuse("messages", "a list of at least one message")
    return [_read_message(message, f"messages[{i}]") for i, message in enumerate(messages)]


def _read_message(message: Any, path: str) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise refusal(path, message, "an object with role and content")
    fields = Fields(message, path + ".")
    role = _read_role(fields)
    fields.check_names(_KNOWN)
    for name in _EMPTY_ONLY:
        if fields.get(name):
            raise BadInput(f"{path}.{name}: not supported yet; leave it out", f"{path}.{name}")
    return {"role": role, "content": _read_content(fields.get("content"), f"{path}.content")}


def _read_role(fields: Fields) -> str:
    role = fields.text("role")
    if role in _TOOL_ROLES:
        path = fields.path + "role"
        raise BadInput(f"{path}: {role!r} is not supported yet; use user", path)
    if role not in _ROLES:
        raise fields.refuse("role", f"one of {', '.join(_ROLES)}")
    return _ROLES[role]


def _read_content(content: Any, path: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        raise refusal(path, content, "a string or a list of text parts")
    return "".join(_read_part(part, f"{path}[{i}]") for i, part in enumerate(content))


def _read_part(part: Any, path: str) -> str:
    if not isinstance(part, dict):
        raise refusal(path, part, '{"type": "text", "text": …}')
    fields = Fields(part, path + ".")
    kind = fields.text("type")
    if kind != "text":
        raise BadInput(f"{path}: a part of type {str(kind)[:40]!r}; only text is supported", path)
    fields.check_names(("type", "text"))
    text = fields.text("text")
    if text is None:
        raise fields.refuse("text", "a string")
    return text
