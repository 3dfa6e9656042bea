"""Configurations as popular models publish them: none is refused, and each says what it is."""

from __future__ import annotations

from typing import Any

import pytest
from bramble.export.architectures import describe
from bramble.export.config_file import ConfigFile

COMMON = {
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.43.1",
    "use_cache": True,
}
# Keys that later releases of a family's configuration class write
LLAMA = COMMON | {"pretraining_tp": 1, "rope_scaling": None, "attention_bias": False}
LLAMA3 = LLAMA | {"attention_dropout": 0.0, "mlp_bias": False, "rope_theta": 500000.0}
LLAMA31 = {
    "factor": 8.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}
SMOL = LLAMA | {"rope_interleaved": False, "pad_token_id": 2, "tie_word_embeddings": True}
QWEN2 = COMMON | {
    "attention_dropout": 0.0,
    "rope_theta": 1000000.0,
    "use_sliding_window": False,
    "rms_norm_eps": 1e-6,
}
QWEN3 = QWEN2 | {"attention_bias": False, "rope_scaling": None, "sliding_window": None}
YARN = {"factor": 4.0, "original_max_position_embeddings": 32768, "type": "yarn"}
# layers, hidden, inner, heads, KV heads, vocabulary, context; then the family's keys and its own
Row = tuple[str, str, tuple[int, ...], dict[str, Any], dict[str, Any]]
PUBLISHED: list[Row] = [
    (
        "Llama-3.2-1B-Instruct",
        "Llama",
        (16, 2048, 8192, 32, 8, 128256, 131072),
        LLAMA3,
        {"head_dim": 64, "tie_word_embeddings": True, "eos_token_id": [128001, 128008, 128009]}
        | {"rope_scaling": LLAMA31 | {"factor": 32.0}, "bos_token_id": 128000},
    ),
    (
        "Llama-3.2-3B-Instruct, of a fine-tuning library",
        "Llama",
        (28, 3072, 8192, 24, 8, 128256, 131072),
        LLAMA3,
        {"head_dim": 128, "pad_token_id": 128004, "unsloth_fixed": True, "unsloth_version": "2025"}
        | {"_name_or_path": "meta-llama/x", "rope_scaling": LLAMA31 | {"factor": 32.0}},
    ),
    (
        "Llama-3.1-8B-Instruct",
        "Llama",
        (32, 4096, 14336, 32, 8, 128256, 131072),
        LLAMA3,
        {"rope_scaling": LLAMA31, "eos_token_id": [128001, 128008, 128009]},
    ),
    (
        "Llama-3-8B, read and written again",
        "Llama",
        (32, 4096, 14336, 32, 8, 128256, 8192),
        LLAMA3,
        {"head_dim": 128, "dtype": "bfloat16", "_attn_implementation_autoset": True},
    ),
    ("Llama-2-7b-hf", "Llama", (32, 4096, 11008, 32, 32, 32000, 4096), LLAMA, {"pad_token_id": 0}),
    (
        "CodeLlama-7b",
        "Llama",
        (32, 4096, 11008, 32, 32, 32016, 16384),
        COMMON,
        {"rope_theta": 1000000, "pretraining_tp": 1, "rope_scaling": None},
    ),
    (
        "TinyLlama-1.1B-Chat-v1.0",
        "Llama",
        (22, 2048, 5632, 32, 4, 32000, 2048),
        LLAMA,
        {"rope_theta": 10000.0},
    ),
    (
        "SmolLM-135M",
        "Llama",
        (30, 576, 1536, 9, 3, 49152, 2048),
        SMOL,
        {"attention_dropout": 0.0, "rope_theta": 10000.0, "pad_token_id": None},
    ),
    (
        "SmolLM2-1.7B-Instruct",
        "Llama",
        (24, 2048, 8192, 32, 32, 49152, 8192),
        SMOL,
        {"is_llama_config": True, "rope_theta": 130000, "mlp_bias": False, "head_dim": 64}
        | {"transformers.js_config": {"dtype": "q4", "kv_cache_dtype": {"q4f16": "float16"}}},
    ),
    (
        "Yi-1.5-6B-Chat",
        "Llama",
        (32, 4096, 11008, 32, 4, 64000, 4096),
        LLAMA,
        {"attention_dropout": 0.0, "rope_theta": 5000000.0, "pad_token_id": 0},
    ),
    (
        "deepseek-coder-6.7b-instruct",
        "Llama",
        (32, 4096, 11008, 32, 32, 32256, 16384),
        LLAMA,
        {"rope_scaling": {"factor": 4.0, "type": "linear"}, "rope_theta": 100000},
    ),
    (
        "DeepSeek-R1-Distill-Llama-8B",
        "Llama",
        (32, 4096, 14336, 32, 8, 128256, 131072),
        LLAMA3,
        {"rope_scaling": LLAMA31, "_name_or_path": "deepseek-ai/x", "head_dim": 128},
    ),
    (
        "Falcon3-1B-Instruct",
        "Llama",
        (18, 2048, 8192, 8, 4, 131072, 8192),
        LLAMA3,
        {"head_dim": 256, "rope_theta": 1000042, "rms_norm_eps": 1e-6},
    ),
    (
        "Mistral-7B-v0.1",
        "Mistral",
        (32, 4096, 14336, 32, 8, 32000, 32768),
        COMMON,
        {"sliding_window": 4096, "rope_theta": 10000.0},
    ),
    (
        "Mistral-7B-Instruct-v0.2",
        "Mistral",
        (32, 4096, 14336, 32, 8, 32000, 32768),
        COMMON,
        {"sliding_window": None, "rope_theta": 1000000.0, "attention_dropout": 0.0},
    ),
    (
        "Mistral-7B-Instruct-v0.3",
        "Mistral",
        (32, 4096, 14336, 32, 8, 32768, 32768),
        COMMON,
        {"sliding_window": None, "rope_theta": 1000000.0, "attention_dropout": 0.0},
    ),
    (
        "Mistral-Nemo-Instruct-2407",
        "Mistral",
        (40, 5120, 14336, 32, 8, 131072, 128000),
        COMMON,
        {"sliding_window": None, "head_dim": 128, "rope_theta": 1000000.0},
    ),
    (
        "Mistral-Small, written by transformers 5",
        "Mistral",
        (40, 5120, 32768, 32, 8, 131072, 131072),
        COMMON,
        {"sliding_window": None, "head_dim": 128, "dtype": "bfloat16", "pad_token_id": 11}
        | {"rope_parameters": {"rope_theta": 1000000000.0, "rope_type": "default"}},
    ),
    (
        "Qwen2-0.5B-Instruct",
        "Qwen2",
        (24, 896, 4864, 14, 2, 151936, 32768),
        QWEN2,
        {"tie_word_embeddings": True, "max_window_layers": 24, "sliding_window": 32768},
    ),
    (
        "Qwen2.5-0.5B",
        "Qwen2",
        (24, 896, 4864, 14, 2, 151936, 32768),
        QWEN2,
        {"tie_word_embeddings": True, "max_window_layers": 24, "sliding_window": 32768}
        | {"use_mrope": False},
    ),
    (
        "Qwen2.5-1.5B, written by transformers 5",
        "Qwen2",
        (28, 1536, 8960, 12, 2, 151936, 131072),
        {k: v for k, v in QWEN2.items() if k not in ("rope_theta", "torch_dtype")},
        {"layer_types": ["full_attention"] * 28, "max_window_layers": 28, "pad_token_id": None}
        | {"rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"}}
        | {"sliding_window": None, "use_mrope": False, "dtype": "bfloat16"},
    ),
    (
        "Qwen2.5-7B-Instruct, stretched",
        "Qwen2",
        (28, 3584, 18944, 28, 4, 152064, 32768),
        QWEN2,
        {"max_window_layers": 28, "sliding_window": 131072, "rope_scaling": YARN},
    ),
    (
        "DeepSeek-R1-Distill-Qwen-1.5B",
        "Qwen2",
        (28, 1536, 8960, 12, 2, 151936, 131072),
        QWEN2,
        {"max_window_layers": 21, "sliding_window": 4096, "use_mrope": False}
        | {"rope_theta": 10000},
    ),
    (
        "QwQ-32B",
        "Qwen2",
        (64, 5120, 27648, 40, 8, 152064, 40960),
        QWEN2,
        {"max_window_layers": 64, "sliding_window": 32768, "pad_token_id": 151643},
    ),
    (
        "Qwen3-0.6B",
        "Qwen3",
        (28, 1024, 3072, 16, 8, 151936, 40960),
        QWEN3,
        {"head_dim": 128, "max_window_layers": 28, "tie_word_embeddings": True}
        | {"rope_theta": 1000000},
    ),
    (
        "Qwen3-4B-Instruct-2507, read and written again",
        "Qwen3",
        (36, 2560, 9728, 32, 8, 151936, 262144),
        QWEN3,
        {"head_dim": 128, "max_window_layers": 36, "layer_types": ["full_attention"] * 36}
        | {"rope_theta": 5000000, "tie_word_embeddings": True, "dtype": "bfloat16"},
    ),
    (
        "Qwen3-8B, stretched",
        "Qwen3",
        (36, 4096, 12288, 32, 8, 151936, 40960),
        QWEN3,
        {"head_dim": 128, "max_window_layers": 36}
        | {"rope_scaling": {"rope_type": "yarn"} | {k: YARN[k] for k in list(YARN)[:2]}},
    ),
]
SIZES = (
    "num_hidden_layers",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "max_position_embeddings",
)


@pytest.mark.parametrize("row", PUBLISHED, ids=[row[0] for row in PUBLISHED])
def test_a_published_configuration_is_read(row: Row) -> None:
    _, family, sizes, common, own = row
    document = common | dict(zip(SIZES, sizes, strict=True)) | own
    document |= {"architectures": [f"{family}ForCausalLM"], "model_type": family.lower()}
    shape = describe(ConfigFile(document)).shape
    found = (shape.num_layers, shape.hidden_size, shape.intermediate_size)
    found += (shape.num_heads, shape.num_kv_heads, shape.vocab_size, shape.max_length)
    assert found == sizes
    assert shape.head_dim == own.get("head_dim", sizes[1] // sizes[3])
