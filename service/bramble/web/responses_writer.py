"""How a reply looks in OpenAI's Responses: output items, whole and as numbered, typed events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bramble.model.replies import Piece
from bramble.web.about import About
from bramble.web.blocks import Begun, Block, Blocks, Change, Ended, Kind
from bramble.web.dialect import Event
from bramble.web.logprobs import of_chat
from bramble.web.part import Part
from bramble.web.problem import Problem
from bramble.web.responses_envelope import envelope, error_of, usage_of
from bramble.web.responses_output import Output
from bramble.web.tally import Tally
from bramble.wire.messages import Accepted, Finish, TokenLogprob


class ResponseWriter:
    """A reply has one choice: the protocol knows no others."""

    def __init__(self, prefix: str, about: About, accepted: Accepted) -> None:
        self._envelope = envelope(prefix, about, accepted)
        self._about = about
        self._blocks = Blocks()
        self._output = Output(about)
        self._items: list[dict[str, Any]] = []  # those that have ended
        self._count = 0
        self._is_cut = False

    def opening(self, index: int) -> list[Event]:
        began = self._response("in_progress", [])
        return [
            self._event("response.created", response=began),
            self._event("response.in_progress", response=began),
        ]

    def delta(
        self, index: int, pieces: Sequence[Piece], logprobs: Sequence[TokenLogprob]
    ) -> list[Event]:
        return self._changed(self._blocks.push(pieces), logprobs)

    def done(self, index: int, part: Part) -> list[Event]:
        self._is_cut = _is_cut(part)
        return self._changed(self._blocks.end(), ())

    def ending(self, parts: Sequence[Part], tally: Tally) -> list[Event]:
        status = "incomplete" if self._is_cut else "completed"
        response = self._response(status, self._items) | _figures(tally)
        return [self._event(f"response.{status}", response=response)]

    def failure(self, problem: Problem) -> list[Event]:
        """Tell of an error: whose reply has not begun has no response to fail."""
        if not self._count:
            return [failure_of(problem)]
        code = "rate_limit_exceeded" if problem.status == 429 else "server_error"
        error = {"code": code, "message": problem.message}
        response = self._response("failed", self._items) | {"error": error}
        return [self._event("response.failed", response=response)]

    def whole(self, parts: Sequence[Part], tally: Tally) -> dict[str, Any]:
        self._is_cut = _is_cut(parts[0])
        blocks = Blocks()
        changes = [*blocks.push(parts[0].pieces), *blocks.end()]
        ended = [change.block for change in changes if isinstance(change, Ended)]
        items = [self._item(block, block is ended[-1]) for block in ended]
        self._add_logprobs(items, parts[0].logprobs)
        status = "incomplete" if self._is_cut else "completed"
        return self._response(status, items) | _figures(tally)

    def _response(self, status: str, items: list[dict[str, Any]]) -> dict[str, Any]:
        details = {"reason": "max_output_tokens"} if status == "incomplete" else None
        found = self._envelope | {"status": status, "incomplete_details": details}
        return found | {"output": list(items)}

    def _changed(self, changes: Iterable[Change], logprobs: Sequence[TokenLogprob]) -> list[Event]:
        events: list[Event] = []
        for change in changes:
            block = change.block
            if isinstance(change, Begun):
                made = self._output.begun(block)
            elif isinstance(change, Ended):
                item = self._item(block, self._is_cut)
                self._items.append(item)
                made = self._output.ended(block, item)
            else:
                shown = logprobs if block.kind is Kind.TEXT else ()
                made = [self._output.grown(block, change.text, _likely(shown))]
            events += [self._event(kind, **members) for kind, members in made]
        return events

    def _item(self, block: Block, is_last: bool) -> dict[str, Any]:
        status = "incomplete" if is_last and self._is_cut else "completed"
        return self._output.item(block, status)

    def _add_logprobs(self, items: list[dict[str, Any]], logprobs: Sequence[TokenLogprob]) -> None:
        """A whole reply that is one text has the log probabilities of all its tokens."""
        if len(items) == 1 and items[0]["type"] == "message":
            items[0]["content"][0]["logprobs"] = _likely(logprobs)

    def _event(self, kind: str, **members: Any) -> Event:
        event = Event({"type": kind, "sequence_number": self._count, **members}, kind)
        self._count += 1
        return event


def failure_of(problem: Problem) -> Event:
    error = error_of(problem)["error"]
    members = {"code": error["code"], "message": error["message"], "param": error["param"]}
    return Event({"type": "error", "sequence_number": 0, **members}, "error")


def _likely(logprobs: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    found = of_chat(logprobs)
    return [] if found is None else list(found["content"])


def _is_cut(part: Part) -> bool:
    return part.done is not None and part.done.finish is Finish.LENGTH


def _figures(tally: Tally) -> dict[str, Any]:
    return {"usage": usage_of(tally), "bramble": tally.figures()}
