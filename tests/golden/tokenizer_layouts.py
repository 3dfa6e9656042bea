"""Small folders that lay out a tokenizer in every way that published models do, and texts for them.

make_tokenizer_goldens.py has transformers read them; tests/model/test_layouts.py has Bramble.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bramble.model.tokenizer import byte_characters

Object = dict[str, Any]

TEXTS = (
    "the cat, and the other cat's hat",
    " two  spaces\n\n\tand a tab ",
    "1234 + 0.5 = ¾\n    0.5",
    "é e\u0301 ﬁ 漢字 🙂 \u00a0",
    "<s>a</s> b <|im_start|>user\nhi<|im_end|>\n",
    "<pad> <|end|> x<|end|>  y<tool>z",
    "<think>\nthe end\n</think> the",
    "THE ▁cat <0x41> \u200b",
    "",
)
CHATS: tuple[list[Object], ...] = (
    [{"role": "user", "content": "the cat"}],
    [{"role": "system", "content": " be brief\n"}, {"role": "user", "content": "é <b> \"1\" 'q'"}],
    [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "the cat"},
        {"role": "user", "content": "<|im_end|> </s>"},
    ],
)
WORDS = ("the", "cat", "and", "other", "hat", "two", "12", "34", "user", "end", "brief", "é")
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
INST = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}"
    "{{ raise_exception('no system here') }}{% elif m.role == 'user' %}"
    "[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)


@dataclass(frozen=True, slots=True)
class Layout:
    """base    which tokenizer.json, one of BASES; edit changes it
    config     tokenizer_config.json, or None for a folder without
    model      config.json
    files      others, by name: text or JSON
    refused    part of the sentence with which Bramble refuses it, or None
    """

    base: str
    config: Object | None = None
    model: Object = field(default_factory=lambda: {"model_type": "llama"})
    files: dict[str, Any] = field(default_factory=dict)
    edit: Callable[[Object], Any] = lambda document: None
    refused: str | None = None

    def write(self, folder: Path) -> Path:
        document = BASES[self.base]()
        self.edit(document)
        contents = {"config.json": self.model, "tokenizer.json": document} | self.files
        if self.config is not None:
            contents["tokenizer_config.json"] = self.config
        for name, content in contents.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
            path.write_text(text, encoding="utf-8")
        return folder


def merges_of(words: tuple[str, ...], vocabulary: dict[str, int]) -> list[str]:
    """Each word grows from its first character, one character a merge; pieces get ids."""
    found: dict[str, None] = {}
    for word in words:
        for stop in range(2, len(word) + 1):
            found[f"{word[: stop - 1]} {word[stop - 1]}"] = None
            vocabulary.setdefault(word[:stop], len(vocabulary))
    return list(found)


def token(index: int, content: str, **flags: bool) -> Object:
    known = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": index, "content": content} | known | {"special": True} | flags


def entry(content: str, **flags: bool) -> Object:
    """A token as added_tokens_decoder has it."""
    return {k: v for k, v in token(0, content, **flags).items() if k != "id"}


def byte_level(*, has_merges: bool = True, **parts: Any) -> Object:
    vocabulary = {"<s>": 0, "</s>": 1}
    table = byte_characters()
    for character in table.values():
        vocabulary[character] = len(vocabulary)
    spelled = tuple("".join(table[b] for b in word.encode()) for word in WORDS)
    spelled = (*spelled, *("Ġ" + word for word in spelled), "ĊĊ", "ĠĠĠ", "Ġ1")
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [token(0, "<s>"), token(1, "</s>")],
        "normalizer": None,
        "pre_tokenizer": level | {"use_regex": True},
        "post_processor": None,
        "decoder": level | {"use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": merges_of(spelled, vocabulary) if has_merges else [],
        },
        **parts,
    }


def sentencepiece(*, normalizer: Object | None = None, **parts: Any) -> Object:
    """As of Llama 2: text with ▁ for a space, bytes where a character has no token."""
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2}
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    for character in "▁abcdefghijklmnopqrstuvwxyzTHE'.,+=[]/INST<>|_0123456789é":
        vocabulary.setdefault(character, len(vocabulary))
    spelled = WORDS + tuple("▁" + word for word in WORDS) + ("▁▁", "▁▁▁", "[INST")
    prepend = {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ],
    }
    steps = [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [token(0, "<unk>"), token(1, "<s>"), token(2, "</s>")],
        "normalizer": normalizer or prepend,
        "pre_tokenizer": None,
        "post_processor": bos_processor("<s>", 1),
        "decoder": {"type": "Sequence", "decoders": steps},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": merges_of(spelled, vocabulary),
        },
        **parts,
    }


def bos_processor(name: str, index: int) -> Object:
    bos = {"SpecialToken": {"id": name, "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    other = {"Sequence": {"id": "B", "type_id": 1}}
    return {
        "type": "TemplateProcessing",
        "single": [bos, text],
        "pair": [bos, text, other],
        "special_tokens": {name: {"id": name, "ids": [index], "tokens": [name]}},
    }


def llama3() -> Object:
    """Byte-level, words split by a pattern, whole words before merges, bos from the processor."""
    pattern = r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}
    document = byte_level()
    level = document["pre_tokenizer"] | {"use_regex": False}
    steps = [split | {"invert": False}, level]
    document["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    plain = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False}
    processors = [plain | {"use_regex": True}, bos_processor("<s>", 0)]
    document["post_processor"] = {"type": "Sequence", "processors": processors}
    document["model"]["ignore_merges"] = True
    return document


def digits() -> Object:
    """As of SmolLM: digits one by one, in a file that names GPT-2's class."""
    document = byte_level()
    steps = [{"type": "Digits", "individual_digits": True}, document["pre_tokenizer"]]
    document["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    return document


def metaspace() -> Object:
    """As transformers 5 saves Llama 2: a pre-tokenizer in place of the normalizer."""
    document = sentencepiece()
    kind = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    return document | {"normalizer": None, "pre_tokenizer": kind}


def unigram() -> Object:
    document = sentencepiece()
    words = document["model"]["vocab"]
    scored = [[word, -1.0 - index / 100] for word, index in words.items()]
    model = {"type": "Unigram", "unk_id": 0, "vocab": scored, "byte_fallback": True}
    return document | {"model": model}


BASES: dict[str, Callable[[], Object]] = {
    "byte_level": byte_level,
    "llama3": llama3,
    "digits": digits,
    "sentencepiece": sentencepiece,
    "metaspace": metaspace,
    "unigram": unigram,
}
NEXT = len(byte_level()["model"]["vocab"])  # the first id behind the byte-level vocabulary
NEXT_PIECE = len(sentencepiece()["model"]["vocab"])
MARKERS = {
    str(NEXT): entry("<|im_start|>"),
    str(NEXT + 1): entry("<|im_end|>"),
    str(NEXT + 2): entry("<tool>", special=False, normalized=True),
}
QWEN = {"tokenizer_class": "Qwen2Tokenizer", "bos_token": None, "eos_token": "<|im_end|>"}
QWEN |= {"pad_token": "<|im_end|>", "unk_token": None, "added_tokens_decoder": MARKERS}
FAST = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
OWN = {"0": entry("<unk>"), "1": entry("<s>"), "2": entry("</s>")}
LLAMA2 = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>"}
LLAMA2 |= {"unk_token": "<unk>", "chat_template": INST, "added_tokens_decoder": OWN}


def adds(*tokens: Object) -> Callable[[Object], Any]:
    return lambda document: document["added_tokens"].extend(tokens)


def template(source: str, **config: Any) -> Layout:
    """A byte-level tokenizer with this chat template."""
    return Layout("byte_level", FAST | {"chat_template": source} | config)


def bos_dict(value: Any) -> Object:
    return {"bos_token": value, "chat_template": "{{ bos_token }}x"}
