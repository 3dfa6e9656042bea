"""System messages that do not stand first, for chat templates that know none there.

Agents put reminders between the turns of a conversation. A template that refuses such a message, or
leaves it out, gets its text in the user's turn beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bramble.errors import BadInput
from bramble.model.chat_template import ChatTemplate

Message = dict[str, Any]

_MARK = "zqreminder"
_EXAMPLE = (
    {"role": "system", "content": "a"},
    {"role": "user", "content": "a"},
    {"role": "system", "content": _MARK},
)


def takes_late_system(template: ChatTemplate) -> bool:
    """Tell whether a template lays out a system message behind others, by an example."""
    try:
        return _MARK in template.render(_EXAMPLE)
    except BadInput:
        return False


def has_late_system(messages: Sequence[Message]) -> bool:
    return any(message.get("role") == "system" for message in messages[1:])


def without_late_system(messages: Sequence[Message]) -> list[Message]:
    """Return the same conversation with at most one system message, which stands first.

    The text of one behind others joins the user's turn before or after it, or is a turn of its own.
    """
    found: list[Message] = []
    holds_late = False  # the last one of `found` is a user's turn with such a text
    for message in messages:
        is_late = message.get("role") == "system" and bool(found)
        if is_late and len(found) == 1 and found[0].get("role") == "system":
            found[0] = _joined(found[0], message)
            continue
        turn = message | {"role": "user"} if is_late else message
        is_neighbour = bool(found) and turn.get("role") == found[-1].get("role") == "user"
        if is_neighbour and (is_late or holds_late):
            found[-1] = _joined(found[-1], turn)
            holds_late = True
        else:
            found.append(turn)
            holds_late = is_late
    return found


def _joined(message: Message, other: Message) -> Message:
    texts = [str(each["content"]) for each in (message, other) if each.get("content")]
    return message | {"content": "\n\n".join(texts)}
