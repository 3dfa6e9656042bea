"""A small model by its configuration, with weights: what make_variants.py and the tests share.

A variant's weights follow from its name and sizes alone, so only what transformers computes from
them is committed.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

VOCAB = 160
LENGTH = 64  # of the prompt: longer than any window here
PLACES = (5, 20, 41, 63)  # of the prompt, whose logits are kept
NUM_DECODED = 8
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
ABSENT: Any = object()  # a key to leave out


@dataclass(frozen=True)
class Variant:
    """A family with other keys in its config.json.

    sizes    what an absent key means: sizes of tensors that the configuration does not say
    tensors  how the file differs from what the configuration says, see `_edit`
    refused  part of the sentence with which export refuses it; "" = equal to transformers
    """

    name: str
    family: str
    changes: dict[str, Any]
    sizes: dict[str, int] = field(default_factory=dict)
    tensors: str = ""
    refused: str = ""

    @property
    def config(self) -> dict[str, Any]:
        base = {
            "architectures": [f"{self.family}ForCausalLM"],
            "model_type": self.family.lower(),
            **SIZES,
        }
        found = base | self.changes
        return {key: value for key, value in found.items() if value is not ABSENT}

    def write(self, folder: Path) -> None:
        """Write config.json and model.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.config))
        save_file(self.weights(), folder / "model.safetensors", {"format": "pt"})

    def weights(self) -> dict[str, np.ndarray]:
        found = {name: _numbers(name, size) for name, size in self._shapes().items()}
        return _edit(found, self.tensors)

    def prompt(self) -> np.ndarray:
        return np.random.RandomState(zlib.crc32(self.name.encode())).randint(2, VOCAB, LENGTH)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        config = {k: v for k, v in self.config.items() if v is not None} | self.sizes
        hidden, inner = config["hidden_size"], config["intermediate_size"]
        heads = config["num_attention_heads"]
        size = config.get("head_dim", hidden // heads)
        kv_heads = config.get("num_key_value_heads", heads)
        has_bias = bool(config.get("attention_bias")) and self.family in ("Llama", "Qwen3")
        matrices = {
            "self_attn.q_proj": (heads * size, hidden, has_bias or self.family == "Qwen2"),
            "self_attn.k_proj": (kv_heads * size, hidden, has_bias or self.family == "Qwen2"),
            "self_attn.v_proj": (kv_heads * size, hidden, has_bias or self.family == "Qwen2"),
            "self_attn.o_proj": (hidden, heads * size, has_bias),
            "mlp.gate_proj": (inner, hidden, bool(config.get("mlp_bias"))),
            "mlp.up_proj": (inner, hidden, bool(config.get("mlp_bias"))),
            "mlp.down_proj": (hidden, inner, bool(config.get("mlp_bias"))),
        }
        shapes: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (config["vocab_size"], hidden),
            "model.norm.weight": (hidden,),
        }
        for index in range(config["num_hidden_layers"]):
            layer = f"model.layers.{index}."
            shapes[layer + "input_layernorm.weight"] = (hidden,)
            shapes[layer + "post_attention_layernorm.weight"] = (hidden,)
            if self.family == "Qwen3":
                shapes[layer + "self_attn.q_norm.weight"] = (size,)
                shapes[layer + "self_attn.k_norm.weight"] = (size,)
            for name, (rows, columns, is_biased) in matrices.items():
                shapes[f"{layer}{name}.weight"] = (rows, columns)
                if is_biased:
                    shapes[f"{layer}{name}.bias"] = (rows,)
        if not config.get("tie_word_embeddings"):
            shapes["lm_head.weight"] = (config["vocab_size"], hidden)
        return shapes


def _numbers(name: str, size: tuple[int, ...]) -> np.ndarray:
    """Even numbers between bounds that make attention uneven, by splitmix64 of name and place."""
    with np.errstate(over="ignore"):
        bits = np.arange(np.prod(size), dtype=np.uint64) + np.uint64(
            zlib.crc32(name.encode()) << 32
        )
        bits *= np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    unit = ((bits >> np.uint64(40)).astype(np.float64) / 2**23 - 1).reshape(size)
    if len(size) > 1:
        return (unit * 0.31 * min(1, 64 / size[1]) ** 0.5).astype(np.float32)
    return (1 + unit / 2 if "norm" in name else unit / 2).astype(np.float32)


def _edit(found: dict[str, np.ndarray], how: str) -> dict[str, np.ndarray]:
    table = found["model.embed_tokens.weight"]
    if how in ("same lm_head", "only lm_head"):
        found["lm_head.weight"] = table.copy()
    if how == "other lm_head":
        found["lm_head.weight"] = table * np.float32(1.5)
    if how == "only lm_head":
        del found["model.embed_tokens.weight"]
    if how == "no prefix":
        found = {name.removeprefix("model."): tensor for name, tensor in found.items()}
    if how == "no lm_head":
        del found["lm_head.weight"]
    if how == "rotary buffers":
        found["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(8, np.float32)
    if how == "one more":
        found["model.layers.0.self_attn.q_norm.weight"] = np.ones(16, np.float32)
    if how == "one less":
        del found["model.layers.1.mlp.up_proj.weight"]
    return found
