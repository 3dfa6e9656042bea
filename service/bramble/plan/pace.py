"""What a node gives a stage, and what a stage takes: bytes read and parameters multiplied.

A step over `n` tokens costs one reading of the weights and, for every token but the first, its
arithmetic. On the measured machine that sum fits steps of 1 to 8 rows to 7 % (33, 40, 59, 100 ms
against 33, 43, 62, 100: 33 ms for the first row and 9.5, the pace of prefill, for each other);
the larger of the two, the usual roofline, is up to 36 % off.
"""

from __future__ import annotations

from dataclasses import dataclass

from bramble.model.manifest import BYTES_PER_WEIGHT, Manifest, layer_name
from bramble.model.share import Share
from bramble.plan.cut import layer_fraction
from bramble.plan.planner import MemberPlan


@dataclass(frozen=True, slots=True)
class Pace:
    """What one node can do."""

    read_bytes_s: float  # weights and KV cache, while decoding
    parameters_s: float  # multiplied with one token's activations, where many tokens share a read
    step_s: float  # a stage's own time per step: unpack, bookkeeping, pack, being woken


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
    """What one step asks of a stage."""

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


def member_load(manifest: Manifest, member: MemberPlan, kv_cache: str) -> Load:
    """What a step asks of this member of a plan."""
    return _load(manifest, member.share, kv_cache)


def whole_load(manifest: Manifest) -> Load:
    """What a step asks of all stages together."""
    return _load(
        manifest, Share.whole(manifest.shape, 0, manifest.shape.num_layers, True, True), "float32"
    )


def _load(manifest: Manifest, share: Share, kv_cache: str) -> Load:
    shape, kinds = manifest.shape, manifest.quantization
    layers = layer_fraction(manifest, share) * manifest.part_bytes(*map(layer_name, share.layers))
    rows, heads = (stop - start for start, stop in (share.vocab, share.heads))
    head = manifest.part_bytes("lm_head") * rows / shape.vocab_size
    experts, picked = _experts(manifest)
    active = 1 - experts + experts * picked
    return Load(
        layer_bytes=layers,
        head_bytes=head,
        parameters=layers * active / BYTES_PER_WEIGHT[kinds.layers],
        head_parameters=head / BYTES_PER_WEIGHT[kinds.lm_head],
        kv_bytes_per_token=share.kv_bytes_per_token(shape, kv_cache),
        attention_width=share.num_layers * heads * shape.head_dim * 2,
        experts=experts,
        picked=picked,
    )


def _experts(manifest: Manifest) -> tuple[float, float]:
    """The shares of bytes in experts and of experts picked; a dense model has none."""
    found = manifest.extra.get("experts")
    return (found["share"], found["picked"]) if found else (0.0, 1.0)
