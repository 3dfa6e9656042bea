"""A reply's text is read into what is said, thought and called, however it is cut into pieces."""

from __future__ import annotations

import itertools
import json

import pytest
from bramble.model.replies import Arguments, Call, Piece, Said, Thought, open_reader
from bramble.model.replies.thoughts import ThoughtCounter
from bramble.web.part import merged
from hypothesis import given, settings
from hypothesis import strategies as st

FORMATS = ("", "hermes", "llama", "mistral")
CALL = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
LLAMA_CALL = '{"name": "f", "parameters": {"a": 1}}'
CALLED = [Call(0, "f"), Arguments(0, '{"a": 1}')]


def read(reply_format: str, *texts: str, has_tools: bool = True) -> list[Piece]:
    reader = open_reader(reply_format, has_tools)
    pieces = [piece for text in texts for piece in reader.push(text)]
    return merged([*pieces, *reader.end()])


# ---------------------------------------------------------------------------------------- thoughts


@pytest.mark.parametrize(
    ("opening", "tokens", "count"),
    [
        ("", ["<think>", "\n", "hm", "</think>", "\n\n", "yes"], 4),
        ("", ["\n", "<th", "ink>", "h", "m</", "think>y", "es"], 6),
        ("<think>\n", ["hm", "", "", "…", "</think>", "yes"], 5),
        ("<think>\n", ["so", " and"], 2),
        ("", ["[THINK]", "a", "</think>", "[/THINK]", "b"], 4),
        ("", ["<think>", "</think>", "a"], 2),
        ("", ["yes", "<think>", "a", "</think>"], 0),
        ("", ["<", "th"], 0),
        ("", ["<", "b>", "no"], 0),
        ("", ["", "<think>", "a"], 3),
        ("", [], 0),
    ],
)
def test_the_tokens_of_a_thought_are_counted(opening: str, tokens: list[str], count: int) -> None:
    counter = ThoughtCounter(opening)
    for text in tokens:
        counter.add(text)
    assert counter.num_tokens == count


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("<think>\nhm\n</think>\n\nyes", [Thought("hm"), Said("yes")]),
        (" \n<think>hm</think>yes\n", [Thought("hm"), Said("yes\n")]),
        ("<think>\n\n</think>\n\nyes", [Said("yes")]),
        ("<think>\nso, and", [Thought("so, and")]),
        ("<think>a </thin", [Thought("a </thin")]),
        ("<think>a</think>", [Thought("a")]),
        ("[THINK]hm[/THINK]yes", [Thought("hm"), Said("yes")]),
        ("<thin", [Said("<thin")]),
        (" <b>x</b>", [Said(" <b>x</b>")]),
        ("x <think>y</think>", [Said("x <think>y</think>")]),
        ("<think>a <think> b</think>c", [Thought("a <think> b"), Said("c")]),
    ],
)
@pytest.mark.parametrize("reply_format", FORMATS)
def test_a_thought_at_the_beginning_is_told_apart(
    reply_format: str, text: str, pieces: list[Piece]
) -> None:
    assert read(reply_format, text) == pieces
    assert read(reply_format, *text) == pieces


# ------------------------------------------------------------------------------------------- calls


@pytest.mark.parametrize(
    ("reply_format", "text", "pieces"),
    [
        ("hermes", CALL, CALLED),
        ("hermes", f"<think>\nhm\n</think>\n\n{CALL}", [Thought("hm"), *CALLED]),
        ("hermes", f"Let me see.\n{CALL}\n", [Said("Let me see."), *CALLED]),
        ("hermes", f"{CALL}\nThere.", [*CALLED, Said("There.")]),
        ("hermes", '<tool_call>{"name":"f","arguments":{"a": 1}}', CALLED),
        ("hermes", '<tool_call>\n{"arguments": {"a": 1}, "name": "f"}\n</tool_call>', CALLED),
        ("hermes", '<tool_call>[{"name": "f", "arguments": {"a": 1}}]</tool_call>', CALLED),
        ("hermes", '<tool_call>{"name": "f", "parameters": {"a": 1}}</tool_call>', CALLED),
        ("hermes", '<tool_call>{"id": 7, "name": "f", "arguments": {"a": 1}, "x": []}', CALLED),
        (
            "hermes",
            '<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>',
            CALLED,
        ),
        ("hermes", '<tool_call>{"name": "f"}', [Call(0, "f"), Arguments(0, "{}")]),
        (
            "hermes",
            '<tool_call>{"name": "f", "arguments": null}',
            [Call(0, "f"), Arguments(0, "{}")],
        ),
        ("llama", LLAMA_CALL, CALLED),
        ("llama", f"<|python_tag|>{LLAMA_CALL}", CALLED),
        ("llama", f"\n\n{LLAMA_CALL}", CALLED),
        ("llama", f"I look it up. <|python_tag|>{LLAMA_CALL}", [Said("I look it up."), *CALLED]),
        ("llama", '{"type": "function", "name": "f", "parameters": {"a": 1}}', CALLED),
        ("mistral", '[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}}]', CALLED),
        (
            "mistral",
            '[TOOL_CALLS][{"name": "f", "arguments": {"a": 1}, "id": "abcdefghi"}]',
            CALLED,
        ),
        ("mistral", '[TOOL_CALLS]f[ARGS]{"a": 1}', CALLED),
        ("mistral", '[TOOL_CALLS]f{"a": 1}', CALLED),
        ("mistral", '[TOOL_CALLS]f[CALL_ID]abc123[ARGS]{"a": 1}', CALLED),
        ("mistral", 'See: [TOOL_CALLS]f[ARGS]{"a": 1}', [Said("See:"), *CALLED]),
    ],
)
def test_a_call_is_read(reply_format: str, text: str, pieces: list[Piece]) -> None:
    assert read(reply_format, text) == pieces
    assert read(reply_format, *text) == pieces


