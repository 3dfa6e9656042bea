"""What a node gives a stage, and what a stage's member takes: bytes read and parameters multiplied.

A step over `n` tokens costs one reading of the weights and, for every token but the first, its
arithmetic. On the measured machine that sum fits steps of 1 to 8 rows to 7 % (33, 40, 59, 100 ms
against 33, 43, 62, 100: 33 ms for the first row and 9.5, the pace of prefill, for each other);
the larger of the two, the usual roofline, is up to 36 % off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from bramble.model.manifest import Manifest
from bramble.model.share import Range, Share
from bramble.plan import cost
from bramble.plan.cut import layer_fraction


@dataclass(frozen=True, slots=True)
class Pace:
    """What one node can do."""

    read_bytes_s: float  # weights and KV cache, while decoding
    parameters_s: float  # int4, multiplied with one token's activations, where many share a read
    step_s: float  # a stage's own time per step: unpack, bookkeeping, pack, being woken
    exchange_s: float = 0.0  # a member's own time per exchange: encrypt, poll, two more sessions
    numbers_s: float = math.inf  # float32 that a member packs, unpacks or adds
    instructions_s: float = math.inf  # all threads together, in attention
    machine: str = cost.AARCH64  # platform.machine(): how its kernels pack weights

    def times(self, speed: float) -> Pace:
        """The pace of a node that is `speed` times as fast in everything."""
        return replace(
            self,
            read_bytes_s=self.read_bytes_s * speed,
            parameters_s=self.parameters_s * speed,
            step_s=self.step_s / speed,
            exchange_s=self.exchange_s / speed,
            numbers_s=self.numbers_s * speed,
            instructions_s=self.instructions_s * speed,
        )


@dataclass(frozen=True, slots=True)
class Link:
    """A network between two nodes."""

    name: str
    bytes_s: float
    latency_s: float  # one way

    def seconds(self, count: float) -> float:
        """The time of one message of `count` bytes."""
        return self.latency_s + count / self.bytes_s


@dataclass(frozen=True, slots=True)
class Load:
    """What one step asks of a stage, or of one of its members."""

    layer_bytes: float  # weights of its layers; of experts all, picked or not
    head_bytes: float  # of lm_head, or 0
    parameters: float  # of its layers, those of picked experts only; as much as so many of int4
    head_parameters: float
    kv_bytes_per_token: float
    attention_width: float  # layers × heads × head_dim × 2: multiplications per token of context
    attention_effort: tuple[float, float] = (0.0, 0.0)  # instructions for each: one token, a chunk
    experts: float = 0.0  # share of layer_bytes that experts hold
    picked: float = 1.0  # share of the experts that one token picks

    def read_bytes(self, tokens: float) -> float:
        """Weights that a step over `tokens` tokens reads, each once; lm_head apart.

        Tokens pick experts on their own, so n of them touch 1 - (1 - picked)^n of all.
        """
        touched: float = 1 - (1 - self.picked) ** tokens
        return self.layer_bytes * (1 - self.experts + self.experts * touched)


def decode_s(load: Load, pace: Pace, rows: float, context: float) -> float:
    """The time of a decode step with one token of each of `rows` sequences, in seconds."""
    read = load.read_bytes(rows) + load.head_bytes
    more = max(0.0, rows - 1) * (load.parameters + load.head_parameters)
    weights = read / pace.read_bytes_s + more / pace.parameters_s
    return weights + rows * attention_s(load, pace, context) + pace.step_s


def prefill_s(load: Load, pace: Pace, tokens: float, context: float) -> float:
    """The time of a chunk of `tokens` tokens behind `context` others, without lm_head."""
    read = load.read_bytes(tokens) + context * load.kv_bytes_per_token
    weights = max(0.0, tokens - 1) * load.parameters / pace.parameters_s
    multiplied = tokens * load.attention_width * (context + tokens / 2)
    attention = multiplied * load.attention_effort[1] / pace.instructions_s
    return read / pace.read_bytes_s + weights + attention + pace.step_s


def attention_s(load: Load, pace: Pace, context: float) -> float:
    """Of one new token: its cache is read, or multiplied, whichever takes longer."""
    multiplied = context * load.attention_width * load.attention_effort[0]
    read = context * load.kv_bytes_per_token
    return max(read / pace.read_bytes_s, multiplied / pace.instructions_s)


def whole_load(manifest: Manifest, machine: str = cost.AARCH64) -> Load:
    """What a step asks of all stages together."""
    shape = manifest.shape
    whole = Share.whole(shape, 0, shape.num_layers, False, True)
    return share_load(manifest, whole, "float32", machine)


def share_load(manifest: Manifest, share: Share, kv_cache: str, machine: str) -> Load:
    """What a step asks of the member of a stage that holds this share, on such a processor."""
    shape = manifest.shape
    experts, picked = _experts(manifest, share)
    heads = share.heads[1] - share.heads[0]
    parameters = cost.layer_parameters(manifest, share) * (1 - experts + experts * picked)
    effort = cost.effort(manifest.quantization.layers, machine)
    return Load(
        layer_bytes=cost.layer_bytes(manifest, share, machine),
        head_bytes=cost.head_bytes(manifest, share, machine),
        parameters=parameters * effort,
        head_parameters=cost.head_parameters(manifest, share) * effort,
        kv_bytes_per_token=shape.kv_bytes_per_token(share.num_layers, kv_cache)
        * _part(share.kv_heads, shape.num_kv_heads),
        attention_width=share.num_layers * heads * shape.head_dim * 2,
        attention_effort=cost.ATTENTION_INSTRUCTIONS[kv_cache],
        experts=experts,
        picked=picked,
    )


def _experts(manifest: Manifest, share: Share) -> tuple[float, float]:
    """Experts' part of the share's layers, and of the experts what a token picks; (0, 1): dense."""
    found = manifest.extra.get("experts")
    if not found:
        return 0.0, 1.0
    held = found["share"] * _part(share.columns, manifest.shape.intermediate_size)
    return held / layer_fraction(manifest, share), found["picked"]


def _part(held: Range, count: int) -> float:
    return (held[1] - held[0]) / count
