"""A model's manifest before it is exported: sizes from its shape, no file behind them."""

from __future__ import annotations

from dataclasses import dataclass

from bramble.errors import BadInput
from bramble.model.manifest import (
    BYTES_PER_WEIGHT,
    File,
    Manifest,
    Part,
    Quantization,
    Rope,
    Shape,
    layer_name,
)
from bramble.model.share import Share

SHA256 = "0" * 64  # of nothing: no stage can be assigned such a model


@dataclass(frozen=True, slots=True)
class Experts:
    """A mixture of experts in every layer; Shape.intermediate_size is one expert's."""

    count: int
    picked: int


# Not exported by Bramble: shapes whose speed can be predicted all the same.
# https://huggingface.co/Qwen/Qwen3-30B-A3B config.json
MIXTURES = {
    "qwen3-30b-a3b": (Shape(48, 2048, 768, 32, 4, 128, 151936, 40960), Experts(128, 8)),
}


def paper_manifest(
    name: str, shape: Shape, is_tied: bool, kind: str, experts: Experts | None = None
) -> Manifest:
    """The manifest that an export of this shape would have, but for norms, graphs and padding.

    kind    one of BYTES_PER_WEIGHT, of layers, embedding and lm_head
    Within 1 % of an export's bytes: tests/plan/test_paper.py.
    """
    if kind not in BYTES_PER_WEIGHT:
        kinds = ", ".join(BYTES_PER_WEIGHT)
        raise BadInput(f"quantisation is {kind!r}, it has to be one of {kinds}")
    attention, mlp = _attention(shape), _mlp(shape)
    count = experts.count if experts else 1
    layer = attention + mlp * count
    table = shape.vocab_size * shape.hidden_size
    parameters = {layer_name(index): layer for index in range(shape.num_layers)}
    parameters |= {"embed": table} if is_tied else {"embed": table, "lm_head": table}
    files = {
        f"shards/{part}.data": File(SHA256, int(size * BYTES_PER_WEIGHT[kind]))
        for part, size in parameters.items()
    }
    parts = Share.whole(shape, 0, shape.num_layers, True, True).part_names
    files |= {f"shards/{part}.onnx": File(SHA256, 0) for part in parts}
    share = {"share": mlp * count / layer, "picked": experts.picked / count} if experts else None
    return Manifest(
        name=name,
        architecture="",
        num_parameters=sum(parameters.values()),
        shape=shape,
        rope=Rope(10000.0, shape.head_dim),
        quantization=Quantization(kind, kind, kind),
        is_tied=is_tied,
        eos_ids=(),
        bos_id=None,
        source={"kind": "paper", "id": name, "revision": None},
        defaults={},
        parts=tuple(_part(part, is_tied) for part in parts),
        files=files,
        extra={"experts": share} if share else {},
    )


def _part(name: str, is_tied: bool) -> Part:
    holder = "embed" if name == "lm_head" and is_tied else name
    return Part(name, f"shards/{name}.onnx", (f"shards/{holder}.data",))


def _attention(shape: Shape) -> int:
    queries = shape.num_heads * shape.head_dim
    keys = shape.num_kv_heads * shape.head_dim
    return shape.hidden_size * (2 * queries + 2 * keys)


def _mlp(shape: Shape) -> int:
    """Parameters of gate, up and down; of one expert, where there are several."""
    return 3 * shape.hidden_size * shape.intermediate_size
