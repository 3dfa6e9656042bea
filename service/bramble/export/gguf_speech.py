"""A GGUF file's tokenizer files, chat templates and sampling defaults, as Hugging Face has them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from bramble.errors import BadInput
from bramble.export.config_file import ConfigFile, plain, shown
from bramble.export.gguf import Container
from bramble.export.gguf_rope import rounded
from bramble.export.gguf_tokenizer import PREFIX, Kind, Vocabulary, byte_level, pieces, vocabulary
from bramble.model import chat_template
from bramble.model.tokenizer_files import CONFIG, TOKENIZER

# Ids that a file without the key has, by llama.cpp's own rule
DEFAULT_IDS: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {"llama": {"bos": 1, "eos": 2}, "gpt2": {}}
)
NAMED = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
# Texts of tokens that end a reply, whatever a file names; most conversions name one of several
ENDS = (
    *("<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>"),
    *("<|end_of_text|>", "<EOT>", "_<EOT>", "<｜end▁of▁sentence｜>", "<end_of_utterance>"),
)
END_KEYS = ("eos", "eot", "eom")
_ID = "{}_token_id"
# Ids of tokens that no text and no reply depends on
UNUSED_IDS = (
    *("seperator", "mask", "cls", "prefix", "suffix", "middle"),
    *("fim_pre", "fim_suf", "fim_mid", "fim_pad", "fim_rep", "fim_sep"),
)
# Only at these values
ONLY: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "add_eos_token": (False,),
        "add_sep_token": (False,),
        "remove_extra_whitespaces": (False,),
        "suppress_tokens": ([],),
        "normalizer.lowercase": (False,),
        "normalizer.strip_accents": (False,),
        "token_type_count": (0, 1),
    }
)
TEMPLATE = "tokenizer.chat_template"
# The names of further templates, and a tokenizer.json that llama.cpp does not read either
UNREAD = ("tokenizer.chat_templates", "tokenizer.huggingface.json")
SAMPLING = "general.sampling."
OBEYED = {"temp": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p"}
SAMPLING_OFF = {"xtc_probability": 0.0, "mirostat": 0, "penalty_repeat": 1.0}
# What changes nothing while SAMPLING_OFF holds, and the order of steps
SAMPLING_UNUSED = ("sequence", "xtc_threshold", "penalty_last_n", "mirostat_tau", "mirostat_eta")


@dataclass(frozen=True, slots=True)
class SpokenFiles:
    """texts  of files to write: name → content"""

    texts: dict[str, str]
    generation: dict[str, Any]


def read_spoken(container: Container) -> SpokenFiles:
    """Raises BadInput by key for what cannot be used."""
    keys = _keys(container, PREFIX)
    model = keys.value("model", str)
    if model not in DEFAULT_IDS:
        raise BadInput(
            f"{keys.file}: {PREFIX}model {shown(model)} is not supported; supported are "
            "gpt2 (byte-level BPE) and llama (SentencePiece's BPE)"
        )
    known = vocabulary(keys)
    ids = {name: _id(keys, name, known, DEFAULT_IDS[model].get(name)) for name in (*NAMED, "eot")}
    ids["eom"] = _id(keys, "eom", known, None)
    build = byte_level if model == "gpt2" else pieces
    document = build(keys, known, ids["bos"])
    _check_rest(keys, model)
    named = {NAMED[name]: known.tokens[i] for name in NAMED if (i := ids[name]) is not None}
    config = {"tokenizer_class": "PreTrainedTokenizerFast"} | named
    texts = {
        TOKENIZER: json.dumps(document, ensure_ascii=False),
        CONFIG: json.dumps(config, ensure_ascii=False, indent=1),
    }
    generation = _sampling(container) | {"eos_token_id": _ends(known, ids)}
    if ids["bos"] is not None:
        generation["bos_token_id"] = ids["bos"]
    return SpokenFiles(texts | _templates(container), generation)


def _keys(container: Container, prefix: str) -> ConfigFile:
    found = container.metadata.items()
    document = {k.removeprefix(prefix): v for k, v in found if k.startswith(prefix)}
    return ConfigFile(document, prefix, file=str(container.path))


def _id(keys: ConfigFile, name: str, known: Vocabulary, default: int | None) -> int | None:
    """A named token's id; None where there is none, or it is only for padding and unused."""
    key = _ID.format(name)
    found = keys.value(key, int, default, null=None)
    if found is None or known.is_used(found):
        return None if found is None else int(found)
    if key in keys.document and name in (*END_KEYS, "bos"):
        raise keys.wrong(key, f"the id of a token in use, below {len(known.tokens)}")
    return None


def _ends(known: Vocabulary, ids: Mapping[str, int | None]) -> list[int]:
    """What the file names, then what is known by its text."""
    named = [index for key in END_KEYS if (index := ids[key]) is not None]
    whole = (Kind.CONTROL, Kind.USER_DEFINED)
    found = [known.ids[text] for text in ENDS if text in known.ids]
    return list(dict.fromkeys(named + [index for index in found if known.kinds[index] in whole]))


def _check_rest(keys: ConfigFile, model: str) -> None:
    harmless = {_ID.format(name) for name in UNUSED_IDS}
    # Of the other kind of tokenizer: scores of BPE are all 0, its merges SentencePiece's own
    harmless |= {"scores", "add_space_prefix"} if model == "gpt2" else {"pre", "merges"}
    for key in sorted(set(keys.document) - keys.read - harmless):
        if key not in ONLY:
            raise BadInput(
                f"{keys.file}: {plain(PREFIX + key)} is {shown(keys.document[key])}, a setting "
                "that is not known, so tokens may be others; export the Hugging Face release"
            )
        if keys.document[key] not in ONLY[key]:
            raise keys.wrong(key, " or ".join(map(shown, ONLY[key])))


def _templates(container: Container) -> dict[str, str]:
    """The chat template, and further ones by name. Raises BadInput for a name that is no word."""
    texts = {}
    for key, text in container.metadata.items():
        if not key.startswith("tokenizer.") or key.startswith(PREFIX) or key in UNREAD:
            continue
        name = "" if key == TEMPLATE else key.removeprefix(f"{TEMPLATE}.")
        if name == key:
            raise BadInput(
                f"{container.path}: {plain(key)} is a setting that is not known, so tokens may be "
                "others; export the Hugging Face release"
            )
        if not isinstance(text, str) or not re.fullmatch(r"\w*", name, re.ASCII):
            raise BadInput(f"{container.path}: {plain(key)} is no chat template")
        file = f"{chat_template.MORE}/{name}.jinja" if name else chat_template.FILE
        texts[file] = text
    return texts


def _sampling(container: Container) -> dict[str, Any]:
    """Sampling defaults that the file brings. Raises BadInput for one that is not computed."""
    keys = _keys(container, SAMPLING)
    found: dict[str, Any] = {}
    for name, ours in OBEYED.items():
        if name in keys.document:
            kind = int if name == "top_k" else float
            value = keys.value(name, kind)
            found[ours] = rounded(value) if kind is float else value
    for name in sorted(set(keys.document) - set(OBEYED) - set(SAMPLING_UNUSED)):
        if keys.document[name] != SAMPLING_OFF.get(name):
            raise BadInput(
                f"{keys.file}: {plain(SAMPLING + name)} is {shown(keys.document[name])}, which is "
                "not computed; export the Hugging Face release"
            )
    return found | ({"do_sample": found["temperature"] > 0} if "temperature" in found else {})
