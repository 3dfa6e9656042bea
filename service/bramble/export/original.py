"""A checkpoint's model in float32, straight from its tensors: a layer at a time, never written."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from bramble.export import graph, layer
from bramble.export.decoder import Decoder
from bramble.export.graph import EMBEDDING
from bramble.export.verify import Run, layer_feed, load
from bramble.export.weights import Weights, chunks

NORM = "model.norm.weight"

Floats = NDArray[np.float32]
Advance = Callable[[int], None]  # takes the number of parts that just ran


@dataclass(frozen=True, slots=True)
class Original:
    """The model in float32, as its checkpoint has it."""

    decoder: Decoder
    weights: Weights

    def hidden(self, token_ids: tuple[int, ...], advance: Advance) -> Floats:
        """Run embedding and layers from an empty cache.

        advance    is told of each part that ran
        returns    float32 (tokens, hidden_size) behind the last layer
        """
        advance(1)
        found: Floats = np.zeros(0, np.float32)
        for hidden, _ in self.layers(token_ids):
            advance(1)
            found = hidden
        return found

    def layers(
        self, token_ids: tuple[int, ...], taps: tuple[str, ...] = ()
    ) -> Generator[tuple[Floats, list[Floats]], None, None]:
        """Run as `hidden` does, a layer per turn.

        taps      values of a layer's graph
        yields    float32 (tokens, hidden_size) behind the layer, and the taps' (tokens, size)
        """
        hidden = self._embed(token_ids)
        sizes = self.decoder.layer_tensors()
        tensors = {name: np.empty(size, np.float32) for name, size in sizes.items()}
        runs: dict[int, Run] = {}  # layers of one window differ in their weights alone
        for index, window in enumerate(self.decoder.windows):
            if window not in runs:
                runs[window] = self._layer(index, taps)
            self._read(index, tensors)
            feed = layer_feed(self.decoder.shape, self.decoder.rope, hidden[None])
            (hidden,), _, _, *tapped = runs[window](feed | tensors)
            yield hidden, [each[0] for each in tapped]

    def normed(self, hidden: Floats) -> Floats:
        """What the lm_head multiplies, of hidden float32 (tokens, hidden_size)."""
        scale = np.sqrt(
            np.mean(hidden * hidden, axis=-1, keepdims=True) + self.decoder.norm_epsilon
        )
        return np.asarray(hidden / scale * self.weights.rows(NORM, 0, hidden.shape[-1]), np.float32)

    def logits(self, hidden: Floats) -> Floats:
        """Apply the final norm and lm_head, a few of its rows at a time.

        returns    float32 (tokens, vocab_size)
        """
        size = self.decoder.shape.hidden_size
        matrix = EMBEDDING if self.decoder.is_tied else "lm_head.weight"
        model = graph.lm_head(self.decoder, "float32", ())
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "some"
        run = _with_inputs(model, {NORM: (size,), matrix: ("some", size)})
        feed = {"hidden": hidden, NORM: self.weights.rows(NORM, 0, size)}
        logits = np.empty((len(hidden), self.decoder.shape.vocab_size), np.float32)
        for where, rows in chunks(self.weights, matrix):
            logits[:, where] = run(feed | {matrix: rows})[0]
        return logits

    def _embed(self, token_ids: tuple[int, ...]) -> Floats:
        rows = [self.weights.rows(EMBEDDING, index, index + 1) for index in token_ids]
        return np.concatenate(rows)

    def _layer(self, index: int, taps: tuple[str, ...]) -> Run:
        model = layer.whole(self.decoder, index, "float32", ())
        model.graph.output.extend(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in taps
        )
        return _with_inputs(model, self.decoder.layer_tensors())

    def _read(self, index: int, tensors: dict[str, Floats]) -> None:
        """Overwrite `tensors` with a layer's weights."""
        for name, tensor in tensors.items():
            for where, rows in chunks(self.weights, f"model.layers.{index}.{name}"):
                tensor[where] = rows


def _with_inputs(model: onnx.ModelProto, sizes: Mapping[str, tuple[str | int, ...]]) -> Run:
    """Load a graph whose weights are inputs: it neither stores nor packs them."""
    model.graph.input.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in sizes.items()
    )
    return load(model.SerializeToString())
