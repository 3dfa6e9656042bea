"""What a tokenizer class of transformers makes of a tokenizer.json.

Some classes keep the file as it is; the others take its vocabulary, merges and post-processor and
build the rest anew. Follows transformers 5 (AutoTokenizer), with which the goldens are made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bramble.errors import BadInput

AS_IS = "TokenizersBackend"
# Other names of the class that keeps the file
_AS_IS_NAMES = (AS_IS, "PythonBackend", "PreTrainedTokenizer")
# model_type → the class that it is registered with; others have none
_REGISTERED = {"mistral": AS_IS, "qwen2": "Qwen2Tokenizer", "qwen3": "Qwen2Tokenizer"}
_ALWAYS_REGISTERED = ("mistral", "qwen2")  # whatever class the files name
_QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_TEXT_END = "<|endoftext|>"
# The tokens that a class names where the files do not; a file's null is no token
DEFAULT_TOKENS: dict[str, dict[str, str | None]] = {
    AS_IS: {},
    "LlamaTokenizer": {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"},
    "Qwen2Tokenizer": {
        "unk_token": _TEXT_END,
        "bos_token": None,
        "eos_token": _TEXT_END,
        "pad_token": _TEXT_END,
    },
    "GPT2Tokenizer": {
        "unk_token": _TEXT_END,
        "bos_token": _TEXT_END,
        "eos_token": _TEXT_END,
        "pad_token": None,
    },
}


@dataclass(frozen=True, slots=True)
class Flags:
    """What a class is told in tokenizer_config.json; None where the file says nothing."""

    add_prefix_space: bool | None = None
    legacy: bool | None = False


def class_of(declared: str | None, model_type: str, is_byte_level: bool) -> str:
    """The class that AutoTokenizer would use, one of DEFAULT_TOKENS.

    declared       tokenizer_class of tokenizer_config.json or else of config.json
    is_byte_level  whether "ByteLevel" stands anywhere in tokenizer.json

    Raises BadInput for a class whose pipeline is not known here.
    """
    registered = _REGISTERED.get(model_type)
    if registered and (model_type in _ALWAYS_REGISTERED or declared is None):
        return registered
    name = (declared or AS_IS).removesuffix("Fast")
    if name == "LlamaTokenizer" and is_byte_level:
        return AS_IS
    if name in _AS_IS_NAMES:
        return AS_IS
    if name not in DEFAULT_TOKENS:
        known = ", ".join(["PreTrainedTokenizerFast", *list(DEFAULT_TOKENS)[1:]])
        raise BadInput(
            f"tokenizer_config.json: tokenizer_class {declared!r} is not supported; supported are "
            f"{known}; PreTrainedTokenizerFast takes tokenizer.json as it is"
        )
    return name


def build(document: dict[str, Any], name: str, flags: Flags) -> dict[str, Any]:
    """tokenizer.json as class `name` makes it; the same object if the class keeps the file.

    A class that builds anew starts without added tokens: those come from the other files.
    Raises BadInput where such a class meets another model than BPE.
    """
    if name == AS_IS:
        return document
    model = document.get("model")
    has_words = isinstance(model, dict) and {"vocab", "merges"} <= set(model)
    if not isinstance(model, dict) or not has_words or model.get("type", "BPE") != "BPE":
        kind = model.get("type") if isinstance(model, dict) else model
        raise BadInput(
            f"tokenizer_config.json: tokenizer_class {name!r} needs a BPE model with merges and "
            f"a vocab, and tokenizer.json has {kind!r}; PreTrainedTokenizerFast takes it as it is"
        )
    kept: dict[str, Any] = {"post_processor": document.get("post_processor"), "added_tokens": []}
    words = {"vocab": model["vocab"], "merges": model["merges"]}
    return {"version": "1.0"} | kept | _BUILDERS[name](words, flags)


def changes(document: dict[str, Any], built: dict[str, Any]) -> list[str]:
    """The parts of tokenizer.json that a class has replaced by others, by name."""
    if built is document:
        return []
    parts = ("normalizer", "pre_tokenizer")
    found = [part for part in parts if _plain(document.get(part)) != _plain(built.get(part))]
    options = ("byte_fallback", "ignore_merges")
    before, after = document["model"], built["model"]
    return found + [f"model.{key}" for key in options if bool(before.get(key)) != bool(after[key])]


def _llama(words: dict[str, Any], flags: Flags) -> dict[str, Any]:
    has_prefix = flags.add_prefix_space is not False
    scheme = "always" if flags.legacy else "first"
    steps: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if has_prefix:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Metaspace",
            "replacement": "▁",
            "prepend_scheme": scheme if has_prefix else "never",
            "split": False,
        },
        "decoder": {"type": "Sequence", "decoders": steps},
        "model": _bpe(words) | {"fuse_unk": True, "byte_fallback": True},
    }


def _qwen2(words: dict[str, Any], flags: Flags) -> dict[str, Any]:
    split = {
        "type": "Split",
        "pattern": {"Regex": _QWEN2_WORDS},
        "behavior": "Isolated",
        "invert": False,
    }
    level = _byte_level(bool(flags.add_prefix_space), uses_regex=False)
    return {
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]},
        "decoder": _byte_level(True, uses_regex=True),
        "model": _bpe(words),
    }


def _gpt2(words: dict[str, Any], flags: Flags) -> dict[str, Any]:
    return {
        "normalizer": None,
        "pre_tokenizer": _byte_level(bool(flags.add_prefix_space), uses_regex=True),
        "decoder": _byte_level(True, uses_regex=True),
        "model": _bpe(words),
    }


_BUILDERS = {"LlamaTokenizer": _llama, "Qwen2Tokenizer": _qwen2, "GPT2Tokenizer": _gpt2}


def _bpe(words: dict[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
    }
    return options | words


def _byte_level(has_prefix: bool, *, uses_regex: bool) -> dict[str, Any]:
    return {
        "type": "ByteLevel",
        "add_prefix_space": has_prefix,
        "trim_offsets": True,
        "use_regex": uses_regex,
    }


def _plain(part: Any) -> Any:
    """A part without what changes no id and no text, and without sequences of nothing or of one."""
    if not isinstance(part, dict):
        return part
    for key in ("normalizers", "pretokenizers", "decoders"):
        if isinstance(steps := part.get(key), list):
            plain = [_plain(step) for step in steps]
            return plain[0] if len(plain) == 1 else plain or None
    if part.get("type") == "ByteLevel" and "use_regex" not in part:
        part = part | {"use_regex": True}
    return {key: value for key, value in part.items() if key != "trim_offsets"}
