"""The reader of a model's replies, by the name of its format."""

from __future__ import annotations

from bramble.model.replies.calls import HERMES, LLAMA, MISTRAL, CallReader
from bramble.model.replies.pieces import ReplyReader
from bramble.model.replies.thoughts import PlainReader, ThoughtReader

FORMATS = {"hermes": HERMES, "llama": LLAMA, "mistral": MISTRAL}

# What marks calls in a reply's text, also where it is a special token, which has no text otherwise
MARKERS = frozenset(
    (
        *(each for kind in FORMATS.values() for each in (kind.marker, kind.closer) if each),
        *("[ARGS]", "[CALL_ID]"),
    )
)


def open_reader(reply_format: str, has_tools: bool) -> ReplyReader:
    """Return a reader for one reply.

    reply_format  what Accepted said; one that is not known here has thoughts and no calls
    has_tools     the request offers tools: without, a call is only said
    """
    call_format = FORMATS.get(reply_format)
    if call_format is None or not has_tools:
        return ThoughtReader(PlainReader())
    return ThoughtReader(CallReader(call_format))
