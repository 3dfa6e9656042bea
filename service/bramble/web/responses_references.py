"""Items that a client refers to by the ids they had in an earlier reply.

OpenAI's API keeps replies; here the head does for ten minutes, and an id names the reply it is of.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from bramble.errors import ReplyNotFound
from bramble.web.fields import shown

_ID = re.compile(r"(?:msg|rs|fc)_([0-9a-f]{32})[0-9a-f]+")

Items = list[dict[str, Any]]


def put_in(document: dict[str, Any], output_of: Callable[[str], Items]) -> dict[str, Any]:
    """Return the body with the items themselves.

    output_of  the items of the reply of a name; raises ReplyNotFound
    """
    items = document.get("input")
    if not isinstance(items, list) or not any(map(_is_reference, items)):
        return document
    outputs: dict[str, Items] = {}
    found = []
    for i, item in enumerate(items):
        if _is_reference(item):
            found.append(_look_up(item.get("id"), f"input[{i}].id", outputs, output_of))
        else:
            found.append(item)
    return document | {"input": found}


def _is_reference(item: Any) -> bool:
    return isinstance(item, dict) and item.get("type") == "item_reference"


def _look_up(
    item_id: Any, path: str, outputs: dict[str, Items], output_of: Callable[[str], Items]
) -> dict[str, Any]:
    match = _ID.fullmatch(item_id) if isinstance(item_id, str) else None
    try:
        if match is None:
            raise ReplyNotFound(f"{shown(item_id)} is no id of an item")
        if match[1] not in outputs:
            outputs[match[1]] = output_of(match[1])
        return next(item for item in outputs[match[1]] if item["id"] == item_id)
    except (ReplyNotFound, StopIteration) as error:
        raise ReplyNotFound(
            f"{path}: no such item is kept here, as replies are for some minutes only; send the "
            "item itself",
            path,
        ) from error
