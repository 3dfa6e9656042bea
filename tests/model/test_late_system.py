"""System messages between the turns, where a template takes them and where it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bramble.errors import BadInput
from bramble.model.late_system import without_late_system
from bramble.model.tokenizer import Tokenizer

from tests.golden.tokenizer_layouts import Layout

FAST = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
TAKES = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
DROPS = "{% for m in messages if m.role != 'system' or loop.first %}{{ m.content }}|{% endfor %}"
REFUSES = (
    "{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}[{{ messages[0].content }}]"
    "{% else %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) or m.role == 'system' %}"
    "{{ raise_exception('turns have to alternate') }}{% endif %}<{{ m.content }}>{% endfor %}"
)


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def with_template(folder: Path, template: str) -> Tokenizer:
    return Tokenizer(Layout("byte_level", FAST | {"chat_template": template}).write(folder))


def test_a_template_that_takes_them_is_given_them_as_they_are(tmp_path: Path) -> None:
    text = with_template(tmp_path, TAKES).render_chat([system("a"), user("b"), system("c")])
    assert text == "[system]a[user]b[system]c"


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([system("a"), user("b"), system("c")], "[a]<b\n\nc>"),
        ([system("a"), system("b"), user("c")], "[a\n\nb]<c>"),
        ([user("a"), system("b")], "<a\n\nb>"),
        ([user("a"), said("b"), system("c"), user("d")], "<a><b><c\n\nd>"),
        ([user("a"), said("b"), system("c"), system("d"), user("e")], "<a><b><c\n\nd\n\ne>"),
    ],
)
def test_a_template_that_refuses_them_has_their_text_in_the_users_turn(
    messages: list[dict[str, Any]], text: str, tmp_path: Path
) -> None:
    assert with_template(tmp_path, REFUSES).render_chat(messages) == text


def test_a_template_that_drops_them_has_their_text_too(tmp_path: Path) -> None:
    assert with_template(tmp_path, DROPS).render_chat([user("a"), system("b")]) == "a\n\nb|"


def test_what_a_template_refuses_besides_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="alternate"):
        with_template(tmp_path, REFUSES).render_chat([user("a"), user("b")])


def test_turns_of_the_user_that_hold_no_such_text_stay_apart() -> None:
    messages = [user("a"), user("b"), said("c"), system("d"), user("e"), user("f")]
    turns = [message["content"] for message in without_late_system(messages)]
    assert turns == ["a", "b", "c", "d\n\ne\n\nf"]
