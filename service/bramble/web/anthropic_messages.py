"""The `system` and `messages` of Anthropic's protocol, as the chat templates read a conversation.

A turn's blocks become one message and, of a user, one more for each result of a tool. Texts of
one user turn stand on lines of their own; those of an assistant follow each other as they were
said. Neighbouring turns of one role are one turn, as in Anthropic's API.
"""

from __future__ import annotations

import json
from typing import Any

from bramble.errors import BadInput
from bramble.web.body import check_depth
from bramble.web.fields import Fields, refusal

Message = dict[str, Any]

# Whom Anthropic bills: not for the model, and another for each conversation, none of which would
# have its beginning in common with those before.
_BILLING = "x-anthropic-billing-header:"
_ROLES = ("user", "assistant", "system")
# A reply that is sent back as it came has these too.
_OF_A_REPLY = ("id", "type", "model", "stop_reason", "stop_sequence", "stop_details", "usage")
_KNOWN = ("role", "content", "container", "diagnostics", *_OF_A_REPLY)
_BLOCKS = {
    "system": ("text",),
    "user": ("text", "tool_result", "document"),
    "assistant": ("text", "thinking", "redacted_thinking", "tool_use"),
    "tool_result": ("text", "document"),
}
_MEMBERS = {  # beside type and cache_control, which all may have
    "text": ("text", "citations", "parsed_output"),  # the last is their client's own
    "document": ("source", "title", "context", "citations"),
    "thinking": ("thinking", "signature"),
    "redacted_thinking": ("data",),
    "tool_use": ("id", "name", "input", "caller", "toolset_name"),
    "tool_result": ("tool_use_id", "content", "is_error", "toolset_name"),
}


def read_conversation(body: Fields) -> list[Message]:
    """Return system prompt and turns. Raises BadInput with the path of what is wrong."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise body.refuse("messages", "a list of at least one message")
    calls: dict[str, str] = {}  # names of tools by the ids of their calls
    conversation = _read_system(body)
    for i, message in enumerate(messages):
        for each in _read_turn(message, f"messages[{i}]", calls):
            _append(conversation, each)
    if conversation[-1]["role"] == "assistant":
        path = f"messages[{len(messages) - 1}]"
        raise BadInput(
            f"{path}: the last message is the assistant's; a reply cannot be begun for the model "
            "here: end with a message of the user",
            path,
        )
    return conversation


def _read_system(body: Fields) -> list[Message]:
    system = body.get("system")
    if system is None:
        return []
    blocks = _read_blocks(system, body.path + "system", "system")
    texts = [str(block.get("text")) for block in blocks]
    text = _lines(text for text in texts if not text.startswith(_BILLING))
    return [{"role": "system", "content": text}] if text else []


def _append(conversation: list[Message], message: Message) -> None:
    """Add a message; what continues a turn of the same role is joined to it."""
    last = conversation[-1] if conversation else {"role": ""}
    if message["role"] == "tool" or message["role"] != last["role"]:
        conversation.append(message)
        return
    last["content"] = _lines([last["content"], message["content"]])
    if "reasoning_content" in message:
        texts = [last.get("reasoning_content", ""), message["reasoning_content"]]
        last["reasoning_content"] = _lines(texts)
    if "tool_calls" in message:
        last["tool_calls"] = last.get("tool_calls", []) + message["tool_calls"]


def _lines(texts: Any) -> str:
    return "\n".join(text for text in texts if text)


def _read_turn(message: Any, path: str, calls: dict[str, str]) -> list[Message]:
    if not isinstance(message, dict):
        raise refusal(path, message, "an object with role and content")
    fields = Fields(message, path + ".")
    fields.check_names(_KNOWN)
    role = fields.text("role")
    if role not in _ROLES:
        raise fields.refuse("role", f"one of {', '.join(_ROLES)}")
    blocks = _read_blocks(fields.get("content"), path + ".content", role)
    if role == "assistant":
        return [_read_assistant(blocks, calls)]
    if not blocks:
        raise fields.refuse("content", "a string or a list of at least one block")
    if role == "system":
        return [{"role": "system", "content": _lines(map(_text_of, blocks))}]
    return _read_user(blocks, calls)


def _read_blocks(content: Any, path: str, place: str) -> list[Fields]:
    """Return the blocks of a turn, of the system prompt or of a tool's result; a string is one."""
    if isinstance(content, str):
        return [Fields({"type": "text", "text": content}, path + ".")]
    if not isinstance(content, list):
        raise refusal(path, content, "a string or a list of blocks")
    return [_read_block(block, f"{path}[{i}]", place) for i, block in enumerate(content)]


