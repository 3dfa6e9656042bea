"""The process that tries a grammar before any stage has to: `python -m` this, JSON in, JSON out.

A compilation cannot be interrupted, may take gigabytes, and deep recursion ends the process it
runs in. Whoever started this one ends it after a while (head/constraint.py).
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bramble.model.grammar import HEADER, Grammars, Matcher, Vocabulary
from bramble.model.schema import BOUNDS, ESCAPES
from bramble.model.schema_places import place
from bramble.model.schema_whole import MANY, NAMED, ONE

MAX_BLAMED = 200  # parts of a schema that are tried by themselves


@dataclass(frozen=True, slots=True)
class Asked:
    """special: ids of tokens without a text, and their names; end_ids: of those that end a reply.

    schema, param   the client's JSON schema, to say where it is wrong; None of another kind
    """

    grammar: str
    special: dict[int, str]
    end_ids: tuple[int, ...]
    schema: Any
    param: str


@dataclass(frozen=True, slots=True)
class Answer:
    """problem: why no reply can be made, empty if one can; where: a place in the schema, or param.

    compile_s  of this process's CPU time
    """

    problem: str
    where: str
    compile_s: float


def answer(asked: Asked) -> Answer:
    """Compile a grammar over single bytes and special tokens."""
    grammars = Grammars(bytes_and(asked.special, asked.end_ids), is_for_check=True)
    started = time.process_time()
    matcher = grammars.compile(asked.grammar)
    problem = _problem(matcher)
    compile_s = time.process_time() - started
    where = asked.param
    if problem and asked.schema is not None:
        where = _blame(grammars, asked.schema, asked.param) or where
    return Answer(problem, where, compile_s)


def bytes_and(special: dict[int, str], end_ids: tuple[int, ...]) -> Vocabulary:
    """A vocabulary of single bytes and the special tokens at their ids."""
    fixed = set(special) | set(end_ids)
    tokens = [b""] * (max(fixed) + 257)
    free = (index for index in range(len(tokens)) if index not in fixed)
    for byte in range(256):
        tokens[next(free)] = bytes([byte])
    for index in fixed:
        tokens[index] = special.get(index, "").encode() or b"<end>"
    return Vocabulary(tokens, tuple(fixed), end_ids)


def _problem(matcher: Matcher) -> str:
    if matcher.failure:
        return _plain(matcher.failure)
    return "" if matcher.mask().any() else "no reply can fulfil it"


def _plain(failure: str) -> str:
    """One line of the library's words, without the grammar that it shows."""
    lines = failure.partition("\n   1 |")[0].partition("\n<")[0].splitlines()
    text = " ".join(line.strip() for line in lines if line.strip(" ^"))
    return re.sub(r"^at \d+\(\d+\): |failed to compile JSON schema: ", "", text)[:300]


def _blame(grammars: Grammars, schema: Any, param: str) -> str | None:
    """Return where the first keyword stands that cannot be compiled by itself."""
    for count, (where, part) in enumerate(_parts(schema, param)):
        if count == MAX_BLAMED:
            return None
        text = json.dumps({"x-guidance": {"json_allowed_escapes": ESCAPES}, **part})
        if grammars.compile(f"{HEADER}start: %json {text}\n").failure:
            return where
    return None


def _parts(schema: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield keywords that may fail by themselves, each with the types it is about."""
    if not isinstance(schema, dict):
        return
    for keyword, value in schema.items():
        there = place(where, keyword)
        if keyword in NAMED:
            for name, each in value.items():
                if keyword == "patternProperties":
                    yield place(there, name), {"type": "string", "pattern": name}
                yield from _parts(each, place(there, name))
        elif isinstance(value, list) and keyword in (*MANY, "items"):
            for index, each in enumerate(value):
                yield from _parts(each, place(there, index))
        elif keyword in ONE:
            yield from _parts(value, there)
        elif keyword == "pattern":
            yield there, {"type": "string", keyword: value}
        elif keyword in BOUNDS:
            types = schema.get("type", "number")
            is_whole = types == "integer" or types == ["integer"]
            yield there, {"type": "integer" if is_whole else "number", keyword: value}


def main() -> None:
    document = json.load(sys.stdin)
    special = {int(index): name for index, name in document["special"].items()}
    asked = Asked(
        document["grammar"],
        special,
        tuple(document["end_ids"]),
        document["schema"],
        document["param"],
    )
    found = answer(asked)
    json.dump(
        {"problem": found.problem, "where": found.where, "compile_s": found.compile_s}, sys.stdout
    )


if __name__ == "__main__":
    main()
