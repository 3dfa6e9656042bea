"""Opens a GGUF file as a source of `bramble export`: as the Hugging Face model that it holds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from bramble.errors import BadInput
from bramble.export.architectures import describe
from bramble.export.config_file import ConfigFile
from bramble.export.gguf import Container, read_container
from bramble.export.gguf_config import architecture, read_config
from bramble.export.gguf_speech import read_spoken
from bramble.export.gguf_weights import GgufWeights, theirs
from bramble.export.recognise import CONFIG
from bramble.export.source import Source
from bramble.export.tensors import check_tensors
from bramble.model.manifest import sha256_of

GENERATION = "generation_config.json"
WHOLE = ("F32", "F16", "BF16")  # what holds numbers and no blocks


def open_gguf(path: Path, source_id: str | None = None) -> Source:
    """Read all but the numbers of the weights. Raises BadInput that names what is not read.

    source_id  what the manifest calls it; the file's name if None
    """
    container = read_container(path)
    config, spoken = read_config(container), read_spoken(container)
    weights = _weights(container, config)
    try:
        check_tensors(describe(ConfigFile(config)), weights)
    except BadInput as error:
        raise BadInput(f"{path}, whose metadata make a config.json: {error}") from error
    return Source(
        name=path.stem,
        origin=_origin(container, source_id),
        config=ConfigFile(config),
        generation=ConfigFile(spoken.generation),
        weights=weights,
        texts=spoken.texts
        | {
            CONFIG: json.dumps(config, indent=1),
            GENERATION: json.dumps(spoken.generation, indent=1),
        },
        formats={
            name: kind
            for name in weights.names()
            if (kind := container.tensors[weights.theirs[name]].format.name) not in WHOLE
        },
    )


def _weights(container: Container, config: dict[str, Any]) -> GgufWeights:
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    is_reordered = architecture(container) == "llama"
    # Without the vocabulary, whose memory is given back
    bare = replace(container, metadata={})
    return GgufWeights(bare, theirs(container.tensors), heads if is_reordered else {})


def _origin(container: Container, source_id: str | None) -> dict[str, Any]:
    path = container.path
    origin = {"kind": "gguf", "id": source_id or path.name, "revision": sha256_of(path)}
    license_name = container.metadata.get("general.license")
    return origin | ({"license": license_name} if isinstance(license_name, str) else {})
