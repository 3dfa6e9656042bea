"""Which tensors of a checkpoint are a decoder's: each is used, changes nothing, or is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bramble.errors import BadInput
from bramble.export.decoder import Decoder
from bramble.export.graph import EMBEDDING
from bramble.export.weights import Blocks, Weights, chunks

LM_HEAD = "lm_head.weight"
PREFIX = "model."
LAYER = "layers.0.input_layernorm.weight"
# Tables that old releases of transformers saved; they follow from config.json
BUFFERS = ("rotary_emb.inv_freq", "rotary_emb.cos_cached", "rotary_emb.sin_cached")
# Endings that tell another kind of weights
KINDS = {
    ".lora_A.weight": "an adapter (LoRA); merge it into its base model and export the result",
    ".qweight": "quantised (GPTQ or AWQ); export the unquantised release",
    ".weight_scale": "quantised; export the unquantised release",
    ".weight_scale_inv": "quantised (fp8); export the unquantised release",
    ".weight.absmax": "quantised (bitsandbytes); export the unquantised release",
    ".scales": "quantised (MLX or GPTQ); export the unquantised release",
}


class Tensors(Protocol):
    """What is known of tensors before any is read."""

    def names(self) -> Iterable[str]: ...

    def shape(self, name: str) -> tuple[int, ...]: ...


@dataclass(frozen=True, slots=True)
class Renamed:
    """Weights under other names: ours → theirs."""

    weights: Weights
    theirs: Mapping[str, str]

    def names(self) -> Iterable[str]:
        return self.theirs.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        return self.weights.shape(self.theirs.get(name, name))

    def rows(self, name: str, start: int, stop: int) -> NDArray[np.float32]:
        return self.weights.rows(self.theirs[name], start, stop)

    def blocks(self, name: str, kind: str) -> Blocks | None:
        return self.weights.blocks(self.theirs[name], kind)


def fitted(decoder: Decoder, weights: Weights) -> Weights:
    """The checkpoint's tensors under the decoder's names, exactly those that config.json implies.

    Raises BadInput that names a tensor which is missing, left over, of another shape, or in the
    way: an lm_head that differs from the embedding it is to share.
    """
    renamed = Renamed(weights, check_tensors(decoder, weights))
    if decoder.is_tied and LM_HEAD in weights.names():
        _check_tie(weights, renamed.theirs[EMBEDDING])
    return renamed


def check_tensors(decoder: Decoder, tensors: Tensors) -> dict[str, str]:
    """Return the decoder's names → the file's; what their headers tell is checked, no number.

    Raises BadInput as `fitted` does.
    """
    found = _named(set(tensors.names()))
    expected = decoder.tensors()
    lm_head = found.pop(LM_HEAD, None) if decoder.is_tied else None
    if lm_head is not None:  # of a table that is shared, whichever name the file has
        found.setdefault(EMBEDDING, lm_head)
        _check_size(tensors, lm_head, expected[EMBEDDING])
    for name, size in expected.items():
        if name not in found:
            raise BadInput(_missing(name))
        _check_size(tensors, found[name], size)
    for name in sorted(set(found) - set(expected)):
        if not name.endswith(BUFFERS):
            raise BadInput(_left_over(name, decoder))
    return found


def _check_size(tensors: Tensors, name: str, size: tuple[int, ...]) -> None:
    if tensors.shape(name) != size:
        raise BadInput(f"tensor {name!r} is {tensors.shape(name)}, config.json makes it {size}")


def _named(theirs: set[str]) -> dict[str, str]:
    """Our name → theirs: a model without its last projection is saved without `model.`"""
    for ending, kind in KINDS.items():
        name = min((name for name in theirs if name.endswith(ending)), default=None)
        if name is not None:
            raise BadInput(f"tensor {name!r}: the weights are {kind}")
    first = min((name for name in theirs if name.endswith(LAYER)), default=PREFIX + LAYER)
    prefix = first.removesuffix(LAYER)
    if prefix == PREFIX:
        return {name: name for name in theirs}
    if prefix:
        raise BadInput(
            f"tensor {first!r}: names begin with {prefix!r}, need {PREFIX!r}: "
            "the language model is part of another; export a release for text alone"
        )
    return {name if name == LM_HEAD else PREFIX + name: name for name in theirs}


def _check_tie(weights: Weights, embedding: str) -> None:
    """A file that has both tables of a tied model must have the same numbers in them."""
    if not _are_equal(weights, embedding, LM_HEAD):
        raise BadInput(
            f"tensor {LM_HEAD!r} differs from {embedding!r}, though config.json says "
            "tie_word_embeddings true, that they are one; correct that, or remove the tensor"
        )


def _are_equal(weights: Weights, one: str, other: str) -> bool:
    return weights.shape(one) == weights.shape(other) and all(
        np.array_equal(rows, weights.rows(other, where.start, where.stop))
        for where, rows in chunks(weights, one)
    )


def _missing(name: str) -> str:
    told = f"the weights have no tensor {name!r}"
    if name == LM_HEAD:
        return (
            f"{told}: without it a model makes embeddings and no text, unless "
            "tie_word_embeddings in config.json is true"
        )
    return f"{told}, which config.json implies; download the model again"


def _left_over(name: str, decoder: Decoder) -> str:
    told = f"tensor {name!r} does not belong to {decoder.architecture}"
    parts = name.split(".")
    if name.startswith(f"{PREFIX}layers.") and parts[2].isdecimal():
        count = decoder.shape.num_layers
        if int(parts[2]) >= count:
            return f"{told}: config.json says num_hidden_layers {count}"
        if name.endswith(".bias"):
            return f"{told}: config.json says that this projection has no bias"
    return f"{told} as config.json describes it"
