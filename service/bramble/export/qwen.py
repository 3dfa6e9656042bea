"""The dense Qwen family: Qwen2 and 2.5 with biases on q, k and v; Qwen3 with norms on q and k."""

from __future__ import annotations

from bramble.export.config_file import ConfigFile
from bramble.export.decoder import Decoder
from bramble.model.manifest import Shape


def qwen2(config: ConfigFile) -> Decoder:
    """Qwen2ForCausalLM, transformers' modeling_qwen2.py."""
    shape = config.shape()
    return Decoder(
        architecture="Qwen2ForCausalLM",
        shape=shape,
        rope=config.rope(shape.head_dim),
        norm_epsilon=config.value("rms_norm_eps", float, 1e-6),
        is_tied=config.value("tie_word_embeddings", bool, False),
        windows=_windows(config, shape),
        has_qkv_bias=True,
    )


def qwen3(config: ConfigFile) -> Decoder:
    """Qwen3ForCausalLM, transformers' modeling_qwen3.py."""
    shape = config.shape()
    has_bias = config.value("attention_bias", bool, False)
    return Decoder(
        architecture="Qwen3ForCausalLM",
        shape=shape,
        rope=config.rope(shape.head_dim),
        norm_epsilon=config.value("rms_norm_eps", float, 1e-6),
        is_tied=config.value("tie_word_embeddings", bool, False),
        windows=_windows(config, shape),
        has_qkv_bias=has_bias,
        has_output_bias=has_bias,
        has_qk_norm=True,
    )


def _windows(config: ConfigFile, shape: Shape) -> tuple[int, ...]:
    """Layers from max_window_layers on slide, and only if use_sliding_window says so."""
    if not config.value("use_sliding_window", bool, False):
        return (-1,) * shape.num_layers
    window = config.value("sliding_window", int, -1)
    first = config.value("max_window_layers", int, 28)  # 28 = transformers' default
    return tuple(window if index >= first else -1 for index in range(shape.num_layers))
