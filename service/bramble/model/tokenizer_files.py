"""The files beside tokenizer.json, read as transformers' AutoTokenizer reads them.

tokenizer_config.json, special_tokens_map.json and added_tokens.json add tokens and name some of
them; config.json's model_type takes part in choosing the class. Which keys there are at all is
checked at export, by export/tokenizer_keys.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bramble.errors import BadInput
from bramble.model import pipelines

TOKENIZER = "tokenizer.json"
CONFIG = "tokenizer_config.json"
TOKENS_MAP = "special_tokens_map.json"
ADDED = "added_tokens.json"
NAMED = (  # the tokens that every tokenizer may name, in transformers' order
    *("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"),
)
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


@dataclass(frozen=True, slots=True)
class AddedToken:
    """A token that is matched as a whole; `id` is None where no file gives it one."""

    content: str
    flags: dict[str, bool]
    id: int | None = None
    is_plain: bool = False  # written as a string, without flags


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """What the files of a folder come to.

    document        tokenizer.json as the tokenizer's class makes it
    added           tokens to add to it, in transformers' order; known ones get these flags
    named           a token's name, e.g. bos_token → its text: what a chat template sees
    config          tokenizer_config.json
    replaced        parts of tokenizer.json that the class replaces by its own
    """

    document: dict[str, Any]
    added: tuple[AddedToken, ...]
    named: dict[str, str]
    config: dict[str, Any]
    class_name: str
    replaced: tuple[str, ...]

    @property
    def splits_special(self) -> bool:
        """Whether special tokens in a text are read as any other characters."""
        return bool(self.config.get("split_special_tokens"))


def read_files(folder: Path) -> TokenizerFiles:
    """Read a folder's tokenizer. Raises BadInput that names file, key and value."""
    original = read_object(folder / TOKENIZER)
    _check_added(original.get("added_tokens"), folder / TOKENIZER)
    config, model = _read_if_there(folder / CONFIG), _read_if_there(folder / "config.json")
    kind = model.get("model_type")
    class_name = pipelines.class_of(
        _declared(config, model),
        kind if isinstance(kind, str) else "",
        "ByteLevel" in str(original),
    )
    prefix = config.get("add_prefix_space")
    flags = pipelines.Flags(prefix if prefix is None else bool(prefix), bool(config.get("legacy")))
    document = pipelines.build(original, class_name, flags)
    merged, by_id = _merge(folder, config, original)
    names = _names(merged, original, class_name)
    added = _to_add(document, by_id, names, _extra(merged))
    if class_name == "Qwen2Tokenizer":  # it adds its special tokens once more, plainly
        again = [*(token.content for token in names.values()), *map(_text, _extra(merged))]
        added += [AddedToken(text, _special(text, CONFIG)) for text in dict.fromkeys(again)]
    return TokenizerFiles(
        document=document,
        added=tuple(added),
        named={name: token.content for name, token in names.items()},
        config=config,
        class_name=class_name,
        replaced=tuple(pipelines.changes(original, document)),
    )


def _check_added(found: Any, path: Path) -> None:
    """Refuse added tokens that are no list of objects, each with a text."""
    entries = [] if found is None else found
    if not isinstance(entries, list):
        raise BadInput(f"{path}: added_tokens is a {type(found).__name__}, need a list of tokens")
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise BadInput(f"{path}: added_tokens[{index}] is {entry!r:.80}, need an object")
        _text(entry, f"{path}: added_tokens[{index}]")


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises BadInput that names the file."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise BadInput(f"{path}: got a {type(document).__name__}, need an object")
    return document


def _read_if_there(path: Path) -> dict[str, Any]:
    return read_object(path) if path.exists() else {}


def _declared(config: dict[str, Any], model: dict[str, Any]) -> str | None:
    found = config.get("tokenizer_class") or model.get("tokenizer_class")
    if found is not None and not isinstance(found, str):
        raise BadInput(f"{CONFIG}: tokenizer_class is {found!r}, need a name")
    return found


def _merge(
    folder: Path, config: dict[str, Any], document: dict[str, Any]
) -> tuple[dict[str, Any], dict[int, AddedToken]]:
    """The named tokens of all files, and the added tokens by id.

    With added_tokens_decoder in tokenizer_config.json, that file alone counts; without, the older
    files do, and tokenizer.json's own tokens replace those of the same id.
    """
    merged = dict(config)
    if "additional_special_tokens" in merged and not merged.get("extra_special_tokens"):
        merged["extra_special_tokens"] = merged.pop("additional_special_tokens")
    if config.get("added_tokens_decoder") is not None:
        return merged, _decoder_tokens(config["added_tokens_decoder"])
    for key, value in _read_if_there(folder / TOKENS_MAP).items():
        if key == "extra_special_tokens" and isinstance(value, list):
            known = merged.get(key) or []
            value = [*known, *(token for token in value if token not in known)]
        merged[key] = value
    by_id = _legacy_tokens(_read_if_there(folder / ADDED), merged)
    for entry in document.get("added_tokens") or []:
        if isinstance(entry, dict) and type(entry.get("id")) is int:
            _take(by_id, entry)
    return merged, by_id


def _take(by_id: dict[int, AddedToken], entry: dict[str, Any]) -> None:
    """tokenizer.json's own token; added_tokens.json may not give its id to another."""
    index, where = entry["id"], f"{TOKENIZER}: added token {entry['id']}"
    token = AddedToken(_text(entry, where), _flags(entry, where), index)
    if (other := by_id.get(index)) is not None and other.content != token.content:
        raise BadInput(
            f"{ADDED}: {other.content!r} has id {index}, which {TOKENIZER} gives to "
            f"{token.content!r}; correct the one that is wrong"
        )
    by_id[index] = token


