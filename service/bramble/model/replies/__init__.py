"""What a reply's text is made of: what is said, what is thought, and which tools are called.

A reader takes the text as it comes and gives pieces, the same however the text was cut. What it
cannot read is said: no word is lost.
"""

from bramble.model.replies.pieces import Arguments, Call, Piece, ReplyReader, Said, Thought
from bramble.model.replies.reader import MARKERS, open_reader
from bramble.model.replies.thoughts import PlainReader

__all__ = [
    "MARKERS",
    "Arguments",
    "Call",
    "Piece",
    "PlainReader",
    "ReplyReader",
    "Said",
    "Thought",
    "open_reader",
]
