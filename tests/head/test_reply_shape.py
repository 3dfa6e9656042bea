"""What a reply has to be follows from tools, schema and thought, as a grammar that keeps it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bramble.errors import BadInput
from bramble.head.reply_shape import Shape, may_have_grammar, reply_grammar, shape_of
from bramble.model.grammar import Grammars, Matcher, grammar_text
from bramble.model.grammar_check import bytes_and
from bramble.model.replies import Call, open_reader
from bramble.model.tokenizer import Chat, Tokenizer
from bramble.wire.messages import Constraint, Generate, Sampling

from tests.golden.tokenizer_layouts import CHATML, Layout, token
from tests.golden.tool_cases import TEMPLATES, USER, function

FAST = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
END = 300
WEATHER = function("weather", "x", place={"type": "string"}, days={"$ref": "#/$defs/count"})
WEATHER["function"]["parameters"] |= {
    "additionalProperties": False,
    "$defs": {"count": {"type": "integer"}},
}
LIGHT = {"type": "function", "function": {"name": 'li"ght'}}
STRICT = {"type": "function", "function": WEATHER["function"] | {"strict": True}}
SCHEMA = Constraint("json_schema", '{"type": "integer"}', "response_format.json_schema.schema")


def marked(*names: str, template: str) -> Layout:
    tokens = [{k: v for k, v in token(0, name).items() if k != "id"} for name in names]
    config = FAST | {"additional_special_tokens": tokens, "chat_template": template}
    return Layout("byte_level", config)


NEWER = TEMPLATES["mistral"].replace(
    """(tool_call.function | tojson)[:-1] + ', "id": "' + tool_call.id + '"}' }}""",
    "tool_call.function.name + '[ARGS]' }}{{- tool_call.function.arguments | tojson }}",
)
NEWER = NEWER.replace("[TOOL_CALLS] [", "[TOOL_CALLS]").replace('"]" + eos_token', "eos_token")
LAYOUTS = {
    "plain": marked(template=CHATML),
    "hermes": marked(template=TEMPLATES["hermes"]),
    "thinking": marked(template=TEMPLATES["thinking"]),
    "llama": marked(template=TEMPLATES["llama"]),
    "mistral": marked("[TOOL_CALLS]", template=TEMPLATES["mistral"]),
    "newer mistral": marked("[TOOL_CALLS]", "[ARGS]", template=NEWER),
}


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    folder = tmp_path_factory.mktemp("shapes")
    return {name: Tokenizer(made.write(folder / name)) for name, made in LAYOUTS.items()}


def asked(**members: Any) -> Generate:
    return Generate("r", **({"sampling": Sampling(), "messages": [USER]} | members))


def shape(tokenizer: Tokenizer, **members: Any) -> Shape | None:
    question = asked(**members)
    tools = [] if question.tool_choice == "none" else question.tools or []
    prompt = tokenizer.render_chat([USER], Chat(tools, question.template_options))
    return shape_of(question, tokenizer, prompt)


class Judge:
    """Which replies a grammar takes, over single bytes and the tokenizer's markers."""

    def __init__(self, tokenizer: Tokenizer, found: Shape | None) -> None:
        assert found is not None
        self.markers = {tokenizer.added[index]: index for index in tokenizer.marker_ids}
        special = {index: name for name, index in self.markers.items()}
        words = bytes_and(special, (END,))
        self.ids = {bytes(t): i for i, t in enumerate(words.tokens) if i not in special and t}
        text = grammar_text(found.constraint.kind, found.constraint.text, found.constraint.param)
        self.start: Matcher = Grammars(words, is_for_check=True).compile(text)
        self.again = lambda: Grammars(words, is_for_check=True).compile(text)
        assert not self.start.failure, self.start.failure

    def takes(self, reply: str) -> bool:
        names = "|".join(map(re.escape, self.markers)) or r"\Z"
        ids: list[int] = []
        for part in re.split(f"({names})", reply):
            byte_ids = [self.ids[bytes([byte])] for byte in part.encode()]
            ids += [self.markers[part]] if part in self.markers else byte_ids
        matcher = self.again()
        return matcher.feed([*ids, END])