def _decoder_tokens(document: Any) -> dict[int, AddedToken]:
    key = f"{CONFIG}: added_tokens_decoder"
    if not isinstance(document, dict):
        raise BadInput(f"{key} is a {type(document).__name__}, need an object of id → token")
    found = {}
    for index, entry in document.items():
        if not index.isdecimal() or not isinstance(entry, dict):
            raise BadInput(f"{key}: {index!r} is {entry!r}, need an id and an object with content")
        where = f"{key}[{index}]"
        found[int(index)] = AddedToken(_text(entry, where), _flags(entry, where), int(index))
    return found


def _legacy_tokens(document: dict[str, Any], merged: dict[str, Any]) -> dict[int, AddedToken]:
    """added_tokens.json: a token's text → its id. Special is what a name or a list calls so."""
    extra = merged.get("extra_special_tokens")
    values = [merged.get(name) for name in NAMED] + (extra if isinstance(extra, list) else [])
    # transformers compares before it has read objects with __type
    objects = [v.get("content") for v in values if isinstance(v, dict) and "__type" not in v]
    special = {value for value in (*objects, *values) if isinstance(value, str)}
    found = {}
    for content, index in document.items():
        if type(index) is not int or index < 0:
            raise BadInput(f"{ADDED}: {content!r} is {index!r}, need a token id")
        is_special = content in special
        flags = {"special": is_special, "normalized": not is_special}
        found[index] = AddedToken(content, flags, index)
    return found


def _names(
    merged: dict[str, Any], document: dict[str, Any], class_name: str
) -> dict[str, AddedToken]:
    """Name → token: the common names, then a model's own (image_token …), as transformers does."""
    values = pipelines.DEFAULT_TOKENS[class_name] | {
        name: merged[name] for name in NAMED if name in merged
    }
    padding = document.get("padding")
    if isinstance(padding, dict) and "pad_token" not in values:
        values["pad_token"] = padding.get("pad_token")
    found = {name: _token(name, values[name]) for name in NAMED if values.get(name) is not None}
    own = {
        name: value
        for name, value in merged.items()
        if name.endswith("_token") and name not in NAMED and isinstance(value, str | dict)
    }
    if isinstance(extra := merged.get("extra_special_tokens"), dict):
        own |= extra
    return found | {name: _token(name, value) for name, value in own.items()}


def _extra(merged: dict[str, Any]) -> list[Any]:
    """The special tokens that have no name, under the newer key or the older."""
    found = merged.get("extra_special_tokens")
    if found is None or isinstance(found, dict):
        found = merged.get("additional_special_tokens") or []
    if not isinstance(found, list):
        raise BadInput(f"additional_special_tokens is {found!r}, need a list of tokens")
    return found


def _to_add(
    document: dict[str, Any],
    by_id: dict[int, AddedToken],
    names: dict[str, AddedToken],
    extra: list[Any],
) -> list[AddedToken]:
    """Those with an id, by id; then the named and the special ones that are no added tokens yet."""
    is_named = {token.content for token in names.values()}
    added = [by_id[index] for index in sorted(by_id)]
    added = [
        AddedToken(t.content, t.flags | {"special": True}, t.id) if t.content in is_named else t
        for t in added
    ]
    known = {token.content for token in added}
    known |= {_text(entry) for entry in document.get("added_tokens") or []}
    # Of several that name the same token with other flags, the last one's hold
    for token in [*names.values(), *(_nameless(entry, is_named) for entry in extra)]:
        if token.content not in known and token not in added:
            added.append(token)
    return added


def _nameless(entry: Any, is_named: set[str]) -> AddedToken:
    """Special, save where an AddedToken says otherwise."""
    where = "additional_special_tokens"
    content = _text(entry, where)
    if isinstance(entry, dict) and "__type" in entry and content not in is_named:
        return AddedToken(content, _flags(entry, where))
    return AddedToken(content, _special(entry, where), is_plain=isinstance(entry, str))


def _token(name: str, value: Any) -> AddedToken:
    where = f"{CONFIG} or {TOKENS_MAP}: {name}"
    plain = isinstance(value, str)
    return AddedToken(_text(value, where), _special(value, where), is_plain=plain)


def _special(value: Any, where: str) -> dict[str, bool]:
    """The flags of a token that is special because of where it is listed."""
    return _flags((value if isinstance(value, dict) else {}) | {"special": True}, where)


def _text(value: Any, where: str = CONFIG) -> str:
    """A token is written as a string, or as an object with content."""
    text = value.get("content") if isinstance(value, dict) else value
    if not isinstance(text, str):
        raise BadInput(f"{where} is {value!r}, need a token: a string, or an object with content")
    return text


def _flags(entry: dict[str, Any], where: str) -> dict[str, bool]:
    """Where `normalized` is missing, the library makes it the opposite of `special`."""
    unknown = sorted(set(entry) - {*_FLAGS, "content", "id", "__type"})
    if unknown:
        raise BadInput(f"{where}: {unknown[0]} is not known of a token; remove it")
    flags = {name: entry[name] for name in _FLAGS if name in entry}
    for name, value in flags.items():
        if type(value) is not bool:
            raise BadInput(f"{where}: {name} is {value!r}, need true or false")
    return {"special": False} | flags
