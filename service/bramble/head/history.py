"""Which tokens of a chat's prompt are replies of earlier turns.

They are computed as replies again (head/flips.py), so that the next turn of a conversation is the
same whether its history is still cached or has to be read anew. It follows from the messages alone:
a reply begins where the template would have had it begin, and is as long as its message.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bramble.errors import BadInput
from bramble.head.flips import Flips
from bramble.model.tokenizer import PLAIN, Chat, Tokenizer

MAX_REPLIES = 64  # the template is run once more for each; those behind them count as prompt

Messages = Sequence[dict[str, Any]]


def read_history(
    tokenizer: Tokenizer,
    messages: Messages,
    text: str,
    chat: Chat = PLAIN,
    eos_ids: Collection[int] = (),
) -> tuple[list[int], Flips]:
    """Return the token ids of `text`, to which the template has rendered messages, and their flips.

    eos_ids  what ends a reply that is more than its message's content: a thought, or calls

    A reply whose first or last character is not the border of a token counts as prompt.
    """
    spans = list(_replies(tokenizer, messages, text, chat))
    if not spans:
        ids = tokenizer.encode_rendered(text)
        return ids, (len(ids),)
    ids, starts = tokenizer.encode_with_starts(text)
    flips: list[int] = []
    for span in spans:
        start = bisect_left(starts, span.start)
        stop = bisect_left(starts, span.stop)
        if span.is_whole:  # the message as the template wrote it, its end and what follows
            stop = next((i for i in range(start, stop) if ids[i] in eos_ids), start)
            is_border = True
        else:
            is_border = starts[stop : stop + 1] == [span.stop]
        is_border = is_border and starts[start : start + 1] == [span.start]
        if is_border and start < stop and start > (flips[-1] if flips else 0):
            flips += [start, stop]
    return ids, (*flips, len(ids))


@dataclass(frozen=True, slots=True)
class _Span:
    """Where an assistant's message stands in the text: [start, stop), in characters."""

    start: int
    stop: int
    is_whole: bool = False  # with what the template writes behind a reply


def _replies(tokenizer: Tokenizer, messages: Messages, text: str, chat: Chat) -> Iterator[_Span]:
    """Yield the assistant messages that the template wrote where it would have had their replies
    begin."""
    indices = [i for i, each in enumerate(messages) if each.get("role") == "assistant"]
    for index in indices[:MAX_REPLIES]:
        span = _reply(tokenizer, messages, index, text, chat)
        if span is not None:
            yield span


def _reply(
    tokenizer: Tokenizer, messages: Messages, index: int, text: str, chat: Chat
) -> _Span | None:
    message = messages[index]
    content = message.get("content")
    has_more = bool(message.get("tool_calls") or message.get("reasoning_content"))
    if not has_more and (not content or not isinstance(content, str)):
        return None
    try:
        prefix = tokenizer.render_chat(messages[:index], chat)
        if not text.startswith(prefix):
            return None
        if isinstance(content, str) and not message.get("tool_calls"):
            for written in (content, content.strip()):
                if written and text.startswith(written, len(prefix)):
                    return _Span(len(prefix), len(prefix) + len(written))
        if not has_more:
            return None
        whole = tokenizer.render_chat(messages[: index + 1], chat, opens_reply=False)
    except BadInput:  # a template may refuse a part of what it takes as a whole
        return None
    if not text.startswith(whole):
        return None
    return _Span(len(prefix), len(whole), is_whole=True)
