"""Cuts a member's share of each part out of a model folder, a few rows at a time.

A stage starts it as a process: `python -m bramble.export.slices FOLDER DEST SHARE` (JSON) writes
the folder DEST. It trusts the bytes of FOLDER: who starts it has hashed them. Rows of a matrix are
its outputs: of q, k, v, gate, up and lm_head. Columns are its inputs, whole quantisation blocks: of
o_proj and down_proj, whose results are then partial sums.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from bramble.errors import BadInput, BrambleError
from bramble.export import cutting
from bramble.export.cutting import Cuts
from bramble.export.data_file import DataFile, Stored
from bramble.model import manifest as manifests
from bramble.model import slices as documents
from bramble.model.manifest import CACHE_BYTES, File, Manifest, sha256_of
from bramble.model.share import Share
from bramble.model.slices import FED, PARTIAL, RESIDUAL, Slices, cut_parts

PIECE_BYTES = 1 << 20  # of a tensor that is read at once
EXIT_BAD_INPUT = 2


def write(folder: Path, manifest: Manifest, share: Share, dest: Path) -> Slices:
    """Write the share's slices of `folder` into the folder `dest`, which is new.

    Raises BadInput for a share that cannot be cut from this model, OSError.
    """
    documents.check(manifest, share)
    dest.mkdir(parents=True)
    writer = _Writer(folder, manifest, Cuts(manifest, share), share, dest)
    for name in cut_parts(share):
        if name == "lm_head":
            writer.lm_head()
        else:
            writer.layer(name)
    made = Slices(writer.graphs, writer.data, writer.files)
    if not documents.write(dest, made):
        raise OSError(f"{dest} takes no more")
    return made


@dataclass(slots=True)
class _Writer:
    folder: Path
    manifest: Manifest
    cuts: Cuts
    share: Share
    dest: Path
    graphs: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    data: dict[str, tuple[str, ...]] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)

    def layer(self, name: str) -> None:
        """Cut a layer: before, attention for each kind of cache, then out and feed from behind."""
        part = self.manifest.part(name)
        if part.cut is None:
            raise BadInput(f"{self.manifest.name}: {name} is in one piece; export the model again")
        before, behind = self._read(part.cut.before), self._read(part.cut.behind)
        out = cutting.subgraph(behind, ["self_attn"], [PARTIAL])
        feed = cutting.subgraph(behind, ["hidden", PARTIAL], [RESIDUAL, FED])
        tensors = self._data(name, part.cut.before, (before, out, feed))
        files = [
            self._graph(f"{name}.{kind}", model, tensors)
            for kind, model in (("before", before), ("out", out), ("feed", feed))
        ]
        attentions: dict[str, str] = {}  # the model's file → the slice's
        for kind in CACHE_BYTES:
            attention = self._attention(name, kind)
            if attention is None:
                continue
            if attention not in attentions:
                stem = Path(attention).stem
                attentions[attention] = self._graph(stem, self._read(attention), {})
            cut = (files[0], attentions[attention], *files[1:])
            self.graphs.setdefault(kind, {})[name] = cut

    def lm_head(self) -> None:
        part = self.manifest.part("lm_head")
        model = self._read(part.onnx)
        tensors = self._data("lm_head", part.onnx, (model,))
        file = self._graph("lm_head", model, tensors)
        for kind in CACHE_BYTES:
            if kind in self.graphs or not self.share.num_layers:
                self.graphs.setdefault(kind, {})["lm_head"] = (file,)

    def _attention(self, name: str, kind: str) -> str | None:
        """The model's file for that kind of cache; None where it was exported without."""
        try:
            return self.manifest.graphs(name, kind)[1]
        except BadInput:
            return None

    def _read(self, file: str) -> onnx.ModelProto:
        return onnx.load(self.folder / file, load_external_data=False)

    def _data(
        self, name: str, graph: str, models: tuple[onnx.ModelProto, ...]
    ) -> dict[str, Stored]:
        """Write the cut tensors of a part's graphs, each once; returns them by name."""
        found: dict[str, onnx.TensorProto] = {}
        for model in models:
            found |= {t.name: t for t in model.graph.initializer if cutting.is_external(t)}
        with DataFile(self.dest / f"{name}.data") as data:
            for tensor in found.values():
                self._tensor(data, tensor, (self.folder / graph).parent)
        self.data[name] = (f"{name}.data",)
        self.files[f"{name}.data"] = data.file
        return {stored.name: stored for stored in data.tensors}

    def _tensor(self, data: DataFile, tensor: onnx.TensorProto, place: Path) -> None:
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        cut = self.cuts.tensor(tensor.name, tuple(tensor.dims))
        where = {entry.key: entry.value for entry in tensor.external_data}
        pieces = _pieces(
            place / where["location"], int(where["offset"]), dtype, tuple(tensor.dims), cut.rows
        )
        data.add(tensor.name, dtype.name, cut.shape, map(cut.columns, pieces))

    def _graph(self, stem: str, model: onnx.ModelProto, tensors: dict[str, Stored]) -> str:
        self.cuts.graph(model, tensors)
        file = f"{stem}.onnx"
        path = self.dest / file
        path.write_bytes(model.SerializeToString(deterministic=True))
        self.files[file] = File(sha256_of(path), path.stat().st_size)
        return file


def _pieces(
    path: Path, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...], rows: tuple[int, int]
) -> Iterator[NDArray[Any]]:
    """Read rows [start, stop) of a tensor, about PIECE_BYTES at a time."""
    row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
    step = max(PIECE_BYTES // row_bytes, 1)
    with path.open("rb") as file:
        file.seek(offset + rows[0] * row_bytes)
        for start in range(rows[0], rows[1], step):
            count = min(step, rows[1] - start)
            piece = file.read(count * row_bytes)
            if len(piece) != count * row_bytes:
                raise OSError(f"{path} ends at {file.tell()} bytes, amid a tensor")
            yield np.frombuffer(piece, dtype).reshape(count, *shape[1:])


def main(arguments: list[str], tell: Callable[[str], None]) -> int:
    folder, dest, share = arguments
    place = Path(folder)
    try:
        fields: dict[str, Any] = json.loads(share)
        ranges: dict[str, Any] = {
            key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()
        }
        write(place, manifests.read(place), Share(**ranges), Path(dest))
    except BadInput as error:
        tell(str(error))
        return EXIT_BAD_INPUT
    except (BrambleError, OSError) as error:
        tell(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], lambda text: print(text, file=sys.stderr)))
