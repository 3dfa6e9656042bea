"""What a node gives a stage, and what a stage's member takes: bytes read and parameters multiplied.

A step over `n` tokens costs one reading of the weights and, for every token but the first, its
arithmetic. On the measured machine that sum fits steps of 1 to 8 rows to 7 % (33, 40, 59, 100 ms
against 33, 43, 62, 100: 33 ms for the first row and 9.5, the pace of prefill, for each other);
the larger of the two, the usual roofline, is up to 36 % off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from bramble.model.manifest import BYTES_PER_WEIGHT, Manifest, layer_name
from bramble.model.share import Range, Share


@dataclass(frozen=True, slots=True)
class Pace:
    """What one node can do."""

    read_bytes_s: float  # weights and KV cache, while decoding
    parameters_s: float  # multiplied with one token's activations, where many tokens share a read
    step_s: float  # a stage's own time per step: unpack, bookkeeping, pack, being woken
    exchange_s: float = 0.0  # a member's own time per exchange: encrypt, poll, two more sessions
    numbers_s: float = math.inf  # float32 that a member packs, unpacks or adds

    def times(self, speed: float) -> Pace:
        """The pace of a node that is `speed` times as fast in everything."""
        return Pace(
            self.read_bytes_s * speed,
            self.parameters_s * speed,
            self.step_s / speed,
            self.exchange_s / speed,
            self.numbers_s * speed,
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
    parameters: float  # of its layers, those of picked experts only
    head_parameters: float
    kv_bytes_per_token: float
    attention_width: float  # layers × heads × head_dim × 2: multiplications per token of context
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
    cache = rows * context * load.kv_bytes_per_token
    read = load.read_bytes(rows) + load.head_bytes + cache
    more = max(0.0, rows - 1) * (load.parameters + load.head_parameters)
    return read / pace.read_bytes_s + more / pace.parameters_s + pace.step_s


def prefill_s(load: Load, pace: Pace, tokens: float, context: float) -> float:
    """The time of a chunk of `tokens` tokens behind `context` others, without lm_head."""
    read = load.read_bytes(tokens) + context * load.kv_bytes_per_token
    attention = load.attention_width * (context + tokens / 2)
    arithmetic = tokens * attention + max(0.0, tokens - 1) * load.parameters
    return read / pace.read_bytes_s + arithmetic / pace.parameters_s + pace.step_s


def share_load(manifest: Manifest, share: Share, kv_cache: str) -> Load:
    """What a step asks of the member of a stage that holds this share."""
    return _load(manifest, share, kv_cache)


def whole_load(manifest: Manifest) -> Load:
    """What a step asks of all stages together."""
    shape = manifest.shape
    return _load(manifest, Share.whole(shape, 0, shape.num_layers, False, True), "float32")


def _load(manifest: Manifest, share: Share, kv_cache: str) -> Load:
    kinds, shape = manifest.quantization, manifest.shape
    attention, mlp = _matrices(manifest, share)
    names = [layer_name(index) for index in share.layers]
    layers = manifest.part_bytes(*names) * (attention + mlp)
    head = manifest.part_bytes("lm_head") * _part(share.vocab, shape.vocab_size)
    is_mixture, picked = _experts(manifest)
    experts = mlp / (attention + mlp) if is_mixture else 0.0
    active = 1 - experts + experts * picked
    heads = share.heads[1] - share.heads[0]
    return Load(
        layer_bytes=layers,
        head_bytes=head,
        parameters=layers * active / BYTES_PER_WEIGHT[kinds.layers],
        head_parameters=head / BYTES_PER_WEIGHT[kinds.lm_head],
        kv_bytes_per_token=shape.kv_bytes_per_token(share.num_layers, kv_cache)
        * _part(share.kv_heads, shape.num_kv_heads),
        attention_width=share.num_layers * heads * shape.head_dim * 2,
        experts=experts,
        picked=picked,
    )


def _matrices(manifest: Manifest, share: Share) -> tuple[float, float]:
    """The parts of a layer's bytes that the share has in attention and in MLP; 1 in sum if whole.

    Keys and values go by KV heads, of which members with parts of one group have it each.
    """
    shape = manifest.shape
    queries, keys = shape.num_heads, shape.num_kv_heads
    attention = 2 * shape.hidden_size * shape.head_dim * (queries + keys)
    found = manifest.extra.get("experts")
    mlp = 3 * shape.hidden_size * shape.intermediate_size
    of_mlp = found["share"] if found else mlp / (attention + mlp)
    had = _part(share.heads, queries) * queries + _part(share.kv_heads, keys) * keys
    columns = _part(share.columns, shape.intermediate_size)
    return (1 - of_mlp) * had / (queries + keys), of_mlp * columns


def _part(held: Range, count: int) -> float:
    return (held[1] - held[0]) / count


def _experts(manifest: Manifest) -> tuple[bool, float]:
    """Whether the MLPs are mixtures of experts, and the share of the experts that a token picks."""
    found = manifest.extra.get("experts")
    return (True, found["picked"]) if found else (False, 1.0)
