"""Grammars over a vocabulary: which tokens a reply may go on with. The only importer of llguidance.

A grammar is one text in llguidance's dialect of Lark. Nothing is forced: wherever several tokens
spell what the grammar allows, the model chooses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper, regex_to_lark
from numpy.typing import NDArray

from bramble.errors import BadInput, Broken
from bramble.model.schema import check_bytes, embedded

KINDS = ("json_schema", "regex", "lark")
HEADER = '%llguidance {"no_forcing": true}\n'
# What a compilation may grow to, and the work for one token; 5 times what 1,000 schemas of all
# kinds took (service/DESIGN.md). The check and the stage have to agree, so that the one speaks for
# the other. An error with the grammar's state in it would show the reply in the log.
LIMITS: dict[str, Any] = {
    "max_grammar_size": 50_000,
    "initial_lexer_fuel": 500_000,
    # 900 optional properties, or 40 forms of an object with 20 each: what may come next is 4 of a
    # row for each, and a token such as "," makes further rows. 13 ms for such a mask at most
    "max_items_in_row": 4_000,
    "step_max_items": 200_000,
    "verbose_errors": False,
}


def grammar_text(kind: str, text: str, param: str) -> str:
    """Return a constraint as one grammar. Raises BadInput for what can be told without compiling.

    kind, text, param  as in wire/messages.py: Constraint
    """
    if kind == "json_schema":
        return f"{HEADER}start: %json {embedded(text, param)}\n"
    check_bytes(text, param)
    if kind == "regex":
        try:
            return f"{HEADER}start: REPLY\nREPLY: /{regex_to_lark(_bare(text), 'd')}/\n"
        except ValueError as error:
            raise BadInput(f"{param} is no regular expression: {error}", param) from error
    if kind == "lark":
        return HEADER + text
    raise BadInput(
        f"{param}: got a constraint of kind {kind!r}, need one of {', '.join(KINDS)}", param
    )


def _bare(regex: str) -> str:
    """Without anchors: the whole reply is matched anyway."""
    start, stop = regex.startswith("^"), regex.endswith("$") and not regex.endswith(r"\$")
    return regex[int(start) : len(regex) - int(stop)]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The bytes of each token id; empty = no grammar allows it.

    special   ids of tokens without a text, which a grammar may name as <…> or <[id]>
    end_ids   each of them ends a reply
    """

    tokens: Sequence[bytes]
    special: tuple[int, ...]
    end_ids: tuple[int, ...]


class Grammars:
    """Compiles grammars over one vocabulary."""

    def __init__(self, vocabulary: Vocabulary, is_for_check: bool = False) -> None:
        """60 MB and a quarter of a second at 128k tokens; next to nothing for 256 of them.

        is_for_check  few masks will be computed: what makes them fast is left out
        """
        assert vocabulary.end_ids
        slices: list[str] | None = [] if is_for_check else None
        end_ids = list(vocabulary.end_ids)
        self.num_tokens = len(vocabulary.tokens)
        self._tokenizer = LLTokenizer(
            TokenizerWrapper(_Source(vocabulary)),
            n_vocab=self.num_tokens,
            eos_token=end_ids,
            slices=slices,
        )

    def compile(self, grammar: str) -> Matcher:
        """Return a matcher at the beginning. It may have failed already."""
        limits = LLParserLimits(**LIMITS)
        return Matcher(LLMatcher(self._tokenizer, grammar, log_level=0, limits=limits), self)


class Matcher:
    """One reply's place in its grammar. After a failure it allows nothing any more."""

    def __init__(self, matcher: LLMatcher, grammars: Grammars) -> None:
        self._matcher = matcher
        self._num_tokens = grammars.num_tokens
        self._mask = np.zeros((grammars.num_tokens + 31) // 32, np.uint32)
        self._address = self._mask.ctypes.data
        self._is_stale = True

    @property
    def failure(self) -> str:
        """Why it cannot go on, in llguidance's words; empty if it can."""
        return str(self._matcher.get_error()) if self._matcher.is_error() else ""

    def feed(self, token_ids: Sequence[int]) -> bool:
        """Go on by these tokens; False if the grammar did not allow one of them, or cannot go on.

        Behind the end more end tokens may come.
        """
        self._is_stale = True
        return all(self._matcher.consume_token(token_id) for token_id in token_ids)

    def surely_allows(self, token_id: int) -> bool:
        """True if the token may come next; False if the mask has to tell (tested: of an end token
        where nothing else may come)."""
        if self._matcher.is_error():  # the library then allows the end: that would hide it
            return False
        return bool(self._matcher.validate_tokens([token_id]))

    def mask(self) -> NDArray[np.bool_]:
        """Return which tokens may come next: bool (num_tokens,); all False once it has failed.

        60 µs on average at 128k tokens, 0.4 ms for 99 of 100, 2 ms at most (service/DESIGN.md).
        """
        if self._is_stale:
            self._matcher.unsafe_compute_mask_ptr(self._address, self._mask.nbytes)
            self._is_stale = False
            if self._matcher.is_error():  # as above
                self._mask[:] = 0
        bits = np.unpackbits(self._mask.view(np.uint8), count=self._num_tokens, bitorder="little")
        return bits.view(np.bool_)


class _Source:
    """A vocabulary as the library's TokenizerWrapper takes it."""

    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.tokens = vocabulary.tokens
        self.special_token_ids = list(vocabulary.special)
        self.eos_token_id = vocabulary.end_ids[0]

    def __call__(self, text: bytes) -> list[int]:
        raise Broken("a grammar was to force tokens: it does not begin with HEADER")
