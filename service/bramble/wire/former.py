"""Assign as the release before shares has it: layers and ends by name, one stage that is next.

What is written can be read by both releases, so that nodes may be upgraded one by one. The former
release passes over `share` and `next`; it is assigned whole layers only, and is of no group.
"""

from __future__ import annotations

from typing import Any

import msgspec

from bramble.model.share import Share
from bramble.wire.messages import Assign, Member

SAID = ("start", "stop", "has_embed", "has_lm_head")  # of a share, by the former release


def write(assign: Assign) -> bytes:
    """Return the JSON of an Assign, with what the former release needs."""
    document: dict[str, Any] = msgspec.to_builtins(assign)
    said = {name: getattr(assign.share, name) for name in SAID}
    following = assign.next[0] if assign.next else Member("", "")
    said |= {"next_endpoint": following.endpoint, "next_node": following.node}
    return msgspec.json.encode(document | said)


def read(text: bytes | memoryview) -> Assign:
    """Return an Assign of this release or the former. Raises msgspec.DecodeError."""
    document = msgspec.json.decode(text)
    if isinstance(document, dict) and "share" not in document:
        former = msgspec.convert(document, _Former)
        share = Share.uncut(former.start, former.stop, former.has_embed, former.has_lm_head)
        following = (Member(former.next_node, former.next_endpoint),)
        document |= {"share": msgspec.to_builtins(share), "next": msgspec.to_builtins(following)}
    return msgspec.convert(document, Assign)


class _Former(msgspec.Struct):
    start: int
    stop: int
    has_embed: bool
    has_lm_head: bool
    next_endpoint: str
    next_node: str = ""
