"""The path of a request, as clients write it: with slashes too many, or without /v1."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from flask import Flask

_API = "/v1"


def register(app: Flask) -> None:
    """Have every request's path put in order; call this once all routes are there."""
    words = words_of(rule.rule for rule in app.url_map.iter_rules())
    serve = app.wsgi_app

    def put_in_order(environ: dict[str, Any], start_response: Any) -> Any:
        environ["PATH_INFO"] = in_order(environ.get("PATH_INFO", ""), words)
        return serve(environ, start_response)

    app.wsgi_app = put_in_order  # type: ignore[method-assign]  # as Flask says to add middleware


def words_of(rules: Iterable[str]) -> frozenset[str]:
    """Return the words that stand behind /v1 in some route, and at the beginning of none."""
    split = [rule.split("/")[1:] for rule in rules]
    behind = {words[1] for words in split if words[0] == _API[1:] and len(words) > 1}
    return frozenset(behind - {words[0] for words in split})


def in_order(path: str, words: frozenset[str]) -> str:
    """Return `path` with single slashes and none at its end, and with /v1 once where it belongs.

    words  that only routes behind /v1 begin with
    """
    path = "/" + "/".join(part for part in path.split("/") if part)
    path = re.sub(rf"^({_API})+(?=/|$)", _API, path)
    return _API + path if path.split("/")[1] in words else path
