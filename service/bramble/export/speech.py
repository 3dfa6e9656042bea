"""How a model is spoken with: sampling defaults, where a reply begins and what ends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bramble.export.config_file import ConfigFile
from bramble.export.generation import FILE as GENERATION
from bramble.export.generation import read_defaults
from bramble.export.stop_tokens import stop_ids, token_ids
from bramble.export.tokenizer_check import check_tokenizer
from bramble.model.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Speech:
    defaults: dict[str, Any]
    eos_ids: tuple[int, ...]
    bos_id: int | None
    warnings: list[str]


def read_speech(
    config: ConfigFile, generation: ConfigFile, tokenizer: Tokenizer, vocab_size: int
) -> Speech:
    """Read it from a model's settings. Raises BadInput by key or token for what cannot be used."""
    warnings = check_tokenizer(tokenizer, vocab_size)
    stops, more = stop_ids(generation.document, config.document, tokenizer, vocab_size)
    key = "bos_token_id"
    bos = token_ids(config.document, key, "config.json")
    bos = bos or token_ids(generation.document, key, GENERATION)
    return Speech(
        defaults=read_defaults(generation.document),
        eos_ids=stops,
        bos_id=bos[0] if bos else None,
        warnings=[*warnings, *more],
    )
