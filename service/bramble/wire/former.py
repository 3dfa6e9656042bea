"""Assign as the release before shares has it: layers and ends by name, and nothing else of them.

What is written can be read by both releases, so that nodes may be upgraded one by one. The former
release passes over `share`; it is assigned uncut shares only.
"""

from __future__ import annotations

from typing import Any

import msgspec

from bramble.model.share import Share
from bramble.wire.messages import Assign

SAID = ("start", "stop", "has_embed", "has_lm_head")  # of a share, by the former release


def write(assign: Assign) -> bytes:
    """Return the JSON of an Assign, with what the former release needs."""
    document: dict[str, Any] = msgspec.to_builtins(assign)
    share = assign.share
    return msgspec.json.encode(document | {name: getattr(share, name) for name in SAID})


def read(text: bytes | memoryview) -> Assign:
    """Return an Assign of this release or the former. Raises msgspec.DecodeError."""
    document = msgspec.json.decode(text)
    if isinstance(document, dict) and "share" not in document:
        layers = msgspec.convert(document, _Layers)
        share = Share.uncut(layers.start, layers.stop, layers.has_embed, layers.has_lm_head)
        document["share"] = msgspec.to_builtins(share)
    return msgspec.convert(document, Assign)


class _Layers(msgspec.Struct):
    start: int
    stop: int
    has_embed: bool
    has_lm_head: bool