W, L = '{"place": "Bern", "days": 2}', "{}"
CALLS = {  # of weather, of light, both; each as the template writes it
    "hermes": (
        f'<tool_call>\n{{"name": "weather", "arguments": {W}}}\n</tool_call>',
        f'<tool_call>\n{{"name": "li\\"ght", "arguments": {L}}}\n</tool_call>',
        "1\n2",
    ),
    "llama": (
        f'{{"name": "weather", "parameters": {W}}}',
        f'{{"name": "li\\"ght", "parameters": {L}}}',
        "",
    ),
    "mistral": (
        f'[TOOL_CALLS] [{{"name": "weather", "arguments": {W}}}]',
        f'[TOOL_CALLS] [{{"name": "li\\"ght", "arguments": {L}}}]',
        f'[TOOL_CALLS] [{{"name": "weather", "arguments": {W}}}, '
        f'{{"name": "li\\"ght", "arguments": {L}}}]',
    ),
    "newer mistral": (
        f"[TOOL_CALLS]weather[ARGS]{W}",
        f'[TOOL_CALLS]li"ght[ARGS]{L}',
        "12",
    ),
}
CALLS = {
    name: (one, other, f"{one}{both[1:-1]}{other}" if both[-1:] == "2" else both)
    for name, (one, other, both) in CALLS.items()
}
CALLS |= {"plain": CALLS["hermes"], "thinking": CALLS["hermes"]}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_required_call_is_one_of_the_tools(name: str, tokenizers: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers[name]
    one, other, both = CALLS[name]
    judge = Judge(tokenizer, shape(tokenizer, tools=[WEATHER, LIGHT], tool_choice="required"))
    assert judge.takes(one) and judge.takes(other)
    assert not both or judge.takes(both)
    for wrong in (
        "",
        "Hello.",
        one.replace("weather", "wether"),
        one.replace("2", '"2"'),
        one[:-1],
    ):
        assert not judge.takes(wrong), wrong
    assert not judge.takes(one.replace('"days": 2', '"days": 2, "x": 1'))
    single = shape(tokenizer, tools=[WEATHER, LIGHT], tool_choice="required", parallel_calls=False)
    assert Judge(tokenizer, single).takes(one)
    assert not Judge(tokenizer, single).takes(both or "x")


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_named_tool_is_the_only_one_that_is_called(
    name: str, tokenizers: dict[str, Tokenizer]
) -> None:
    one, other, _ = CALLS[name]
    tools = [LIGHT, WEATHER]
    judge = Judge(
        tokenizers[name], shape(tokenizers[name], tools=tools, tool_choice="function:weather")
    )
    assert judge.takes(one) and not judge.takes(other)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_call_that_the_grammar_allows_is_read_as_one(
    name: str, tokenizers: dict[str, Tokenizer]
) -> None:
    one, _, both = CALLS[name]
    reader = open_reader(tokenizers[name].reply_format, has_tools=True)
    pieces = [*reader.push(both or one), *reader.end()]
    names = [piece.name for piece in pieces if isinstance(piece, Call)]
    if name == "newer mistral":  # a name with a quote is none that OpenAI's API takes
        assert names == ["weather"]
    else:
        assert names == (["weather", 'li"ght'] if both else ["weather"])


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_is_strict_is_kept_where_the_model_chooses_to_call(
    name: str, tokenizers: dict[str, Tokenizer]
) -> None:
    tokenizer = tokenizers[name]
    one, other, both = CALLS[name]
    judge = Judge(tokenizer, shape(tokenizer, tools=[STRICT, LIGHT]))
    assert judge.takes(one) and judge.takes(other.replace("{}", '{"a": 1}'))
    assert judge.takes("") and judge.takes("Hello {x} <tool_cal\n")
    assert not judge.takes(one.replace("2", '"2"'))
    assert not both or judge.takes(both)
    if name != "llama":  # with a text before, its call would not be read as one
        assert judge.takes(f"I look.\n{one}")
        assert not judge.takes(f"I look.\n{one}".replace("2", '"2"'))


def test_one_call_at_most_is_kept_where_the_model_chooses(
    tokenizers: dict[str, Tokenizer],
) -> None:
    one, _, both = CALLS["hermes"]
    tools = [WEATHER, LIGHT]
    judge = Judge(
        tokenizers["hermes"], shape(tokenizers["hermes"], tools=tools, parallel_calls=False)
    )
    assert judge.takes(f"So: {one.replace('2', 'null')}") and judge.takes("So.")
    assert not judge.takes(both)


def test_arguments_hold_no_more_whitespace_than_json_is_printed_with(
    tokenizers: dict[str, Tokenizer],
) -> None:
    one, _, _ = CALLS["hermes"]
    judge = Judge(
        tokenizers["hermes"], shape(tokenizers["hermes"], tools=[WEATHER], tool_choice="required")
    )
    indented = json.dumps(json.loads(W), indent=4)
    assert judge.takes(one.replace(W, indented)) and judge.takes(one.replace(W, W.replace(" ", "")))
    assert not judge.takes(one.replace(W, W.replace(" ", "  ")))


def test_without_a_demand_nothing_is_held(tokenizers: dict[str, Tokenizer]) -> None:
    for choice in ("auto", "none"):
        assert shape(tokenizers["thinking"], tools=[WEATHER], tool_choice=choice) is None
    assert shape(tokenizers["thinking"]) is None
    unused = shape(tokenizers["hermes"], tools=[STRICT], tool_choice="none", parallel_calls=False)
    assert unused is None


# -------------------------------------------------------------------------------- schemas, thoughts


def test_a_schema_is_kept_as_it_is_by_a_model_that_does_not_think(
    tokenizers: dict[str, Tokenizer],
) -> None:
    assert shape(tokenizers["hermes"], constraint=SCHEMA) == Shape(SCHEMA)
    prompt = asked(messages=None, prompt="x", constraint=SCHEMA)
    assert shape_of(prompt, tokenizers["thinking"], "") == Shape(SCHEMA)


def test_a_model_may_think_before_it_keeps_a_schema(tokenizers: dict[str, Tokenizer]) -> None:
    found = shape(tokenizers["thinking"], constraint=SCHEMA)
    judge = Judge(tokenizers["thinking"], found)
    assert judge.takes("<think>\n{so}\n</think>\n\n12") and judge.takes("12")
    assert not judge.takes("<think>12") and not judge.takes("<think>x</think>no")
    assert found is not None and found.parts == (SCHEMA,)
    off = {"enable_thinking": False}
    assert shape(tokenizers["thinking"], constraint=SCHEMA, template_options=off) == Shape(SCHEMA)


def test_a_thought_that_the_prompt_has_begun_goes_on(tmp_path: Path) -> None:
    opening = TEMPLATES["thinking"].replace(r"assistant\n' }}", r"assistant\n<think>\n' }}")
    tokenizer = Tokenizer(marked(template=opening).write(tmp_path))
    judge = Judge(tokenizer, shape(tokenizer, constraint=SCHEMA))
    assert judge.takes("hm</think>\n\n12") and judge.takes("</think>12") and not judge.takes("12")


def test_a_pattern_is_kept_behind_a_thought_and_beside_calls(
    tokenizers: dict[str, Tokenizer],
) -> None:
    pattern = Constraint("regex", "^(yes|no)$", "guided_regex")
    tokenizer, call = tokenizers["thinking"], CALLS["thinking"][0]
    judge = Judge(tokenizer, shape(tokenizer, constraint=pattern))
    assert judge.takes("<think>hm</think>\n\nyes") and judge.takes("no") and not judge.takes("ye")
    assert shape(tokenizers["hermes"], constraint=pattern) == Shape(pattern)
    judge = Judge(tokenizer, shape(tokenizer, constraint=pattern, tools=[WEATHER]))
    assert judge.takes(call) and judge.takes("no") and not judge.takes("nope")


def test_a_grammar_of_the_clients_is_the_whole_replys(tokenizers: dict[str, Tokenizer]) -> None:
    own = Constraint("lark", 'start: "a"', "guided_grammar")
    assert shape(tokenizers["thinking"], constraint=own) == Shape(own)
    assert shape(tokenizers["thinking"], constraint=own, tools=[WEATHER]) == Shape(own)


def test_a_call_may_follow_a_thought(tokenizers: dict[str, Tokenizer]) -> None:
    one, _, _ = CALLS["hermes"]
    tokenizer = tokenizers["thinking"]
    judge = Judge(tokenizer, shape(tokenizer, tools=[WEATHER], tool_choice="required"))
    assert judge.takes(f"<think>\nhm\n</think>\n\n{one}") and not judge.takes("<think>x</think>no")


def test_with_tools_a_schema_is_what_the_reply_keeps_that_is_no_call(
    tokenizers: dict[str, Tokenizer],
) -> None:
    one, _, _ = CALLS["hermes"]
    judge = Judge(
        tokenizers["hermes"], shape(tokenizers["hermes"], tools=[WEATHER], constraint=SCHEMA)
    )
    assert judge.takes("12") and judge.takes(one) and not judge.takes("no")
    forced = shape(tokenizers["hermes"], tools=[WEATHER], constraint=SCHEMA, tool_choice="required")
    assert not Judge(tokenizers["hermes"], forced).takes("12")


# ---------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"tool_choice": "function:nothing", "tools": [WEATHER]}, "tool_choice"),
        ({"tool_choice": "function:weather"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "any", "tools": [WEATHER]}, "tool_choice"),
        (
            {"tool_choice": "required", "tools": [LIGHT, function("f", "x", a={"type": "text"})]},
            "tools[1].function.parameters.properties.a.type",
        ),
        (
            {
                "tool_choice": "required",
                "tools": [{"function": {"name": "f", "parameters": {"type": "string"}}}],
            },
            "tools[0].function.parameters.type",
        ),
    ],
)
def test_what_cannot_be_held_is_named(
    members: dict[str, Any], param: str, tokenizers: dict[str, Tokenizer]
) -> None:
    with pytest.raises(BadInput) as caught:
        shape(tokenizers["hermes"], **members)
    assert caught.value.param == param


