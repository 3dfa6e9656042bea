"""What quantisation costs: the written model beside its float32 original, over the same text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bramble.export.original import Advance, Original
from bramble.export.verify import Sample, check_finite, load
from bramble.model.manifest import Fidelity

PIECE = 32  # tokens whose logits are copied at a time: 16 MB at 128k vocabulary

Floats = NDArray[np.float32]


def fidelity(original: Original, sample: Sample, lm_head: Path, advance: Advance) -> Fidelity:
    """Compare the next tokens behind each token of a text that the written model has read.

    lm_head    the written model's ONNX file
    advance    is told of each part that the original ran

    Holds one float32 layer (872 MB at 8B); after it the written lm_head, as the golden check did,
    and then both models' logits (131 MB each at 256 tokens and 128k vocabulary).
    Raises BadInput where either model's logits are not finite: no distance could be told.
    """
    hidden = original.hidden(sample.token_ids, advance)
    theirs = _logits(lm_head, original.decoder.shape.vocab_size, sample.hidden)
    ours = original.logits(hidden)
    check_finite("float32 original", ours)
    check_finite("quantised lm_head", theirs)
    advance(1)
    found = [compare(ours[piece], theirs[piece]) for piece in _pieces(len(ours))]
    divergences, same_first = np.sum(found, axis=0) / len(ours)
    return Fidelity(len(ours), float(divergences), float(same_first))


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
