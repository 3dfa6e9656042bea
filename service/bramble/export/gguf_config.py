"""A GGUF file's metadata as the config.json that its model would have.

Every key is obeyed, or is known to change nothing, or is refused by name. llama.cpp computes with
keys that begin with the architecture's name alone; what begins with `tokenizer` is read by
gguf_tokenizer.py, and others say where the file came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from bramble.errors import BadInput
from bramble.export import gguf_rope
from bramble.export.config_file import ConfigFile, plain, shown
from bramble.export.gguf import Container
from bramble.export.gguf_rope import rounded
from bramble.export.gguf_weights import ROPE_FACTORS
from bramble.export.rope_settings import THETA
from bramble.export.safetensors import read_bytes

ARCHITECTURES: Mapping[str, str] = MappingProxyType(
    {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
)
WINDOWED = "MistralForCausalLM"  # what a llama with a sliding window is
QUANTIZATION_VERSION = 2  # of ggml's block formats, since 2023
# Keys behind the architecture's name that are computed at these values alone
ONLY: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "expert_count": (0,),
        "expert_used_count": (0,),
        "attention.causal": (True,),
        "attention.scale": (0.0,),
        "attention.clamp_kqv": (0.0,),
        "attention.max_alibi_bias": (0.0,),
        "pooling_type": (0,),
        "use_parallel_residual": (False,),
        "logit_scale": (0.0, 1.0),
        "embedding_scale": (0.0, 1.0),
        "residual_scale": (0.0, 1.0),
        "tensor_data_layout": ("Meta AI original pth",),  # the order of rows that every llama has
    }
)


def architecture(container: Container) -> str:
    """llama.cpp's name of the model's family. Raises BadInput for a file that is no such model."""
    keys = ConfigFile(dict(container.metadata), file=str(container.path))
    kind = keys.value("general.type", str, "model")
    if kind != "model":
        raise BadInput(
            f"{container.path} is no model of its own, general.type is {shown(kind)}; give the "
            "language model's file"
        )
    if keys.value("split.count", int, 1) > 1:
        raise BadInput(
            f"{container.path} is one of {keys.document['split.count']} files (split.count); join "
            "them with `llama-gguf-split --merge` and give the result"
        )
    version = keys.value("general.quantization_version", int, QUANTIZATION_VERSION)
    if version != QUANTIZATION_VERSION:
        raise keys.wrong("general.quantization_version", str(QUANTIZATION_VERSION))
    name = str(keys.value("general.architecture", str))
    if name not in ARCHITECTURES:
        raise BadInput(
            f"{container.path}: general.architecture {shown(name)} is not supported; supported "
            f"are {', '.join(ARCHITECTURES)}"
        )
    return name


def read_config(container: Container) -> dict[str, Any]:
    """Return config.json's keys. Raises BadInput by key for what is not computed."""
    name = architecture(container)
    keys = _keys(container, name)
    heads = _uniform(keys, "attention.head_count")
    hidden = keys.size("embedding_length")
    config: dict[str, Any] = {
        "architectures": [ARCHITECTURES[name]],
        "num_hidden_layers": keys.size("block_count"),
        "hidden_size": hidden,
        "intermediate_size": _uniform(keys, "feed_forward_length"),
        "num_attention_heads": heads,
        "num_key_value_heads": _uniform(keys, "attention.head_count_kv", heads),
        "head_dim": _head_dim(keys, hidden, heads),
        "vocab_size": _vocab_size(container, keys),
        "max_position_embeddings": keys.size("context_length"),
        "rms_norm_eps": rounded(keys.value("attention.layer_norm_rms_epsilon", float)),
        "tie_word_embeddings": "output.weight" not in container.tensors,
    }
    config |= _biases(container, name)
    config |= _window(keys, name, config)
    theta = rounded(keys.positive("rope.freq_base", THETA))
    factors = _rope_factors(container)
    scaling = gguf_rope.scaling(keys, theta, config["head_dim"], factors)
    config |= {"rope_theta": theta, "rope_scaling": scaling}
    _check_rest(keys, name)
    return config


def _keys(container: Container, name: str) -> ConfigFile:
    """The keys behind the architecture's name."""
    found = container.metadata.items()
    document = {key.removeprefix(f"{name}."): v for key, v in found if key.startswith(f"{name}.")}
    return ConfigFile(document, f"{name}.", file=str(container.path))


def _uniform(keys: ConfigFile, key: str, default: int | None = None) -> int:
    """A count, or one for each layer if they are equal."""
    found = keys.document.get(key)
    if isinstance(found, list):
        keys.read.add(key)
        if not found or len(set(found)) != 1:
            raise keys.wrong(key, "one count for all layers")
        return ConfigFile({key: found[0]}, keys.prefix, file=keys.file).size(key)
    return keys.size(key) if default is None else keys.size(key, default)


def _head_dim(keys: ConfigFile, hidden: int, heads: int) -> int:
    size = keys.size("attention.key_length", max(hidden // heads, 1))
    for key in ("attention.value_length", "rope.dimension_count"):
        if keys.size(key, size) != size:
            raise keys.wrong(key, f"{size}, the size of a head's keys")
    return size


def _vocab_size(container: Container, keys: ConfigFile) -> int:
    table = container.tensors.get("token_embd.weight")
    if table is None:
        raise BadInput(f"{container.path} has no tensor 'token_embd.weight'; download it again")
    if keys.size("vocab_size", table.shape[0]) != table.shape[0]:
        raise keys.wrong("vocab_size", f"{table.shape[0]}, the rows of token_embd.weight")
    return table.shape[0]


def _biases(container: Container, name: str) -> dict[str, Any]:
    """What a file does not say, but has: biases of whole kinds of projection."""
    if name == "qwen2":  # which always has those of q, k and v
        return {}
    found = {"attention_bias": "blk.0.attn_q.bias" in container.tensors}
    if name == "llama":
        found["mlp_bias"] = "blk.0.ffn_gate.bias" in container.tensors
    return found


def _window(keys: ConfigFile, name: str, config: dict[str, Any]) -> dict[str, Any]:
    key = "attention.sliding_window"
    window = keys.value(key, int, 0)
    if window in (0, config["max_position_embeddings"]):
        return {}
    if name != "llama" or config["attention_bias"] or config["mlp_bias"]:
        raise keys.wrong(key, "0: attention to all tokens")
    return {"architectures": [WINDOWED], "sliding_window": keys.size(key)}


def _rope_factors(container: Container) -> gguf_rope.Floats | None:
    tensor = container.tensors.get(ROPE_FACTORS)
    if tensor is None:
        return None
    if len(tensor.shape) != 1:
        raise BadInput(f"{container.path}: tensor {ROPE_FACTORS!r} is {tensor.shape}, need a list")
    raw = read_bytes(container.path, tensor.offset, tensor.bytes)
    return tensor.format.dequantize(np.frombuffer(raw, np.uint8))


def _check_rest(keys: ConfigFile, name: str) -> None:
    for key in sorted(set(keys.document) - keys.read):
        found = keys.document[key]
        if key not in ONLY:
            raise BadInput(
                f"{keys.file}: {plain(keys.prefix + key)} is {shown(found)}, a setting that is not "
                f"known for {name}, so it may be another model; export the Hugging Face release"
            )
        if not any(found == one and type(found) is type(one) for one in ONLY[key]):
            raise keys.wrong(key, " or ".join(map(shown, ONLY[key])))
