"""A document that fits a JSON schema: the simplest one, with every property."""

from __future__ import annotations

from typing import Any

WORD = "Paris"
SIMPLE = {
    "string": WORD,
    "integer": 7,
    "number": 7.5,
    "boolean": True,
    "null": None,
}


def example_of(schema: dict[str, Any], root: dict[str, Any] | None = None) -> Any:
    """Return a value that `schema` allows; `root` holds what its references name.

    Knows what the clients of this folder send: no patterns, no negations.
    """
    root = schema if root is None else root
    if "$ref" in schema:
        return example_of(_named(schema["$ref"], root), root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return example_of(schema[key][0], root)
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: example_of(each, root) for name, each in schema.get("properties", {}).items()}
    if kind == "array":
        return [example_of(schema.get("items", {"type": "string"}), root)]
    return max(SIMPLE[kind], schema["minimum"]) if "minimum" in schema else SIMPLE[kind]


def _named(reference: str, root: dict[str, Any]) -> dict[str, Any]:
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)
