"""One part of a model as an onnxruntime session, all sessions of a process on one thread pool."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import onnxruntime
from onnxruntime import InferenceSession as Session
from onnxruntime import IOBinding as Binding
from onnxruntime.capi import onnxruntime_pybind11_state as state

from bramble.errors import BadShard, Broken

LOAD_ERRORS = (
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.ModelLoadCanceled,
    state.NoModel,
    state.NoSuchFile,
    state.NotImplemented,
    state.RuntimeException,
)
# Of graphs that need much memory beside their arrays, 4 bytes for each head, new token and token of
# a whole row, and keep it: fresh pages for it made a chunk of 128 take 2 to 6 times as long. Layers
# share one such session (export/parts.py).
KEEPING = ".kv16"
RUN_ERRORS = (state.Fail, state.InvalidArgument, state.RuntimeException, state.NotImplemented)

# Larger tensors begin on 64 KiB boundaries in what onnxruntime writes. Packed weights that begin
# elsewhere are read shifted and give NaN, so smaller ones are packed at every start.
ALIGNED_BYTES = (1 << 20) + 1


@dataclass(frozen=True, slots=True)
class Threads:
    """How onnxruntime uses the cores; what is best on a node is measured, see tune.py."""

    count: int
    can_spin: bool = True  # an idle thread looks for work for a while before it sleeps

    @property
    def is_pooled(self) -> bool:
        """True if all parts share the process's pool: Python cannot have that one not spin."""
        return self.count > 1 and self.can_spin

    @property
    def sentence(self) -> str:
        count = "1 thread" if self.count == 1 else f"{self.count} threads"
        how = "" if self.count == 1 or self.can_spin else " that sleep when idle"
        return f"{count}{how}"


@functools.cache
def _size_pool(count: int) -> None:
    onnxruntime.set_global_thread_pool_sizes(count, 1)


def start_threads(threads: Threads) -> None:
    """Size the process's thread pool; onnxruntime keeps the first size for good.

    One thread needs no pool, and without one the process may load other sessions (an export's).
    """
    if threads.is_pooled:
        _size_pool(threads.count)


def load(path: Path, threads: Threads, save_to: Path | None = None) -> Session:
    """Load a part with its weights, behind `start_threads`. Raises BadShard with the file's name.

    All parts share one pool if its threads spin: with one per part, those of one part would spin
    while the next runs.

    save_to    also write the part there, its weights packed for this processor's kernels
    """
    options = onnxruntime.SessionOptions()
    options.use_per_session_threads = not threads.is_pooled
    if not threads.is_pooled:
        options.intra_op_num_threads = threads.count
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # errors are raised, and told once
    # One grown arena per session would keep prefill's buffers as often as there are layers
    options.enable_cpu_mem_arena = path.stem.endswith(KEEPING)
    options.enable_mem_pattern = False  # shapes change with every batch width
    if save_to is not None:
        options.optimized_model_filepath = str(save_to)
        for key, value in {
            "session.optimized_model_external_initializers_file_name": f"{save_to.stem}.data",
            "session.optimized_model_external_initializers_min_size_in_bytes": str(ALIGNED_BYTES),
            "session.save_external_prepacked_constant_initializers": "1",
        }.items():
            options.add_session_config_entry(key, value)
    try:
        return Session(str(path), options, providers=["CPUExecutionProvider"])
    except LOAD_ERRORS as error:
        raise BadShard(f"{path}: onnxruntime cannot load it: {_first_line(error)}") from error


def run(session: Session, binding: Binding, name: str) -> None:
    """Run bound inputs into bound outputs. Raises Broken with the part's name."""
    try:
        session.run_with_iobinding(binding)
    except RUN_ERRORS as error:
        raise Broken(f"{name} failed: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no reason given"])[0][:300]
