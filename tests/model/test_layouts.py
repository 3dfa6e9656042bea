"""Every layout of a tokenizer is read as transformers reads it, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bramble.errors import BadInput
from bramble.model.tokenizer import Detokenizer, Tokenizer

from tests.golden.tokenizer_cases import LAYOUTS
from tests.golden.tokenizer_layouts import CHATS, TEXTS

FILE = Path(__file__).parents[1] / "golden" / "tokenizers" / "expected.json"
EXPECTED: dict[str, dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))["layouts"]
READ = [name for name, layout in LAYOUTS.items() if layout.refused is None]
THOUGHTS = ("<think>", "</think>")


def chat(tokenizer: Tokenizer, messages: list[dict[str, Any]]) -> list[int] | None:
    try:
        return tokenizer.encode_chat(messages)
    except BadInput:
        return None


@pytest.mark.parametrize("name", READ)
def test_ids_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    tokenizer, expected = Tokenizer(LAYOUTS[name].write(tmp_path)), EXPECTED[name]
    assert [tokenizer.encode(text) for text in TEXTS] == expected["with_special"]
    assert [tokenizer.encode_rendered(text) for text in TEXTS] == expected["texts"]
    assert [chat(tokenizer, messages) for messages in CHATS] == expected["chats"]


@pytest.mark.parametrize("name", READ)
def test_text_is_that_of_transformers_save_for_a_thoughts_tags(name: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer(LAYOUTS[name].write(tmp_path))
    for ids, text in zip(EXPECTED[name]["texts"], EXPECTED[name]["decoded"], strict=True):
        stream = Detokenizer(tokenizer)
        found = "".join([*map(stream.push, ids), stream.flush()])
        assert found == tokenizer.decode(ids)
        if not {tokenizer.token_id(tag) for tag in THOUGHTS}.intersection(ids):
            assert found == text


@pytest.mark.parametrize("name", sorted(set(LAYOUTS) - set(READ)))
def test_the_rest_is_refused_by_name(name: str, tmp_path: Path) -> None:
    folder = LAYOUTS[name].write(tmp_path)
    with pytest.raises(BadInput) as caught:
        Tokenizer(folder)
    assert LAYOUTS[name].refused in str(caught.value)


def test_the_goldens_are_of_these_layouts() -> None:
    assert list(EXPECTED) == list(LAYOUTS)
    assert len(LAYOUTS) >= 20
