"""What a model is exported from: its settings, its weights and the files to copy as they are."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bramble.errors import BadInput
from bramble.export.config_file import ConfigFile
from bramble.export.safetensors import Checkpoint
from bramble.export.weights import Weights

TOKENIZER = "tokenizer.json"
COPIED = (
    "config.json",
    "generation_config.json",
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "LICENSE*",
)


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
    if not (folder / TOKENIZER).is_file():
        raise BadInput(
            f"{folder} has no {TOKENIZER}; save the tokenizer in its fast form "
            "(AutoTokenizer.from_pretrained(…).save_pretrained(…)) and export again"
        )
    generation = folder / "generation_config.json"
    return Source(
        name=folder.resolve().name,
        origin={"kind": "folder", "id": source_id or folder.resolve().name, "revision": None},
        config=ConfigFile(read_json(folder / "config.json")),
        generation=ConfigFile(read_json(generation) if generation.exists() else {}),
        weights=Checkpoint(folder),
        copied={path.name: path for pattern in COPIED for path in sorted(folder.glob(pattern))},
    )


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
