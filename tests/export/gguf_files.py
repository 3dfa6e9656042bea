"""Writes small GGUF files: whole models from a Hugging Face folder, and broken ones."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from bramble.export.gguf_blocks import BLOCKS
from bramble.export.safetensors import Checkpoint

NUMBERS = {format.name: number for number, format in BLOCKS.items()}
LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
REST = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


@dataclass
class GgufFile:
    """tensors  name → format, shape (rows first) and bytes"""

    metadata: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, tuple[str | int, tuple[int, ...], bytes]] = field(default_factory=dict)
    version: int = 3

    def bytes(self) -> bytes:
        table, body = b"", b""
        for name, (kind, shape, raw) in self.tensors.items():
            number = NUMBERS[kind] if isinstance(kind, str) else kind
            dimensions = struct.pack(f"<{len(shape)}Q", *reversed(shape))
            table += text(name) + struct.pack("<I", len(shape)) + dimensions
            table += struct.pack("<IQ", number, len(body))
            body += raw + bytes(-len(raw) % 32)
        head = b"GGUF" + struct.pack("<IQQ", self.version, len(self.tensors), len(self.metadata))
        head += b"".join(text(key) + typed(value) for key, value in self.metadata.items()) + table
        return head + bytes(-len(head) % 32) + body

    def write(self, path: Path) -> Path:
        path.write_bytes(self.bytes())
        return path


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def typed(value: Any) -> bytes:
    """A value with its type; a list is of texts, of integers, or of numbers."""
    if isinstance(value, list):
        kinds = {str: (8, text), int: (5, integer), float: (6, number)}
        kind, one = kinds[type(value[0]) if value else str]
        return struct.pack("<IIQ", 9, kind, len(value)) + b"".join(map(one, value))
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<Ii", 5, value) if value < 0 else struct.pack("<II", 4, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    return struct.pack("<I", 6) + number(value)


def integer(value: int) -> bytes:
    return struct.pack("<i", value)


def number(value: float) -> bytes:
    return struct.pack("<f", value)


def converted(folder: Path, kind: str = "F16") -> tuple[GgufFile, dict[str, np.ndarray]]:
    """What llama.cpp's converter makes of a folder, and the numbers that it still has.

    kind  of the matrices: F32, F16, Q4_0 or Q8_0; vectors stay F32
    """
    config = json.loads((folder / "config.json").read_text())
    name = {"mistral": "llama"}.get(config["model_type"], config["model_type"])
    file, kept = GgufFile(described(name, config)), {}
    weights = Checkpoint(folder)
    for theirs in weights.names():
        values = weights.rows(theirs, 0, weights.shape(theirs)[0])
        used = "F32" if values.ndim == 1 else kind
        raw, kept[theirs] = packed(values, used)
        if name == "llama" and theirs.split(".")[-2] in ("q_proj", "k_proj"):
            raw = turned(theirs, config, raw, len(values))
        file.tensors[renamed(theirs)] = (used, values.shape, raw)
    if (factors := rope_factors(config)) is not None:
        file.tensors["rope_freqs.weight"] = ("F32", factors.shape, factors.tobytes())
    return file, kept


def described(name: str, config: dict[str, Any]) -> dict[str, Any]:
    size = config.get("head_dim", config["hidden_size"] // config["num_attention_heads"])
    found = {
        "general.architecture": name,
        "general.name": "A model",
        "general.license": "mit",
        "general.file_type": 1,
        f"{name}.block_count": config["num_hidden_layers"],
        f"{name}.context_length": config["max_position_embeddings"],
        f"{name}.embedding_length": config["hidden_size"],
        f"{name}.feed_forward_length": config["intermediate_size"],
        f"{name}.attention.head_count": config["num_attention_heads"],
        f"{name}.attention.head_count_kv": config["num_key_value_heads"],
        f"{name}.attention.key_length": size,
        f"{name}.attention.value_length": size,
        f"{name}.attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
        f"{name}.rope.freq_base": config["rope_parameters"]["rope_theta"],
        f"{name}.rope.dimension_count": size,
        f"{name}.vocab_size": config["vocab_size"],
    }
    if config.get("sliding_window"):
        found[f"{name}.attention.sliding_window"] = config["sliding_window"]
    return found | vocabulary(name)


def vocabulary(name: str) -> dict[str, Any]:
    """The goldens' tokenizer: <s>, </s>, then byte-level tokens of one character each."""
    golden = Path(__file__).parents[1] / "golden" / "llama3" / "tokenizer.json"
    document = json.loads(golden.read_text())
    tokens = sorted(document["model"]["vocab"], key=document["model"]["vocab"].get)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2" if name.startswith("qwen") else "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3, 3] + [1] * (len(tokens) - 2),
        "tokenizer.ggml.merges": [],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
    }


def renamed(theirs: str) -> str:
    if theirs in REST:
        return REST[theirs]
    _, _, index, *middle, ending = theirs.split(".")
    return f"blk.{index}.{LAYER['.'.join(middle)]}.{ending}"


def turned(theirs: str, config: dict[str, Any], raw: bytes, rows: int) -> bytes:
    """Rows in llama.cpp's order: of each head, the two that turn together side by side."""
    key = "num_attention_heads" if "q_proj" in theirs else "num_key_value_heads"
    rows_of = np.arange(rows).reshape(config[key], 2, -1).swapaxes(1, 2).reshape(-1)
    return np.frombuffer(raw, np.uint8).reshape(rows, -1)[rows_of].tobytes()


def rope_factors(config: dict[str, Any]) -> np.ndarray | None:
    """By how much llama3's scaling slows each pair of dimensions, if it has that."""
    rope = config["rope_parameters"]
    if rope["rope_type"] != "llama3":
        return None
    size = config["head_dim"]
    turns = 2 * np.pi * rope["rope_theta"] ** (np.arange(0, size, 2, np.float32) / size)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    kept = (rope["original_max_position_embeddings"] / turns - low) / (high - low)
    return (1 / (kept.clip(0, 1) * (1 - 1 / rope["factor"]) + 1 / rope["factor"])).astype("<f4")


def packed(values: np.ndarray, kind: str) -> tuple[bytes, np.ndarray]:
    """Numbers in a format: the bytes, and the numbers that they still are."""
    if kind == "F32":
        return values.tobytes(), values
    if kind == "F16":
        halves = values.astype(np.float16)
        return halves.tobytes(), halves.astype(np.float32)
    blocks = values.reshape(-1, 32)
    extreme = np.take_along_axis(blocks, np.abs(blocks).argmax(-1)[:, None], -1)
    scales = (extreme / (-8 if kind == "Q4_0" else 127)).astype(np.float16)
    steps = scales.astype(np.float32)
    levels = np.rint(np.divide(blocks, steps, out=np.zeros_like(blocks), where=steps != 0))
    if kind == "Q4_0":
        levels = levels.clip(-8, 7)
        codes = (levels + 8).astype(np.uint8)
        stored = codes[:, :16] | codes[:, 16:] << 4
    else:
        levels = levels.clip(-127, 127)
        stored = levels.astype(np.int8).view(np.uint8)
    raw = np.concatenate([scales.view(np.uint8), stored], axis=1).tobytes()
    return raw, (levels * steps).reshape(values.shape).astype(np.float32)
