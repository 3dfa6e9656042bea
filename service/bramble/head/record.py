"""What a reply has said so far, token by token, so that it can be told again to whoever joins."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass

from bramble.wire.messages import Delta, Sampled, TokenLogprob

UNKNOWN = -9999.0  # in place of a log probability that its reader has, and this head has not
TOKEN_BYTES = 96  # of Python's objects for a token's text and id, about
LIKELY_BYTES = 224  # and for its log probabilities, beside 8 bytes for each


@dataclass(frozen=True, slots=True)
class Likely:
    """A token's log probability, and the likeliest tokens' at its place: 20 take 160 bytes here
    and 2 kB as messages."""

    logprob: float
    ids: array[int]
    logprobs: array[float]


def read_likely(sampled: Sampled, index: int, count: int) -> Likely:
    """Return what a step's answer says of its sampled token `index`, with the `count` likeliest."""
    ids = sampled.top_ids[index, :count].tolist()
    logprobs = sampled.top_logprobs[index, :count].tolist()
    return Likely(float(sampled.logprobs[index]), array("q", ids), array("d", logprobs))


class Record:
    def __init__(
        self, request: str, token_bytes: Callable[[int], bytes], has_logprobs: bool = False
    ) -> None:
        self._request, self._has_logprobs = request, has_logprobs
        self._token_bytes = token_bytes  # how a token is spelled
        self._texts: list[str] = []
        self._likely: list[Likely | None] = []
        self.token_ids: array[int] = array("q")
        self.num_bytes = 0  # of memory, about

    def __len__(self) -> int:
        return len(self.token_ids)

    def add(self, text: str, token_id: int, likely: Likely | None = None) -> None:
        self._texts.append(text)
        self._likely.append(likely)
        self.token_ids.append(token_id)
        self.num_bytes += TOKEN_BYTES + 2 * len(text)
        if likely is not None:
            self.num_bytes += LIKELY_BYTES + 16 * len(likely.ids)

    def delta(self, start: int, stop: int) -> Delta:
        """Return the event that tells of the tokens [start, stop)."""
        likely = zip(self.token_ids[start:stop], self._likely[start:stop], strict=True)
        return Delta(
            self._request,
            "".join(self._texts[start:stop]),
            tuple(self.token_ids[start:stop]),
            tuple(
                self._spell_likely(token_id, each)
                for token_id, each in likely
                if each is not None or self._has_logprobs
            ),
        )

    def lacks_logprobs(self, start: int) -> bool:
        """True if log probabilities of tokens behind `start` went with a head that was lost."""
        return any(each is None for each in self._likely[start:])

    def _spell_likely(self, token_id: int, likely: Likely | None) -> TokenLogprob:
        if likely is None:
            return TokenLogprob(*self._spell(token_id), UNKNOWN)
        top = zip(likely.ids, likely.logprobs, strict=True)
        return TokenLogprob(
            *self._spell(token_id),
            likely.logprob,
            [
                dict(zip(("token", "bytes"), self._spell(i), strict=True), logprob=p)
                for i, p in top
                if i >= 0
            ],
        )

    def _spell(self, token_id: int) -> tuple[str, list[int]]:
        raw = self._token_bytes(token_id)
        return raw.decode("utf-8", "replace"), list(raw)
