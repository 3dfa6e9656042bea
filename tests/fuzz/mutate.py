"""Inputs that are wrong at one place: values of JSON by others, bytes by others."""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

JSON = {  # target → what stands between its parts
    "manifest": b"",
    "tokenizer": rb"\0",
    "architecture": b"",
    "body": rb"\A[01]",
    "control": rb"\A[01].|\n.",
    "client": rb"\A.",
    "assign": rb"\A.",
}
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, 0.5, -0.0, 1e308, float("nan")),
    *("", "\0", "x", "BPE", "\ud800", "../x", "/etc/passwd", "ByteLevel", "ByteFallback", "9" * 50),
    *([], {}, [[]], {"type": "Sequence"}, {"content": "x"}, [None], {"": {}}),
]


def mutate_json(data: bytes, separator: bytes, chance: Random) -> bytes | None:
    """Change one value or name somewhere in a document; None where the part chosen is none."""
    parts = re.split(b"(" + separator + b")", data, flags=re.DOTALL) if separator else [data]
    index = chance.randrange(len(parts))
    try:
        parts[index] = json.dumps(_change(json.loads(parts[index]), chance)).encode()
    except (ValueError, RecursionError):
        return None
    return b"".join(parts)


def mutate_bytes(data: bytes, chance: Random) -> bytes:
    """Flip, put in, take out or repeat a few bytes; sometimes several times."""
    made = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        at = chance.randrange(len(made) + 1)
        match chance.randrange(5):
            case 0:
                made[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del made[at : at + chance.choice((1, 2, 4, 40))]
            case 2:
                made[at:at] = chance.choice((b"\0", b"\xff" * 4, b"\xff" * 8, b"\n", b"[" * 1200))
            case 3:
                made[at:at] = made[at : at + chance.choice((1, 8, 64))]
            case _:
                made[at : at + 4] = chance.randrange(1 << 32).to_bytes(4, "little")
    return bytes(made)


def _change(value: Any, chance: Random) -> Any:
    """The value with something else at one place, each as likely as its depth allows."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(list(value))
        match chance.randrange(8):
            case 0:
                return {k: v for k, v in value.items() if k != key}
            case 1:
                return value | {chance.choice([key + "x", "", "type", "__type"]): value[key]}
            case _:
                return value | {key: _change(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.85:
        at = chance.randrange(len(value))
        match chance.randrange(8):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return value[: at + 1] + value[at:]
            case _:
                return [*value[:at], _change(value[at], chance), *value[at + 1 :]]
    if isinstance(value, int) and chance.random() < 0.5:
        return value + chance.choice([-1, 1, 1 << 31, -(1 << 63), 1 << 64])
    return chance.choice(ODD)
