"""Every key of the files beside tokenizer.json is obeyed, or changes nothing, or is refused.

Obeyed are those that model/tokenizer_files.py and model/chat_template.py read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bramble.errors import BadInput
from bramble.export.config_file import plain
from bramble.model.chat_template import template_files
from bramble.model.tokenizer_files import CONFIG, NAMED, TOKENIZER, TOKENS_MAP, read_object

OBEYED = (
    *("tokenizer_class", "added_tokens_decoder", "additional_special_tokens"),
    *("extra_special_tokens", "chat_template", "split_special_tokens", "add_prefix_space"),
    *("legacy", *NAMED),
)
# They would change ids or text and are not supported: the values that ask for nothing
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "fix_mistral_regex": (False,),
    "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output": (False,),
    "fast_tokenizer_files": ([TOKENIZER],),
    "init_inputs": ([],),
    "model_specific_special_tokens": ({},),
}
_POST = "left to tokenizer.json's post-processor, as transformers 5 does"
_BATCH = "of batches and of cutting, which a prompt here is not subject to"
_SLOW = "of tokenizers in Python, which tokenizer.json replaces"
_PLACE = "where a file once lay"
_OTHER = "of other families' tokenizers"
_UNREAD = "read by nothing in transformers: written by a trainer, or for another program"
_WRITER = "who wrote the file, or with what"
# Key → why it changes nothing
HARMLESS: Mapping[str, str] = {
    "add_bos_token": _POST,
    "add_eos_token": _POST,
    "clean_up_tokenization_spaces": "transformers 5 does not do it to BPE, others are refused",
    "model_max_length": "transformers only warns; the context is config.json's",
    "max_len": "transformers only warns; the context is config.json's",
    "max_length": _BATCH,
    "padding_side": _BATCH,
    "truncation_side": _BATCH,
    "truncation_strategy": _BATCH,
    "truncation": _BATCH,
    "padding": _BATCH,
    "stride": _BATCH,
    "pad_to_multiple_of": _BATCH,
    "pad_token_type_id": _BATCH,
    "model_input_names": "which arrays a call returns",
    "return_token_type_ids": "which arrays a call returns",
    "sp_model_kwargs": _SLOW,
    "spaces_between_special_tokens": _SLOW,
    "errors": _SLOW,
    "use_fast": _SLOW,
    "from_slow": _SLOW,
    "pretokenize_regex": "tokenizer.json has its own",
    "use_default_system_prompt": "transformers reads it no more",
    "trim_offsets": "places in the text, not ids",
    "do_lower_case": _OTHER,
    "do_lowercase": _OTHER,
    "remove_space": _OTHER,
    "keep_accents": _OTHER,
    "strip_accents": _OTHER,
    "tokenize_chinese_chars": _OTHER,
    "do_basic_tokenize": _OTHER,
    "never_split": _OTHER,
    "extra_ids": _OTHER,
    "vocab_file": _PLACE,
    "merges_file": _PLACE,
    "tokenizer_file": _PLACE,
    "special_tokens_map_file": _PLACE,
    "name_or_path": _PLACE,
    "_name_or_path": _PLACE,
    "_commit_hash": _PLACE,
    "is_local": _PLACE,
    "local_files_only": _PLACE,
    "use_auth_token": _PLACE,
    "fast": _UNREAD,
    "device_map": _UNREAD,
    "max_lenght": _UNREAD,  # published so
    "tool_parser_type": _UNREAD,
    "trust_remote_code": "there is no code to run here",
    "backend": _WRITER,
    "transformers_version": _WRITER,
    "processor_class": _WRITER,
    "model_type": _WRITER,
    "tokenizer_type": _WRITER,
    "vocab_size": "tokenizer.json says it",
    "verbose": "how much is printed",
    "chat_control_tokens": "of a sanitiser that is off unless asked for",
    "response_template": "how a reply is taken apart, not how a prompt is made",
    "response_schema": "how a reply is taken apart, not how a prompt is made",
}


def check_tokenizer_keys(folder: Path) -> None:
    """Raise BadInput for a key, or a template's file, that is neither obeyed nor harmless."""
    config = read_object(folder / CONFIG) if (folder / CONFIG).exists() else {}
    for key, value in config.items():
        _check(key, value)
    _check_clean_up(config, folder)
    tokens_map = folder / TOKENS_MAP
    for key, value in (read_object(tokens_map) if tokens_map.exists() else {}).items():
        if not _is_token(key, value) and key not in OBEYED:
            raise BadInput(
                f"{TOKENS_MAP}: {plain(key)} is {_short(value)}, and this key is not known"
            )
    known = template_files(folder)
    for path in sorted(folder.glob("chat_template*")):
        if path not in known:
            raise BadInput(
                f"{path.name} is no file that transformers reads a template from; call it "
                "chat_template.jinja, or remove it"
            )


def _check(key: str, value: Any) -> None:
    if key in OBEYED or key in HARMLESS or _is_token(key, value):
        return
    if key == "auto_map":
        _check_code(value)
    elif key not in NEUTRAL:
        raise BadInput(
            f"{CONFIG}: {plain(key)} is {_short(value)}, and this key is not known; "
            "if it changes nothing, remove it"
        )
    elif value is not None and value not in NEUTRAL[key]:
        need = " or ".join([*map(repr, NEUTRAL[key]), "null"])
        raise BadInput(f"{CONFIG}: {key} is {_short(value)}, supported is {need}")


def _is_token(key: str, value: Any) -> bool:
    """A model's own named token, image_token for one, which its template may write."""
    return key.endswith("_token") and (value is None or isinstance(value, str | dict))


def _check_code(found: Any) -> None:
    has_tokenizer = not isinstance(found, dict) or found.get("AutoTokenizer") is not None
    if has_tokenizer:
        raise BadInput(
            f"{CONFIG}: auto_map is {_short(found)}: the tokenizer is code of the model's own, "
            "which is not run here; remove the key if tokenizer.json gives the same ids"
        )


def _check_clean_up(config: dict[str, Any], folder: Path) -> None:
    """Only of BPE does transformers 5 leave the spaces of a reply as they are."""
    if not config.get("clean_up_tokenization_spaces"):
        return
    model = read_object(folder / TOKENIZER).get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    if kind not in (None, "BPE"):
        raise BadInput(
            f"{CONFIG}: clean_up_tokenization_spaces is true, which is not supported for a {kind} "
            "tokenizer; supported is false"
        )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
