"""What quantisation costs: the written model beside its float32 original, over the same text.

The original runs straight from its tensors, one layer at a time, and is written nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from bramble.export import graph
from bramble.export.decoder import Decoder
from bramble.export.graph import EMBEDDING
from bramble.export.verify import Run, Sample, layer_feed, load
from bramble.export.weights import Weights, chunks
from bramble.model.manifest import Fidelity

NORM = "model.norm.weight"
PIECE = 32  # tokens whose logits are copied at a time: 16 MB at 128k vocabulary

Floats = NDArray[np.float32]
Advance = Callable[[int], None]  # takes the number of parts that just ran


def fidelity(original: Original, sample: Sample, lm_head: Path, advance: Advance) -> Fidelity:
    """Compare the next tokens behind each token of a text that the written model has read.

    lm_head    the written model's ONNX file
    advance    is told of each part that the original ran

    Holds one float32 layer (872 MB at 8B); after it the written lm_head, as the golden check did,
    and then both models' logits (131 MB each at 256 tokens and 128k vocabulary).
    """
    hidden = original.hidden(sample.token_ids, advance)
    theirs = _logits(lm_head, original.decoder.shape.vocab_size, sample.hidden)
    ours = original.logits(hidden)
    advance(1)
    found = [compare(ours[piece], theirs[piece]) for piece in _pieces(len(ours))]
    divergences, same_first = np.sum(found, axis=0) / len(ours)
    return Fidelity(len(ours), float(divergences), float(same_first))


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
        rows = [self.weights.rows(EMBEDDING, index, index + 1) for index in token_ids]
        hidden: Floats = np.concatenate(rows)
        advance(1)
        sizes = self.decoder.layer_tensors()
        tensors = {name: np.empty(size, np.float32) for name, size in sizes.items()}
        runs: dict[int, Run] = {}  # layers of one window differ in their weights alone
        for index, window in enumerate(self.decoder.windows):
            if window not in runs:
                runs[window] = self._layer(index)
            self._read(index, tensors)
            feed = layer_feed(self.decoder.shape, self.decoder.rope, hidden[None])
            hidden = runs[window](feed | tensors)[0][0]
            advance(1)
        return hidden

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

    def _layer(self, index: int) -> Run:
        model = graph.layer(self.decoder, index, "float32", ())
        return _with_inputs(model, self.decoder.layer_tensors())

    def _read(self, index: int, tensors: dict[str, Floats]) -> None:
        """Overwrite `tensors` with a layer's weights."""
        for name, tensor in tensors.items():
            for where, rows in chunks(self.weights, f"model.layers.{index}.{name}"):
                tensor[where] = rows


def compare(ours: Floats, theirs: Floats) -> tuple[float, int]:
    """Compare logits float32 (tokens, vocab_size), which are overwritten.

    returns    sum of KL(ours || theirs) over the tokens, in nats, and at how many of them both have
               the same most likely next one
    """
    same_first = int(np.sum(ours.argmax(axis=-1) == theirs.argmax(axis=-1)))
    _log_softmax(ours)
    _log_softmax(theirs)
    np.subtract(ours, theirs, out=theirs)
    np.exp(ours, out=ours)
    divergences = np.einsum("tv,tv->t", ours, theirs)
    # Rounding puts some below 0, which no divergence is
    return float(np.maximum(divergences, 0).sum()), same_first


def _with_inputs(model: onnx.ModelProto, sizes: Mapping[str, tuple[str | int, ...]]) -> Run:
    """Load a graph whose weights are inputs: it neither stores nor packs them."""
    model.graph.input.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in sizes.items()
    )
    return load(model.SerializeToString())


def _logits(lm_head: Path, vocab_size: int, hidden: Floats) -> Floats:
    """Run the written lm_head over hidden (tokens, hidden_size); it is unloaded on return."""
    run = load(lm_head)
    logits = np.empty((len(hidden), vocab_size), np.float32)
    for piece in _pieces(len(hidden)):
        logits[piece] = run({"hidden": hidden[piece]})[0]
    return logits


def _pieces(num_tokens: int) -> list[slice]:
    return [slice(start, start + PIECE) for start in range(0, num_tokens, PIECE)]


def _log_softmax(logits: Floats) -> None:
    """In place, beside one copy."""
    logits -= logits.max(axis=-1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
