"""What a member of a group has of a layer: loaded from its slices, and run with partial sums.

Behind its heads' part of o_proj, and behind its columns of down_proj, the sum over all members is
taken. The residual is whole at each of them, in the same bits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession as Session

from bramble.errors import BadShard
from bramble.model.manifest import Manifest
from bramble.model.slices import FED, PARTIAL, RESIDUAL
from bramble.stage.bound import Run, Values, bind, value
from bramble.stage.exchange.protocol import Exchange
from bramble.stage.loading import Loaded, load_parts
from bramble.stage.packed import PackedParts
from bramble.stage.proof import Proofs
from bramble.stage.session import Threads
from bramble.stage.slices import PACKED, SliceFolders
from bramble.wire.messages import Assign

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]
NUM_SUMS = 3  # arrays (n, t, hidden_size) that Halves work on beside the hidden state


@dataclass(slots=True)
class Group:
    """The exchange with the other members; another one in each epoch."""

    exchange: Exchange


@dataclass(frozen=True, slots=True)
class Halves:
    """What is behind a layer's attention: its two halves, and the sums between.

    out         attended → partial, of o_proj
    feed        hidden, partial → residual and fed, a partial sum of down_proj
    partial, residual, fed, result      float32 (n * t, hidden_size), C-contiguous
    """

    group: Group
    out: Callable[[], None]
    feed: Callable[[], None]
    partial: Floats
    residual: Floats
    fed: Floats
    result: Floats

    def __call__(self) -> None:
        exchange = self.group.exchange
        self.out()
        exchange.reduce(self.partial)
        self.feed()
        exchange.reduce(self.fed)
        np.add(self.residual, self.fed, out=self.result)


def bind_halves(
    group: Group,
    name: str,
    sessions: list[Session],
    came: Values,
    result: Floats,
    sums: Sequence[Floats],
) -> Halves:
    """Bind a layer's out and feed.

    came    hidden and self_attn, float32 (n, t, …)
    result  float32 (n, t, hidden_size), the hidden state behind the layer
    sums    NUM_SUMS arrays float32 (n, t, hidden_size), which the layers use in turn
    """
    out, feed = sessions
    partial, residual, fed = sums
    projected = {PARTIAL: value(partial)}
    hidden, attended = {"hidden": came["hidden"]}, {"self_attn": came["self_attn"]}
    fed_by = {RESIDUAL: value(residual), FED: value(fed)}
    return Halves(
        group,
        Run(name, out, bind(out, attended, projected)),
        Run(name, feed, bind(feed, hidden | projected, fed_by)),
        *(array.reshape(-1, array.shape[-1]) for array in (partial, residual, fed, result)),
    )


@dataclass(frozen=True, slots=True)
class LoadedMember:
    """Sessions of a layer are before, attention, out and feed."""

    parts: Loaded
    folders: SliceFolders  # to be kept while they are in use


def load_member(
    folder: Path,
    manifest: Manifest,
    assign: Assign,
    threads: Threads,
    packed: Path | None,
    proofs: Proofs,
    alive: Callable[[], None],
) -> LoadedMember:
    """Load a share that is not whole; its slices are made where they are lacking, or damaged.

    Raises as SliceFolders.find, and BadShard for slices that cannot be loaded.
    """
    folders = SliceFolders(packed, folder, manifest, proofs)
    try:
        parts = _load(folders, manifest, assign, threads, packed, proofs, alive)
        files = parts.files
        if packed is None:
            folders.close()
            files = {}
        if assign.share.has_embed:
            graphs = {"embed": manifest.graphs("embed", assign.kv_cache)}
            embed = load_parts(folder, manifest, graphs, threads, proofs, None, alive)
            parts = Loaded(embed.sessions | parts.sessions, embed.files | files)
        else:
            parts = Loaded(parts.sessions, files)
    except BaseException:
        folders.close()
        raise
    return LoadedMember(parts, folders)


def _load(
    folders: SliceFolders,
    manifest: Manifest,
    assign: Assign,
    threads: Threads,
    packed: Path | None,
    proofs: Proofs,
    alive: Callable[[], None],
) -> Loaded:
    is_suspect = assign.is_suspect
    while True:
        place, slices = folders.find(assign.share, alive, is_suspect)
        own, graphs = slices.manifest(manifest, assign.kv_cache), slices.graphs[assign.kv_cache]
        copies = None
        if packed is not None:
            copies = PackedParts(place / PACKED, place, own, threads, proofs, is_suspect)
        try:
            return load_parts(place, own, graphs, threads, proofs, copies, alive)
        except BadShard as error:
            if is_suspect:
                raise
            is_suspect = True
            log.warning("event=damaged reason=%r now='cut anew'", str(error))
