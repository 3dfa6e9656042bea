"""JSON schemas of the kinds that clients send, from a seed, and replies under them.

The kinds are those of public suites: nested objects, enums, patterns, references, formats, ranges,
unions, tuples, maps. Every schema can be fulfilled, and none is refused.
"""

from __future__ import annotations

import json
import random
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import bramble
import jsonschema
import numpy as np
from bramble.model.grammar import Grammars, grammar_text
from bramble.model.tokenizer import Tokenizer
from bramble.stage.sampler import Sampler
from bramble.stage.vocabulary import vocabulary
from bramble.wire.messages import Open, Sampling
from numpy.typing import NDArray

Schema = dict[str, Any]
NAMES = (
    *("id", "name", "age", "tags", "items", "address", "e-mail", "größe", "naïve key", "a.b"),
    *('quo"te', "back\\slash", "x/y", "type", "$ref", "properties", "名前", "enabled", "score"),
)
WORDS = ("red", "green", "blue", "", "a b", 'say "hi"', "C:\\temp", "naïve", "日本", "line\nbreak")
PATTERNS = (
    *("^[a-z]{2,8}$", "^\\d{3}-\\d{4}$", "[A-Z]", "^(foo|bar)+$", "^\\w+@\\w+\\.com$", "x"),
    *("^#[0-9a-f]{6}$", "^[^\\s]+$", "^\\+?[1-9]\\d{1,14}$", "^$|^a", "^.{3}$", "^colou?r$"),
)
FORMATS = (
    "date-time",
    "time",
    "date",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "uuid",
    "uri",
)
CHECKED_FORMATS = ("email", "ipv4", "ipv6", "uuid")  # by jsonschema, without further packages
MOST_TOKENS = 4000
SAMPLED = Sampling(temperature=1.0, top_p=0.95)


def schemas(count: int, seed: int = 0) -> list[Schema]:
    """Return the first `count` of an endless row: those of people first, then those of chance."""
    made = [json.loads(json.dumps(each)) for each in BY_HAND]
    chance = random.Random(seed)
    while len(made) < count:
        made.append(_root(chance))
    return made[:count]


def is_valid(schema: Schema, text: str) -> bool:
    kind = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
    checker = jsonschema.FormatChecker(CHECKED_FORMATS)
    value = json.loads(text, parse_float=_finite)
    return bool(kind(schema, format_checker=checker).is_valid(value))


def _finite(text: str) -> float:
    """A number as large as jsonschema computes with: chance may write 1e999."""
    return min(max(float(text), -1e300), 1e300)


class Replier:
    """Random logits over the embedded model's vocabulary, sampled under a schema."""

    def __init__(self) -> None:
        folder = Path(bramble.__file__).parent / "embedded"
        config = json.loads((folder / "config.json").read_text())
        self.end_id: int = config["eos_token_id"]
        words = vocabulary(Tokenizer(folder), config["vocab_size"], (self.end_id,))
        self.grammars = Grammars(words)
        self.tokens = words.tokens
        last = {b'"': 2.0, b"}": 1.5, b"]": 1.5, b"@": 1.5}  # a quote most: else no string ends
        self._endings = np.array([last.get(each[-1:], 0.0) for each in words.tokens], np.float32)
        self._endings[self.end_id] = 3.0

    def logits(self, seed: int, count: int) -> NDArray[np.float32]:
        """What is said behind `count` tokens: more and more of what ends a value, up to 200 of
        them, and then anew, as some patterns require a rare letter first.
        """
        draw = np.random.default_rng((seed, count))
        noise = draw.standard_normal(len(self.tokens), np.float32)
        return noise + self._endings * np.float32(2 * (count < 200) + count % 200 / 40)

    def reply(self, schema: Schema, seed: int, sampling: Sampling = SAMPLED) -> list[int]:
        """Return a whole reply's tokens, without the one that ends it."""
        sampler = Sampler(lambda: self.grammars)
        grammar = grammar_text("json_schema", json.dumps(schema), "schema")
        sampler.open(Open(1, 1, replace(sampling, seed=seed), (0,), grammar))
        said: list[int] = []
        while len(said) < MOST_TOKENS:
            logits = self.logits(seed, len(said))[None]
            token = int(sampler.sample(logits, [1], [1 + len(said)]).token_ids[0])
            assert token >= 0, f"stuck behind {self.text(said)[-200:]!r}"
            if token == self.end_id:
                return said
            said.append(token)
            sampler.feed(1, [token], len(said))
        raise AssertionError(f"no end behind {self.text(said)[-200:]!r}")

    def text(self, token_ids: list[int]) -> str:
        return b"".join(self.tokens[each] for each in token_ids).decode(errors="replace")


# ------------------------------------------------------------------------------- of chance


