"""What a model is exported from: its settings, its weights and the files to copy as they are."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bramble.errors import BadInput
from bramble.export.config_file import ConfigFile
from bramble.export.safetensors import Checkpoint
from bramble.export.tokenizer_keys import check_tokenizer_keys
from bramble.export.weights import Weights
from bramble.model import chat_template
from bramble.model.tokenizer_files import ADDED, CONFIG, TOKENIZER, TOKENS_MAP

COPIED = (
    "config.json",
    "generation_config.json",
    TOKENIZER,
    CONFIG,
    TOKENS_MAP,
    ADDED,
    chat_template.FILE,
    chat_template.LEGACY_FILE,
    f"{chat_template.MORE}/*.jinja",
    "LICENSE*",
)
# Tokenizers in other forms, which tell what a folder without tokenizer.json has instead
OTHER_FORMS = ("tokenizer.model", "vocab.json", "merges.txt", "tekken.json", "tiktoken.model")


@dataclass(frozen=True, slots=True)
class Source:
    """origin becomes the manifest's `source`; texts are file name → content."""

    name: str
    origin: dict[str, Any]
    config: ConfigFile
    generation: ConfigFile
    weights: Weights
    copied: dict[str, Path] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


def open_folder(folder: Path, source_id: str | None = None) -> Source:
    """Read a Hugging Face folder. Raises BadInput that names what is missing or broken.

    source_id  what the manifest calls it; the folder's name if None
    """
    if not (folder / "config.json").is_file():
        raise BadInput(f"{folder} is not a Hugging Face model folder: it has no config.json")
    _check_tokenizer(folder)
    generation = folder / "generation_config.json"
    return Source(
        name=folder.resolve().name,
        origin={"kind": "folder", "id": source_id or folder.resolve().name, "revision": None},
        config=ConfigFile(read_json(folder / "config.json")),
        generation=ConfigFile(read_json(generation) if generation.exists() else {}),
        weights=Checkpoint(folder),
        copied={
            path.relative_to(folder).as_posix(): path
            for pattern in COPIED
            for path in sorted(folder.glob(pattern))
        },
    )


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
    except ValueError as error:
        raise BadInput(f"{path} cannot be read: {error}; download it again") from error
    if not isinstance(document, dict):
        raise BadInput(f"{path}: got a {type(document).__name__}, need an object")
    return document
