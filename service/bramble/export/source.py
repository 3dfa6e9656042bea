"""What a model is exported from: its settings, its weights and the files to copy as they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bramble.errors import BadInput
from bramble.export.config_file import ConfigFile
from bramble.export.recognise import CONFIG, check_kind
from bramble.export.safetensors import INDEX, LFS, SINGLE, Checkpoint, Headers
from bramble.export.tokenizer_keys import check_tokenizer_keys
from bramble.export.weights import Weights
from bramble.model import chat_template
from bramble.model.tokenizer_files import ADDED, TOKENIZER, TOKENS_MAP
from bramble.model.tokenizer_files import CONFIG as TOKENIZER_CONFIG

COPIED = (
    CONFIG,
    "generation_config.json",
    TOKENIZER,
    TOKENIZER_CONFIG,
    TOKENS_MAP,
    ADDED,
    chat_template.FILE,
    chat_template.LEGACY_FILE,
    f"{chat_template.MORE}/*.jinja",
    "LICENSE*",
)
DEPTHS = ("*", "*/*", "*/*/*", "*/*/*/*")
# Tokenizers in other forms, which tell what a folder without tokenizer.json has instead
OTHER_FORMS = ("tokenizer.model", "vocab.json", "merges.txt", "tekken.json", "tiktoken.model")


@dataclass(frozen=True, slots=True)
class Source:
    """origin becomes the manifest's `source`; texts are file name → content; warnings are told.

    formats  of tensors that are blocks already: name → the format's name
    """

    name: str
    origin: dict[str, Any]
    config: ConfigFile
    generation: ConfigFile
    weights: Weights
    copied: dict[str, Path] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    formats: Mapping[str, str] = field(default_factory=dict)


def open_folder(folder: Path, source_id: str | None = None) -> tuple[Source, Headers]:
    """Read a Hugging Face folder. Raises BadInput that names what is missing or broken.

    source_id  what the manifest calls it; the folder's name if None
    """
    check_kind(str(folder), _names(folder))
    config, generation = read_settings(folder)
    weights = Checkpoint(folder)
    source = Source(
        name=folder.resolve().name,
        origin={"kind": "folder", "id": source_id or folder.resolve().name, "revision": None},
        config=config,
        generation=generation,
        weights=weights,
        copied={
            path.relative_to(folder).as_posix(): path
            for pattern in COPIED
            for path in sorted(folder.glob(pattern))
        },
        warnings=_twice(folder),
    )
    return source, weights.headers


def read_settings(folder: Path) -> tuple[ConfigFile, ConfigFile]:
    """Read config.json and generation_config.json. Raises BadInput as `open_folder` does."""
    _check_pointers(folder)
    _check_tokenizer(folder)
    generation = folder / "generation_config.json"
    return (
        ConfigFile(read_json(folder / CONFIG)),
        ConfigFile(read_json(generation) if generation.exists() else {}),
    )


def _names(folder: Path) -> list[str]:
    """Of files in the folder and in folders of its own, as deep as a hub's cache has models."""
    try:
        found = [path for depth in DEPTHS for path in folder.glob(depth) if path.is_file()]
    except OSError as error:
        raise BadInput(f"{folder} cannot be read: {error.strerror}") from error
    return [path.relative_to(folder).as_posix() for path in found]


def _twice(folder: Path) -> list[str]:
    """A warning where another program may read other weights from the folder."""
    if (folder / SINGLE).is_file() and (folder / INDEX).is_file():
        return [
            f"{folder} holds weights twice, in {SINGLE} and in the files of {INDEX}; "
            f"{SINGLE} was read, as transformers does"
        ]
    return []


def _check_pointers(folder: Path) -> None:
    """A clone without Git LFS has a few lines in place of each large file."""
    for path in folder.glob("*.json"):
        with path.open("rb") as file:
            if file.read(len(LFS)) == LFS:
                raise BadInput(f"{path} is a pointer of Git LFS; run `git lfs pull` there")


def _check_tokenizer(folder: Path) -> None:
    """Only tokenizer.json says all that ids depend on; the older forms need code to read."""
    if not (folder / TOKENIZER).is_file():
        found = [name for name in OTHER_FORMS if (folder / name).exists()]
        instead = f", only {' and '.join(found)}" if found else ""
        raise BadInput(
            f"{folder} has no {TOKENIZER}{instead}; save the tokenizer in its fast form "
            "(AutoTokenizer.from_pretrained(…).save_pretrained(…)) and export again"
        )
    check_tokenizer_keys(folder)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises BadInput that names the file."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} cannot be read: {error}; download it again") from error
    if not isinstance(document, dict):
        raise BadInput(f"{path}: got a {type(document).__name__}, need an object")
    return document