@pytest.mark.parametrize(
    ("reply_format", "text"),
    [
        ("hermes", f"{CALL}\n{CALL}"),
        ("hermes", CALL + CALL),
        ("hermes", CALL.replace("\n</", '\n{"name": "f", "arguments": {"a": 1}}\n</')),
        ("llama", f"{LLAMA_CALL}; {LLAMA_CALL}"),
        ("llama", f"<|python_tag|>{LLAMA_CALL}\n{LLAMA_CALL}"),
        (
            "mistral",
            '[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}}, '
            '{"name": "f", "arguments": {"a": 1}}]',
        ),
        ("mistral", '[TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]f[ARGS]{"a": 1}'),
    ],
)
def test_several_calls_are_numbered(reply_format: str, text: str) -> None:
    expected = [*CALLED, Call(1, "f"), Arguments(1, '{"a": 1}')]
    assert read(reply_format, text) == expected
    assert read(reply_format, *text) == expected


@pytest.mark.parametrize(
    ("reply_format", "text"),
    [
        ("hermes", "<tool_call>"),
        ("hermes", "<tool_call>\n{}\n</tool_call>"),
        ("hermes", "a <tool_call>b</tool_call> c"),
        ("hermes", '<tool_call>\n{"name": "f", "arguments": [1]}\n</tool_call> x'),
        ("hermes", '<tool_call>{"name": 1, "arguments": {}}'),
        ("hermes", '<tool_call>{"name": "", "arguments": {}}'),
        ("hermes", '<tool_call>{"name": "f'),
        ("hermes", '<tool_call>{"arguments": {"a": 1}, "name": "f"'),
        ("hermes", "<tool_call>{'name': 'f'}</tool_call>"),
        ("hermes", '<tool_call>{"name": "f", "arguments": "no"}'),
        ("hermes", LLAMA_CALL),
        ("llama", '{"name": "Bob", "age": 3}'),
        ("llama", '{"name": "Bob"}'),
        ("llama", "{a set}"),
        ("llama", '<|python_tag|>brave.call(query="x")'),
        ("llama", f"So: {LLAMA_CALL}"),
        ("llama", CALL),
        ("llama", "{"),
        ("mistral", "[TOOL_CALLS] []"),
        ("mistral", "[TOOL_CALLS] hello there {x}"),
        ("mistral", "[TOOL_CALLS]" + "x" * 300),
        ("mistral", "[TOOL_CALLS] [f]"),
        ("mistral", "[TOOL"),
    ],
)
def test_what_is_no_call_is_said_word_for_word(reply_format: str, text: str) -> None:
    assert read(reply_format, text) == [Said(text)]
    assert read(reply_format, *text) == [Said(text)]


@pytest.mark.parametrize("text", [CALL, LLAMA_CALL, '[TOOL_CALLS]f[ARGS]{"a": 1}'])
def test_without_tools_a_call_is_only_said(text: str) -> None:
    for reply_format in FORMATS:
        assert read(reply_format, text, has_tools=False) == [Said(text)]


def test_a_call_behind_what_is_none_is_found() -> None:
    assert read("hermes", f"<tool_call>{CALL}") == [Said("<tool_call>"), *CALLED]
    assert read("hermes", f'<tool_call>{{"x"\n{CALL}') == [Said('<tool_call>{"x"'), *CALLED]


def test_arguments_come_as_they_are_written() -> None:
    reader = open_reader("hermes", True)
    text = '<tool_call>\n{"name": "find", "arguments": {"q": "é \\" }", "n": [1, {"x": null}]}}'
    got = [reader.push(character) for character in text]
    first = next(i for i, pieces in enumerate(got) if pieces)
    assert text[: first + 1].endswith('"arguments": {')
    assert got[first] == [Call(0, "find"), Arguments(0, "{")]
    behind = got[first + 1 :]
    assert [len(pieces) for pieces in behind] == [1] * (len(behind) - 1) + [0]


