"""What a reply has to be, by OpenAI's response_format or by the parameters of vLLM's clients.

Checks structure alone; whether a schema can be compiled, the head says.
"""

from __future__ import annotations

import json
import re
from typing import Any

from bramble.errors import BadInput
from bramble.web.body import check_depth
from bramble.web.fields import Fields, refusal
from bramble.wire.messages import Constraint

ANY_OBJECT = Constraint("json_schema", '{"type":"object"}')
_SCHEMA_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_GUIDED = ("guided_json", "guided_regex", "guided_choice", "guided_grammar")
# vLLM's newer names below structured_outputs
_STRUCTURED = {
    "json": "guided_json",
    "regex": "guided_regex",
    "choice": "guided_choice",
    "grammar": "guided_grammar",
}


def read_constraint(body: Fields) -> Constraint | None:
    """Return what the reply has to be; None = anything. Raises BadInput."""
    body = Fields(body.values, body.path)  # the first fault is enough
    found: dict[str, Constraint] = {}
    if (by_format := _read_format(body)) is not None:
        found["response_format"] = by_format
    for name in _GUIDED:
        if body.has(name):
            found[name] = _read_guided(name, body.get(name), body.path + name)
    structured = body.object("structured_outputs")
    if structured is not None:
        structured.check_names((*_STRUCTURED, "json_object"))
        for name, guided in _STRUCTURED.items():
            if structured.has(name):
                path = structured.path + name
                found[path] = _read_guided(guided, structured.get(name), path)
        if structured.flag("json_object"):
            found[structured.path + "json_object"] = ANY_OBJECT
    if len(found) > 1:
        first, second, *_ = found
        raise BadInput(f"{second}: contradicts {first}; send one of them", second)
    return next(iter(found.values()), None)


def schema_constraint(schema: Any, path: str) -> Constraint:
    if not isinstance(schema, dict | bool):
        raise refusal(path, schema, "a JSON schema: an object")
    if isinstance(schema, dict):
        check_depth(schema, path)
    return Constraint("json_schema", json.dumps(schema, ensure_ascii=False), path)


def _read_format(body: Fields) -> Constraint | None:
    found = body.object("response_format")
    if found is None:
        return None
    kind = found.text("type")
    if kind == "text":
        return None
    if kind == "json_object":
        if found.has("schema"):  # as llama.cpp's clients send it
            return _object_schema(found)
        return ANY_OBJECT
    if kind != "json_schema":
        raise found.refuse("type", "text, json_object or json_schema")
    inner = found.object("json_schema")
    if inner is None:
        raise found.refuse("json_schema", "an object with name and schema")
    name = inner.get("name")
    if not isinstance(name, str) or not _SCHEMA_NAME.fullmatch(name):
        raise inner.refuse("name", "a name of 1 to 64 letters, digits, _ or -")
    inner.text("description")
    inner.choice("strict")
    return _object_schema(inner)


def _object_schema(fields: Fields) -> Constraint:
    schema = fields.get("schema")
    if not isinstance(schema, dict):
        raise fields.refuse("schema", "a JSON schema: an object")
    return schema_constraint(schema, fields.path + "schema")


def _read_guided(name: str, value: Any, path: str) -> Constraint:
    if name == "guided_json":
        return schema_constraint(_parsed(value, path), path)
    if name == "guided_choice":
        return _one_of(value, path)
    if not isinstance(value, str) or not value:
        raise refusal(path, value, "a string, not empty")
    return Constraint("regex" if name == "guided_regex" else "lark", value, path)


def _parsed(schema: Any, path: str) -> Any:
    """Return a schema that was sent as text, as vLLM allows, as the object that it spells."""
    if not isinstance(schema, str):
        return schema
    try:
        return json.loads(schema)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: the text is not valid JSON: {error}", path) from error


def _one_of(choices: Any, path: str) -> Constraint:
    if not isinstance(choices, list) or not choices:
        raise refusal(path, choices, "a list of texts, not empty")
    for i, choice in enumerate(choices):
        if not isinstance(choice, str) or not choice:
            raise refusal(f"{path}[{i}]", choice, "a text, not empty")
    return Constraint("regex", "|".join(map(_escape, choices)), path)


def _escape(text: str) -> str:
    return re.sub(r"([\\.+*?()|\[\]{}^$#&~-])", r"\\\1", text)