def _read_block(block: Any, path: str, place: str) -> Fields:
    if not isinstance(block, dict):
        raise refusal(path, block, 'a block such as {"type": "text", "text": …}')
    fields = Fields(block, path + ".")
    kind = fields.text("type") or ""
    if kind not in _BLOCKS[place]:
        allowed = ", ".join(_BLOCKS[place])
        raise BadInput(f"{path}: got a block of type {kind[:40]!r}, need one of {allowed}", path)
    fields.check_names(("type", "cache_control", *_MEMBERS[kind]))
    if kind == "text" and fields.text("text") is None:
        raise fields.refuse("text", "a string")
    return fields


def _text_of(block: Fields) -> str:
    """Return the text of a text block or of a document."""
    if block.get("type") == "text":
        return str(block.get("text"))
    source = block.get("source")
    fields = Fields(source if isinstance(source, dict) else {}, block.path + "source.")
    if fields.get("type") != "text" or not isinstance(fields.get("data"), str):
        param = block.path + "source"
        raise BadInput(
            f'{param}: only documents of plain text are read: {{"type": "text", "data": …}}',
            param,
        )
    citations = block.get("citations")
    if isinstance(citations, dict) and citations.get("enabled"):
        raise BadInput(f"{block.path}citations: not offered here", block.path + "citations")
    return _lines([block.text("title"), block.text("context"), fields.get("data")])


def _read_assistant(blocks: list[Fields], calls: dict[str, str]) -> Message:
    texts, thoughts, tool_calls = [], [], []
    for block in blocks:
        match block.get("type"):
            case "text":
                texts.append(str(block.get("text")))
            case "thinking":
                thoughts.append(_required(block, "thinking"))
            case "tool_use":
                tool_calls.append(_read_call(block, calls))
    message: Message = {"role": "assistant", "content": "".join(texts)}
    if thought := "".join(thoughts):
        message["reasoning_content"] = thought
    if tool_calls:
        message["tool_calls"] = tool_calls
    return message


def _read_call(block: Fields, calls: dict[str, str]) -> dict[str, Any]:
    call_id, name, given = _required(block, "id"), _required(block, "name"), block.get("input")
    if not isinstance(given, dict):
        raise block.refuse("input", "an object")
    check_depth(given, block.path + "input")
    if call_id in calls:
        raise block.refuse("id", "an id that no other call has")
    calls[call_id] = name
    arguments = json.dumps(given, ensure_ascii=False)
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def _read_user(blocks: list[Fields], calls: dict[str, str]) -> list[Message]:
    """Results of tools come first, as in Anthropic's API: they answer the turn before."""
    texts: list[str] = []
    turn: list[Message] = []
    for block in blocks:
        if block.get("type") != "tool_result":
            texts.append(_text_of(block))
        elif texts:
            path = block.path.removesuffix(".")
            raise BadInput(f"{path}: results of tools have to come before other blocks", path)
        else:
            turn.append(_read_result(block, calls))
    if texts:
        turn.append({"role": "user", "content": _lines(texts)})
    return turn


def _read_result(block: Fields, calls: dict[str, str]) -> Message:
    call_id = _required(block, "tool_use_id")
    if call_id not in calls:
        raise block.refuse("tool_use_id", "the id of a tool_use block of an earlier message")
    content = block.get("content")
    path = block.path + "content"
    blocks = [] if content is None else _read_blocks(content, path, "tool_result")
    text = _lines(map(_text_of, blocks))
    if block.flag("is_error"):  # templates have no other place for it
        text = f"Error: {text}"
    return {"role": "tool", "tool_call_id": call_id, "name": calls[call_id], "content": text}


def _required(block: Fields, name: str) -> str:
    value = block.text(name)
    if value is None:
        raise block.refuse(name, "a string")
    return value