def _root(chance: random.Random) -> Schema:
    definitions = {f"d{i}": _any(chance, 1, ()) for i in range(chance.randrange(3))}
    refs = tuple(f"#/$defs/{name}" for name in definitions)
    kind = chance.choice((_object, _object, _object, _array, _union, _any))
    schema = _object(chance, 3, refs) if kind is _object else kind(chance, 3, refs)
    if chance.random() < 0.15:
        schema = _recursive(chance, schema)
    if definitions:
        schema.setdefault("$defs", {}).update(definitions)
    if chance.random() < 0.2:
        schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return schema


def _any(chance: random.Random, depth: int, refs: tuple[str, ...]) -> Schema:
    simple = (_string, _integer, _number, _enum, _const, _plain)
    nested = (_object, _array, _tuple, _union, _map, _merged)
    if refs and chance.random() < 0.2:
        ref: Schema = {"$ref": chance.choice(refs)}
        return ref | ({"description": "see there"} if chance.random() < 0.3 else {})
    kinds = (*simple, *nested) if depth > 0 else simple
    schema = chance.choice(kinds)(chance, depth - 1, refs)
    if chance.random() < 0.2:
        schema |= {"title": "T", "description": "what it is", "examples": [1], "x-order": 3}
    return schema


def _plain(chance: random.Random, *_: Any) -> Schema:
    types = ("string", "integer", "number", "boolean", "null")
    several = chance.sample(types, 2)
    if "integer" in several and "number" in several:
        several = ["integer", "null"]
    return {"type": chance.choice((*types, several))}


def _string(chance: random.Random, *_: Any) -> Schema:
    schema: Schema = {"type": "string"}
    match chance.randrange(5):
        case 0:
            schema["minLength"] = chance.randrange(4)
            schema["maxLength"] = schema["minLength"] + chance.randrange(20)
        case 1:
            schema["pattern"] = chance.choice(PATTERNS)
        case 2:
            schema["format"] = chance.choice(FORMATS)
        case 3:
            schema |= {"pattern": "^[a-z ]+$", "minLength": 2, "maxLength": 12}
    return schema


def _integer(chance: random.Random, *_: Any) -> Schema:
    least = chance.choice((-1000, -7, 0, 1, 18))
    most = least + chance.choice((0, 1, 9, 120, 10**6))
    schema: Schema = {"type": "integer"}
    match chance.randrange(5):
        case 0:
            schema |= {"minimum": least, "maximum": most}
        case 1:
            schema |= {"exclusiveMinimum": least - 1, "exclusiveMaximum": most + 1}
        case 2:
            schema |= {"minimum": least}
        case 3:
            schema |= {"multipleOf": chance.choice((2, 5, 7, 10)), "minimum": 0, "maximum": 1000}
    return schema


def _number(chance: random.Random, *_: Any) -> Schema:
    schema: Schema = {"type": "number"}
    match chance.randrange(4):
        case 0:
            schema |= {
                "minimum": chance.choice((-1.5, 0, 0.25)),
                "maximum": chance.choice((1, 99.5)),
            }
        case 1:
            schema |= {"exclusiveMinimum": 0}
        case 2:
            schema |= {"multipleOf": 0.5, "minimum": 0, "maximum": 100}
    return schema


def _enum(chance: random.Random, *_: Any) -> Schema:
    values: list[Any] = chance.sample(WORDS, chance.randrange(1, 6))
    if chance.random() < 0.3:
        return {"enum": [*values, 1, 2.5, None, True, ["a", 1], {"k": "v"}]}
    return {"type": "string", "enum": values}


def _const(chance: random.Random, *_: Any) -> Schema:
    return {"const": chance.choice((*WORDS, 7, -0.5, None, False, [1, [2]], {"a": {"b": []}}))}


def _object(chance: random.Random, depth: int, refs: tuple[str, ...]) -> Schema:
    names = chance.sample(NAMES, chance.randrange(0, 6))
    schema: Schema = {"type": "object"}
    schema["properties"] = {name: _any(chance, depth - 1, refs) for name in names}
    schema["required"] = [name for name in names if chance.random() < 0.6]
    match chance.randrange(4):
        case 0 | 1:
            schema["additionalProperties"] = False
        case 2:
            schema["additionalProperties"] = _any(chance, 0, refs)
    if chance.random() < 0.1:
        schema["required"] = names
        schema["minProperties"] = len(names)
    return schema


def _map(chance: random.Random, depth: int, refs: tuple[str, ...]) -> Schema:
    if chance.random() < 0.5:
        values = {"^k[0-9]+$": _any(chance, depth - 1, refs), "^x-": {"type": "boolean"}}
        return {"type": "object", "patternProperties": values, "additionalProperties": False}
    bounds = chance.choice(({}, {"minProperties": 1}, {"maxProperties": 3}))
    return {"type": "object", "additionalProperties": _any(chance, depth - 1, refs), **bounds}


def _array(chance: random.Random, depth: int, refs: tuple[str, ...]) -> Schema:
    least = chance.randrange(3)
    bounds = chance.choice(({}, {"minItems": least}, {"minItems": least, "maxItems": least + 2}))
    return {"type": "array", "items": _any(chance, depth - 1, refs), **bounds}


