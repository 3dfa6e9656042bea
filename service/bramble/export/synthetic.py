"""Models of a real shape with random weights and a stand-in tokenizer: for benchmarks only.

Speed and memory are the real model's; the text is nonsense. Shapes are those of the published
config.json files.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bramble.errors import BadInput
from bramble.export.architectures import describe
from bramble.export.config_file import ConfigFile
from bramble.export.decoder import Decoder
from bramble.export.source import Source
from bramble.model.tokenizer import byte_characters
from bramble.model.tokenizer_files import TOKENIZER

TILE = (1 << 22) + 15  # weights before they repeat; odd, so that rows of one matrix differ
BOS, EOS = 0, 1
SPECIAL = ("<|bos|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "<|bos|>{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def _config(
    architecture: str, sizes: tuple[int, ...], vocab_size: int, length: int, **more: Any
) -> dict[str, Any]:
    """sizes: layers, hidden, intermediate, heads, KV heads, head_dim"""
    keys = (
        "num_hidden_layers",
        "hidden_size",
        "intermediate_size",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
    )
    return {
        "architectures": [f"{architecture}ForCausalLM"],
        **dict(zip(keys, sizes, strict=True)),
        "vocab_size": vocab_size,
        "max_position_embeddings": length,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        **more,
    }


def _llama3(factor: float, sizes: tuple[int, ...], is_tied: bool) -> dict[str, Any]:
    scaling = {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    return _config(
        "Llama",
        sizes,
        128256,
        131072,
        rope_theta=500000.0,
        rope_scaling=scaling,
        rms_norm_eps=1e-5,
        tie_word_embeddings=is_tied,
    )


def _qwen(
    architecture: str, sizes: tuple[int, ...], is_tied: bool, vocab_size: int = 151936
) -> dict[str, Any]:
    length = 40960 if architecture == "Qwen3" else 32768
    return _config(
        architecture,
        sizes,
        vocab_size,
        length,
        rope_theta=1e6,
        rms_norm_eps=1e-6,
        tie_word_embeddings=is_tied,
    )


SHAPES: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "tiny": _config("Llama", (4, 64, 128, 4, 2, 16), 320, 512, tie_word_embeddings=True),
        "llama-3.2-1b": _llama3(32.0, (16, 2048, 8192, 32, 8, 64), True),
        "llama-3.2-3b": _llama3(32.0, (28, 3072, 8192, 24, 8, 128), True),
        "llama-3.1-8b": _llama3(8.0, (32, 4096, 14336, 32, 8, 128), False),
        "llama-3.1-70b": _llama3(8.0, (80, 8192, 28672, 64, 8, 128), False),
        "llama-2-7b": _config(
            "Llama", (32, 4096, 11008, 32, 32, 128), 32000, 4096, rms_norm_eps=1e-5
        ),
        "tinyllama-1.1b": _config(
            "Llama", (22, 2048, 5632, 32, 4, 64), 32000, 2048, rms_norm_eps=1e-5
        ),
        "mistral-7b": _config(
            "Mistral",
            (32, 4096, 14336, 32, 8, 128),
            32768,
            32768,
            rms_norm_eps=1e-5,
            rope_theta=1e6,
            sliding_window=None,
        ),
        "qwen2.5-0.5b": _qwen("Qwen2", (24, 896, 4864, 14, 2, 64), True),
        "qwen2.5-1.5b": _qwen("Qwen2", (28, 1536, 8960, 12, 2, 128), True),
        "qwen2.5-3b": _qwen("Qwen2", (36, 2048, 11008, 16, 2, 128), True),
        "qwen2.5-7b": _qwen("Qwen2", (28, 3584, 18944, 28, 4, 128), False, 152064),
        "qwen3-0.6b": _qwen("Qwen3", (28, 1024, 3072, 16, 8, 128), True),
        "qwen3-1.7b": _qwen("Qwen3", (28, 2048, 6144, 16, 8, 128), True),
        "qwen3-4b": _qwen("Qwen3", (36, 2560, 9728, 32, 8, 128), True),
        "qwen3-8b": _qwen("Qwen3", (36, 4096, 12288, 32, 8, 128), False),
    }
)


def decoder_of(name: str) -> Decoder:
    """The decoder of shape `name`, without weights. Raises BadInput that lists the shapes."""
    if name not in SHAPES:
        raise BadInput(f"shape {name!r} is unknown; known are {', '.join(SHAPES)}")
    return describe(ConfigFile(SHAPES[name]))


def open_synthetic(name: str, cuts: Mapping[str, int] = MappingProxyType({})) -> Source:
    """Make the source of shape `name`, with what `cuts` says instead of its config.json.

    Raises BadInput that lists the shapes.
    """
    if name not in SHAPES:
        raise BadInput(f"shape {name!r} is unknown; known are {', '.join(SHAPES)}")
    document = {**SHAPES[name], **cuts}
    config = ConfigFile(document)
    template = {"chat_template": CHAT_TEMPLATE, "bos_token": SPECIAL[BOS]}
    return Source(
        name=f"synthetic-{name}",
        origin={"kind": "synthetic", "id": name, "revision": None},
        config=config,
        generation=ConfigFile({}),
        weights=RandomWeights(describe(config).tensors()),
        texts={
            "config.json": json.dumps(document, indent=1),
            TOKENIZER: json.dumps(_tokenizer(config.size("vocab_size")), ensure_ascii=False),
            "tokenizer_config.json": json.dumps(template, indent=1),
        },
    )


class RandomWeights:
    """One block of normal numbers, repeated; where a tensor begins in it follows from its name."""

    def __init__(self, tensors: dict[str, tuple[int, ...]]) -> None:
        self._tensors = tensors
        self._tile = np.random.default_rng(0).standard_normal(TILE, np.float32)

    def names(self) -> Iterable[str]:
        return self._tensors.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensors[name]

    def blocks(self, name: str, kind: str) -> None:
        """Random weights are no blocks yet."""

    def rows(self, name: str, start: int, stop: int) -> NDArray[np.float32]:
        size = self._tensors[name]
        if len(size) == 1:
            return np.full(stop - start, 0 if name.endswith("bias") else 1, np.float32)
        count, width = stop - start, size[1]
        first = (zlib.crc32(name.encode()) + start * width) % TILE
        repeats = -(-(first + count * width) // TILE)
        flat = np.concatenate([self._tile] * repeats)[first : first + count * width]
        # Spread that keeps the hidden state's size through a matrix
        return np.asarray(flat.reshape(count, width) * np.float32(width**-0.5), np.float32)


def _tokenizer(vocab_size: int) -> dict[str, Any]:
    """Byte-level, one token per byte; the other ids are made-up words, so that all have a text."""
    words = [*SPECIAL, *byte_characters().values()]
    words += [f"Ġ{_word(index)}" for index in range(vocab_size - len(words))]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    special = [
        {"id": index, "content": word, "special": True, "single_word": False}
        | {"lstrip": False, "rstrip": False, "normalized": False}
        for index, word in enumerate(SPECIAL)
    ]
    return {
        "version": "1.0",
        "added_tokens": special,
        "pre_tokenizer": level | {"use_regex": False},
        "decoder": level | {"use_regex": False},
        "model": {
            "type": "BPE",
            "vocab": {word: index for index, word in enumerate(words)},
            "merges": [],
        },
    }


def _word(index: int) -> str:
    """At least two letters: aa, ba, ca …"""
    letters = ""
    while index or len(letters) < 2:
        index, rest = divmod(index, 26)
        letters += chr(ord("a") + rest)
    return letters
