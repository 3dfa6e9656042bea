"""What a client may ask a reply to be, and what it is told of all else."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import bramble
import numpy as np
import pytest
from bramble.errors import BadInput, PoisonRequest, Unavailable
from bramble.head import constraint as constraints
from bramble.head.answer import fault
from bramble.head.constraint import BOUNDS, Bounds, grammar_of
from bramble.head.scheduler import Limits, Scheduler
from bramble.head.sequence import Sequence, State
from bramble.model.grammar import Grammars, grammar_text
from bramble.model.grammar_check import bytes_and
from bramble.model.schema import MAX_BYTES, MAX_DEPTH, embedded, read_schema
from bramble.model.schema_whole import MAX_FREE
from bramble.model.tokenizer import Tokenizer
from bramble.wire.messages import STUCK, UNREAD, Constraint, Finish, Sampled, StepKind

SCHEMA = "response_format.json_schema.schema"
MODEL = SimpleNamespace(name="m", eos_ids=(4,), shape=SimpleNamespace(vocab_size=2560))
REGEX = {"type": "string", "pattern": "^[a-z]+$"}
LIST = {
    "$defs": {"l": {"anyOf": [{"type": "null"}, {"type": "array", "items": {"$ref": "#/$defs/l"}}]}}
}


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(Path(bramble.__file__).parent / "embedded")


@pytest.mark.parametrize(
    ("schema", "place", "words"),
    [
        ({"not": {}}, ".not", "the keyword not is not supported; say what is allowed instead"),
        (
            {"properties": {"a": {"uniqueItems": True}}},
            ".properties.a.uniqueItems",
            "leave it out and check the reply yourself",
        ),
        (
            {"items": {"anyOf": [{}, {"contains": {}}]}},
            ".items.anyOf[1].contains",
            "prefixItems",
        ),
        ({"properties": {"a b": {"if": {}}}}, '.properties["a b"].if', "anyOf"),
        (
            {"unevaluatedProperties": False},
            ".unevaluatedProperties",
            "additionalProperties instead",
        ),
        ({"properties": {"a": {"type": "strin"}}}, ".properties.a.type", "need one of null"),
        ({"type": []}, ".type", "not empty"),
        ({"enum": []}, ".enum", "not empty"),
        ({"enum": {}}, ".enum", "list"),
        ({"enum": ["a\x00"]}, ".enum", "control character"),
        ({"const": {"a": ["\x7f"]}}, ".const", "control character"),
        ({"pattern": "a\\x01b"}, ".pattern", "control character"),
        ({"patternProperties": {"\x01": {}}}, ".patternProperties", "control character"),
        ({"pattern": 3}, ".pattern", "need a string"),
        ({"properties": []}, ".properties", "need an object"),
        ({"properties": {"a": 3}}, ".properties.a", "need an object or a boolean"),
        ({"items": 3}, ".items", "need an object or a boolean"),
        ({"anyOf": {}}, ".anyOf", "list of schemas"),
        ({"anyOf": []}, ".anyOf", "list of schemas"),
        ({"required": "a"}, ".required", "list of strings"),
        ({"maxLength": -1}, ".maxLength", "whole number"),
        ({"maxLength": 1.5}, ".maxLength", "whole number"),
        ({"maxItems": 1 << 40}, ".maxItems", "whole number"),
        ({"minimum": "1"}, ".minimum", "need a number"),
        ({"minimum": True}, ".minimum", "need a number"),
        ({"multipleOf": 0}, ".multipleOf", "more than 0"),
        ({"type": "string", "format": "password"}, ".format", "date-time"),
        ({"$ref": "https://example.com/s"}, ".$ref", "within this schema"),
        ({"$ref": "#/$defs/x"}, ".$ref", "no schema"),
        ({"$ref": "#/examples/0", "examples": [{}]}, ".$ref", "no schema"),
        ({"$ref": 3}, ".$ref", "within this schema"),
        ({"properties": {"a": {"$id": "b"}}}, ".properties.a.$id", "$id"),
        ({"$ref": "#"}, "", "finite"),
        (
            {"properties": {"a": {"$ref": "#"}}, "required": ["a"], "type": "object"},
            "",
            "no finite JSON",
        ),
        (
            {
                "$defs": {"l": {"type": "array", "items": {"$ref": "#/$defs/l"}, "minItems": 1}},
                "$ref": "#/$defs/l",
            },
            "",
            "finite",
        ),
        ({"type": "object", "minProperties": 2}, ".minProperties", "one more than the required"),
        (
            {"properties": {f"p{i}": {} for i in range(65)}, "minProperties": 1},
            ".minProperties",
            "64 optional",
        ),
        ({"properties": {f"p{i}": {} for i in range(901)}}, ".properties", "901 optional"),
        (
            {"items": {"anyOf": 2 * [{"properties": {f"p{i}": {} for i in range(451)}}]}},
            ".items",
            "902 optional",
        ),
        (
            {
                "properties": {"x": {"anyOf": 3 * [{"$ref": "#/$defs/a"}]}},
                "$defs": {"a": {"properties": {f"p{i}": {} for i in range(400)}}},
            },
            ".properties.x",
            "1200 optional",
        ),
        ({"patternProperties": {f"^p{i}$": {} for i in range(33)}}, ".patternProperties", "32"),
        ({"nullable": True, "$ref": "#/$defs/a", "$defs": {"a": {}}}, ".nullable", "null"),
        (3, "", "need an object or a boolean"),
        ([], "", "need an object or a boolean"),
        (False, "", "no reply"),
    ],
)
def test_what_a_grammar_cannot_keep_is_refused_by_name_and_place(schema, place, words):
    with pytest.raises(BadInput, match=r".") as caught:
        read_schema(schema, SCHEMA)
    assert caught.value.param == SCHEMA + place and words in str(caught.value)
    assert str(caught.value).startswith(SCHEMA + place)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"minimum": NaN}', "NaN is no JSON"),
        ('{"a": ', "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("9" * 5000, "cannot be read as JSON"),
        ('{"title": "' + "x" * MAX_BYTES + '"}', f"{MAX_BYTES} are allowed"),
        ('{"title": "' + "x" * 5_000_000 + '"}', f"{MAX_BYTES} are allowed"),
        ('{"items":' * 100 + "{}" + "}" * 100, f"{MAX_DEPTH} levels"),
        ('{"const": "\ud800"}', "surrogate"),
    ],
)
def test_text_that_is_no_schema_is_refused_before_it_is_read(text, words):
    with pytest.raises(BadInput, match=words):
        read_schema(text, SCHEMA)


@pytest.mark.parametrize(
    ("schema", "kept"),
    [
        ({"title": "T", "default": 1, "examples": [], "x-any": {"not": {}}}, {}),
        ({"uniqueItems": False, "unevaluatedProperties": True}, {}),
        ({"x-guidance": {"lenient": True}}, {}),
        ({"type": "integer", "format": "int64"}, {"type": "integer", "format": "int64"}),
        ({"maxLength": 3.0}, {"maxLength": 3}),
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        ({"enum": ["a"], "nullable": True}, {"enum": ["a", None]}),
        (
            {"properties": {"not": {}, "if": True}, "additionalProperties": True},
            {"properties": {"not": {}, "if": True}, "additionalProperties": True},
        ),
    ],
)
def test_what_says_nothing_is_left_out_and_the_rest_stays(schema, kept):
    read = read_schema(schema, SCHEMA)
    options = read.pop("x-guidance")
    assert read == kept and "lenient" not in options
    assert json.loads(embedded(schema, SCHEMA)) == {"x-guidance": options, **kept}


DAYS = {  # how a text begins → whether there is such a day
    "2023-02-28": True, "2023-02-29": False, "2024-02-29": True, "1900-02-29": False,
    "2000-02-29": True, "2096-02-29": True, "0004-02-29": True, "0000-02-28": False,
    "0000-02-29": False, "2023-11-30": True, "2023-02-30": False, "2023-12-31": True,
    "1000-10-01": True, "2100-02-29": False,
}  # fmt: skip


@pytest.mark.parametrize("rest", ["", "T10:20:30Z"])
@pytest.mark.parametrize(
    "more",
    [{}, {"type": "string"}, {"pattern": "-"}, {"pattern": "-", "allOf": [{"pattern": "0"}]}],
)
def test_a_date_is_a_day_that_there_is(rest, more):
    schema = {"format": "date-time" if rest else "date", "type": ["string", "null"], **more}
    grammars = Grammars(bytes_and({}, (256,)), is_for_check=True)
    grammar = grammar_text("json_schema", json.dumps(schema), SCHEMA)
    for day, is_one in DAYS.items():
        matcher = grammars.compile(grammar)
        assert not matcher.failure, matcher.failure
        assert matcher.feed([*json.dumps(day + rest).encode(), 256]) is is_one, day


def test_only_texts_are_dates():
    for schema in ({"type": "integer", "format": "date"}, {"type": "string", "format": "time"}):
        assert {**read_schema(schema, SCHEMA), "x-guidance": 0} == {**schema, "x-guidance": 0}


def test_as_many_optional_properties_as_are_allowed_can_be_followed():
    properties = {f"p{i}": {"type": "string"} for i in range(MAX_FREE)}
    grammars = Grammars(bytes_and({}, (256,)), is_for_check=True)
    text = json.dumps({"type": "object", "properties": properties, "additionalProperties": False})
    matcher = grammars.compile(grammar_text("json_schema", text, SCHEMA))
    assert matcher.feed(list(b'{"p0":"a","p1')) and not matcher.failure
    forms = [
        {"type": "object", "properties": {f"p{form}_{i}": {} for i in range(20)}}
        for form in range(40)
    ]
    matcher = grammars.compile(grammar_text("json_schema", json.dumps({"anyOf": forms}), SCHEMA))
    assert matcher.feed(list(b'{"p39_1":1,"p39')) and not matcher.failure
    with pytest.raises(BadInput, match="optional"):
        read_schema({"properties": {**properties, "q": {}}}, SCHEMA)


TWO = {"a": {"type": "integer"}, "b": {"$ref": "#/$defs/c"}}


@pytest.mark.parametrize(
    ("schema", "is_closed"),
    [
        ({"type": "object", "properties": TWO, "$defs": {"c": {"properties": {"x": {}}}}}, True),
        ({"type": "object", "properties": TWO, "additionalProperties": True}, False),
        ({"type": "object", "properties": TWO, "required": ["a", "z"]}, False),
        ({"type": "object", "properties": {}}, False),
        ({"type": "object"}, False),
        ({"properties": TWO, "patternProperties": {"^x": {}}}, False),
        ({"properties": TWO, "allOf": [{"properties": {"c": {}}, "required": ["c"]}]}, False),
        ({"properties": TWO, "anyOf": [{"required": ["a"]}, {"required": ["d"]}]}, False),
    ],
)
def test_objects_hold_what_is_listed_where_nothing_says_more(schema, is_closed):
    definitions = {"$defs": {"c": True}}
    kept = read_schema(definitions | schema, "schema")
    assert (kept.get("additionalProperties") is False) is is_closed
    if is_closed:
        assert kept["$defs"]["c"]["additionalProperties"] is False


def test_a_schema_that_may_go_on_for_ever_but_need_not_is_kept():
    assert read_schema({**LIST, "$ref": "#/$defs/l"}, SCHEMA)["$ref"] == "#/$defs/l"


# ---------------------------------------------------------------------------- what is compiled


def refusal(constraint: Constraint, tokenizer, bounds: Bounds = BOUNDS) -> BadInput:
    with pytest.raises(BadInput, match=r".") as caught:
        grammar_of(constraint, tokenizer, MODEL, bounds)
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("kind", "text", "place", "words"),
    [
        (
            "json_schema",
            {"properties": {"a": REGEX | {"pattern": "("}}},
            ".properties.a.pattern",
            "(",
        ),
        (
            "json_schema",
            {"items": [REGEX, {"pattern": "(?=a)b"}]},
            ".items[1].pattern",
            "look-around",
        ),
        ("json_schema", {"type": "integer", "minimum": 5, "maximum": 3}, "", "minimum (5)"),
        ("json_schema", {"oneOf": [{"type": "string"}, REGEX]}, "", "oneOf"),
        ("regex", "(a", "", "unclosed"),
        ("lark", "start: nothing", "", "nothing"),
        ("lark", "start: start", "", "no reply can fulfil it"),
        ("lark", "start: <|nobody|>", "", "special token"),
        ("lark", "", "", "start"),
        ("gbnf", "", "", "json_schema, regex, lark"),
    ],
)
def test_what_cannot_be_compiled_is_refused_with_its_place(tokenizer, kind, text, place, words):
    text = text if isinstance(text, str) else json.dumps(text)
    error = refusal(Constraint(kind, text, SCHEMA), tokenizer)
    assert error.param == SCHEMA + place and words in str(error)


def copies_of_copies() -> dict:
    """2²⁰ copies of a definition, as each reference has a type beside it."""
    names = [f"d{i}" for i in range(21)]
    definitions = {
        name: {"properties": {k: {"$ref": f"#/$defs/{other}", "type": "object"} for k in "ab"}}
        for name, other in pairwise(names)
    }
    return {"$defs": {**definitions, names[-1]: {"type": "object"}}, "$ref": "#/$defs/d0"}


def test_what_explodes_ends_its_own_process_and_nothing_else(tokenizer):
    asked = Constraint("json_schema", json.dumps(copies_of_copies()), SCHEMA)
    error = refusal(asked, tokenizer, Bounds(resident_bytes=128 << 20))
    assert error.param == SCHEMA and "simplify it" in str(error)


@pytest.mark.parametrize("bounds", [Bounds(check_s=0.0), Bounds(compile_s=0.0)])
def test_what_takes_too_long_is_refused_and_tried_again_when_asked_again(tokenizer, bounds):
    asked = Constraint("regex", "[0-9]+", SCHEMA)
    for _ in range(2):
        assert "compiling it takes" in str(refusal(asked, tokenizer, bounds))


def test_a_constraint_is_tried_once(tokenizer):
    large = {"properties": {f"p{i}": REGEX for i in range(500)}}
    asked = Constraint("json_schema", json.dumps(large), SCHEMA)
    first = grammar_of(asked, tokenizer, MODEL)
    hits = constraints._try.cache_info().hits
    assert grammar_of(asked, tokenizer, MODEL) == first
    assert constraints._try.cache_info().hits == hits + 1


def test_a_model_without_an_end_keeps_no_schema(tokenizer):
    with pytest.raises(BadInput, match="no token that ends a reply"):
        grammar_of(Constraint("regex", "a"), tokenizer, SimpleNamespace(name="m", eos_ids=()))


# ------------------------------------------------------------------------------- its sequence


def running(
    kind: StepKind = StepKind.PREFILL, grammar: str = "g"
) -> tuple[Scheduler, Sequence, int]:
    """A scheduler with one sequence, and the number of the step that samples it."""
    scheduler = Scheduler(Limits(1, 2, 1000, 64))
    sequence = Sequence("r", [5, 6, 7], 3, 20, grammar=grammar)
    scheduler.add(sequence)
    (plan,) = scheduler.schedule()
    return scheduler, sequence, plan.number


@pytest.mark.parametrize(("code", "family"), [(STUCK, PoisonRequest), (UNREAD, Unavailable)])
def test_a_grammar_that_cannot_go_on_ends_its_request_alone(code, family):
    scheduler, sequence, number = running()
    other = Sequence("other", [8, 9], 2, 20)
    scheduler.add(other)
    plans = deque(scheduler.schedule())
    assert scheduler.complete(number, [code]) == []
    assert type(sequence.problem) is family and sequence.state is State.FINISHED
    assert sequence.tokens == [5, 6, 7] and other.finish is None
    for plan in (*plans, *scheduler.schedule()):
        if other in plan.sequences:
            scheduler.complete(plan.number, [3])
    assert other.tokens == [8, 9, 3] and other.problem is None


def test_tokens_before_the_one_that_failed_are_told():
    scheduler, sequence, number = running()
    scheduler.complete(number, [3])
    (plan,) = scheduler.schedule()
    verify = replace(plan, kind=StepKind.VERIFY, token_ids=((3, 10, 11),))
    scheduler._under_way[plan.number] = verify
    told = scheduler.complete(plan.number, [10, STUCK])
    assert [emission.token_id for emission in told] == [10]
    assert sequence.problem is not None and sequence.finish is Finish.CANCELLED


def test_a_ring_with_a_stage_of_another_release_takes_no_grammar():
    scheduler = Scheduler(Limits(1, 2, 1000, 64, can_constrain=False))
    sequence, other = Sequence("r", [5, 6], 2, 20, grammar="g"), Sequence("o", [5, 6], 2, 20)
    scheduler.add(sequence)
    scheduler.add(other)
    (plan,) = scheduler.schedule()
    assert plan.sequences == (other,)
    assert isinstance(sequence.problem, Unavailable) and "release" in str(sequence.problem)


@pytest.mark.parametrize(
    ("grammar", "token", "is_right"),
    [("g", STUCK, True), ("g", UNREAD, True), ("g", -3, False), ("", STUCK, False)],
)
def test_only_a_sequence_with_a_grammar_may_have_no_token(grammar, token, is_right):
    scheduler, _, number = running(grammar=grammar)
    plan = scheduler.under_way(number)
    sampled = Sampled(
        plan_id=bytes(16),
        epoch=1,
        step=number,
        lane=plan.lane,
        kind=plan.kind,
        sequences=np.array(plan.ids, np.uint64),
        positions=np.array([3], np.int32),
        token_ids=np.array([token], np.int32),
        logprobs=np.zeros(1, np.float32),
        top_ids=np.zeros((1, 0), np.int32),
        top_logprobs=np.zeros((1, 0), np.float32),
        traces=np.zeros((1, 3), np.uint32),
        digests=np.zeros((0, 8), np.float32),
    )
    assert (fault(plan, sampled, 1, 100) is None) is is_right
