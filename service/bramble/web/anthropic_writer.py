"""How a reply looks in Anthropic's protocol: a message of content blocks, whole and streamed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bramble.model.replies import Piece
from bramble.web.about import About
from bramble.web.anthropic_read import NO_THREADS
from bramble.web.blocks import Begun, Block, Blocks, Change, Grown, Kind
from bramble.web.dialect import Event
from bramble.web.part import Part, call_digits
from bramble.web.partial_json import read_arguments
from bramble.web.problem import Problem
from bramble.web.reworded import reworded
from bramble.web.tally import Tally
from bramble.wire.messages import Accepted, Finish, TokenLogprob

SIGNATURE = "bramble"  # of thoughts: clients want one, and send back no thought that has none
_NAMES = {
    r"tools\[(\d+)\]\.function\.parameters": r"tools[\1].input_schema",
    r"tools\[(\d+)\]\.function": r"tools[\1]",
}
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error"} | {
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


class MessageWriter:
    """A reply has one choice: the protocol knows no others."""

    def __init__(self, prefix: str, about: About, accepted: Accepted) -> None:
        self._id = prefix + about.name
        self._about = about
        self._accepted = accepted
        self._blocks = Blocks()

    def opening(self, index: int) -> list[Event]:
        usage = {
            "input_tokens": self._accepted.prompt_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 0,
        }
        message = self._message([], None, None, usage)
        return [_event("message_start", message=message)]

    def delta(
        self, index: int, pieces: Sequence[Piece], logprobs: Sequence[TokenLogprob]
    ) -> list[Event]:
        return self._changed(self._blocks.push(pieces))

    def done(self, index: int, part: Part) -> list[Event]:
        return self._changed(self._blocks.end())

    def ending(self, parts: Sequence[Part], tally: Tally) -> list[Event]:
        reason, sequence = self._stop(parts[0])
        delta = {"stop_reason": reason, "stop_sequence": sequence, "stop_details": None}
        last = _event("message_delta", delta=delta, usage=_usage(tally), bramble=tally.figures())
        return [last, _event("message_stop")]

    def failure(self, problem: Problem) -> list[Event]:
        return [failure_of(problem)]

    def whole(self, parts: Sequence[Part], tally: Tally) -> dict[str, Any]:
        blocks = Blocks()
        changes = [*blocks.push(parts[0].pieces), *blocks.end()]
        content = [self._whole(each.block) for each in changes if isinstance(each, Begun)]
        message = self._message(content, *self._stop(parts[0]), _usage(tally))
        return message | {"bramble": tally.figures()}

    def _message(
        self,
        content: list[dict[str, Any]],
        reason: str | None,
        sequence: str | None,
        usage: dict[str, Any],
    ) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._accepted.model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": sequence,
            "usage": usage,
        }

    def _stop(self, part: Part) -> tuple[str, str | None]:
        """Return why the reply ended, and the stop sequence if it was one."""
        done = part.done
        assert done is not None
        if done.stop_string:
            return "stop_sequence", done.stop_string
        if done.finish is Finish.LENGTH:
            is_asked = done.completion_tokens >= self._about.shown["max_tokens"]
            return ("max_tokens" if is_asked else "model_context_window_exceeded"), None
        return ("tool_use" if part.calls else "end_turn"), None

    def _changed(self, changes: Iterable[Change]) -> list[Event]:
        events: list[Event] = []
        for change in changes:
            block = change.block
            if isinstance(change, Begun):
                began = self._begun(block)
                events.append(_event("content_block_start", index=block.index, content_block=began))
            elif isinstance(change, Grown):
                if block.kind is not Kind.THOUGHT or not self._hides_thoughts:
                    events.append(_grown(block, change.text))
            else:
                if block.kind is Kind.THOUGHT:
                    events.append(_delta(block, type="signature_delta", signature=SIGNATURE))
                events.append(_event("content_block_stop", index=block.index))
        return events

    @property
    def _hides_thoughts(self) -> bool:
        return bool(self._about.shown.get("hides_thoughts"))

    def _begun(self, block: Block) -> dict[str, Any]:
        """Return a block as it is before its first delta."""
        match block.kind:
            case Kind.TEXT:
                return {"type": "text", "text": ""}
            case Kind.THOUGHT:
                return {"type": "thinking", "thinking": "", "signature": ""}
            case Kind.CALL:
                digits = call_digits(self._about, 0, block.call)
                return {
                    "type": "tool_use",
                    "id": f"toolu_{digits}",
                    "name": block.name,
                    "input": {},
                }

    def _whole(self, block: Block) -> dict[str, Any]:
        begun = self._begun(block)
        match block.kind:
            case Kind.TEXT:
                return begun | {"text": block.text}
            case Kind.THOUGHT:
                shown = "" if self._hides_thoughts else block.text
                return begun | {"thinking": shown, "signature": SIGNATURE}
            case Kind.CALL:
                return begun | {"input": read_arguments(block.text)}


def error_of(problem: Problem) -> dict[str, Any]:
    problem = reworded(problem, _NAMES)
    kind = "invalid_request_error" if problem.status < 500 else "api_error"
    is_long = problem.code == "context_length_exceeded"  # agents look for Anthropic's own words
    message = f"prompt is too long: {problem.message}" if is_long else problem.message
    error: dict[str, Any] = {"type": _TYPES.get(problem.status, kind), "message": message}
    if problem.code == NO_THREADS:
        error["details"] = {"error_code": problem.code, "unsupported": [problem.param]}
    return {"type": "error", "error": error, "request_id": None}


def failure_of(problem: Problem) -> Event:
    return Event(error_of(problem), "error")


def _usage(tally: Tally) -> dict[str, Any]:
    """Tokens that were cached are not among the input's, as at Anthropic."""
    return {
        "input_tokens": tally.prompt_tokens - tally.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": tally.cached_tokens,
        "output_tokens": tally.completion_tokens,
    }


def _grown(block: Block, text: str) -> Event:
    match block.kind:
        case Kind.TEXT:
            return _delta(block, type="text_delta", text=text)
        case Kind.THOUGHT:
            return _delta(block, type="thinking_delta", thinking=text)
        case Kind.CALL:
            return _delta(block, type="input_json_delta", partial_json=text)


def _delta(block: Block, **delta: Any) -> Event:
    return _event("content_block_delta", index=block.index, delta=delta)


def _event(kind: str, **members: Any) -> Event:
    return Event({"type": kind, **members}, kind)
