"""The Llama family: Llama 2 and 3.x, and Mistral, which adds a sliding window."""

from __future__ import annotations

from bramble.export.config_file import ConfigFile
from bramble.export.decoder import Decoder


def llama(config: ConfigFile) -> Decoder:
    """LlamaForCausalLM, transformers' modeling_llama.py."""
    shape = config.shape()
    has_bias = config.value("attention_bias", bool, False)
    return Decoder(
        architecture="LlamaForCausalLM",
        shape=shape,
        rope=config.rope(shape.head_dim),
        norm_epsilon=config.value("rms_norm_eps", float, 1e-6),
        is_tied=config.value("tie_word_embeddings", bool, False),
        windows=(-1,) * shape.num_layers,
        has_qkv_bias=has_bias,
        has_output_bias=has_bias,
        has_mlp_bias=config.value("mlp_bias", bool, False),
    )


def mistral(config: ConfigFile) -> Decoder:
    """MistralForCausalLM, transformers' modeling_mistral.py: every layer slides, or none."""
    shape = config.shape()
    return Decoder(
        architecture="MistralForCausalLM",
        shape=shape,
        rope=config.rope(shape.head_dim),
        norm_epsilon=config.value("rms_norm_eps", float, 1e-6),
        is_tied=config.value("tie_word_embeddings", bool, False),
        windows=(config.value("sliding_window", int, -1),) * shape.num_layers,
    )
