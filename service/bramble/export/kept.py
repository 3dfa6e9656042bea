"""Blocks that a source has already: kept where a kind of ours holds them unchanged, and told.

A source of numbers, such as safetensors, has none, and nothing here changes its export.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bramble.export.decoder import Decoder
from bramble.export.graph import EMBEDDING
from bramble.export.tensors import LM_HEAD
from bramble.export.weights import Weights
from bramble.model.manifest import Quantization

KINDS = ("int4", "int8")  # the smaller first
NEAREST = "int8"  # of a table in other blocks than its layers': never coarser than the file


@dataclass(frozen=True, slots=True)
class Kept:
    """formats  of the source's tensors that are blocks: name → the format's name, e.g. Q4_0"""

    decoder: Decoder
    weights: Weights
    formats: Mapping[str, str]

    def layers_kind(self) -> str | None:
        """The kind that holds most weights of the layers unchanged, if there is one."""
        names = list(self._layers())
        total = sum(self._size(name) for name in names)
        for kind in KINDS:
            if 2 * sum(self._size(name) for name in names if self._is_kept(name, kind)) > total:
                return kind
        return None

    def embed_kind(self) -> str:
        return self._kind(EMBEDDING)

    def lm_head_kind(self) -> str:
        return self._kind(self._lm_head)

    def is_all(self, kinds: Quantization) -> bool:
        """True if nothing is rounded."""
        return all(self._is_kept(name, kind) for name, kind in self._matrices(kinds))

    def told(self, kinds: Quantization) -> list[str]:
        """A sentence that says of the source's blocks what became of them; none without any."""
        counts: Counter[tuple[bool, str, str]] = Counter()
        for name, kind in self._matrices(kinds):
            if name in self.formats:
                is_exact = kind == "float32" or self._is_kept(name, kind)
                counts[is_exact, self.formats[name], kind] += 1
        if not counts:
            return []
        parts = [
            f"{count} in {found} {'kept unchanged as' if is_exact else 'rounded again to'} {kind}"
            for (is_exact, found, kind), count in sorted(counts.items(), reverse=True)
        ]
        is_coarse = any(not is_exact and kind != NEAREST for is_exact, _, kind in counts)
        advice = f"; rounding twice costs quality, least in --quant {NEAREST}" if is_coarse else ""
        return [f"matrices of the source: {', '.join(parts)}{advice}"]

    @property
    def _lm_head(self) -> str:
        return EMBEDDING if self.decoder.is_tied else LM_HEAD

    def _layers(self) -> Iterator[str]:
        for index in range(self.decoder.shape.num_layers):
            for name in self.decoder.matrices():
                yield f"model.layers.{index}.{name}.weight"

    def _matrices(self, kinds: Quantization) -> Iterator[tuple[str, str]]:
        """Each matrix that is written, with its kind."""
        yield EMBEDDING, kinds.embed
        for name in self._layers():
            yield name, kinds.layers
        if self._lm_head != EMBEDDING or kinds.lm_head != kinds.embed:
            yield self._lm_head, kinds.lm_head

    def _kind(self, name: str) -> str:
        return next((kind for kind in KINDS if self._is_kept(name, kind)), NEAREST)

    def _is_kept(self, name: str, kind: str) -> bool:
        return self.weights.blocks(name, kind) is not None

    def _size(self, name: str) -> int:
        rows, columns = self.weights.shape(name)
        return rows * columns
