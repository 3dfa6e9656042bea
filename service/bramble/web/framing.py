"""Events as bytes: server-sent events, or a line of JSON each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from bramble.web.dialect import JSON_LINES, Comment, Dialect, Event


def frame(dialect: Dialect, events: Sequence[Event], event_id: str = "") -> bytes:
    """Return the bytes of events that belong together.

    event_id  goes to the last of them that is an object: who has it has them all
    """
    if dialect.media_type == JSON_LINES:
        return b"".join(_text(event) + b"\n" for event in events)
    numbered = max((i for i, event in enumerate(events) if _is_object(event)), default=-1)
    return b"".join(
        _sse(event, event_id if number == numbered else "") for number, event in enumerate(events)
    )


def frame_alive(dialect: Dialect, word: str, figures: dict[str, Any], is_behind_id: bool) -> bytes:
    """Return the bytes that keep a stream alive, none where the dialect has nothing to say.

    is_behind_id  an event with an id was sent: the Python packages of OpenAI and Anthropic, and
                  httpx-sse, take an empty line then for an event without data, and fail over it
    """
    said = dialect.alive(word, figures)
    if said is None:
        return b""
    if isinstance(said, Comment):
        return f": {said.text}\n".encode() + (b"" if is_behind_id else b"\n")
    return frame(dialect, [said])


def to_json(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _sse(event: Event, event_id: str) -> bytes:
    lines = [f"id: {event_id}\n"] if event_id else []
    lines += [f"event: {event.name}\n"] if event.name else []
    return "".join(lines).encode() + b"data: " + _text(event) + b"\n\n"


def _text(event: Event) -> bytes:
    return (event.data if isinstance(event.data, str) else to_json(event.data)).encode()


def _is_object(event: Event) -> bool:
    return not isinstance(event.data, str)
