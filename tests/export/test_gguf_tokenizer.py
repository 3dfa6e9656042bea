"""Vocabularies of GGUF files: tokens are those of the tokenizer that they were made from."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from bramble.errors import BadInput
from bramble.export.gguf import Container
from bramble.export.gguf_speech import read_spoken
from bramble.export.gguf_tokenizer import SPLITTINGS
from bramble.model.tokenizer import Tokenizer

from tests.golden.tokenizer_layouts import CHATML, WORDS, Layout, byte_level, sentencepiece

PIECES = (
    *WORDS,
    *(
        "'s",
        "'LL",
        "'",
        "1",
        "2024",
        " 7",
        "½",
        "٣",
        " ",
        "  ",
        "   ",
        "\n",
        "\r\n",
        "\n\n \t",
        "\u00a0",
    ),
    *(
        "e\u0301",
        "é",
        "Straße",
        "ﬁ",
        "漢字",
        "🙂",
        "👩‍🚀",
        "ก็",
        "--",
        "?!",
        "=>",
        "_",
        "▁",
        "<0x41>",
        "\u200b",
    ),
    *("<s>", "</s>", "<|im_end|>", "camelCase", "HTTPServer", "a_b", "x\u0000y", "ÀÉ", "ǅ"),
)
NUM_TEXTS = 1000


def texts() -> list[str]:
    choose = random.Random(17)
    return ["".join(choose.choices(PIECES, k=choose.randrange(12))) for _ in range(NUM_TEXTS)]


def byte_level_keys(pre: str, **more: Any) -> dict[str, Any]:
    """The goldens' byte-level vocabulary, with <|im_start|> and <|im_end|> behind it."""
    model = byte_level()["model"]
    tokens = [*sorted(model["vocab"], key=model["vocab"].get), "<|im_start|>", "<|im_end|>"]
    kinds = [3, 3, *[1] * (len(tokens) - 4), 3, 3]
    keys = {"model": "gpt2", "pre": pre, "tokens": tokens, "token_type": kinds}
    keys |= {"merges": model["merges"], "bos_token_id": 0, "eos_token_id": 1} | more
    return {f"tokenizer.ggml.{key}": value for key, value in keys.items()}


