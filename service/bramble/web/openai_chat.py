"""How a reply looks in OpenAI's chat completions, whole and as the chunks of a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bramble.model.replies import Arguments, Call, Piece, Said, Thought
from bramble.web import logprobs as likely
from bramble.web.about import About
from bramble.web.dialect import Event
from bramble.web.openai_envelope import Choice, Envelope, error_of
from bramble.web.part import Part, call_digits
from bramble.web.problem import Problem
from bramble.web.tally import Tally, figures_of
from bramble.wire.messages import Accepted, TokenLogprob

_CHUNK = "chat.completion.chunk"


class ChatWriter:
    def __init__(self, prefix: str, about: About, accepted: Accepted) -> None:
        self._about = about
        self._envelope = Envelope(prefix, about, accepted)

    def opening(self, index: int) -> list[Event]:
        return [self._chunk(index, {"role": "assistant", "content": ""})]

    def delta(
        self, index: int, pieces: Sequence[Piece], logprobs: Sequence[TokenLogprob]
    ) -> list[Event]:
        return [self._chunk(index, self._delta(index, pieces), logprobs)]

    def done(self, index: int, part: Part) -> list[Event]:
        assert part.done is not None
        return [self._chunk(index, {}, (), part.finish, bramble=figures_of(part.done))]

    def ending(self, parts: Sequence[Part], tally: Tally) -> list[Event]:
        return self._envelope.ending(_CHUNK, tally)

    def failure(self, problem: Problem) -> list[Event]:
        return [Event(error_of(problem))]

    def whole(self, parts: Sequence[Part], tally: Tally) -> dict[str, Any]:
        choices = [self._whole(index, part) for index, part in enumerate(parts)]
        return self._envelope.whole("chat.completion", choices, tally)

    def _chunk(
        self,
        index: int,
        delta: dict[str, Any],
        logprobs: Sequence[TokenLogprob] = (),
        finish: str | None = None,
        **members: Any,
    ) -> Event:
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": likely.of_chat(logprobs),
            "finish_reason": finish,
        }
        return self._envelope.chunk(_CHUNK, [choice], **members)

    def _delta(self, index: int, pieces: Sequence[Piece]) -> dict[str, Any]:
        said = "".join(piece.text for piece in pieces if isinstance(piece, Said))
        thought = "".join(piece.text for piece in pieces if isinstance(piece, Thought))
        calls = self._call_deltas(index, pieces)
        delta: dict[str, Any] = {"reasoning_content": thought} if thought else {}
        if said or not (thought or calls):
            delta["content"] = said
        return delta | ({"tool_calls": calls} if calls else {})

    def _call_deltas(self, index: int, pieces: Sequence[Piece]) -> list[dict[str, Any]]:
        """Return one per call: clients put together what has the same index."""
        deltas: dict[int, dict[str, Any]] = {}
        for piece in pieces:
            if isinstance(piece, Call):
                function = {"name": piece.name, "arguments": ""}
                call_id = self._call_id(index, piece.index)
                delta = {"index": piece.index, "id": call_id, "type": "function"}
                deltas[piece.index] = delta | {"function": function}
            elif isinstance(piece, Arguments):
                empty = {"index": piece.index, "function": {"arguments": ""}}
                function = deltas.setdefault(piece.index, empty)["function"]
                function["arguments"] += piece.text
        return [*deltas.values()]

    def _whole(self, index: int, part: Part) -> Choice:
        calls = [
            {
                "id": self._call_id(index, call.index),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in part.calls
        ]
        message: dict[str, Any] = {"role": "assistant"}
        message["content"] = None if calls and not part.said else part.said
        message["refusal"] = None
        if part.thought:
            message["reasoning_content"] = part.thought
        if calls:
            message["tool_calls"] = calls
        return {
            "index": index,
            "message": message,
            "logprobs": likely.of_chat(part.logprobs),
            "finish_reason": part.finish,
        }

    def _call_id(self, index: int, call: int) -> str:
        return "call_" + call_digits(self._about, index, call)
