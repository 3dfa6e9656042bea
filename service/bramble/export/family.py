"""What the supported families' configurations share: sizes, norms, ties; defaults per family."""

from __future__ import annotations

from dataclasses import dataclass

from bramble.errors import BadInput
from bramble.export.config_file import ConfigFile
from bramble.export.decoder import Decoder
from bramble.export.rope_settings import read_rope
from bramble.model.manifest import Shape

MAX_LAYERS = 1000  # more than any model has; a list of them still fits into memory
FULL = "full_attention"
SLIDING = "sliding_attention"


@dataclass(frozen=True, slots=True)
class Defaults:
    """What transformers' configuration class of a family says where config.json has no such key.

    num_kv_heads  None = as many as heads
    head_dim      None = hidden_size / heads
    """

    vocab_size: int
    intermediate_size: int
    max_length: int
    num_kv_heads: int | None
    head_dim: int | None = None
    hidden_size: int = 4096
    num_layers: int = 32
    num_heads: int = 32
    norm_epsilon: float = 1e-6


def decoder(
    config: ConfigFile,
    architecture: str,
    defaults: Defaults,
    windows: tuple[int, ...] | None = None,
    *,
    has_qkv_bias: bool = False,
    has_output_bias: bool = False,
    has_mlp_bias: bool = False,
    has_qk_norm: bool = False,
) -> Decoder:
    """Read what all families have; `windows` None = every layer attends to all tokens.

    Raises BadInput by key for what is no such value, or what the engine cannot compute.
    """
    shape = read_shape(config, defaults)
    activation = config.value("hidden_act", str, "silu")
    if activation not in ("silu", "swish"):
        raise config.wrong("hidden_act", "'silu'")
    epsilon = config.value("rms_norm_eps", float, defaults.norm_epsilon)
    if epsilon < 0:
        raise config.wrong("rms_norm_eps", "0 or more")
    return Decoder(
        architecture=architecture,
        shape=shape,
        rope=read_rope(config, shape),
        norm_epsilon=epsilon,
        is_tied=config.value("tie_word_embeddings", bool, False),
        windows=windows if windows is not None else (-1,) * shape.num_layers,
        has_qkv_bias=has_qkv_bias,
        has_output_bias=has_output_bias,
        has_mlp_bias=has_mlp_bias,
        has_qk_norm=has_qk_norm,
    )


def read_shape(config: ConfigFile, defaults: Defaults) -> Shape:
    """Read the sizes. Raises BadInput by key."""
    hidden = config.size("hidden_size", defaults.hidden_size)
    heads = config.size("num_attention_heads", defaults.num_heads)
    derived = max(hidden // heads, 1)
    shape = Shape(
        num_layers=num_layers(config, defaults),
        hidden_size=hidden,
        intermediate_size=config.size("intermediate_size", defaults.intermediate_size),
        num_heads=heads,
        num_kv_heads=config.size("num_key_value_heads", defaults.num_kv_heads or heads, heads),
        head_dim=(
            config.size("head_dim", defaults.head_dim)  # null means nothing there
            if defaults.head_dim
            else config.size("head_dim", derived, derived)
        ),
        vocab_size=config.size("vocab_size", defaults.vocab_size),
        max_length=config.size("max_position_embeddings", defaults.max_length),
    )
    if shape.head_dim % 16:  # GroupQueryAttention's own limit where it rotates
        raise BadInput(
            f"config.json: head_dim is {shape.head_dim} (hidden_size {hidden}, "
            f"num_attention_heads {heads}), need a multiple of 16"
        )
    if shape.num_heads % shape.num_kv_heads:
        raise BadInput(
            f"config.json: num_key_value_heads is {shape.num_kv_heads}, "
            f"need a divisor of num_attention_heads, which is {heads}"
        )
    return shape


def num_layers(config: ConfigFile, defaults: Defaults) -> int:
    """Read num_hidden_layers. Raises BadInput for more than any model has."""
    count = config.size("num_hidden_layers", defaults.num_layers)
    if count > MAX_LAYERS:
        raise config.wrong("num_hidden_layers", f"1 to {MAX_LAYERS}")
    return count


def window(config: ConfigFile, default: int) -> int:
    """Read sliding_window: tokens that a sliding layer attends to; null = all of them, -1."""
    found = config.value("sliding_window", int, default, null=-1)
    if config.document.get("sliding_window") is not None:
        config.size("sliding_window")
    return int(found)


def layer_types(config: ConfigFile, count: int) -> list[str] | None:
    """Read layer_types, one per layer, FULL or SLIDING; None if it is absent or null."""
    config.read.add("layer_types")
    found = config.document.get("layer_types")
    if found is None:
        return None
    if not isinstance(found, list) or any(kind not in (FULL, SLIDING) for kind in found):
        raise config.wrong("layer_types", f"a list of {FULL!r} and {SLIDING!r}")
    if len(found) != count:
        raise BadInput(
            f"config.json: layer_types has {len(found)} entries, "
            f"need one for each of the {count} layers (num_hidden_layers)"
        )
    return list(found)
