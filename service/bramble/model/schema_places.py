"""How a client's JSON schema is spoken of: its places, and what is wrong there."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote

from bramble.errors import BadInput


def place(param: str, *steps: str | int) -> str:
    """Name a value below `param`: schema.properties.a.anyOf[1]"""
    for step in steps:
        if isinstance(step, int):
            param += f"[{step}]"
        elif re.fullmatch(r"[\w$-]{1,60}", step):
            param += f".{step}"
        else:
            param += f"[{json.dumps(step[:60], ensure_ascii=False)}]"
    return param


def pointer_of(ref: Any, where: str) -> str:
    """The JSON pointer of a reference within the schema."""
    if not isinstance(ref, str) or not (ref == "#" or ref.startswith("#/")):
        raise wrong(where, f"got {short(ref)}, need a place within this schema: #/$defs/NAME")
    return unquote(ref[1:])


def escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def short(value: Any) -> str:
    return f"{json.dumps(value, ensure_ascii=False, default=str):.80}"


def wrong(where: str, problem: str) -> BadInput:
    return BadInput(f"{where}: {problem}", where)
