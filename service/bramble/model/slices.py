"""A member's own files of a model: of each matrix its part, as ONNX parts over data of their own.

`export/slices.py` writes them, a stage reads them. A folder of slices serves every kind of KV
cache; the document in it names its files and their sums, and is written last.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bramble.errors import BadInput
from bramble.model import kept
from bramble.model.manifest import CACHE_BYTES, File, Manifest, Part, Quantization
from bramble.model.share import Share

FORMAT = 1  # of the folder: another one is made anew
FILE_NAME = "slices.json"
# Values of a layer's graphs: what a member's attention and its feed-forward columns add to the
# residual, partial sums, and the residual between them
PARTIAL, FED, RESIDUAL = "self_attn.o_proj", "mlp.down_proj", "residual"
WHOLE = ("embed",)  # parts that no member cuts: each of a first stage's has all of them


@dataclass(frozen=True, slots=True)
class Slices:
    """graphs  kind of KV cache → part → its ONNX files in their order, relative to the folder
    data    part → the files of its weights
    files   what each of them is to be
    """

    graphs: dict[str, dict[str, tuple[str, ...]]]
    data: dict[str, tuple[str, ...]]
    files: dict[str, File]

    def manifest(self, of: Manifest, kv_cache: str) -> Manifest:
        """The table of contents that loaders take, of these files instead of the model's own.

        Raises BadInput where the model was exported without that kind of KV cache.
        """
        of.graphs(next(iter(self.data)), kv_cache)  # for its sentence
        parts = (
            Part(name, files[0], self.data[name]) for name, files in self.graphs[kv_cache].items()
        )
        return replace(of, parts=tuple(parts), files=self.files, golden=None, fidelity=None)


def cut_parts(share: Share) -> tuple[str, ...]:
    """The parts of a share that are cut."""
    return tuple(name for name in share.part_names if name not in WHOLE)


def key(manifest: Manifest, share: Share) -> str:
    """What slices depend on, in 12 hex digits: the files they are cut from, and the share."""
    names = manifest.part_files(cut_parts(share))
    sources = {name: manifest.files[name].sha256 for name in names}
    # The embedding is not cut, so slices do not depend on who has it
    document = [FORMAT, sources, asdict(replace(share, has_embed=False))]
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:12]


def cut_bytes(manifest: Manifest, share: Share) -> int:
    """About how many bytes the slices take."""
    shape = manifest.shape
    layers = [name for name in cut_parts(share) if name != "lm_head"]
    columns = share.columns[1] - share.columns[0]
    heads = share.heads[1] - share.heads[0]
    largest = max(columns / shape.intermediate_size, heads / shape.num_heads)
    needed = largest * manifest.part_bytes(*layers) if layers else 0
    if share.has_lm_head:
        rows = (share.vocab[1] - share.vocab[0]) / shape.vocab_size
        needed += rows * manifest.part_bytes("lm_head")
    return int(needed) + (1 << 20)


def check(manifest: Manifest, share: Share) -> None:
    """Raise BadInput, with the numbers, for a share that cannot be cut from this model."""
    shape, kinds = manifest.shape, manifest.quantization
    share.check(shape)
    if share.has_lm_head and share.vocab[0] == share.vocab[1]:
        raise BadInput(
            "no row of the lm_head was assigned; each member of the last stage needs one"
        )
    if not share.num_layers:
        return
    if share.columns[0] == share.columns[1]:
        raise BadInput("no feed-forward column was assigned; each member needs one or more")
    block, head_dim = _block(kinds), shape.head_dim
    queries = (share.heads[0] * head_dim, share.heads[1] * head_dim)
    for what, (start, stop) in (
        (f"query heads {share.heads[0]}:{share.heads[1]} of {head_dim}, inputs", queries),
        ("feed-forward columns", share.columns),
    ):
        if start % block or stop % block:
            raise BadInput(
                f"{what} {start}:{stop} were assigned; {kinds.layers} weights are cut in whole "
                f"blocks of {block} inputs: let both ends be multiples of {block}, or use another "
                "number of members, or a model in smaller blocks"
            )


def _block(kinds: Quantization) -> int:
    return 1 if kinds.layers == "float32" else kinds.block_size


def write(folder: Path, slices: Slices) -> bool:
    """Write the document that says that all is there; False where the disk does not take it."""
    return kept.write(folder / FILE_NAME, {"format": FORMAT} | asdict(slices))


def read(folder: Path) -> Slices | None:
    """What is in the folder; None where nothing is, or not all, or nothing that can be read."""
    document = kept.read(folder / FILE_NAME)
    if document.get("format") != FORMAT:
        return None
    graphs = {
        kind: {name: tuple(files) for name, files in parts.items()}
        for kind, parts in document["graphs"].items()
        if kind in CACHE_BYTES
    }
    data = {name: tuple(files) for name, files in document["data"].items()}
    files = {name: File(**file) for name, file in document["files"].items()}
    return Slices(graphs, data, files)
