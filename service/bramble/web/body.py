"""From the bytes of an HTTP body to a JSON object; refuses what JSON or UTF-8 does not allow."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from bramble.errors import BadInput

MAX_DEPTH = 64  # objects and lists within each other; a schema takes two for each of its levels
_SHOWN_CHARACTERS = 200  # of the path to what is too deep


def read_object(body: bytes) -> dict[str, Any]:
    """Parse `body`. Raises BadInput that says where it stops being a JSON object in UTF-8."""
    if not body.strip():
        raise BadInput("the body is empty; send a JSON object", code="invalid_json")
    try:
        document = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise _invalid(f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise _invalid(f"{error.msg} at line {error.lineno} column {error.colno}") from error
    except RecursionError as error:
        raise _invalid("nested too deeply") from error
    except ValueError as error:  # an integer of thousands of digits
        raise _invalid("a number is too long") from error
    if not isinstance(document, dict):
        raise _invalid(f"got a {type(document).__name__}, need an object")
    _check_surrogates(body, document)
    check_depth(document)
    return document


def check_depth(value: dict[str, Any] | list[Any], path: str = "") -> None:
    """Refuse what is nested so deeply that a program behind us might not follow."""
    found = _too_deep(value, MAX_DEPTH)
    if found is not None:
        param = (path + found).lstrip(".")
        param = param if len(param) <= _SHOWN_CHARACTERS else param[:_SHOWN_CHARACTERS] + "…"
        message = f"{param}: nested more than {MAX_DEPTH} levels deep; send a flatter one"
        raise BadInput(message, param)


def _too_deep(value: dict[str, Any] | list[Any], levels: int) -> str | None:
    """Return the path to the first value that lies deeper; None = there is none."""
    if levels == 0:
        return ""
    members = value.items() if isinstance(value, dict) else enumerate(value)
    for key, member in members:
        if isinstance(member, dict | list):
            found = _too_deep(member, levels - 1)
            if found is not None:
                return (f"[{key}]" if isinstance(value, list) else f".{key}") + found
    return None


def _check_surrogates(body: bytes, document: dict[str, Any]) -> None:
    """Refuse half a surrogate pair, which JSON can spell but UTF-8 cannot carry further."""
    if b"\\ud" not in body.lower():
        return
    try:
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise _invalid("half of a surrogate pair") from error


def _refuse_constant(name: str) -> NoReturn:
    raise BadInput(f"the body is not valid JSON: {name} is not a number", code="invalid_json")


def _invalid(what: str) -> BadInput:
    return BadInput(f"the body is not valid JSON: {what}", code="invalid_json")
