"""What is around the choices of both of OpenAI's APIs: the reply's identity, usage and errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bramble.web.about import About
from bramble.web.dialect import Event
from bramble.web.problem import Problem
from bramble.web.tally import Tally
from bramble.wire.messages import Accepted

DONE = Event("[DONE]")
Choice = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Envelope:
    prefix: str  # of the id
    about: About
    accepted: Accepted

    def chunk(self, kind: str, choices: list[Choice], **members: Any) -> Event:
        """Return an event of a stream; where usage is wanted, all but the last say null of it."""
        usage = {"usage": None} if self._includes_usage else {}
        return Event(self._around(kind, choices) | usage | members)

    def ending(self, kind: str, tally: Tally) -> list[Event]:
        usage = [self.chunk(kind, [], usage=usage_of(tally))] if self._includes_usage else []
        return [*usage, DONE]

    def whole(self, kind: str, choices: list[Choice], tally: Tally) -> dict[str, Any]:
        members = {"usage": usage_of(tally), "bramble": tally.figures()}
        return self._around(kind, choices) | members

    @property
    def _includes_usage(self) -> bool:
        return bool(self.about.shown.get("includes_usage"))

    def _around(self, kind: str, choices: list[Choice]) -> dict[str, Any]:
        return {
            "id": self.prefix + self.about.name,
            "object": kind,
            "created": self.accepted.accepted_at_us // 1_000_000,
            "model": self.accepted.model,
            "system_fingerprint": self.accepted.mark or None,  # of the model and the release
            "choices": choices,
        }


def usage_of(tally: Tally) -> dict[str, Any]:
    return {
        **tally.usage(),
        "prompt_tokens_details": {"cached_tokens": tally.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": tally.thought_tokens},
    }


def error_of(problem: Problem) -> dict[str, Any]:
    return {
        "error": {
            "message": problem.message,
            "type": problem.kind,
            "param": problem.param,
            "code": problem.code,
        }
    }
