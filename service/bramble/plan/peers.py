"""The architectures of others as the same arithmetic: bytes over bandwidth, and their waiting."""

from __future__ import annotations

from dataclasses import dataclass

from bramble.model.manifest import Manifest
from bramble.model.share import Share
from bramble.plan.cost import layer_parameters
from bramble.plan.devices import GIGABIT, PI5_INSTRUCTIONS_S, PI5_READ_BYTES_S, PI5_STREAMING
from bramble.plan.exchange_time import FLOAT32, NUMBER_BYTES, Q8, one_step_s
from bramble.plan.published import (
    DLLAMA,
    DLLAMA_03,
    DLLAMA_POLLED,
    LLAMA_CPP_RPC,
    NANOCAMELID,
    PREFILL,
    Q40,
    REPACKED,
    Paper,
    Published,
)

# What llama.cpp's prompts may be of what is predicted where a source does not say which build and
# kernels it ran: all published rows lie within, and older builds just so
PREFILL_BAND = (0.55, 1.25)
# Of llama.cpp with Q4_0 repacked, per weight and token of a prompt on a Cortex-A76: 129 million for
# Llama-3.2-1B's 973 million (version 0.3.36 of PyPI's source, cross-built with dotprod)
REPACKED_INSTRUCTIONS = 129 / 973
Q80_BYTES = 34 / 32  # per activation on distributed-llama's wire: int8 and a float16 scale
LOGIT_BYTES = 4
DLLAMA_BATCH = 32  # tokens of a prompt at once, its default
RPC_HOP_BYTES = 4  # float32 activations
# One all-reduce up to PR 64, not fitted but measured there: 83, 55, 80, 62, 56 and 75 ms for 64 of
# them, 8.6 ms for TinyLlama's 44; the mean
EARLY_SYNC_S = 0.000_95


@dataclass(frozen=True, slots=True)
class Constants:
    """What was fitted to the published rows, each with its meaning; `check.py` fits them again.

    streaming            share of the read bandwidth at which weights are streamed while decoding;
                         the same for every engine
    parameters_s         llama.cpp's arithmetic in prefill, 4 threads, K-quants or kernels unknown
    instructions_s       that a Pi 5 retires in prefill, 4 threads, where kernels are counted
    root_layer_s         per layer on the root alone in distributed-llama 0.3.1, whose attention
                         was not split
    root_head_s_per_m    lm_head and sampler on the root, per million of lm_head's parameters
    sync_s               one all-reduce of the current version, above the bytes it moves
    dllama_parameters_s  distributed-llama's arithmetic in prefill, 4 threads
    """

    streaming: float = PI5_STREAMING
    parameters_s: float = 50e9
    instructions_s: float = PI5_INSTRUCTIONS_S
    root_layer_s: float = 0.0026
    root_head_s_per_m: float = 0.000_17
    sync_s: float = 0.000_38
    dllama_parameters_s: float = 23.4e9


CONSTANTS = Constants()


def tokens_s(row: Published, constants: Constants = CONSTANTS) -> float:
    """What the predictor says of a published setup: tokens per second of one stream."""
    if row.kind == PREFILL:
        return _prefill(row, constants)
    if row.engine in (DLLAMA_POLLED, NANOCAMELID):
        return 1 / _grouped_s(row, constants)
    if row.engine == DLLAMA:
        return 1 / _tensor_parallel_s(row, constants)
    if row.engine.startswith("distributed-llama"):
        return 1 / _early_s(row, constants)
    return 1 / _in_turn_s(row, constants)


def tensor_parallel(manifest: Manifest, num_nodes: int) -> float:
    """Tokens per second of one stream of distributed-llama's architecture with this model."""
    shape = manifest.shape
    whole = Share.whole(shape, 0, shape.num_layers, True, True)
    experts = manifest.extra.get("experts", {"share": 0.0, "picked": 1.0})
    paper = Paper(
        manifest.name,
        shape.num_layers,
        shape.hidden_size,
        shape.vocab_size,
        layer_parameters(manifest, whole) / 1e6,
        manifest.is_tied,
        experts["share"],
        experts["picked"],
    )
    return tokens_s(Published(DLLAMA, paper, Q40, "Q40", num_nodes, 0.0, "predicted"))


