"""A GGUF file's vocabulary as a tokenizer.json: byte-level BPE, or SentencePiece's BPE.

The file names how its text is split before BPE (tokenizer.ggml.pre) and says no more of it: what
a name stands for is a table here, from the tokenizers that the models' authors published. A name
that is not in it is refused: with another splitting, a model reads other tokens than it learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Any

from bramble.errors import BadInput
from bramble.export.config_file import ConfigFile, shown

PREFIX = "tokenizer.ggml."
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
MAX_PIECE = 256  # characters of a SentencePiece token; its trainer's default is 16


class Kind(IntEnum):
    """tokenizer.ggml.token_type, as SentencePiece numbers them."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


KINDS = frozenset(Kind)


@dataclass(frozen=True, slots=True)
class Splitting:
    """What a name of tokenizer.ggml.pre stands for.

    words      the regular expression of what BPE is done in; None = GPT-2's own
    is_nfc     whether the text is normalised first
    one_digit  whether each digit is apart, before GPT-2's expression
    is_whole   whether a word that is a token is one, whatever the merges make of it
    adds_bos   whether a prompt begins with bos where tokenizer.ggml.add_bos_token says nothing
    """

    words: str | None = None
    is_nfc: bool = False
    one_digit: bool = False
    is_whole: bool = False
    adds_bos: bool = False


_LLAMA3 = Splitting(rf"{_CONTRACTIONS}|\p{{N}}{{1,3}}|{_REST}", is_whole=True, adds_bos=True)
SPLITTINGS: Mapping[str, Splitting] = MappingProxyType(
    {
        "llama-bpe": _LLAMA3,
        "llama3": _LLAMA3,
        "llama-v3": _LLAMA3,
        "qwen2": Splitting(rf"{_CONTRACTIONS}|\p{{N}}|{_REST}", is_nfc=True),
        "smollm": Splitting(one_digit=True),
        "gpt-2": Splitting(),
        "tekken": Splitting(_TEKKEN, is_whole=True, adds_bos=True),
    }
)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """ids  of tokens that are in use: text → id"""

    tokens: list[str]
    kinds: list[int]
    ids: dict[str, int]

    def is_used(self, index: int) -> bool:
        return 0 <= index < len(self.tokens) and self.kinds[index] != Kind.UNUSED


def vocabulary(keys: ConfigFile) -> Vocabulary:
    """Read tokens and their kinds. Raises BadInput by key, or for a text that two tokens have."""
    tokens = strings(keys, "tokens")
    kinds = _list(keys, "token_type", int) or [Kind.NORMAL] * len(tokens)
    if not tokens or len(kinds) != len(tokens):
        raise BadInput(
            f"{keys.file}: {PREFIX}tokens has {len(tokens)} entries and {PREFIX}token_type "
            f"{len(kinds)}, need as many, and one at least; download it again"
        )
    ids: dict[str, int] = {}
    for index, (token, kind) in enumerate(zip(tokens, kinds, strict=True)):
        if kind not in KINDS:
            raise BadInput(f"{keys.file}: token {index} is of type {kind}, need 1 to 6")
        if kind == Kind.UNUSED:
            continue
        if token in ids:
            raise BadInput(
                f"{keys.file}: {shown(token)} is token {ids[token]} and {index}; take another "
                "conversion of the model"
            )
        ids[token] = index
    return Vocabulary(tokens, kinds, ids)


def byte_level(keys: ConfigFile, known: Vocabulary, bos: int | None) -> dict[str, Any]:
    """tokenizer.json of byte-level BPE. Raises BadInput for a splitting that is not known."""
    splitting = _splitting(keys)
    words = {
        "ignore_merges": splitting.is_whole,
        "vocab": known.ids,
        "merges": [_halves(keys, merge) for merge in strings(keys, "merges")],
    }
    steps: list[dict[str, Any]] = []
    if splitting.one_digit:
        steps.append({"type": "Digits", "individual_digits": True})
    if splitting.words is not None:
        pattern = {"Regex": splitting.words}
        steps.append({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False})
    steps.append(_level(uses_regex=splitting.words is None))
    adds_bos = keys.value("add_bos_token", bool, splitting.adds_bos)
    return _document(known) | {
        "normalizer": {"type": "NFC"} if splitting.is_nfc else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
        "post_processor": _begin(keys, known, bos) if adds_bos else None,
        "decoder": _level(uses_regex=True),
        "model": _bpe() | words,
    }