def test_a_call_that_breaks_off_keeps_what_it_had_and_the_rest_is_said() -> None:
    text = '<tool_call>{"name": "f", "arguments": {"a": oh}}</tool_call>'
    expected = [Call(0, "f"), Arguments(0, '{"a": '), Said("oh}}</tool_call>")]
    assert read("hermes", text) == read("hermes", *text) == expected
    cut = '<tool_call>{"name": "f", "arguments": {"a": "b'
    assert read("hermes", cut) == [Call(0, "f"), Arguments(0, '{"a": "b')]


def test_a_line_break_inside_of_a_string_is_written_as_json_writes_it() -> None:
    (_, arguments) = read("hermes", '<tool_call>{"name": "f", "arguments": {"a": "b\n\tc"}}')
    assert isinstance(arguments, Arguments) and json.loads(arguments.text) == {"a": "b\n\tc"}


# ------------------------------------------------------------------------------------------ always

PARTS = st.sampled_from(
    [
        *("<think>", "</think>", "<tool_call>", "</tool_call>", "<|python_tag|>", "[TOOL_CALLS]"),
        *("[ARGS]", "[CALL_ID]", "{", "}", "[", "]", ",", ";", ":", " ", "\n", '"', "\\", "a", "0"),
        *('"name"', '"arguments"', '"parameters": {', '{"name": "f", ', "null", "1.5e3", "é", "<t"),
        *(CALL, LLAMA_CALL, '{"name": "f", "arguments": {"x": ', "</tool_c", "[TOOL", "x" * 201),
    ]
)
TEXTS = st.lists(PARTS, max_size=14).map("".join) | st.text(max_size=40)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(FORMATS), TEXTS, st.lists(st.integers(0, 400), max_size=8))
def test_pieces_do_not_depend_on_how_the_text_is_cut(
    reply_format: str, text: str, cuts: list[int]
) -> None:
    whole = read(reply_format, text)
    borders = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    assert read(reply_format, *(text[a:b] for a, b in itertools.pairwise(borders))) == whole
    assert read(reply_format, *text) == whole


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(FORMATS), TEXTS)
def test_nothing_is_lost_where_no_call_was_read(reply_format: str, text: str) -> None:
    pieces = read(reply_format, text)
    calls = [piece for piece in pieces if isinstance(piece, Call)]
    assert [call.index for call in calls] == list(range(len(calls)))
    if calls:
        return
    if not any(isinstance(piece, Thought) for piece in pieces):
        head = text.lstrip()
        for tags in (("<think>", "</think>"), ("[THINK]", "[/THINK]")):
            if head.startswith(tags[0]):
                head = head.removeprefix(tags[0]).lstrip().removeprefix(tags[1]).lstrip()
                assert "".join(p.text for p in pieces if isinstance(p, Said)) == head
                return
        assert pieces == ([Said(text)] if text else [])
        return
    said = "".join(piece.text for piece in pieces if isinstance(piece, Said | Thought))
    expected = text.lstrip().removeprefix("<think>").removeprefix("[THINK]")
    assert squeezed(said) in (
        squeezed(expected.replace("</think>", "", 1)),
        squeezed(expected.replace("[/THINK]", "", 1)),
        squeezed(expected),
    )


def squeezed(text: str) -> str:
    return "".join(text.split())


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(min_size=1, max_size=8),
            st.dictionaries(
                st.text(max_size=6),
                st.recursive(
                    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
                    lambda inner: (
                        st.lists(inner, max_size=3)
                        | st.dictionaries(st.text(max_size=4), inner, max_size=3)
                    ),
                    max_leaves=6,
                ),
                max_size=3,
            ),
        ),
        min_size=1,
        max_size=3,
    ),
    st.booleans(),
    st.sampled_from([None, 2]),
)
def test_whatever_is_called_is_read_back(
    calls: list[tuple[str, dict[str, object]]], is_ascii: bool, indent: int | None
) -> None:
    written = [
        json.dumps({"name": name, "arguments": given}, ensure_ascii=is_ascii, indent=indent)
        for name, given in calls
    ]
    text = "\n".join(f"<tool_call>\n{call}\n</tool_call>" for call in written)
    pieces = read("hermes", text)
    assert [p.name for p in pieces if isinstance(p, Call)] == [name for name, _ in calls]
    found = [json.loads(p.text) for p in pieces if isinstance(p, Arguments)]
    assert found == [given for _, given in calls]
    assert read("mistral", f"[TOOL_CALLS] [{', '.join(written)}]") == pieces
