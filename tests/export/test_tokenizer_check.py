"""What export asks of a tokenizer: ids that the model has, a usable template, an end of replies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bramble.errors import BadInput
from bramble.export.stop_tokens import stop_ids
from bramble.export.tokenizer_check import check_tokenizer
from bramble.model.tokenizer import Tokenizer

from tests.golden.tokenizer_cases import LAYOUTS
from tests.golden.tokenizer_layouts import (
    CHATML,
    FAST,
    INST,
    LLAMA2,
    MARKERS,
    NEXT,
    NEXT_PIECE,
    Layout,
    Object,
    adds,
    entry,
    template,
    token,
)

MARKED = Layout("byte_level", FAST | {"added_tokens_decoder": MARKERS, "chat_template": CHATML})


def opened(layout: Layout, folder: Path) -> Tokenizer:
    return Tokenizer(layout.write(folder))


def stops(layout: Layout, folder: Path, generation: Object, config: Object) -> tuple[int, ...]:
    return stop_ids(generation, config, opened(layout, folder), NEXT + 3)[0]


def test_a_token_outside_the_embedding_is_told_by_name(tmp_path: Path) -> None:
    tokenizer = opened(LAYOUTS["llama 2 with a pad token"], tmp_path)
    (warning,) = [w for w in check_tokenizer(tokenizer, NEXT_PIECE) if "<pad>" in w]
    assert f"'<pad>' ({NEXT_PIECE})" in warning and f"0 to {NEXT_PIECE - 1}" in warning
    assert not any("<pad>" in w for w in check_tokenizer(tokenizer, NEXT_PIECE + 1))


def test_a_template_that_writes_a_token_outside_the_embedding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=rf"the chat template writes '<\|im_start\|>' \(id {NEXT}\)"):
        check_tokenizer(opened(MARKED, tmp_path), NEXT)


def test_a_token_outside_the_embedding_that_begins_each_prompt_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"the tokenizer adds '<s>' \(id 0\)"):
        check_tokenizer(opened(LAYOUTS["llama 3"], tmp_path), 0)


@pytest.mark.parametrize("name", ["a template that needs tools", "messages cannot be changed"])
def test_a_template_that_lays_out_no_message_is_refused(name: str, tmp_path: Path) -> None:
    if name == "messages cannot be changed":
        layout = template("{{ messages.append(1) }}")
    else:
        layout = LAYOUTS[name]
    with pytest.raises(BadInput, match="it has to lay out one message of a user's"):
        check_tokenizer(opened(layout, tmp_path), NEXT)


def test_a_template_that_writes_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="makes nothing of a user's message"):
        check_tokenizer(opened(template(" {# #}"), tmp_path), NEXT)


def test_a_template_may_refuse_a_system_message(tmp_path: Path) -> None:
    assert check_tokenizer(opened(template(INST), tmp_path), NEXT) == []


def test_two_tokens_of_one_id_are_refused(tmp_path: Path) -> None:
    layout = Layout("byte_level", FAST, edit=lambda d: d["model"]["vocab"].update(the=5))
    with pytest.raises(BadInput, match="have both id 5"):
        check_tokenizer(opened(layout, tmp_path), NEXT)


def test_a_class_that_replaces_parts_of_the_file_is_told(tmp_path: Path) -> None:
    tokenizer = opened(LAYOUTS["gpt-2's class splits no digits"], tmp_path)
    (warning,) = check_tokenizer(tokenizer, NEXT + 9)[-1:]
    assert "GPT2Tokenizer replaces pre_tokenizer of tokenizer.json" in warning


@pytest.mark.parametrize(
    ("generation", "config", "expected"),
    [
        ({"eos_token_id": [7, 8]}, {"eos_token_id": 9}, {1, 7, 8, 9, NEXT + 1}),
        ({"eos_token_id": None}, {}, {1, NEXT + 1}),
        ({}, {"eos_token_id": 1}, {1, NEXT + 1}),
        ({"eos_token_id": 99_999}, {}, {1, NEXT + 1}),
    ],
)
def test_a_reply_ends_at_every_token_that_anything_calls_its_end(
    generation: Object, config: Object, expected: set[int], tmp_path: Path
) -> None:
    assert set(stops(MARKED, tmp_path, generation, config)) == expected


def test_an_end_that_only_the_template_knows_is_told(tmp_path: Path) -> None:
    tokenizer = opened(MARKED, tmp_path)
    (warning,) = stop_ids({"eos_token_id": 1}, {}, tokenizer, NEXT + 3)[1]
    assert f"ends an answer with '<|im_end|>' (id {NEXT + 1})" in warning
    assert stop_ids({"eos_token_id": NEXT + 1}, {}, tokenizer, NEXT + 3)[1] == []


def test_a_space_before_the_end_is_no_part_of_it(tmp_path: Path) -> None:
    source = "{% for m in messages %}{{ m.content }} \n</s>{% endfor %}"
    layout = template(source, eos_token=None)
    assert stops(layout, tmp_path, {}, {}) == (1,)


def test_a_model_without_an_end_is_told(tmp_path: Path) -> None:
    tokenizer = opened(Layout("byte_level"), tmp_path)
    found, warnings = stop_ids({}, {}, tokenizer, NEXT)
    assert found == () and "no token is known to end a reply" in warnings[0]


def test_ends_that_are_all_outside_the_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"outside the model's vocabulary of \d+: 5000"):
        stops(Layout("byte_level"), tmp_path, {"eos_token_id": 5000}, {})


@pytest.mark.parametrize("value", [-1, "2", True, [1, "2"], 2.0])
def test_an_end_that_is_no_token_id_is_refused_with_its_file(value: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"generation_config\.json: eos_token_id is"):
        stops(MARKED, tmp_path, {"eos_token_id": value}, {})
    with pytest.raises(BadInput, match=r" config\.json: eos_token_id is|^config\.json: eos"):
        stops(MARKED, tmp_path, {}, {"eos_token_id": value})


@pytest.mark.parametrize(
    ("layout", "sentence"),
    [
        (Layout("byte_level", {"bos_token": 5}), "bos_token is 5, need a token"),
        (Layout("byte_level", {"bos_token": {"lstrip": True}}), "need a token"),
        (Layout("byte_level", {"added_tokens_decoder": []}), "is a list, need an object"),
        (Layout("byte_level", {"added_tokens_decoder": {"x": {}}}), "'x' is {}"),
        (Layout("byte_level", {"additional_special_tokens": "<s>"}), "need a list of tokens"),
        (
            Layout("byte_level", {"added_tokens_decoder": {"0": entry("<s>") | {"odd": 1}}}),
            "odd is not known of a token",
        ),
        (
            Layout("byte_level", {"added_tokens_decoder": {"0": entry("<s>") | {"lstrip": 1}}}),
            "lstrip is 1, need true or false",
        ),
        (Layout("byte_level", files={"added_tokens.json": {"<a>": "5"}}), "need a token id"),
        (
            Layout("byte_level", files={"added_tokens.json": {"<a>": 0}}),
            r"'<a>' has id 0, which tokenizer.json gives to '<s>'",
        ),
        (Layout("byte_level", {"tokenizer_class": 5}), "tokenizer_class is 5"),
        (Layout("byte_level", {"chat_template": 5}), "chat_template is a int"),
        (Layout("byte_level", {"chat_template": {"default": 5}}), "need a template"),
        (Layout("byte_level", {"chat_template": "{% if %}"}), "cannot be read"),
        (
            Layout("byte_level", edit=lambda d: d["decoder"].update(type="WordPiece")),
            "decoder .* is not supported",
        ),
        (
            Layout("sentencepiece", LLAMA2, edit=adds(token(9000, "<far>")), model={}),
            None,  # the class adds its own tokens, and this is none of them
        ),
        (
            Layout("byte_level", edit=adds(token(9000, "<far>"))),
            f"'<far>' has id 9000 in added_tokens_decoder, and the tokenizer makes it {NEXT}",
        ),
        (
            Layout(
                "byte_level",
                {"chat_template": "a"},
                files={"chat_template.json": {"chat_template": "b"}},
            ),
            "has another template than the tokenizer",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(
    layout: Layout, sentence: str | None, tmp_path: Path
) -> None:
    if sentence is None:
        assert opened(layout, tmp_path).token_id("<far>") is None
        return
    with pytest.raises(BadInput, match=sentence):
        opened(layout, tmp_path)


def test_the_older_template_file_fills_a_gap(tmp_path: Path) -> None:
    files = {"chat_template.json": {"chat_template": CHATML}}
    assert opened(Layout("byte_level", FAST, files=files), tmp_path).chat_template.source == CHATML
