"""A GGUF file in half precision with the shape of a config.json and random weights.

usage: gguf_file.py CONFIG.json OUT.gguf      (runs in the bench's own environment)
llama-quantize makes the 4-bit files of it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np

ARCHITECTURES = {"LlamaForCausalLM": "llama", "Qwen2ForCausalLM": "qwen2"}
TILE = (1 << 22) + 15  # weights before they repeat; odd, so that rows of one matrix differ
UNKNOWN, BOS, EOS = 0, 1, 2

Shape = tuple[int, ...]
Array = np.ndarray[Any, Any]


def tensors(config: dict[str, Any]) -> Iterator[tuple[str, Shape]]:
    """Yield (name, (rows, columns)) in llama.cpp's names."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    heads = config["num_attention_heads"] * config["head_dim"]
    kv_heads = config["num_key_value_heads"] * config["head_dim"]
    yield "token_embd.weight", (config["vocab_size"], hidden)
    yield "output_norm.weight", (hidden,)
    if not config.get("tie_word_embeddings"):
        yield "output.weight", (config["vocab_size"], hidden)
    for index in range(config["num_hidden_layers"]):
        layer = {
            "attn_norm.weight": (hidden,),
            "attn_q.weight": (heads, hidden),
            "attn_k.weight": (kv_heads, hidden),
            "attn_v.weight": (kv_heads, hidden),
            "attn_output.weight": (hidden, heads),
            "ffn_norm.weight": (hidden,),
            "ffn_gate.weight": (inner, hidden),
            "ffn_up.weight": (inner, hidden),
            "ffn_down.weight": (hidden, inner),
        }
        if architecture(config) == "qwen2":
            layer |= {"attn_q.bias": (heads,), "attn_k.bias": (kv_heads,)}
            layer |= {"attn_v.bias": (kv_heads,)}
        for name, shape in layer.items():
            yield f"blk.{index}.{name}", shape


def architecture(config: dict[str, Any]) -> str:
    return ARCHITECTURES[config["architectures"][0]]


def describe(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config.get("rope_theta", 10000.0))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)


def add_vocabulary(writer: gguf.GGUFWriter, size: int) -> None:
    """Made-up words of whole characters, so that every token is sent as soon as it is there."""
    kinds = gguf.TokenType
    words = ["<unk>", "<s>", "</s>"]
    types = [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL]
    words += [f"▁w{index}" for index in range(len(words), size)]
    types += [kinds.NORMAL] * (size - len(types))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(words)
    writer.add_token_scores([-float(index) for index in range(size)])
    writer.add_token_types(types)
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_unk_token_id(UNKNOWN)


def random_weights(tile: Array, index: int, shape: Shape) -> Array:
    """Vectors are 1; matrices keep the hidden state's size."""
    if len(shape) == 1:
        return np.ones(shape, np.float32)
    start = index * 1_000_003 % TILE
    rolled = np.roll(tile, -start) * np.float16(shape[1] ** -0.5)
    return np.resize(rolled, shape)


def write(config: dict[str, Any], path: Path) -> None:
    writer = gguf.GGUFWriter(path, architecture(config))
    describe(writer, config)
    add_vocabulary(writer, config["vocab_size"])
    names = list(tensors(config))
    for name, shape in names:
        kind = np.float32 if len(shape) == 1 else np.float16  # llama.cpp keeps vectors whole
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        writer.add_tensor_info(name, shape, np.dtype(kind), size)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    tile = np.random.default_rng(0).standard_normal(TILE, np.float32).astype(np.float16)
    for index, (_, shape) in enumerate(names):
        writer.write_tensor_data(random_weights(tile, index, shape))
    writer.close()


if __name__ == "__main__":
    write(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
