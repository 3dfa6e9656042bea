"""Guesses of a sequence's next tokens: what followed the last time that its newest tokens came.

Prompt lookup decoding (Saxena 2023; in transformers since 4.37). An index of the sequence's own
n-grams, extended token by token; it knows nothing of steps, costs and whether guessing pays.
"""

from __future__ import annotations

from dataclasses import dataclass, field

NGRAM = 2  # newest tokens that must have come before; of one, what follows is mostly chance
MAX_MATCH = 32  # tokens compared; longer matches are as good as this one
MAX_CANDIDATES = 8  # earlier places looked at, newest first


@dataclass(frozen=True, slots=True)
class Draft:
    """Guessed tokens, and how many tokens before them were found to repeat (NGRAM … MAX_MATCH)."""

    token_ids: tuple[int, ...]
    match: int


@dataclass(slots=True)
class Index:
    """Where each n-gram of one sequence ended, newest first; about 150 bytes per token."""

    _ends: dict[tuple[int, ...], int] = field(default_factory=dict)  # n-gram → its newest end
    _earlier: list[int] = field(default_factory=list)  # end → the same n-gram's end before; -1

    def draft(self, tokens: list[int], count: int) -> Draft | None:
        """Guess `count` tokens behind `tokens`, which only ever grew since the last call.

        The longest of the newest earlier matches is continued, into the guesses themselves where
        it reaches the end, as in a loop.
        """
        self._extend(tokens)
        key = tuple(tokens[-NGRAM:])
        place, match, looked = self._ends.get(key, -1), 0, 0
        best = -1
        while place >= 0 and looked < MAX_CANDIDATES and match < MAX_MATCH:
            length = _common_suffix(tokens, place)
            if length > match:
                best, match = place, length
            place, looked = self._earlier[place], looked + 1
        if best < 0 or count < 1:
            return None
        guessed: list[int] = []
        for place in range(best, best + count):
            guessed.append(tokens[place] if place < len(tokens) else guessed[place - len(tokens)])
        return Draft(tuple(guessed), match)

    def _extend(self, tokens: list[int]) -> None:
        """Take in every end before the newest token: that one is what is looked for."""
        if not self._earlier:
            self._earlier = [-1] * NGRAM
        for end in range(len(self._earlier), len(tokens)):
            key = tuple(tokens[end - NGRAM : end])
            self._earlier.append(self._ends.get(key, -1))
            self._ends[key] = end


def _common_suffix(tokens: list[int], end: int) -> int:
    """Return how many last tokens of tokens[:end] are those of tokens, MAX_MATCH at most."""
    length = 0
    while length < min(MAX_MATCH, end) and tokens[end - 1 - length] == tokens[-1 - length]:
        length += 1
    return length
