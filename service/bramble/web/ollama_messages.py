"""The `messages` of an Ollama chat, checked, in the form in which Generate carries them.

Calls have arguments as objects here and as text there. Calls and results need no ids in Ollama: a
result belongs to the first call of the last turn that has none yet, or to the one it names.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from bramble.errors import BadInput
from bramble.web.body import check_depth
from bramble.web.faults import Faults
from bramble.web.fields import Fields, refusal

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_KNOWN = (
    *("role", "content", "thinking", "images", "tool_calls"),
    *("tool_name", "tool_call_id", "name"),
)


def read_messages(body: Fields, faults: Faults) -> list[dict[str, Any]]:
    """Return them as in OpenAI's chat API. Faults of single messages are kept; raises BadInput."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise body.refuse("messages", "a list of at least one message")
    conversation = _Conversation(starts_at=_start(messages))
    return [
        faults.attempt(partial(conversation.read, i, message), {})
        for i, message in enumerate(messages)
    ]


def check_images(fields: Fields) -> None:
    """Raise BadInput if there are images."""
    images = fields.get("images")
    if images is not None and not isinstance(images, list):
        raise fields.refuse("images", "a list")
    if images:
        path = fields.path + "images"
        raise BadInput(f"{path}: the model served here reads no images; send text alone", path)


class _Conversation:
    """What was called so far, and has no result yet.

    starts_at  the index of the first message that somebody said: a client that shortens its
               history may leave results before it, without their calls
    """

    def __init__(self, starts_at: int) -> None:
        self._starts_at = starts_at
        self._num_calls = 0
        self._open: list[tuple[str, str]] = []  # (id, name) of the last turn that calls
        self._ids: dict[str, str] = {}  # name by id, of all calls
        self._is_unsure = False  # calls could not be read: what follows is not said to lack them

    def read(self, index: int, message: Any) -> dict[str, Any]:
        path = f"messages[{index}]"
        if not isinstance(message, dict):
            raise refusal(path, message, "an object with role and content")
        fields = Fields(message, path + ".")
        fields.check_names(_KNOWN)
        role = _read_role(fields)
        check_images(fields)
        read = {"role": role, "content": fields.text("content") or ""}
        if role == "assistant":
            return read | self._read_turn(fields)
        if role == "tool":
            return read | self._read_result(fields, index)
        if fields.get("tool_calls"):
            raise BadInput(f"{path}.tool_calls: only an assistant calls", f"{path}.tool_calls")
        return read

    def _read_turn(self, fields: Fields) -> dict[str, Any]:
        thinking = fields.text("thinking")
        read: dict[str, Any] = {"reasoning_content": thinking} if thinking else {}
        calls = fields.get("tool_calls")
        if calls is None or calls == []:
            return read
        if not isinstance(calls, list):
            raise fields.refuse("tool_calls", "a list of calls")
        self._open = []
        self._is_unsure = True
        read["tool_calls"] = [
            self._read_call(call, f"{fields.path}tool_calls[{i}]") for i, call in enumerate(calls)
        ]
        self._is_unsure = False
        return read

    def _read_call(self, call: Any, path: str) -> dict[str, Any]:
        if not isinstance(call, dict) or not isinstance(call.get("function"), dict):
            raise refusal(path, call, '{"function": {"name": …, "arguments": {…}}}')
        function = Fields(call["function"], path + ".function.")
        name = function.text("name")
        if not name:
            raise function.refuse("name", "the name of a tool")
        arguments = _read_arguments(function)
        # Nine letters and digits, as some models' templates ask for
        call_id = Fields(call, path + ".").text("id") or f"call{self._num_calls:05d}"
        self._num_calls += 1
        self._open.append((call_id, name))
        self._ids[call_id] = name
        return {
            "id": call_id,
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }

    def _read_result(self, fields: Fields, index: int) -> dict[str, Any]:
        named = fields.text("tool_name") or fields.text("name")
        call_id = fields.text("tool_call_id")
        if index < self._starts_at or self._is_unsure:
            return {"tool_call_id": call_id or f"call{self._num_calls:05d}", "name": named or ""}
        if call_id is not None and call_id in self._ids:
            self._open = [each for each in self._open if each[0] != call_id]
            return {"tool_call_id": call_id, "name": self._ids[call_id]}
        for each in self._open if call_id is None else ():
            if named in (None, each[1]):
                self._open.remove(each)
                return {"tool_call_id": each[0], "name": each[1]}
        raise _lonely(fields, call_id, named)


def _lonely(fields: Fields, call_id: str | None, named: str | None) -> BadInput:
    path = fields.path.removesuffix(".")
    of = f" of {named[:40]!r}" if named else ""
    if call_id is not None:
        of, path = f" with the id {call_id[:40]!r}", f"{path}.tool_call_id"
    elif named:
        path = f"{path}.tool_name"
    return BadInput(
        f"{path}: a result, but no call{of} waits for one; send the assistant's message with its "
        "tool_calls before it",
        path,
    )


def _read_role(fields: Fields) -> str:
    role = fields.text("role")
    if role is None or role.lower() not in ROLES:
        raise fields.refuse("role", f"one of {', '.join(ROLES)}")
    return ROLES[role.lower()]


def _read_arguments(function: Fields) -> str:
    """Return a call's arguments as text; some clients send them as one."""
    arguments = function.get("arguments")
    if arguments is None:
        return "{}"
    try:
        parsed = json.loads(arguments) if isinstance(arguments, str) else arguments
        text = json.dumps(parsed, ensure_ascii=False)
        text.encode()  # fails for half of a surrogate pair
    except (ValueError, RecursionError):
        raise function.refuse("arguments", "an object of JSON in UTF-8") from None
    if not isinstance(parsed, dict):
        raise function.refuse("arguments", "an object")
    check_depth(parsed, function.path + "arguments")
    return text


def _start(messages: list[Any]) -> int:
    """Return the index of the first message of a user or assistant; 0 if there is none."""
    for index, message in enumerate(messages):
        if isinstance(message, dict) and str(message.get("role")).lower() in ("user", "assistant"):
            return index
    return 0
