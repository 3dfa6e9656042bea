"""Which tokens of a chat's prompt are replies of earlier turns.

They are computed as replies again (head/flips.py), so that the next turn of a conversation is the
same whether its history is still cached or has to be read anew. It follows from the messages alone:
a reply begins where the template would have had it begin, and is as long as its message.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any

from bramble.errors import BadInput
from bramble.head.flips import Flips
from bramble.model.tokenizer import Tokenizer

MAX_REPLIES = 64  # the template is run once more for each; those behind them count as prompt

Messages = Sequence[dict[str, Any]]


def read_history(tokenizer: Tokenizer, messages: Messages, text: str) -> tuple[list[int], Flips]:
    """Return the token ids of `text`, to which the template has rendered messages, and their flips.

    A reply whose first or last character is not the border of a token counts as prompt.
    """
    spans = list(_replies(tokenizer, messages, text))
    if not spans:
        ids = tokenizer.encode_rendered(text)
        return ids, (len(ids),)
    ids, starts = tokenizer.encode_with_starts(text)
    flips: list[int] = []
    for span in spans:
        start, stop = (bisect_left(starts, character) for character in span)
        are_borders = starts[start : start + 1] + starts[stop : stop + 1] == list(span)
        if are_borders and start < stop and start > (flips[-1] if flips else 0):
            flips += [start, stop]
    return ids, (*flips, len(ids))


def _replies(tokenizer: Tokenizer, messages: Messages, text: str) -> Iterator[tuple[int, int]]:
    """Yield [start, stop), in characters, of the assistant messages that the template wrote where
    it would have had their replies begin."""
    indices = [i for i, each in enumerate(messages) if each.get("role") == "assistant"]
    for index in indices[:MAX_REPLIES]:
        content = messages[index].get("content")
        if not content or not isinstance(content, str):
            continue
        try:
            prefix = tokenizer.render_chat(messages[:index])
        except BadInput:  # a template may refuse a part of what it takes as a whole
            continue
        for written in (content, content.strip()):
            if written and text.startswith(prefix + written):
                yield len(prefix), len(prefix) + len(written)
                break
