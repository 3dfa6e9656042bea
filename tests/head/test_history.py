"""Replies of earlier turns are found in a chat's prompt, token for token."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import bramble
import pytest
from bramble.head.history import read_history
from bramble.model.tokenizer import Chat, Tokenizer

from tests.golden.tool_cases import layout

EMBEDDED = Path(bramble.__file__).parent / "embedded"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(EMBEDDED)


def chat(*texts: str) -> list[dict[str, Any]]:
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]


def read(tokenizer: Tokenizer, messages: list[dict[str, Any]]) -> tuple[list[int], tuple[int, ...]]:
    return read_history(tokenizer, messages, tokenizer.render_chat(messages))


def test_a_chat_without_history_is_all_prompt(tokenizer: Tokenizer) -> None:
    messages = chat("Hello")
    ids, flips = read(tokenizer, messages)
    assert ids == tokenizer.encode_chat(messages)
    assert flips == (len(ids),)


@pytest.mark.parametrize("reply", ["A Raspberry Pi.", "é 日本\n\n- one\n- two", "1", "</s> <b>"])
def test_a_reply_is_as_long_as_its_message(tokenizer: Tokenizer, reply: str) -> None:
    messages = chat("Hello", reply, "And then?", "Nothing.", "Why?")
    ids, flips = read(tokenizer, messages)
    assert ids == tokenizer.encode_chat(messages)
    start, stop, second, third, end = flips
    assert tokenizer.decode(ids[start:stop]) == reply
    assert ids[:start] == tokenizer.encode_chat(messages[:1])
    assert tokenizer.decode(ids[second:third]) == "Nothing."
    assert end == len(ids)


def test_a_turn_begins_with_what_the_one_before_was_computed_as(tokenizer: Tokenizer) -> None:
    """Where its reply comes back as it was: it need not be read again."""
    first, flips = read(tokenizer, chat("Hello"))
    reply = tokenizer.encode("Hi, I run on small boards.")
    messages = chat("Hello", tokenizer.decode(reply), "Good")
    ids, (start, stop, _) = read(tokenizer, messages)
    assert (start,) == flips and ids[:start] == first
    assert ids[start:stop] == reply


def test_what_the_template_does_not_write_as_a_reply_is_prompt(tokenizer: Tokenizer) -> None:
    empty = chat("Hello", "", "Good")
    ids, flips = read(tokenizer, empty)
    assert flips == (len(ids),)


# ------------------------------------------------------------------------------ thoughts and calls


def call(name: str, **arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": "abcdefghi", "type": "function", "function": function}


def asked(**members: Any) -> list[dict[str, Any]]:
    reply = {"role": "assistant", "content": "", "tool_calls": [call("f", a=1, b="é")]} | members
    result = {"role": "tool", "tool_call_id": "abcdefghi", "name": "f", "content": "18"}
    return [{"role": "user", "content": "Hello"}, reply, result]


TOOLS = Chat([{"type": "function", "function": {"name": "f", "description": "x"}}])


def with_template(folder: Path, name: str) -> Tokenizer:
    made = layout(name)
    marked = [{"content": t, "special": True} for t in ("<|im_end|>", "<|eot_id|>")]
    config = (made.config or {}) | {"additional_special_tokens": marked}
    return Tokenizer(replace(made, config=config).write(folder))


@pytest.mark.parametrize(
    ("template", "end", "reply"),
    [
        (
            "hermes",
            "<|im_end|>",
            '<tool_call>\n{"name": "f", "arguments": {"a": 1, "b": "é"}}\n</tool_call>',
        ),
        ("llama", "<|eot_id|>", '{"name": "f", "parameters": {"a": 1, "b": "é"}}'),
        (
            "mistral",
            "</s>",
            '[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1, "b": "é"}, "id": "abcdefghi"}]',
        ),
        (
            "signatures",
            "<|im_end|>",
            '<tool_call>\n{"arguments": {"a": 1, "b": "é"}, "name": "f"}\n</tool_call>',
        ),
    ],
)
def test_a_call_is_a_reply_up_to_what_ends_it(
    template: str, end: str, reply: str, tmp_path: Path
) -> None:
    tokenizer = with_template(tmp_path, template)
    messages = asked()
    text = tokenizer.render_chat(messages, TOOLS)
    eos = tokenizer.token_id(end)
    assert eos is not None
    ids, (start, stop, last) = read_history(tokenizer, messages, text, TOOLS, {eos})
    assert tokenizer.decode(ids[start:stop]) == reply and last == len(ids)
    assert tokenizer.decode(ids[:start]) == tokenizer.decode(
        tokenizer.encode_chat(messages[:1], TOOLS)
    )


def test_a_thought_that_the_template_keeps_is_of_the_reply(tmp_path: Path) -> None:
    tokenizer = with_template(tmp_path, "thinking")
    messages = asked(reasoning_content="Hm.", content="I ask.")
    text = tokenizer.render_chat(messages, TOOLS)
    eos = tokenizer.token_id("<|im_end|>")
    assert eos is not None
    ids, (start, stop, _) = read_history(tokenizer, messages, text, TOOLS, {eos})
    reply = tokenizer.decode(ids[start:stop])
    assert reply.startswith("<think>\nHm.\n</think>\n") and reply.endswith("</tool_call>")


def test_a_call_without_a_known_end_is_prompt(tmp_path: Path) -> None:
    tokenizer = with_template(tmp_path, "hermes")
    text = tokenizer.render_chat(asked(), TOOLS)
    ids, flips = read_history(tokenizer, asked(), text, TOOLS)
    assert flips == (len(ids),)
