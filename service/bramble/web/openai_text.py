"""How a continued text looks in OpenAI's older completions, whole and as the chunks of a stream."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from bramble.model.replies import Piece, Said
from bramble.web import logprobs as likely
from bramble.web.about import About
from bramble.web.dialect import Event
from bramble.web.openai_envelope import Choice, Envelope, error_of
from bramble.web.part import Part
from bramble.web.problem import Problem
from bramble.web.tally import Tally, figures_of
from bramble.wire.messages import Accepted, TokenLogprob

_KIND = "text_completion"  # of chunks and wholes


class TextWriter:
    """Remembers where in each choice's text its next token begins."""

    def __init__(self, prefix: str, about: About, accepted: Accepted) -> None:
        self._envelope = Envelope(prefix, about, accepted)
        self._echoes: Sequence[str] = about.shown["echoes"]  # per choice
        self._offsets: defaultdict[int, likely.TokenOffsets] = defaultdict(likely.TokenOffsets)

    def opening(self, index: int) -> list[Event]:
        echo = self._echoes[index]
        return [self._chunk(self._choice(index, echo))] if echo else []

    def delta(
        self, index: int, pieces: Sequence[Piece], logprobs: Sequence[TokenLogprob]
    ) -> list[Event]:
        text = "".join(piece.text for piece in pieces if isinstance(piece, Said))
        return [self._chunk(self._choice(index, text, logprobs))]

    def done(self, index: int, part: Part) -> list[Event]:
        assert part.done is not None
        choice = self._choice(index, "", (), part.finish)
        return [self._chunk(choice, bramble=figures_of(part.done))]

    def ending(self, parts: Sequence[Part], tally: Tally) -> list[Event]:
        return self._envelope.ending(_KIND, tally)

    def failure(self, problem: Problem) -> list[Event]:
        return [Event(error_of(problem))]

    def whole(self, parts: Sequence[Part], tally: Tally) -> dict[str, Any]:
        choices = [
            self._choice(index, self._echoes[index] + part.said, part.logprobs, part.finish)
            for index, part in enumerate(parts)
        ]
        return self._envelope.whole(_KIND, choices, tally)

    def _chunk(self, choice: Choice, **members: Any) -> Event:
        return self._envelope.chunk(_KIND, [choice], **members)

    def _choice(
        self,
        index: int,
        text: str,
        logprobs: Sequence[TokenLogprob] = (),
        finish: str | None = None,
    ) -> Choice:
        return {
            "index": index,
            "text": text,
            "logprobs": likely.of_text(logprobs, self._offsets[index]),
            "finish_reason": finish,
        }
