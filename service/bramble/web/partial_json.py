"""What is certain of a JSON object whose text may have been cut off."""

from __future__ import annotations

import json
import re
from typing import Any

_TOKEN = re.compile(r'\s*(?:("(?:[^"\\]|\\.)*")|([{}\[\],:])|([^\s"{}\[\],:]+))', re.DOTALL)
_CLOSERS = {"{": "}", "[": "]"}


def read_arguments(text: str) -> dict[str, Any]:
    """Return the object, of one that was cut off the members that are complete.

    What is no object at all becomes the one member `arguments`, so that nothing is lost.
    """
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = _read_cut(text)
    except RecursionError:
        found = text
    return found if isinstance(found, dict) else {"arguments": found}


def _read_cut(text: str) -> Any:
    """Read up to the last place where closing all that is open gives JSON."""
    opened: list[str] = []  # the brackets that close what is open
    stop, closers = 0, ""
    place = 0
    last = ""
    while (token := _TOKEN.match(text, place)) is not None:
        place = token.end()
        word = token[0].strip()
        is_key = token[1] is not None and opened[-1:] == ["}"] and last in ("{", ",")
        is_cut = token[3] is not None and place == len(text)  # a number may go on
        if word in _CLOSERS:
            opened.append(_CLOSERS[word])
        elif word in ("}", "]") and opened:
            opened.pop()
        last = word
        if word not in (",", ":") and not is_key and not is_cut:
            stop, closers = place, "".join(reversed(opened))
    try:
        return json.loads(text[:stop] + closers)
    except (ValueError, RecursionError):
        return text
