"""Ollama's dialect: how replies of /api/chat and /api/generate look, as lines of JSON or whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from bramble.model.replies import Piece, Said, Thought
from bramble.web.about import About
from bramble.web.dialect import JSON_LINES, Asked, Comment, Event, Writer
from bramble.web.ollama_models import moment
from bramble.web.ollama_read import read_chat, read_generate
from bramble.web.part import Called, Part, call_digits
from bramble.web.problem import Problem
from bramble.web.tally import Tally
from bramble.wire.messages import Accepted, Done, TokenLogprob

Calls = Sequence[dict[str, Any]]
# From what is said, thought and called to the members of a line that hold it
Members = Callable[[str, str, Calls], dict[str, Any]]


class OllamaWriter:
    """Writes the one choice that there is. Calls come whole and behind all text: their arguments
    are objects in Ollama."""

    def __init__(self, members: Members, about: About, accepted: Accepted) -> None:
        self._members = members
        self._about = about
        self._accepted = accepted

    def opening(self, index: int) -> list[Event]:
        return []

    def delta(
        self, index: int, pieces: Sequence[Piece], logprobs: Sequence[TokenLogprob]
    ) -> list[Event]:
        said = "".join(piece.text for piece in pieces if isinstance(piece, Said))
        thought = "".join(piece.text for piece in pieces if isinstance(piece, Thought))
        if not (said or thought or logprobs):
            return []
        return [Event(self._line(said, thought, (), logprobs, None))]

    def done(self, index: int, part: Part) -> list[Event]:
        calls, unread = self._calls(part)
        events = [Event(self._line(unread, "", calls, (), None))] if calls or unread else []
        return [*events, Event(self._line("", "", (), (), part.done))]

    def ending(self, parts: Sequence[Part], tally: Tally) -> list[Event]:
        return []

    def failure(self, problem: Problem) -> list[Event]:
        return [Event(error_of(problem))]

    def whole(self, parts: Sequence[Part], tally: Tally) -> dict[str, Any]:
        (part,) = parts
        calls, unread = self._calls(part)
        return self._line(part.said + unread, part.thought, calls, part.logprobs, part.done)

    def _line(
        self,
        said: str,
        thought: str,
        calls: Calls,
        logprobs: Sequence[TokenLogprob],
        done: Done | None,
    ) -> dict[str, Any]:
        return {
            "model": self._about.shown["model"],
            "created_at": moment(self._accepted.accepted_at_us),
            **self._members(said, thought, calls),
            "done": done is not None,
            **({"logprobs": [_logprob(one) for one in logprobs]} if logprobs else {}),
            **(figures_of(done) if done is not None else {}),
        }

    def _calls(self, part: Part) -> tuple[list[dict[str, Any]], str]:
        """Return the calls, and the text of one that the reply ended within: it is said."""
        calls, unread = [], ""
        for call in part.calls:
            arguments = _parse(call.arguments)
            if arguments is None:
                unread += f'{{"name": {json.dumps(call.name)}, "arguments": {call.arguments}'
            else:
                calls.append(self._call(call, arguments))
        return calls, unread

    def _call(self, call: Called, arguments: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": "call_" + call_digits(self._about, 0, call.index),
            "function": {"index": call.index, "name": call.name, "arguments": arguments},
        }


class _Ollama:
    """What both have in common."""

    id_prefix = "ollama-"
    media_type = JSON_LINES
    paths: tuple[str, ...] = ("/api/",)

    def alive(self, word: str, figures: dict[str, Any]) -> Event | Comment | None:
        return None

    def error(self, problem: Problem) -> dict[str, Any]:
        return error_of(problem)

    def failure(self, problem: Problem) -> list[Event]:
        return [Event(error_of(problem))]


class OllamaChat(_Ollama):
    name = "ollama-chat"

    def read(self, document: dict[str, Any]) -> Asked:
        return read_chat(document)

    def writer(self, about: About, accepted: Accepted) -> Writer:
        return OllamaWriter(in_message, about, accepted)


class OllamaGenerate(_Ollama):
    name = "ollama-generate"

    def read(self, document: dict[str, Any]) -> Asked:
        return read_generate(document)

    def writer(self, about: About, accepted: Accepted) -> Writer:
        return OllamaWriter(in_response, about, accepted)


def in_message(said: str, thought: str, calls: Calls) -> dict[str, Any]:
    """Return the members of a line of /api/chat."""
    message: dict[str, Any] = {"role": "assistant", "content": said}
    if thought:
        message["thinking"] = thought
    if calls:
        message["tool_calls"] = [*calls]
    return {"message": message}


def in_response(said: str, thought: str, calls: Calls) -> dict[str, Any]:
    """Return the members of a line of /api/generate, which offers no tools."""
    return {"response": said, **({"thinking": thought} if thought else {})}


def error_of(problem: Problem) -> dict[str, Any]:
    """Clients look for "not found" in the text."""
    is_strange = problem.code == "model_not_found" and "not found" not in problem.message
    return {"error": "model not found: " * is_strange + problem.message}


def figures_of(done: Done) -> dict[str, Any]:
    """Return why a reply ended, and its durations in ns: at least one, as clients divide by them.

    load_duration is the time in the queue: no model is loaded for a request.
    """
    return {
        "done_reason": str(done.finish),
        "total_duration": _ns(done.total_s),
        "load_duration": _ns(done.queue_s),
        "prompt_eval_count": done.prompt_tokens,
        "prompt_eval_duration": _ns(done.first_token_s - done.queue_s),
        "eval_count": done.completion_tokens,
        "eval_duration": _ns(done.total_s - done.first_token_s),
    }


def _ns(seconds: float) -> int:
    return max(1, round(seconds * 1e9))


def _logprob(one: TokenLogprob) -> dict[str, Any]:
    shown = {"token": one.token, "logprob": _finite(one.logprob), "bytes": one.bytes}
    top = [{**each, "logprob": _finite(each["logprob"])} for each in one.top]
    return shown | ({"top_logprobs": top} if top else {})


def _finite(logprob: float) -> float:
    """JSON has no -Infinity, which a token that cannot be has."""
    return logprob if logprob > -9999.0 else -9999.0


def _parse(arguments: str) -> dict[str, Any] | None:
    """Return a call's arguments as an object, None if they are no object that JSON can carry."""
    try:
        parsed = json.loads(arguments or "{}", parse_constant=_refuse)
        json.dumps(parsed, ensure_ascii=False).encode()  # fails for half of a surrogate pair
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")
