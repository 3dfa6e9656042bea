"""What can be told of a JSON schema only as a whole: through its references and alternatives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bramble.model.schema_places import place, pointer_of, wrong

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
ONE = ("additionalProperties", "additionalItems", "items")  # keywords whose value is a schema
MANY = ("anyOf", "oneOf", "allOf", "prefixItems")  # … is a list of them
NAMED = ("properties", "patternProperties", "$defs", "definitions")  # … is an object of them
# Optional properties of one object. Each may come next, and takes 4 of 4,000 places (grammar.py)
MAX_FREE = 900


class Ends:
    """Which schemas some finite JSON fulfils: those that do not require themselves for ever."""

    def __init__(self, seen: dict[str, Any]) -> None:
        self._seen = seen
        self._finite: set[str] = set()
        refs = {
            pointer_of(s["$ref"], "") for s in seen.values() if isinstance(s, dict) and "$ref" in s
        }
        grows = True
        while grows:
            more = {ref for ref in refs - self._finite if self.of(seen[ref])}
            self._finite |= more
            grows = bool(more)

    def of(self, schema: Any) -> bool:
        return isinstance(schema, bool) or all(self._parts(schema))

    def _parts(self, schema: dict[str, Any]) -> Iterator[bool]:
        if "$ref" in schema:
            yield pointer_of(schema["$ref"], "") in self._finite
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                yield any(map(self.of, schema[keyword]))
        yield all(map(self.of, schema.get("allOf", ())))
        types = schema.get("type", TYPES)
        types = (types,) if isinstance(types, str) else types
        if set(types) == {"object"}:
            properties = schema.get("properties", {})
            yield all(self.of(properties.get(name, True)) for name in schema.get("required", ()))
        if set(types) == {"array"} and schema.get("minItems", 0) > 0:
            first = schema.get("prefixItems", schema.get("items", True))
            yield all(map(self.of, first)) if isinstance(first, list) else self.of(first)


class Free:
    """How many optional properties an object may go on with, in all forms that it may have."""

    def __init__(self, seen: dict[str, Any]) -> None:
        self._seen = seen
        self._known: dict[str, int] = {}  # of what is referred to; 0 while it is counted

    def check(self, param: str) -> None:
        """Raises BadInput for the first place that has too many."""
        for pointer, schema in self._seen.items():
            if (count := self._of(schema)) > MAX_FREE:
                words = f"{count} optional properties" if count < 10**6 else "too many of them"
                problem = f"{words}, up to {MAX_FREE} can be kept; require some of them"
                where = place(param, *map(_step, pointer.split("/")[1:]))
                raise wrong(
                    place(where, "properties") if "properties" in schema else where, problem
                )

    def _of(self, schema: Any) -> int:
        if not isinstance(schema, dict):
            return 0
        own = set(schema.get("properties", ())) - set(schema.get("required", ()))
        forms = [form for word in ("anyOf", "oneOf", "allOf") for form in schema.get(word, ())]
        count = len(own) + sum(map(self._of, forms))
        return count + self._behind(pointer_of(schema["$ref"], "")) if "$ref" in schema else count

    def _behind(self, pointer: str) -> int:
        if pointer not in self._known:
            self._known[pointer] = 0
            self._known[pointer] = self._of(self._seen[pointer])
        return self._known[pointer]


def _step(name: str) -> str | int:
    name = name.replace("~1", "/").replace("~0", "~")
    return int(name) if name.isdigit() and len(name) < 6 else name


def close(root: dict[str, Any]) -> None:
    """Let objects hold the properties that are listed, where the schema leaves others open without
    a word: what is valid then is valid anyway, and a model that finds no end would go on inventing
    names. Not where schemas are put together: a part does not know the names of the others.
    """
    objects = list(_schemas_in(root))
    if any(_PARTS & each.keys() and _OF_OBJECTS & each.keys() for each in objects):
        return
    if any("allOf" in each for each in objects):
        return
    for each in objects:
        listed = each.get("properties", {})
        is_open = not {"additionalProperties", "patternProperties"} & each.keys()
        is_enough = listed and listed.keys() >= set(each.get("required", ()))
        if is_open and is_enough and each.get("minProperties", 0) <= len(listed):
            each["additionalProperties"] = False


def _schemas_in(schema: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(schema, dict):
        return
    yield schema
    for keyword, value in schema.items():
        if keyword in NAMED:
            inner = list(value.values())
        else:
            inner = value if isinstance(value, list) else [value]
        if keyword in (*NAMED, *MANY, *ONE):
            for each in inner:
                yield from _schemas_in(each)


_PARTS = {"$ref", "anyOf", "oneOf"}
_OF_OBJECTS = {"properties", "required", "additionalProperties", "minProperties", "maxProperties"}
