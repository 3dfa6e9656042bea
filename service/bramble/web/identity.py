"""What a reply is called: by chance, or as follows from an Idempotency-Key and what is asked.

Of a key nothing can be guessed: who knows it but not the body gets another name.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from dataclasses import dataclass, replace
from typing import Any

from bramble.errors import BadInput, ReplyNotFound
from bramble.wire.messages import Generate

_KEY = re.compile(r"[!-~]([ -~]{0,253}[!-~])?")
_NAME = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Identity:
    name: str  # 32 hex digits
    key: str  # a hash of the client's; "" = it sent none

    def name_choice(self, request: Generate, index: int) -> Generate:
        """Return the request of one choice, with a name and, where none was chosen, a seed that
        follow from the key: asked again, it gets the same tokens."""
        named = replace(request, request=f"{self.name}-{index}")
        if not self.key:
            return named
        sampling = named.sampling
        if not named.is_seeded:
            digest = hashlib.sha256(named.request.encode()).digest()
            sampling = replace(sampling, seed=int.from_bytes(digest[:8], "big") >> 1)
        return replace(named, key=f"{self.key}-{index}", sampling=sampling, is_seeded=True)


def identify(key: str | None, kind: str, document: dict[str, Any]) -> Identity:
    """Return the name of a reply to `document`. Raises BadInput for a key that is none."""
    if key is None:
        return Identity(uuid.uuid4().hex, "")
    if not _KEY.fullmatch(key):
        raise BadInput(
            f"Idempotency-Key: got {len(key)} characters, need 1 to 255 printable ones of ASCII"
        )
    body = json.dumps(document, sort_keys=True, ensure_ascii=False)
    return Identity(_hash("reply", kind, key, body), _hash("key", key))


def read_id(reply_id: str, prefix: str) -> str:
    """Return the name in an id of a route. Raises ReplyNotFound for one that we never gave."""
    name = reply_id.removeprefix(prefix)
    if not (reply_id.startswith(prefix) and _NAME.fullmatch(name)):
        raise ReplyNotFound(
            f"{reply_id[:80]!r} is no id of a reply; they are {prefix} and 32 hexadecimal digits"
        )
    return name


def _hash(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
