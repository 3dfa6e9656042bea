"""A client's JSON schema, read for a grammar: what no grammar holds is refused by name and path.

Pure. Whether the whole compiles is for head/constraint.py. What JSON Schema has readers ignore
(titles, examples, unknown words) is left out; `nullable` is OpenAPI's.
"""

from __future__ import annotations

import json
import re
from typing import Any

from bramble.errors import BadInput
from bramble.model.schema_dates import with_real_dates
from bramble.model.schema_places import escaped, place, pointer_of, short, wrong
from bramble.model.schema_unsupported import UNSUPPORTED
from bramble.model.schema_whole import MANY, NAMED, ONE, TYPES, Ends, Free, close

MAX_BYTES = 128 << 10  # of a schema or grammar; 5,000 properties compile in 0.3 s (DESIGN.md)
MAX_DEPTH = 100  # JSON values within each other; llguidance's own reader ends at 128
MAX_PATTERNS = 32  # of one patternProperties: every two of them are compared
MAX_OPTIONAL = 64  # properties beside minProperties or maxProperties: each is another object
# As a printer of JSON puts in. A model that has lost its way would write nothing else for ever
WHITESPACE = r"\x20|\x0A\x20{0,32}"
# Not u: a name could be spelled twice, as "a" and as "\u0061", which a reader takes for one
ESCAPES = 'nrbtf\\"'

