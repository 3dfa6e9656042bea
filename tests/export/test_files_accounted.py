"""Keys of a model's generation and tokenizer files: obeyed, harmless for a reason, or refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from bramble.errors import BadInput
from bramble.export import generation, tokenizer_keys
from bramble.export.config_file import plain
from bramble.export.generation import read_defaults
from bramble.export.tokenizer_keys import check_tokenizer_keys
from bramble.model.sampling import RANGES, effective
from hypothesis import given
from hypothesis import strategies as st

from tests.export.published import GENERATION_CONFIGS, SPECIAL_TOKENS_MAPS, TOKENIZER_CONFIGS

VALUES = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers())
KNOWN = {*generation.SAMPLING, "bos_token_id", "eos_token_id"}
KNOWN |= {*generation.NEUTRAL, *generation.HARMLESS}
KNOWN_OF_TOKENIZER = {*tokenizer_keys.OBEYED, *tokenizer_keys.NEUTRAL, *tokenizer_keys.HARMLESS}


def write(folder: Path, **files: dict[str, Any]) -> Path:
    """Write NAME.json for each, and a tokenizer.json of kind BPE."""
    for name, content in ({"tokenizer": {"model": {"type": "BPE"}}} | files).items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", GENERATION_CONFIGS)
def test_no_published_generation_config_is_refused(name: str) -> None:
    read_defaults(GENERATION_CONFIGS[name])


@pytest.mark.parametrize("name", TOKENIZER_CONFIGS)
def test_no_published_tokenizer_config_is_refused(name: str, tmp_path: Path) -> None:
    check_tokenizer_keys(write(tmp_path, tokenizer_config=TOKENIZER_CONFIGS[name]))


@pytest.mark.parametrize("name", SPECIAL_TOKENS_MAPS)
def test_no_published_special_tokens_map_is_refused(name: str, tmp_path: Path) -> None:
    check_tokenizer_keys(write(tmp_path, special_tokens_map=SPECIAL_TOKENS_MAPS[name]))


@given(key=st.text(min_size=1).filter(lambda key: key not in KNOWN), value=VALUES)
def test_an_unknown_generation_key_is_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(BadInput, match=r"generation_config\.json: ") as caught:
        read_defaults({key: value})
    assert plain(key) in str(caught.value)


@given(key=st.text(min_size=1), value=VALUES)
def test_an_unknown_tokenizer_key_is_refused_by_name(
    key: str, value: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if key in KNOWN_OF_TOKENIZER or key.endswith("_token") or key == "auto_map":
        return
    folder = write(tmp_path_factory.mktemp("keys"), tokenizer_config={key: value})
    with pytest.raises(BadInput, match=r"tokenizer_config\.json: ") as caught:
        check_tokenizer_keys(folder)
    assert plain(key) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 5.0),
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", "0.7"),
        ("temperature", True),
        ("top_k", -1),
        ("top_k", 2.5),
        ("top_p", 0.0),
        ("top_p", 1.01),
        ("min_p", 2),
        ("repetition_penalty", 0.0),
        ("do_sample", "yes"),
        ("num_beams", 4),
        ("penalty_alpha", 0.6),
        ("typical_p", 0.9),
        ("no_repeat_ngram_size", 3),
        ("bad_words_ids", [[5]]),
        ("suppress_tokens", [1]),
        ("begin_suppress_tokens", [1]),
        ("forced_bos_token_id", 0),
        ("forced_eos_token_id", [2]),
        ("min_new_tokens", 5),
        ("encoder_repetition_penalty", 0.9),
        ("encoder_no_repeat_ngram_size", 2),
        ("exponential_decay_length_penalty", [5, 1.1]),
        ("sequence_bias", [[[1], 2.0]]),
        ("guidance_scale", 1.5),
        ("watermarking_config", {"bias": 2.0}),
        ("stop_strings", ["User:"]),
        ("stop_strings", "User:"),
        ("epsilon_cutoff", 0.1),
        ("num_beams", True),
        ("max_time", 1.0),
    ],
)
def test_a_generation_key_that_cannot_be_obeyed_is_refused_with_its_value(
    name: str, value: Any
) -> None:
    with pytest.raises(BadInput) as caught:
        read_defaults({"do_sample": True, name: value})
    assert f"generation_config.json: {name} is {value!r}" in str(caught.value)


def test_defaults_are_what_the_author_wrote() -> None:
    written = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": None, "num_beams": 1}
    assert read_defaults(written) == {"do_sample": True, "temperature": 0.6, "top_p": 0.9}


def test_a_model_that_is_not_to_be_sampled_is_greedy_everywhere() -> None:
    assert effective({"do_sample": False, "temperature": 0.6, "top_k": 5}) == {
        "temperature": 0.0,
        "top_k": 5,
    }
    assert effective({"do_sample": True, "temperature": 0.6}) == {"temperature": 0.6}


def test_every_harmless_key_has_a_reason_and_is_on_one_list() -> None:
    for module in (generation, tokenizer_keys):
        assert all(len(reason) > 10 for reason in module.HARMLESS.values())
        assert not set(module.HARMLESS) & set(module.NEUTRAL)
    assert not set(RANGES) & {*generation.HARMLESS, *generation.NEUTRAL}
    assert not set(tokenizer_keys.OBEYED) & set(tokenizer_keys.HARMLESS)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"auto_map": {"AutoTokenizer": ["x.Y", None]}}, "code of the model's own"),
        ({"fix_mistral_regex": True}, "fix_mistral_regex is True, supported is False"),
        ({"fast_tokenizer_files": ["tokenizer.4.0.0.json"]}, "fast_tokenizer_files is"),
        ({"bos_token": ["<s>"], "image_token": 5}, "image_token is 5"),
    ],
)
def test_a_tokenizer_key_that_cannot_be_obeyed_is_refused_with_its_value(
    config: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=sentence):
        check_tokenizer_keys(write(tmp_path, tokenizer_config=config))


def test_spaces_are_cleaned_up_by_nobody_but_other_models_than_bpe(tmp_path: Path) -> None:
    config = {"clean_up_tokenization_spaces": True}
    check_tokenizer_keys(write(tmp_path, tokenizer_config=config))
    unigram = {"model": {"type": "Unigram"}}
    with pytest.raises(BadInput, match="not supported for a Unigram tokenizer"):
        check_tokenizer_keys(write(tmp_path, tokenizer=unigram, tokenizer_config=config))


@pytest.mark.parametrize("name", ["chat_template.txt", "chat_template_tools.jinja"])
def test_a_file_that_looks_like_a_template_and_is_none_is_named(name: str, tmp_path: Path) -> None:
    (write(tmp_path) / name).write_text("x")
    with pytest.raises(BadInput, match=name):
        check_tokenizer_keys(tmp_path)


def test_a_key_of_the_special_tokens_map_is_known_or_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"special_tokens_map\.json: strange is 1"):
        check_tokenizer_keys(write(tmp_path, special_tokens_map={"strange": 1}))