def pieces(keys: ConfigFile, known: Vocabulary, bos: int | None) -> dict[str, Any]:
    """tokenizer.json of SentencePiece's BPE: text with ▁ for a space, unknown characters as bytes.

    A space is put before each text, also behind a special token, as llama.cpp does.
    """
    scores = _list(keys, "scores", float)
    if len(scores) != len(known.tokens):
        raise BadInput(
            f"{keys.file}: {PREFIX}scores has {len(scores)} entries, need one for each of "
            f"{len(known.tokens)} tokens; download it again"
        )
    has_prefix = keys.value("add_space_prefix", bool, True)
    steps: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ]
    ends: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if has_prefix:
        steps.insert(0, {"type": "Prepend", "prepend": "▁"})
        ends.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    unknown = next((t for t, k in zip(known.tokens, known.kinds, strict=True) if k == 2), None)
    words = {
        "unk_token": unknown,
        "fuse_unk": True,
        "byte_fallback": True,
        "vocab": known.ids,
        "merges": _merges(keys, known, scores),
    }
    return _document(known) | {
        "normalizer": {"type": "Sequence", "normalizers": steps},
        "pre_tokenizer": None,
        "post_processor": _begin(keys, known, bos)
        if keys.value("add_bos_token", bool, True)
        else None,
        "decoder": {"type": "Sequence", "decoders": ends},
        "model": _bpe() | words,
    }


def strings(keys: ConfigFile, key: str) -> list[str]:
    """A list of texts. Raises BadInput if it is missing or none."""
    found = _list(keys, key, str)
    if not found and key not in keys.document:
        raise BadInput(f"{keys.file} has no {PREFIX}{key}; take another conversion of the model")
    return found


def _list(keys: ConfigFile, key: str, kind: type) -> list[Any]:
    keys.read.add(key)
    found = keys.document.get(key, [])
    if not isinstance(found, list) or any(type(item) is not kind for item in found[:1]):
        raise keys.wrong(key, "a list")
    return found


def _splitting(keys: ConfigFile) -> Splitting:
    name = keys.value("pre", str, "")
    if name not in SPLITTINGS:
        told = f"{PREFIX}pre {shown(name)} is not known" if name else f"it has no {PREFIX}pre"
        raise BadInput(
            f"{keys.file}: {told}, so it is not known how its text is split into tokens; known "
            f"are {', '.join(SPLITTINGS)}: take a newer conversion, or export the Hugging Face "
            "release"
        )
    return SPLITTINGS[name]


def _halves(keys: ConfigFile, merge: str) -> list[str]:
    """A merge is two tokens with a space between, which is never a token's first character."""
    at = merge.find(" ", 1)
    if at < 0 or at == len(merge) - 1:
        raise BadInput(f"{keys.file}: {PREFIX}merges has {shown(merge)}, need two tokens")
    return [merge[:at], merge[at + 1 :]]


def _merges(keys: ConfigFile, known: Vocabulary, scores: list[float]) -> list[list[str]]:
    """Every pair of tokens that makes a token; that of the highest score is merged first.

    Of equals, the pair of the lower ids: as transformers converts such a tokenizer.
    """
    ids = {token: i for token, i in known.ids.items() if known.kinds[i] == Kind.NORMAL}
    found: list[tuple[float, int, int, int, str, str]] = []
    for token, index in ids.items():
        if len(token) > MAX_PIECE:
            raise BadInput(
                f"{keys.file}: token {index} has {len(token)} characters, need {MAX_PIECE} at most"
            )
        for at in range(1, len(token)):
            left, right = ids.get(token[:at]), ids.get(token[at:])
            if left is not None and right is not None:
                found.append((-scores[index], index, left, right, token[:at], token[at:]))
    if len({index for _, index, *_ in found}) > 1 and len({score for score, *_ in found}) == 1:
        raise BadInput(
            f"{keys.file}: the {PREFIX}scores of all tokens are equal, as some converters write "
            "them, so it is not known which are merged first; take another conversion"
        )
    return [[left, right] for *_, left, right in sorted(found)]


def _document(known: Vocabulary) -> dict[str, Any]:
    """What both kinds have: tokens that are matched as a whole, before all else."""
    whole = (Kind.CONTROL, Kind.UNKNOWN, Kind.USER_DEFINED)
    added = [
        {"id": index, "content": token, "special": known.kinds[index] != Kind.USER_DEFINED}
        | {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        for token, index in known.ids.items()
        if known.kinds[index] in whole
    ]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added}


def _begin(keys: ConfigFile, known: Vocabulary, bos: int | None) -> dict[str, Any]:
    """The post-processor that puts bos before a prompt."""
    if bos is None:
        raise BadInput(f"{keys.file}: {PREFIX}add_bos_token is true, and no token is named bos")
    text = known.tokens[bos]
    single = [{"SpecialToken": {"id": text, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    pair = [*single, {"Sequence": {"id": "B", "type_id": 1}}]
    special = {text: {"id": text, "ids": [bos], "tokens": [text]}}
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": pair,
        "special_tokens": special,
    }


def _bpe() -> dict[str, Any]:
    return {"type": "BPE", "dropout": None, "unk_token": None, "ignore_merges": False}


def _level(*, uses_regex: bool) -> dict[str, Any]:
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": uses_regex,
    }