FORMATS = (
    *("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"),
)
COUNTS = (*("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),)
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
# Values with which a keyword says nothing, although it is one that is not supported
SILENT = {"uniqueItems": False, "unevaluatedProperties": True, "unevaluatedItems": True}


def embedded(schema: Any, param: str) -> str:
    """Return a schema as the text that stands behind %json in a grammar.

    schema  parsed JSON, or its text
    param   what the client calls it: errors name what is wrong as a path below
    Raises BadInput.
    """
    return json.dumps(read_schema(schema, param), ensure_ascii=False)


def read_schema(schema: Any, param: str) -> dict[str, Any]:
    """Return what of a schema a grammar is to keep, with llguidance's options. Raises BadInput."""
    document = parse(schema, param) if isinstance(schema, str) else schema
    _check_size(document, param)
    kept = _Reader(param).read(document)
    if kept is False:
        raise BadInput(f"{param}: false allows no reply at all", param)
    root: dict[str, Any] = {} if kept is True else kept
    close(root)
    options = {"whitespace_pattern": WHITESPACE, "json_allowed_escapes": ESCAPES}
    return {"x-guidance": options, **root}


def parse(text: str, param: str) -> Any:
    """Read JSON that a client sent as text. Raises BadInput."""
    check_bytes(text, param)
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{param} cannot be read as JSON: {error}", param) from error


def check_bytes(text: str, param: str) -> None:
    """Raises BadInput for more than a grammar is compiled from, or for what is no text."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        problem = f"{param} holds half of a surrogate pair; send whole characters"
        raise BadInput(problem, param) from None
    if size > MAX_BYTES:
        raise BadInput(f"{param} has {size} bytes, {MAX_BYTES} are allowed; make it smaller", param)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _check_size(document: Any, param: str) -> None:
    """Raises BadInput for what is too deep or too long, before anything goes through it."""
    stack = [(document, 1)]
    while stack:
        value, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise BadInput(f"{param} is nested more than {MAX_DEPTH} levels deep", param)
        if isinstance(value, dict | list):
            values = value.values() if isinstance(value, dict) else value
            stack += [(each, depth + 1) for each in values]
    try:
        check_bytes(json.dumps(document, ensure_ascii=False), param)
    except TypeError as error:
        raise BadInput(f"{param} is not JSON: {error}", param) from error


class _Reader:
    """Goes through one schema; `_seen` are the places where it found one."""

    def __init__(self, param: str) -> None:
        self._param = param
        self._seen: dict[str, Any] = {}
        self._refs: dict[str, str] = {}  # where → the pointer that is meant

    def read(self, document: Any) -> Any:
        kept = self._schema(document, self._param, "")
        for where, pointer in self._refs.items():
            if pointer not in self._seen:
                raise wrong(where, f"{pointer or '#'!r} is no schema within this one")
        Free(self._seen).check(self._param)
        if not Ends(self._seen).of(document):
            raise BadInput(
                f"{self._param}: no finite JSON is valid, as each value requires another within it",
                self._param,
            )
        return kept

    def _schema(self, schema: Any, where: str, pointer: str) -> Any:
        if isinstance(schema, bool):
            self._seen[pointer] = schema
            return schema
        if not isinstance(schema, dict):
            raise wrong(where, f"got {short(schema)}, need an object or a boolean")
        self._seen[pointer] = schema
        kept: dict[str, Any] = {}
        for keyword, value in schema.items():
            if keyword in UNSUPPORTED and not (keyword in SILENT and value is SILENT[keyword]):
                problem = f"the keyword {keyword} is not supported; {UNSUPPORTED[keyword]}"
                raise wrong(place(where, keyword), problem)
            if keyword == "$id" and pointer:
                raise wrong(place(where, keyword), "only the whole schema may have an $id")
            if keyword in _CHECKS or keyword in (*ONE, *MANY, *NAMED):
                step = f"{pointer}/{escaped(keyword)}"
                kept[keyword] = self._value(keyword, value, place(where, keyword), step)
        _check_format(schema, where)
        _check_object(schema, where)
        return with_real_dates(_nullable(kept, schema, where))

    def _value(self, keyword: str, value: Any, where: str, pointer: str) -> Any:
        if keyword in NAMED:
            if not isinstance(value, dict):
                raise wrong(where, f"got {short(value)}, need an object")
            if keyword == "patternProperties":
                for name in value:
                    _pattern(name, where)
            return {
                name: self._schema(each, place(where, name), f"{pointer}/{escaped(name)}")
                for name, each in value.items()
            }
        if keyword in MANY or (keyword == "items" and isinstance(value, list)):
            if not isinstance(value, list) or not value:
                raise wrong(where, f"got {short(value)}, need a list of schemas")
            return [
                self._schema(each, place(where, index), f"{pointer}/{index}")
                for index, each in enumerate(value)
            ]
        if keyword in ONE:
            return self._schema(value, where, pointer)
        if keyword == "$ref":
            self._refs[where] = pointer_of(value, where)
        return _CHECKS[keyword](value, where)


def _check_format(schema: dict[str, Any], where: str) -> None:
    types = schema.get("type", "string")
    name = schema.get("format")
    if name is not None and "string" in types and name not in FORMATS:  # else it says nothing
        known = ", ".join(FORMATS)
        raise wrong(
            place(where, "format"),
            f"got {short(name)}, supported are {known}; leave it out, or use pattern",
        )


def _check_object(schema: dict[str, Any], where: str) -> None:
    if len(schema.get("patternProperties", ())) > MAX_PATTERNS:
        raise wrong(
            place(where, "patternProperties"),
            f"has more than the {MAX_PATTERNS} patterns that are supported; use fewer",
        )
    optional = set(schema.get("properties", ())) - set(schema.get("required", ()))
    for keyword in ("minProperties", "maxProperties"):
        if keyword in schema and len(optional) > MAX_OPTIONAL:
            raise wrong(
                place(where, keyword),
                f"is not supported beside more than {MAX_OPTIONAL} optional properties; "
                "leave it out, or require some",
            )
    # A grammar knows no set of the names so far: of names that are not listed, one may come twice
    if schema.get("minProperties", 0) > len(set(schema.get("required", ()))) + 1:
        raise wrong(
            place(where, "minProperties"),
            "is supported up to one more than the required properties; name more in required",
        )


def _nullable(kept: dict[str, Any], schema: dict[str, Any], where: str) -> dict[str, Any]:
    """OpenAPI's word for another type. Pointers into the schema stay right."""
    if schema.get("nullable") is not True:
        return kept
    if {"$ref", "allOf", "oneOf", "const"} & set(kept):
        raise wrong(
            place(where, "nullable"),
            "is not supported beside $ref, allOf, oneOf or const; "
            'use anyOf: [..., {"type": "null"}] instead',
        )
    if "type" in kept:
        types = [kept["type"]] if isinstance(kept["type"], str) else kept["type"]
        kept["type"] = list(dict.fromkeys([*types, "null"]))
    if "enum" in kept and None not in kept["enum"]:
        kept["enum"] = [*kept["enum"], None]
    if "anyOf" in kept:
        kept["anyOf"] = [*kept["anyOf"], {"type": "null"}]
    return kept


# ------------------------------------------------------------------------------ plain keywords


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise wrong(where, f"got {short(value)}, need a string")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise wrong(where, f"got {short(value)}, need a list that is not empty")
    return value


def _names(value: Any, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise wrong(where, f"got {short(value)}, need a list of strings")
    return value


def _types(value: Any, where: str) -> Any:
    for each in [value] if isinstance(value, str) else _list(value, where):
        if each not in TYPES:
            raise wrong(where, f"got {short(each)}, need one of {', '.join(TYPES)}")
    return value


def _count(value: Any, where: str) -> int:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value < 1 << 32 or value != int(value):
        raise wrong(where, f"got {short(value)}, need a whole number from 0 to {(1 << 32) - 1}")
    return int(value)


def _bound(value: Any, where: str) -> Any:
    is_old = isinstance(value, bool) and "exclusive" in where.rpartition(".")[2]  # of draft 4
    if not is_old and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise wrong(where, f"got {short(value)}, need a number")
    if where.endswith(".multipleOf") and value <= 0:
        raise wrong(where, f"got {value}, need more than 0")
    return value


def _literals(value: Any, where: str) -> Any:
    """Values as they are. Characters that JSON has to spell as \\u are none (see ESCAPES)."""
    stack = list(_list(value, where)) if where.endswith(".enum") else [value]
    while stack:
        each = stack.pop()
        stack += each.values() if isinstance(each, dict) else each if isinstance(each, list) else []
        if isinstance(each, str) and _CONTROL.search(each):
            raise wrong(
                where, f"{short(each)} holds a control character, which no reply can; take it out"
            )
    return value


def _pattern(value: Any, where: str) -> str:
    if _SPELLED.search(_CLASS.sub("", _text(value, where))):
        raise wrong(
            where, "names a control character by itself, which no reply can hold; take it out"
        )
    return str(value)


# Those without a short escape in JSON, as they are and as a regular expression spells them
_CONTROL = re.compile(r"[\x00-\x07\x0b\x0e-\x1f\x7f]")
_SPELLED = re.compile(
    r"\\(?:(?:x|u00)(?:0[0-7]|0[bBeEfF]|1[0-9a-fA-F]|7[fF])|[aevc]|0)|" + _CONTROL.pattern
)
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]")  # in which such are kept
_CHECKS = {
    "$ref": _text,
    "type": _types,
    "enum": _literals,
    "const": _literals,
    "required": _names,
    "pattern": _pattern,
    "format": _text,
    **dict.fromkeys(COUNTS, _count),
    **dict.fromkeys(BOUNDS, _bound),
}
