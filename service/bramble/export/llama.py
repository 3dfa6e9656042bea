"""The Llama family: Llama 2 and 3.x, and Mistral, which adds a sliding window."""

from __future__ import annotations

from bramble.errors import BadInput
from bramble.export.config_file import ConfigFile
from bramble.export.decoder import Decoder
from bramble.export.family import FULL, SLIDING, Defaults, decoder, layer_types, num_layers, window

# configuration_llama.py and configuration_mistral.py of transformers
LLAMA = Defaults(vocab_size=32000, intermediate_size=11008, max_length=2048, num_kv_heads=None)
MISTRAL = Defaults(vocab_size=32000, intermediate_size=14336, max_length=131072, num_kv_heads=8)
MISTRAL_WINDOW = 4096


def llama(config: ConfigFile) -> Decoder:
    """LlamaForCausalLM, transformers' modeling_llama.py: no layer slides."""
    kinds = layer_types(config, num_layers(config, LLAMA))
    if kinds and SLIDING in kinds:
        raise config.wrong("layer_types", f"{FULL} for every layer")
    hidden = config.size("hidden_size", LLAMA.hidden_size)
    heads = config.size("num_attention_heads", LLAMA.num_heads)
    if hidden % heads:  # transformers refuses it too, even beside a head_dim
        raise BadInput(
            f"config.json: hidden_size is {hidden}, "
            f"need a multiple of num_attention_heads, which is {heads}"
        )
    has_bias = config.value("attention_bias", bool, False)
    return decoder(
        config,
        "LlamaForCausalLM",
        LLAMA,
        has_qkv_bias=has_bias,
        has_output_bias=has_bias,
        has_mlp_bias=config.value("mlp_bias", bool, False),
    )


def mistral(config: ConfigFile) -> Decoder:
    """MistralForCausalLM, transformers' modeling_mistral.py: every layer slides, or none."""
    count, tokens = num_layers(config, MISTRAL), window(config, MISTRAL_WINDOW)
    config.size("num_key_value_heads", MISTRAL.num_kv_heads)  # null is an error here
    # transformers does not read it: sliding_window alone decides
    if config.value("use_sliding_window", bool, tokens >= 0) != (tokens >= 0):
        raise config.wrong("use_sliding_window", "what sliding_window says, null for no window")
    return decoder(config, "MistralForCausalLM", MISTRAL, (tokens,) * count)
