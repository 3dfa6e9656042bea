"""The dense Qwen family: Qwen2 and 2.5 with biases on q, k and v; Qwen3 with norms on q and k."""

from __future__ import annotations

from bramble.errors import BadInput
from bramble.export.config_file import ConfigFile
from bramble.export.decoder import Decoder
from bramble.export.family import SLIDING, Defaults, decoder, layer_types, num_layers, window

# configuration_qwen2.py and configuration_qwen3.py of transformers
QWEN2 = Defaults(vocab_size=151936, intermediate_size=22016, max_length=32768, num_kv_heads=32)
QWEN3 = Defaults(
    vocab_size=151936, intermediate_size=22016, max_length=32768, num_kv_heads=32, head_dim=128
)
WINDOW = 4096
FIRST_SLIDING = 28


def qwen2(config: ConfigFile) -> Decoder:
    """Qwen2ForCausalLM, transformers' modeling_qwen2.py."""
    if "head_dim" in config.document:
        config.size("head_dim")  # null is an error there too
    config.value("attention_bias", bool, True)  # these biases are there whatever it says
    windows = _windows(config, num_layers(config, QWEN2))
    return decoder(config, "Qwen2ForCausalLM", QWEN2, windows, has_qkv_bias=True)


def qwen3(config: ConfigFile) -> Decoder:
    """Qwen3ForCausalLM, transformers' modeling_qwen3.py."""
    has_bias = config.value("attention_bias", bool, False)
    return decoder(
        config,
        "Qwen3ForCausalLM",
        QWEN3,
        _windows(config, num_layers(config, QWEN3)),
        has_qkv_bias=has_bias,
        has_output_bias=has_bias,
        has_qk_norm=True,
    )


def _windows(config: ConfigFile, count: int) -> tuple[int, ...]:
    """layer_types says which layers slide, or else those from max_window_layers on do.

    None of them does without use_sliding_window.
    """
    tokens, first = window(config, WINDOW), config.value("max_window_layers", int, FIRST_SLIDING)
    if first < 0:
        raise config.wrong("max_window_layers", "0 or more")
    if not config.value("use_sliding_window", bool, False):
        tokens = -1
    kinds = layer_types(config, count)
    if kinds is None:
        return tuple(tokens if index >= first else -1 for index in range(count))
    if tokens < 0 and SLIDING in kinds:
        raise BadInput(
            f"config.json: layer_types has {SLIDING}, "
            "which needs use_sliding_window true and a sliding_window"
        )
    return tuple(tokens if kind == SLIDING else -1 for kind in kinds)