def _in_turn_s(row: Published, constants: Constants) -> float:
    """One node, or layers in turn over several: all of the weights at one node's bandwidth."""
    seconds = (_layers(row) + _head(row)) / _bandwidth(row, constants)
    if row.engine == LLAMA_CPP_RPC:
        paper = row.paper
        hop = GIGABIT.seconds(paper.hidden_size * RPC_HOP_BYTES)
        logits = GIGABIT.seconds(paper.vocab_size * LOGIT_BYTES)  # all of them go to the client
        seconds += 2 * row.num_nodes * hop + logits  # each activation by way of the client
    return seconds


def _tensor_parallel_s(row: Published, constants: Constants) -> float:
    """Weights over N bandwidths, two all-reduces per layer, and the slices of the logits."""
    weights = (_layers(row) + _head(row)) / row.num_nodes
    seconds = weights / _bandwidth(row, constants)
    if row.num_nodes == 1:
        return seconds
    others = row.num_nodes - 1
    logits = row.paper.vocab_size * LOGIT_BYTES * others / row.num_nodes
    reduce = constants.sync_s + _reduce_bytes(row, others) / GIGABIT.bytes_s
    return seconds + 2 * row.paper.num_layers * reduce + GIGABIT.seconds(logits)


def _grouped_s(row: Published, constants: Constants) -> float:
    """Weights over N bandwidths and exchanges as Bramble's are predicted, per layer two of them."""
    paper, others = row.paper, row.num_nodes - 1
    seconds = (_layers(row) + _head(row)) / row.num_nodes / _bandwidth(row, constants)
    if others == 0:
        return seconds
    if row.engine == NANOCAMELID:
        # All of it to the root by one cable, and from there to all
        one_way = one_step_s(paper.hidden_size * NUMBER_BYTES[FLOAT32], row.num_nodes, GIGABIT)
        each = 2 * one_way
    else:
        each = one_step_s(paper.hidden_size * NUMBER_BYTES[Q8], row.num_nodes, GIGABIT)
    logits = paper.vocab_size * LOGIT_BYTES * others / row.num_nodes
    return seconds + 2 * paper.num_layers * each + GIGABIT.seconds(logits)


def _early_s(row: Published, constants: Constants) -> float:
    """The same with lm_head on the root alone and, in 0.3.1, attention too."""
    seconds = _layers(row) / row.num_nodes / _bandwidth(row, constants)
    seconds += row.paper.head_m * constants.root_head_s_per_m
    if row.engine == DLLAMA_03:
        seconds += row.paper.num_layers * constants.root_layer_s
    if row.num_nodes > 1:
        seconds += 2 * row.paper.num_layers * EARLY_SYNC_S
    return seconds


def _prefill(row: Published, constants: Constants) -> float:
    paper = row.paper
    active_m = paper.layers_m * _active(row)
    if row.kernel == REPACKED:
        return constants.instructions_s / REPACKED_INSTRUCTIONS / (active_m * 1e6)
    if row.engine != DLLAMA:
        return constants.parameters_s / (active_m * 1e6)
    # Experts run token by token there, so that each reads its own.
    is_dense = paper.experts == 0
    arithmetic = active_m * 1e6 / constants.dllama_parameters_s
    reading = _layers(row) / _bandwidth(row, constants) / (DLLAMA_BATCH if is_dense else 1)
    reduce = constants.sync_s / DLLAMA_BATCH
    reduce += _reduce_bytes(row, row.num_nodes - 1) / GIGABIT.bytes_s
    return 1 / ((arithmetic + reading) / row.num_nodes + 2 * paper.num_layers * reduce)


def _reduce_bytes(row: Published, others: int) -> float:
    """Each node sends its sums to every other."""
    return row.paper.hidden_size * Q80_BYTES * others


def _bandwidth(row: Published, constants: Constants) -> float:
    return PI5_READ_BYTES_S[row.threads] * constants.streaming


def _layers(row: Published) -> float:
    """Bytes that one token reads."""
    return row.paper.layers_m * _active(row) * 1e6 * row.bits / 8


def _head(row: Published) -> float:
    return row.paper.head_m * 1e6 * row.bits / 8


def _active(row: Published) -> float:
    return 1 - row.paper.experts * (1 - row.paper.picked)