def _tuple(chance: random.Random, depth: int, refs: tuple[str, ...]) -> Schema:
    first = [_any(chance, depth - 1, refs) for _ in range(chance.randrange(1, 4))]
    rest = chance.choice((False, {"type": "integer"}))
    return {"type": "array", "prefixItems": first, "items": rest, "minItems": len(first)}


def _union(chance: random.Random, depth: int, refs: tuple[str, ...]) -> Schema:
    options = [_any(chance, depth - 1, refs) for _ in range(chance.randrange(2, 4))]
    if chance.random() < 0.5:
        return {"anyOf": options}
    tagged = [
        {
            "type": "object",
            "properties": {"kind": {"const": f"k{i}"}, "value": each},
            "required": ["kind", "value"],
            "additionalProperties": False,
        }
        for i, each in enumerate(options)
    ]
    return {"oneOf": tagged, "discriminator": {"propertyName": "kind"}}


def _merged(chance: random.Random, depth: int, refs: tuple[str, ...]) -> Schema:
    first = {"type": "object", "properties": {"a": _any(chance, depth - 1, refs)}}
    second = {"properties": {"b": {"type": "integer"}}, "required": ["b"]}
    return {"allOf": [first, second], "description": "both"}


def _recursive(chance: random.Random, leaf: Schema) -> Schema:
    children = {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2}
    node = {
        "type": "object",
        "properties": {"value": leaf, "children": children},
        "required": ["value"],
        "additionalProperties": False,
    }
    return {"$ref": "#/$defs/node", "$defs": {"node": node}}


# ------------------------------------------------------------------------------- of people

BY_HAND: tuple[Schema, ...] = (
    {"type": "object"},
    {},
    {"type": "array"},
    {"type": "object", "properties": {}, "additionalProperties": False},
    {  # as pydantic writes a model with a nested one, an optional field and a literal
        "$defs": {
            "Address": {
                "properties": {
                    "street": {"title": "Street", "type": "string"},
                    "zip": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
                },
                "required": ["street"],
                "title": "Address",
                "type": "object",
            }
        },
        "properties": {
            "name": {"title": "Name", "type": "string"},
            "home": {"$ref": "#/$defs/Address", "description": "where"},
            "kind": {"const": "person", "default": "person", "title": "Kind", "type": "string"},
            "colours": {"items": {"enum": ["red", "blue"], "type": "string"}, "type": "array"},
        },
        "required": ["name", "home"],
        "title": "Person",
        "type": "object",
    },
    {  # OpenAI's example of steps of a proof
        "type": "object",
        "properties": {
            "steps": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"explanation": {"type": "string"}, "output": {"type": "string"}},
                    "required": ["explanation", "output"],
                    "additionalProperties": False,
                },
            },
            "final_answer": {"type": "string"},
        },
        "required": ["steps", "final_answer"],
        "additionalProperties": False,
    },
    {  # a list linked by its tail
        "$defs": {
            "list": {
                "anyOf": [
                    {"type": "null"},
                    {
                        "type": "object",
                        "properties": {
                            "head": {"type": "integer"},
                            "tail": {"$ref": "#/$defs/list"},
                        },
                        "required": ["head", "tail"],
                        "additionalProperties": False,
                    },
                ]
            }
        },
        "$ref": "#/$defs/list",
    },
    {"$ref": "#/definitions/a~1b", "definitions": {"a/b": {"type": "boolean"}}},
    {"type": ["string", "null"], "enum": ["x", None]},
    {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "array",
        "items": [{"type": "string"}],
        "additionalItems": False,
        "minItems": 1,
    },
    {"properties": {"a": {"uniqueItems": False, "type": "array", "maxItems": 1}}, "type": "object"},
    {"type": "string", "maxLength": 0},
    {"type": "object", "required": ["unlisted"], "additionalProperties": {"type": "integer"}},
)


def main(count: int) -> None:
    """Try every schema, and print what it took."""
    replier, compile_ms, lengths = Replier(), [], []
    started, invalid = time.monotonic(), 0
    for number, schema in enumerate(schemas(count)):
        grammar = grammar_text("json_schema", json.dumps(schema), "schema")
        before = time.perf_counter()
        replier.grammars.compile(grammar)
        compile_ms.append((time.perf_counter() - before) * 1e3)
        said = replier.reply(schema, number)
        lengths.append(len(said))
        if not is_valid(schema, replier.text(said)):
            invalid += 1
            print(f"{number}: {replier.text(said)!r} is not as {json.dumps(schema)} says")
    print(
        f"{count} schemas, {invalid} replies not valid, {sum(lengths)} tokens in "
        f"{time.monotonic() - started:.0f} s; compiled in {np.mean(compile_ms):.1f} ms, "
        f"99 of 100 within {np.quantile(compile_ms, 0.99):.1f}, at most {max(compile_ms):.1f} ms"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
