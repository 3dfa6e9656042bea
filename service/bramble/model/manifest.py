"""A model folder's table of contents: what the model is, and each file's sha256 and bytes.

Written by `bramble export`, read by planner, head and stages. It knows files, not tensors.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bramble.errors import BadInput

FORMAT = 1  # rises whenever an older reader would misread a newer folder
FILE_NAME = "manifest.json"
DIGEST_SIZE = 8  # norm and seven projections, see model/digest.py


@dataclass(frozen=True, slots=True)
class File:
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Part:
    """One standalone ONNX model and the files of its weights (paths as in Manifest.files)."""

    name: str  # "embed", "layer-000" … or "lm_head"
    onnx: str
    data: tuple[str, ...]  # lm_head of a tied model may name the embedding's file


@dataclass(frozen=True, slots=True)
class Shape:
    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int  # rows of the embedding; the tokenizer may know fewer
    max_length: int  # tokens of context that the model was trained for

    def kv_bytes_per_token(self, num_layers: int) -> int:
        """Bytes of float32 keys and values that one token takes in `num_layers` layers."""
        return num_layers * 2 * self.num_kv_heads * self.head_dim * 4


@dataclass(frozen=True, slots=True)
class Rope:
    theta: float
    rotary_dim: int
    scaling: dict[str, Any] | None = None  # config.json's rope_scaling, e.g. rope_type llama3


@dataclass(frozen=True, slots=True)
class Quantization:
    """Bits per part: "int4", "int8" or "float32"; blocks of `block_size` along the input."""

    layers: str
    embed: str
    lm_head: str
    block_size: int = 32


@dataclass(frozen=True, slots=True)
class Golden:
    """One process's result for `token_ids` from an empty cache, to be met by every ring.

    top_ids, top_logits  the ten largest logits after the last token
    digests              [num_layers + 1][DIGEST_SIZE]: of the last token's hidden state behind the
                         embedding and behind each layer
    tolerance            largest relative difference that is not a fault
    """

    token_ids: tuple[int, ...]
    top_ids: tuple[int, ...]
    top_logits: tuple[float, ...]
    digests: tuple[tuple[float, ...], ...]
    tolerance: float


@dataclass(frozen=True, slots=True)
class Manifest:
    name: str
    architecture: str  # e.g. LlamaForCausalLM
    num_parameters: int
    shape: Shape
    rope: Rope
    quantization: Quantization
    is_tied: bool
    eos_ids: tuple[int, ...]
    bos_id: int | None
    source: dict[str, Any]  # kind, id, revision
    defaults: dict[str, Any]  # generation_config's temperature, top_p, top_k, …
    parts: tuple[Part, ...]
    files: dict[str, File]  # every file but the manifest, by relative path
    golden: Golden | None = None
    exporter: str = ""
    format: int = FORMAT
    extra: dict[str, Any] = field(default_factory=dict)
