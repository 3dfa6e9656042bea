"""Tokenizers of both schemes, built here; texts that arrive byte by byte; chat templates."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from bramble.errors import BadInput
from bramble.model.tokenizer import Detokenizer, Tokenizer, byte_characters, opened_thought
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend

SPECIAL = ("<s>", "</s>")
CHATML = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'critic' %}{{ raise_exception('no critics here') }}{% endif %}"
    "{{ m.role }}: {{ m.content | tojson }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def save_byte_level(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    words = [*SPECIAL, *byte_characters().values(), "Ġthe", "Ã©", "ðŁ"]  # é; half of an emoji
    backend = Backend(models.BPE({word: index for index, word in enumerate(words)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(SPECIAL))
    backend.save(str(folder / "tokenizer.json"))
    return folder


def save_byte_fallback(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    words = [*SPECIAL, *(f"<0x{b:02X}>" for b in range(256)), "▁", "▁the", "é", "a", "▁▁"]
    backend = Backend(
        models.BPE({word: index for index, word in enumerate(words)}, [], byte_fallback=True)
    )
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    backend.add_special_tokens(list(SPECIAL))
    backend.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module", params=[save_byte_level, save_byte_fallback])
def tokenizer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Tokenizer:
    return Tokenizer(request.param(tmp_path_factory.mktemp("tokenizer")))


def with_template(folder: Path, template: str) -> Tokenizer:
    config = {"chat_template": template, "bos_token": {"content": "<s>"}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return Tokenizer(folder)


def test_a_long_text_leaves_other_threads_running(tokenizer: Tokenizer) -> None:
    """The head's loop is one: a prompt that takes a second is not to stop every reply."""
    shares = []
    for _ in range(3):
        with ThreadPoolExecutor(1) as pool:
            longest, last = 0.0, (started := time.perf_counter())
            encoded = pool.submit(tokenizer.encode, "the quick brown fox " * 20_000)
            while not encoded.done():
                time.sleep(0.001)
                longest, last = max(longest, (now := time.perf_counter()) - last), now
        shares.append(longest / (last - started))
    assert min(shares) < 0.5


@given(ids=st.lists(st.integers(0, 270), max_size=24))
def test_pieces_and_flush_equal_the_decoded_whole(tokenizer: Tokenizer, ids: list[int]) -> None:
    stream = Detokenizer(tokenizer)
    pieces = [stream.push(token_id) for token_id in ids] + [stream.flush()]
    assert "".join(pieces) == tokenizer.decode(ids)


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
def test_no_piece_of_valid_text_ends_inside_a_character(tokenizer: Tokenizer, text: str) -> None:
    stream = Detokenizer(tokenizer)
    raw = [b for b in text.encode() if b not in (0x20,)]
    names = [byte_characters()[b] for b in raw]
    if tokenizer.scheme == "ByteFallback":
        names = [f"<0x{b:02X}>" for b in raw]
    ids = [tokenizer._backend.token_to_id(name) for name in names]
    pieces = [stream.push(token_id) for token_id in ids] + [stream.flush()]
    assert "".join(pieces).encode() == bytes(raw)


def test_special_tokens_and_padding_ids_have_no_text(tokenizer: Tokenizer) -> None:
    stream = Detokenizer(tokenizer)
    assert [stream.push(i) for i in (0, 1, 5000)] == ["", "", ""]
    assert tokenizer.token_bytes(5000) == b""
    assert tokenizer.token_bytes(0) == b"<s>"


def test_a_chat_ends_where_the_reply_begins(tmp_path: Path) -> None:
    tokenizer = with_template(save_byte_level(tmp_path), CHATML)
    messages = [{"role": "user", "content": "é <b>"}]
    assert tokenizer.render_chat(messages) == '<s>user: "é <b>"\nassistant:'
    assert tokenizer.encode_chat(messages)[0] == 0  # one bos, from the template
    assert tokenizer.decode(tokenizer.encode_chat(messages)).startswith("user:")


@pytest.mark.parametrize("save", [save_byte_level, save_byte_fallback])
@pytest.mark.parametrize("is_special", [True, False])
def test_a_thoughts_tags_have_a_text_also_where_the_tokenizer_calls_them_special(
    is_special: bool, save: Callable[[Path], Path], tmp_path: Path
) -> None:
    path = save(tmp_path) / "tokenizer.json"
    backend = Backend.from_file(str(path))
    backend.add_tokens([AddedToken(tag, special=is_special) for tag in ("<think>", "</think>")])
    backend.save(str(path))
    tokenizer = Tokenizer(tmp_path)
    ids = tokenizer.encode("</s><think></think>")
    assert [Detokenizer(tokenizer).push(i) for i in ids] == ["", "<think>", "</think>"]
    assert tokenizer.decode(ids) == "<think></think>"


@pytest.mark.parametrize(
    ("prompt", "opening"),
    [
        ("<|Assistant|><think>\n", "<think>\n"),  # as of DeepSeek-R1, QwQ, Qwen3-Thinking
        ("<think>", "<think>"),
        ("<think>\n\n</think>\n\n", ""),  # as of Qwen3 that is told not to think
        ("What is <think>\n?<|Assistant|>", ""),
    ],
)
def test_a_thought_is_opened_where_the_prompt_ends_in_its_tag(prompt: str, opening: str) -> None:
    assert opened_thought(prompt) == opening


def test_a_template_that_raises_is_the_callers_fault(tmp_path: Path) -> None:
    tokenizer = with_template(save_byte_level(tmp_path), CHATML)
    with pytest.raises(BadInput, match="no critics here") as caught:
        tokenizer.render_chat([{"role": "critic", "content": ""}])
    assert caught.value.param == "messages"


@pytest.mark.parametrize(
    "template",
    ["{{ 1 // (messages | length) }}", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"],
)
def test_a_template_that_cannot_compute_ends_a_request_and_nothing_else(
    template: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="refuses"):
        with_template(save_byte_level(tmp_path), template).render_chat([])


def test_a_template_has_no_way_out_of_its_sandbox(tmp_path: Path) -> None:
    tokenizer = with_template(save_byte_level(tmp_path), "{{ ''.__class__.__mro__ }}")
    with pytest.raises(BadInput, match="refuses"):
        tokenizer.render_chat([])


def test_the_templates_own_file_comes_first_and_may_mark_generation(tmp_path: Path) -> None:
    save_byte_level(tmp_path)
    marked = "{% generation %}{{ m.content }}{% endgeneration %}"
    own = "{% for m in messages %}" + marked + "{% break %}{% endfor %}"
    (tmp_path / "chat_template.jinja").write_text(own)
    tokenizer = with_template(tmp_path, "unused")
    assert tokenizer.render_chat([{"content": "a"}, {"content": "b"}]) == "a"


def test_a_model_without_template_says_where_to_send_a_prompt(tokenizer: Tokenizer) -> None:
    with pytest.raises(BadInput, match="no chat template"):
        tokenizer.encode_chat([{"role": "user", "content": "hi"}])


def test_a_broken_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(BadInput, match=r"tokenizer\.json is not JSON"):
        Tokenizer(tmp_path)
