"""Replies of earlier turns are found in a chat's prompt, token for token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bramble
import pytest
from bramble.head.history import read_history
from bramble.model.tokenizer import Tokenizer

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
