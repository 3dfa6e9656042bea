"""Writes a model's parts in turn: each one's weights, a few rows at a time, then its graph.

Memory stays at a chunk of rows plus one matrix's scales, whatever the size of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from bramble.errors import BadInput
from bramble.export import compensate, graph, layer
from bramble.export.calibration import Calibration
from bramble.export.compensate import Inputs, can_compensate
from bramble.export.data_file import DataFile, Stored
from bramble.export.decoder import Decoder
from bramble.export.graph import EMBEDDING, codes, scales, zeros
from bramble.export.layer import CacheScales, Half
from bramble.export.quantize import BITS, BLOCK, WITH_ZEROS, Quantized, quantize
from bramble.export.weights import Weights, chunks, spans
from bramble.model.manifest import Cut, File, Part, Quantization, layer_name, sha256_of

FOLDER = "shards"

Advance = Callable[[int], None]  # takes the number of weights just written


@dataclass(slots=True)
class PartWriter:
    """Turns `weights` into the parts of `decoder` in `folder`/shards; collects their files."""

    folder: Path
    decoder: Decoder
    quantization: Quantization
    weights: Weights
    advance: Advance
    calibration: Calibration | None = None
    files: dict[str, File] = field(default_factory=dict)
    _tensors: dict[str, list[Stored]] = field(default_factory=dict, init=False)  # of each layer

    def write(self) -> tuple[Part, ...]:
        """Write every part; they are returned in the order in which they run."""
        (self.folder / FOLDER).mkdir()
        layers = [self._layer(index) for index in range(self.decoder.shape.num_layers)]
        # The inputs of lm_head are known behind the layers, and a tied table is rounded for them
        known = self.calibration.lm_head() if self.calibration else None
        embed, table = self._embed(known if self._has_one_table else None)
        return (embed, *layers, self._lm_head(table, known))

    def add_int8_cache(self, part: Part, index: int, scales: CacheScales) -> Part:
        """Write a layer's other graphs, over the same data, whose KV cache is int8."""
        assert part.cut is not None
        kind, tensors = self.quantization.layers, self._tensors[part.name]
        model = layer.whole(self.decoder, index, kind, tensors, scales)
        attention = layer.attention(self.decoder, index, scales)
        return replace(
            part,
            int8_cache=self._graph(f"{part.name}.kv8", model),
            cut=replace(
                part.cut, int8_attention=self._graph(f"{part.name}.attention.kv8", attention)
            ),
        )

    def _embed(self, known: Inputs | None) -> tuple[Part, list[Stored]]:
        kind = self.quantization.embed
        with self._data("embed") as data:
            self._matrix(data, EMBEDDING, EMBEDDING, kind, known)
        # One row of GatherBlockQuantized's table is flat, where MatMulNBits sees blocks
        tensors = [
            replace(stored, shape=(stored.shape[0], stored.bytes // stored.shape[0]))
            if stored.name == codes(EMBEDDING)
            else stored
            for stored in data.tensors
        ]
        part = self._part("embed", data, graph.embed(self.decoder, kind, tensors))
        return part, data.tensors

    def _layer(self, index: int) -> Part:
        kind, name = self.quantization.layers, layer_name(index)
        known = self.calibration.layer() if self.calibration else {}
        with self._data(name) as data:
            for tensor, size in self.decoder.layer_tensors().items():
                source = f"model.layers.{index}.{tensor}"
                if len(size) == 1:
                    self._vector(data, tensor, source)
                else:
                    self._matrix(data, tensor, source, kind, known.get(tensor))
        self._tensors[name] = data.tensors
        part = self._part(name, data, layer.whole(self.decoder, index, kind, data.tensors))
        return replace(part, cut=self._cut(name, index, data.tensors))

    def _cut(self, name: str, index: int, tensors: list[Stored]) -> Cut:
        decoder, kind = self.decoder, self.quantization.layers
        return Cut(
            self._graph(f"{name}.before", layer.before(decoder, index, kind, tensors)),
            self._graph(f"{name}.attention", layer.attention(decoder, index)),
            self._graph(f"{name}.behind", layer.behind(decoder, index, kind, tensors)),
            float16_attention=self._half_attention(index),
        )

    def _half_attention(self, index: int) -> str:
        """Write attention over a float16 cache: one file for all layers that attend as far."""
        window = self.decoder.windows[index]
        name = "attention.kv16" if window < 0 else f"attention.{window}.kv16"
        return self._graph(name, layer.attention(self.decoder, index, Half()))

    def _lm_head(self, table: list[Stored], known: Inputs | None) -> Part:
        kind = self.quantization.lm_head
        is_shared = self._has_one_table
        with self._data("lm_head") as data:
            self._vector(data, "model.norm.weight", "model.norm.weight")
            if not is_shared:
                matrix = EMBEDDING if self.decoder.is_tied else "lm_head.weight"
                self._matrix(data, matrix, matrix, kind, known)
        tensors = data.tensors + (table if is_shared else [])
        model = graph.lm_head(self.decoder, kind, tensors)
        return self._part("lm_head", data, model, (f"{FOLDER}/embed.data",) if is_shared else ())

    @property
    def _has_one_table(self) -> bool:
        """True if embedding and lm_head share their quantised weights."""
        return self.decoder.is_tied and self.quantization.embed == self.quantization.lm_head

    def _data(self, name: str) -> DataFile:
        return DataFile(self.folder / FOLDER / f"{name}.data")

    def _part(
        self, name: str, data: DataFile, model: onnx.ModelProto, shared: tuple[str, ...] = ()
    ) -> Part:
        graph_file = self._graph(name, model)
        part = Part(name, graph_file, (f"{FOLDER}/{name}.data", *shared))
        self.files[part.data[0]] = data.file
        return part

    def _graph(self, name: str, model: onnx.ModelProto) -> str:
        """Write a graph; return its path in the model folder."""
        file = f"{FOLDER}/{name}.onnx"
        path = self.folder / file
        path.write_bytes(model.SerializeToString(deterministic=True))
        self.files[file] = File(sha256_of(path), path.stat().st_size)
        return file

    def _vector(self, data: DataFile, name: str, source: str) -> None:
        size = self.weights.shape(source)
        data.add(name, "float32", size, [self.weights.rows(source, 0, size[0])])
        self.advance(size[0])

    def _matrix(
        self, data: DataFile, name: str, source: str, kind: str, known: Inputs | None
    ) -> None:
        n, k = self.weights.shape(source)
        if kind == "float32":
            data.add(name, "float32", (n, k), self._chunks(source))
            return
        kept_scales: list[NDArray[np.float32]] = []
        kept_zeros: list[NDArray[np.uint8]] = []

        def pieces() -> Iterator[NDArray[np.uint8]]:
            for made in self._quantized(source, kind, known):
                _check_scales(source, kind, made.scales)
                kept_scales.append(made.scales)
                if made.zeros is not None:
                    kept_zeros.append(made.zeros)
                yield made.codes

        blocks, bits = k // BLOCK[kind], BITS[kind]
        data.add(codes(name), "uint8", (n, blocks, BLOCK[kind] * bits // 8), pieces())
        data.add(scales(name), "float32", (n, blocks), kept_scales)
        if kind in WITH_ZEROS:
            data.add(zeros(name), "uint8", (n, (blocks * bits + 7) // 8), kept_zeros)

    def _quantized(self, source: str, kind: str, known: Inputs | None) -> Iterator[Quantized]:
        """A few rows at a time: as the source has them already, or else rounded."""
        blocks = self.weights.blocks(source, kind)
        if blocks is not None:
            for where in spans(self.weights, source):
                yield blocks(where.start, where.stop)
                self.advance((where.stop - where.start) * self.weights.shape(source)[1])
            return
        for rows in self._chunks(source):
            if known is not None and can_compensate(kind):
                yield compensate.quantize(rows, kind, known)
            else:
                yield quantize(rows, kind)

    def _chunks(self, source: str) -> Iterator[NDArray[np.float32]]:
        for _, rows in chunks(self.weights, source):
            yield rows
            self.advance(rows.size)


def _check_scales(source: str, kind: str, scales: NDArray[np.float32]) -> None:
    if not np.isfinite(scales).all():
        raise BadInput(
            f"tensor {source!r} has numbers too large for {kind}: its weights are damaged, or "
            "choose --quant float32"
        )
