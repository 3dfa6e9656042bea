"""Which piece of a streamed text is wrong. Pure."""

from __future__ import annotations

from tests.chaos.history import Line


def repeated(deltas: list[Line], wanted: str) -> Line | None:
    """Return the first of the pieces that say once more what was said just before them."""
    texts = [line["text"] for line in deltas]
    whole, start = "".join(texts), 0
    excess = len(whole) - len(wanted)
    for line, text in zip(deltas, texts, strict=True):
        piece = whole[start : start + excess]
        if (
            excess > 0
            and whole[:start].endswith(piece)
            and wanted == whole[:start] + whole[start + excess :]
        ):
            return line
        start += len(text)
    return None


def piece_at(deltas: list[Line], character: int) -> Line | None:
    """Return the piece that has this character of the whole text."""
    stop = 0
    for line in deltas:
        stop += len(line["text"])
        if stop > character:
            return line
    return None
