"""The head's status document, asked for at most once a second however many read it."""

from __future__ import annotations

import threading
import time
from typing import Any

from bramble.errors import Unavailable
from bramble.head.client import Client

FRESH_S = 1.0  # status pages poll every second or two
MODEL_FRESH_S = 5.0  # the served model changes with a restart of the head


class Document:
    """A thread-safe cache of one document or of the head's refusal to give it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._document: dict[str, Any] | None = None
        self._refusal: Unavailable | None = None
        self._asked_at = -float("inf")

    def read(self, max_age_s: float = FRESH_S) -> dict[str, Any]:
        """Return the document, at most so old. Raises Unavailable."""
        with self._lock:
            self._refresh(max_age_s)
            if self._refusal is not None:
                raise self._refusal
            assert self._document is not None
            return self._document

    def read_model(self) -> dict[str, Any]:
        """Return what is known of the served model, an older word rather than none.

        Raises Unavailable if the head never answered.
        """
        with self._lock:
            self._refresh(FRESH_S if self._refusal else MODEL_FRESH_S)
            if self._document is None:
                assert self._refusal is not None
                raise self._refusal
            return self._document.get("model") or {}

    def _refresh(self, max_age_s: float) -> None:
        if time.monotonic() - self._asked_at < max_age_s:
            return
        try:
            self._document, self._refusal = self._client.status(), None
        except Unavailable as refusal:
            self._refusal = refusal
        self._asked_at = time.monotonic()
