"""What a token costs: the counts that planner and predictor share. Pure.

One cost model: the bytes that a token reads, the multiplications that it takes, and between the
members of a group the exchange (exchange_time.py). Bytes are those of the weights as a processor's
kernels pack them, not those of the file: the same export is 4.57 bits per weight on a Pi and 6.0 on
x86.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from bramble.model.manifest import BYTES_PER_WEIGHT, Manifest, layer_name
from bramble.model.share import Share
from bramble.plan.cut import layer_fraction

AARCH64, X86_64 = "aarch64", "x86_64"
# Of onnxruntime 1.31.1: on x86 from packed files of two sizes of a matrix, as `make count` takes
# them; on aarch64 from the memory that sessions of two sizes take. On x86 a block has a float32
# scale and a float32 sum; KleidiAI's symmetric blocks have a bfloat16 scale, those with zero points
# more.
PACKED_BITS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        AARCH64: MappingProxyType(
            {
                "int4": 4.57,
                "int4-64": 4.32,
                "int4-128-symmetric": 4.19,
                "int4-128": 4.56,
                "int8": 11.1,
                "float32": 32.0,
            }
        ),
        X86_64: MappingProxyType(
            {
                "int4": 6.0,
                "int4-64": 5.0,
                "int4-128-symmetric": 4.5,
                "int4-128": 4.5,
                "int8": 10.0,
                "float32": 32.0,
            }
        ),
    }
)

# A prompt's multiplications in the time of as many of int4's. aarch64: instructions on a Cortex-A76
# (`make count`); x86: microseconds per row at 128 rows (service/DESIGN.md); float32: plain MatMul's
EFFORT: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        AARCH64: MappingProxyType({"int4-128": 0.97, "int8": 1.6, "float32": 2.6}),
        X86_64: MappingProxyType(
            {
                "int4-64": 0.91,
                "int4-128-symmetric": 0.69,
                "int4-128": 0.69,
                "int8": 0.87,
                "float32": 1.2,
            }
        ),
    }
)
# Instructions of a Cortex-A76 per weight of int4, for each token of a prompt's chunk of 128
CHUNK_INSTRUCTIONS = 0.114
# And in attention per multiplication (heads x head_dim x 2 for each token of context), of one new
# token and of each of a chunk's. On x86 float32 takes about as many, and int8 fewer.
ATTENTION_INSTRUCTIONS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"float32": (1.90, 0.47), "int8": (4.07, 3.2), "float16": (0.51, 0.28)}
)


def effort(kind: str, machine: str) -> float:
    """How long a prompt's multiplications take, as a multiple of int4's."""
    return EFFORT.get(machine, {}).get(kind, 1.0)


def packed_bytes_per_weight(kind: str, machine: str) -> float:
    """Of an unknown processor those of the file; `machine` is as platform.machine() says it."""
    bits = PACKED_BITS.get(machine)
    return BYTES_PER_WEIGHT[kind] if bits is None else bits[kind] / 8


def read_bytes(manifest: Manifest, share: Share, machine: str) -> float:
    """Weights that one token reads: all of the share's, but of the embedding a row.

    Of experts all are counted, picked or not (pace.Load knows which are).
    """
    return layer_bytes(manifest, share, machine) + head_bytes(manifest, share, machine)


def layer_bytes(manifest: Manifest, share: Share, machine: str) -> float:
    """Packed bytes of the share's layers."""
    kind = manifest.quantization.layers
    return layer_parameters(manifest, share) * packed_bytes_per_weight(kind, machine)


def head_bytes(manifest: Manifest, share: Share, machine: str) -> float:
    """Packed bytes of the share's rows of the lm_head; 0 if it has none."""
    kind = manifest.quantization.lm_head
    return head_parameters(manifest, share) * packed_bytes_per_weight(kind, machine)


def resident_bytes(manifest: Manifest, share: Share, machine: str) -> int:
    """Memory that the share's weights take while they serve.

    A tied table is there twice: in rows for the embedding, and packed for the lm_head. With 250 MiB
    for the programs this is what stages of 1B, 3B and 8B were measured to take on x86, and up to
    9 % more, as the embedding is read row by row (tests/plan/test_cost.py).
    """
    embed = manifest.part_bytes("embed") if share.has_embed else 0
    return int(read_bytes(manifest, share, machine)) + embed


def layer_parameters(manifest: Manifest, share: Share) -> float:
    """Weights of the share's layers, norms and what else lies in their files counted as such."""
    names = [layer_name(index) for index in share.layers]
    weights = manifest.part_bytes(*names) / BYTES_PER_WEIGHT[manifest.quantization.layers]
    return weights * layer_fraction(manifest, share)


def head_parameters(manifest: Manifest, share: Share) -> float:
    """Weights of the share's rows of the lm_head; 0 if it has none."""
    if not share.has_lm_head:
        return 0.0
    rows = (share.vocab[1] - share.vocab[0]) / manifest.shape.vocab_size
    kind = manifest.quantization.lm_head
    return rows * manifest.part_bytes("lm_head") / BYTES_PER_WEIGHT[kind]
