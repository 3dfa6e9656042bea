"""Logits of which each member has a range: brought to rank 0, as much of them as a step needs.

Where each sequence of a step wants its best token and no more, a member sends only the best of its
range, which decides the same: equal logits go to the lowest id, as in one process.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bramble.errors import Broken
from bramble.model.share import Range
from bramble.stage.exchange.protocol import MAX_REPORT_BYTES
from bramble.stage.member import Group
from bramble.wire.messages import Open, Step

Floats = NDArray[np.float32]
BEST = np.dtype([("logit", "<f4"), ("id", "<i4")])


class Gatherer:
    def __init__(self, group: Group, vocab: Range, vocab_size: int) -> None:
        self._group, self._vocab, self._vocab_size = group, vocab, vocab_size
        # Of all members the same, whichever range they have
        self._rows_at_once = max(1, MAX_REPORT_BYTES // (4 * vocab_size))
        self._greedy: set[int] = set()  # open sequences that want their best token alone
        self._sparse = np.zeros((0, vocab_size), np.float32)  # rows of -inf
        self._filled: tuple[NDArray[np.intp], NDArray[np.int32]] | None = None  # but for these

    def clear(self) -> None:
        self._greedy.clear()

    def follow(self, step: Step) -> None:
        """Keep the books of sequences; each member's are the same."""
        self._greedy.difference_update(step.closes)
        for message in step.opens:
            self._greedy.discard(message.sequence)
            if _wants_best_alone(message):
                self._greedy.add(message.sequence)

    def logits(self, step: Step, own: Floats) -> Floats | None:
        """At rank 0 the logits of all members, where only the best count with -inf beside them.

        own        float32 (rows, of this member's range)
        returns    float32 (rows, vocab_size), reused by the next call; None at other ranks

        Raises Broken, where a member sends what is no range of the same rows too.
        """
        if self._greedy.issuperset(step.sequences.tolist()):
            found = self._group.exchange.gather(self._best_of(own).tobytes())
            return None if found is None else self._from_best(found, len(own))
        whole: list[Floats] = []
        for start in range(0, len(own), self._rows_at_once):
            rows = own[start : start + self._rows_at_once]
            found = self._group.exchange.gather(rows.tobytes())
            if found is not None:
                whole.append(self._joined(found, len(rows)))
        if not whole:
            return None
        return whole[0] if len(whole) == 1 else np.concatenate(whole)

    def _best_of(self, own: Floats) -> NDArray[np.void]:
        best = np.zeros(len(own), BEST)
        best["id"] = own.argmax(axis=1)  # a NaN counts as the largest
        best["logit"] = own[np.arange(len(own)), best["id"]]
        best["id"] += self._vocab[0]
        return best

    def _from_best(self, found: list[bytes], rows: int) -> Floats:
        """Rows of -inf but for the best of all members: its sampler sees the same best token."""
        if any(len(each) != rows * BEST.itemsize for each in found):
            raise Broken(f"members sent the best of {[len(each) for each in found]} bytes")
        best = np.stack([np.frombuffer(each, BEST) for each in found])  # (members, rows)
        largest = best["logit"].max(axis=0)  # a maximum passes NaN on
        if not np.isfinite(largest).all():
            raise Broken("the logits of a member are not finite: its shard or memory is damaged")
        if best["id"].min() < 0 or best["id"].max() >= self._vocab_size:
            raise Broken("a member sent a token that the model does not have")
        # argmax: of equal ones the first rank's, whose range has the lowest ids
        chosen = best[best["logit"].argmax(axis=0), np.arange(rows)]
        return self._alone(chosen["id"], chosen["logit"])

    def _alone(self, ids: NDArray[np.int32], logits: Floats) -> Floats:
        rows = len(ids)
        if rows > len(self._sparse):
            self._sparse = np.full((rows, self._vocab_size), -np.inf, np.float32)
        elif self._filled is not None:
            self._sparse[self._filled] = -np.inf
        self._filled = np.arange(rows), ids
        self._sparse[self._filled] = logits
        return self._sparse[:rows]

    def _joined(self, found: list[bytes], rows: int) -> Floats:
        sizes = [len(each) for each in found]
        whole = rows * self._vocab_size * 4
        if sum(sizes) != whole or any(size % (rows * 4) for size in sizes):
            raise Broken(f"members sent logits of {sizes} bytes, which are not {whole} together")
        parts = [np.frombuffer(each, np.float32).reshape(rows, -1) for each in found]
        return np.concatenate(parts, axis=1)


def _wants_best_alone(message: Open) -> bool:
    sampling = message.sampling
    wants_more = sampling.top_logprobs >= 0 or sampling.has_penalty or sampling.logit_bias
    return sampling.temperature <= 0 and not wants_more and not message.grammar
