"""What a template can write of values that clients send: not too deep, and whole characters."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from bramble.errors import BadInput

MAX_DEPTH = 100  # levels of objects and lists


def check_writable(value: Any, where: str) -> None:
    """Raises BadInput that names `where` for a value that no template could write."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            break
    else:
        raise BadInput(f"{where} is nested more than {MAX_DEPTH} levels deep", where)
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        problem = f"{where} holds half of a surrogate pair; send whole characters"
        raise BadInput(problem, where) from error
    except ValueError as error:  # as 1e999 is read
        raise BadInput(f"{where} holds a number that is too large for JSON", where) from error


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