def test_the_parts_that_a_client_wrote_are_told_for_the_blame(
    tokenizers: dict[str, Tokenizer],
) -> None:
    found = shape(tokenizers["hermes"], tools=[LIGHT, WEATHER], tool_choice="required")
    assert found is not None
    assert [part.param for part in found.parts] == [
        "tools[0].function.parameters",
        "tools[1].function.parameters",
    ]
    assert json.loads(found.parts[1].text) == WEATHER["function"]["parameters"]


MODEL: Any = SimpleNamespace(name="m", eos_ids=(1,), shape=SimpleNamespace(vocab_size=400))


def grammar_for(tokenizer: Tokenizer, **members: Any) -> str:
    question = asked(**members)
    prompt = tokenizer.render_chat([USER], Chat(question.tools or []))
    return reply_grammar(question, tokenizer, MODEL, prompt)


def test_a_schema_that_only_compiling_shows_to_be_wrong_is_named(
    tokenizers: dict[str, Tokenizer],
) -> None:
    broken = function("f", "x", a={"type": "string", "pattern": "a{2,1}"})
    with pytest.raises(BadInput) as caught:
        grammar_for(tokenizers["thinking"], tools=[LIGHT, broken], tool_choice="required")
    assert caught.value.param == "tools[1].function.parameters.properties.a.pattern"
    assert grammar_for(tokenizers["thinking"], tools=[LIGHT, broken]) == ""


def test_a_reply_that_has_to_call_ends_where_the_call_does(
    tokenizers: dict[str, Tokenizer],
) -> None:
    with pytest.raises(BadInput) as caught:
        grammar_for(tokenizers["hermes"], tools=[LIGHT], tool_choice="required", ignore_eos=True)
    assert caught.value.param == "ignore_eos"


@pytest.mark.parametrize(
    ("members", "may"),
    [
        ({}, False),
        ({"tools": [LIGHT]}, False),
        ({"tools": [{"x": 1}, 7, {"function": 3}]}, False),
        ({"tools": [LIGHT], "tool_choice": "required"}, True),
        ({"tools": [LIGHT], "parallel_calls": False}, True),
        ({"tools": [STRICT]}, True),
        ({"constraint": SCHEMA}, True),
    ],
)
def test_what_may_take_a_grammar_is_told_before_it_is_read(
    members: dict[str, Any], may: bool
) -> None:
    assert may_have_grammar(asked(**members)) is may