def piece_keys(**more: Any) -> dict[str, Any]:
    """The goldens' SentencePiece vocabulary; what merged sooner has the higher score."""
    model = sentencepiece()["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    kinds = [2, 3, 3, *[6] * 256, *[1] * (len(tokens) - 259)]
    scores = [-float(index) for index in range(len(tokens))]
    keys = {"model": "llama", "tokens": tokens, "token_type": kinds, "scores": scores} | more
    return {f"tokenizer.ggml.{key}": value for key, value in keys.items()}


def opened(folder: Path, metadata: dict[str, Any]) -> Tokenizer:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    for name, text in read_spoken(Container(Path("m.gguf"), metadata, {})).texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return Tokenizer(folder)


def original(folder: Path, model_type: str, tokenizer_class: str) -> Tokenizer:
    folder.mkdir()
    markers = ["<|im_start|>", "<|im_end|>"]
    config = {"tokenizer_class": tokenizer_class, "additional_special_tokens": markers}
    config |= {"bos_token": "<s>", "eos_token": "</s>", "unk_token": None, "pad_token": None}
    return Tokenizer(Layout("byte_level", config, {"model_type": model_type}).write(folder))


@pytest.mark.parametrize(
    ("pre", "model_type", "tokenizer_class"),
    [("gpt-2", "llama", "PreTrainedTokenizerFast"), ("qwen2", "qwen2", "Qwen2Tokenizer")],
)
def test_byte_level_tokens_are_the_original_tokenizers(
    tmp_path: Path, pre: str, model_type: str, tokenizer_class: str
) -> None:
    ours = opened(tmp_path / "gguf", byte_level_keys(pre))
    theirs = original(tmp_path / "hf", model_type, tokenizer_class)
    for text in texts():
        ids = ours.encode(text)
        assert ids == theirs.encode(text), repr(text)
        assert ours.decode(ids) == theirs.decode(ids)


def sentencepiece_ids(text: str, keys: dict[str, Any]) -> list[int]:
    """Its algorithm: of neighbours that make a token, those of the highest score merge first."""
    tokens, scores = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.scores"]
    ids = {token: index for index, token in enumerate(tokens)}
    symbols = list("▁" + text.replace(" ", "▁")) if text else []
    while True:
        pairs = [
            (-scores[ids[left + right]], at)
            for at, (left, right) in enumerate(pairwise(symbols))
            if left + right in ids
        ]
        if not pairs:
            break
        at = min(pairs)[1]
        symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
    found: list[int] = []
    for symbol in symbols:
        known = ids.get(symbol)
        found += [known] if known else [ids[f"<0x{byte:02X}>"] for byte in symbol.encode()]
    return found


def test_sentencepiece_tokens_are_what_its_algorithm_makes(tmp_path: Path) -> None:
    keys = piece_keys()
    tokenizer = opened(tmp_path / "m", keys)
    for text in texts():
        if "<s>" not in text and "</s>" not in text:
            assert tokenizer.encode(text) == [1, *sentencepiece_ids(text, keys)], repr(text)


def test_a_space_stands_before_a_text_also_behind_a_special_token(tmp_path: Path) -> None:
    tokenizer = opened(tmp_path / "m", piece_keys())
    assert [tokenizer.token(i) for i in tokenizer.encode("the<s>cat")] == [
        "<s>",
        "▁the",
        "<s>",
        "▁cat",
    ]
    bare = opened(tmp_path / "n", piece_keys(add_space_prefix=False, add_bos_token=False))
    assert [bare.token(i) for i in bare.encode("the cat")] == ["the", "▁cat"]
    assert bare.decode(bare.encode("the cat")) == tokenizer.decode(tokenizer.encode("the cat"))


@pytest.mark.parametrize(
    ("pre", "pieces"),
    [
        ("llama-bpe", ["12", "3", "4", "5"]),
        ("tekken", ["1", "2", "3", "4", "5"]),
        ("smollm", ["1", "2", "3", "4", "5"]),
        ("qwen2", ["1", "2", "3", "4", "5"]),
        ("gpt-2", ["12", "34", "5"]),
    ],
)
def test_digits_are_split_as_the_name_says(tmp_path: Path, pre: str, pieces: list[str]) -> None:
    """12 and 34 are tokens, and llama-bpe splits 123 from 45."""
    tokenizer = opened(tmp_path / "m", byte_level_keys(pre, add_bos_token=False))
    assert [tokenizer.token(i) for i in tokenizer.encode("12345")] == pieces


def test_bos_is_added_where_the_file_or_the_name_says_so(tmp_path: Path) -> None:
    def first(name: str, keys: dict[str, Any]) -> int:
        return opened(tmp_path / name, keys).encode("the")[0]

    assert first("a", byte_level_keys("llama-bpe")) == 0
    assert first("b", byte_level_keys("llama-bpe", add_bos_token=False)) != 0
    assert first("c", byte_level_keys("qwen2")) != 0
    assert first("d", byte_level_keys("qwen2", add_bos_token=True)) == 0
    with pytest.raises(BadInput, match="add_bos_token is true, and no token is named bos"):
        opened(tmp_path / "e", byte_level_keys("llama-bpe", bos_token_id=None))


def test_replies_end_at_what_the_file_names_and_at_known_texts(tmp_path: Path) -> None:
    keys = byte_level_keys("qwen2")
    end = keys["tokenizer.ggml.tokens"].index("<|im_end|>")
    found = read_spoken(Container(Path("m.gguf"), keys, {})).generation
    assert found["eos_token_id"] == [1, end]


def test_chat_templates_are_written_by_their_names(tmp_path: Path) -> None:
    keys = byte_level_keys("qwen2") | {"tokenizer.chat_template": CHATML}
    keys |= {"tokenizer.chat_templates": ["tool_use"], "tokenizer.chat_template.tool_use": "tools"}
    tokenizer = opened(tmp_path / "m", keys)
    assert tokenizer.render_chat([{"role": "user", "content": "a"}]).startswith("<|im_start|>user")
    assert tokenizer.chat_template.sources["tool_use"] == "tools"


def test_a_user_defined_token_is_matched_whole_and_has_a_text(tmp_path: Path) -> None:
    keys = byte_level_keys("qwen2")
    keys["tokenizer.ggml.token_type"][-1] = 4
    tokenizer = opened(tmp_path / "m", keys)
    (index,) = tokenizer.encode("<|im_end|>")
    assert index not in tokenizer.special_ids and tokenizer.decode([index]) == "<|im_end|>"


def test_a_token_that_is_not_used_is_none(tmp_path: Path) -> None:
    keys = byte_level_keys("qwen2", padding_token_id=len(byte_level()["model"]["vocab"]) + 1)
    keys["tokenizer.ggml.token_type"][-1] = 5
    tokenizer = opened(tmp_path / "m", keys)
    assert tokenizer.token_id("<|im_end|>") is None


def test_every_known_name_reads_a_text_and_writes_it_again(tmp_path: Path) -> None:
    for name in SPLITTINGS:
        tokenizer = opened(tmp_path / name, byte_level_keys(name, add_bos_token=False))
        for text in texts()[:100]:
            plain = text.replace("<s>", "").replace("</s>", "").replace("<|im_end|>", "")
            expected = plain.replace("e\u0301", "é") if name == "qwen2" else plain
            assert tokenizer.decode(tokenizer.encode(plain)) == expected


def test_a_piece_longer_than_any_is_refused(tmp_path: Path) -> None:
    keys = piece_keys()
    keys["tokenizer.ggml.tokens"][-1] = "a" * 257
    with pytest.raises(BadInput, match="has 257 characters, need 256 at most"):
        opened(tmp_path / "m", keys)


def test_scores_that_say_nothing_are_refused(tmp_path: Path) -> None:
    keys = piece_keys()
    keys["tokenizer.ggml.scores"] = [-1000.0] * len(keys["tokenizer.ggml.tokens"])
    with pytest.raises(BadInput, match="scores of all tokens are equal"):
        opened(tmp_path / "m", keys)
