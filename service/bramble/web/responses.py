"""OpenAI's dialect of Responses."""

from __future__ import annotations

from typing import Any

from bramble.web.about import About
from bramble.web.dialect import EVENT_STREAM, Asked, Comment, Event, Writer
from bramble.web.framing import to_json
from bramble.web.problem import Problem
from bramble.web.responses_envelope import error_of
from bramble.web.responses_read import read_response
from bramble.web.responses_writer import ResponseWriter, failure_of
from bramble.wire.messages import Accepted


class ResponsesDialect:
    name = "responses"
    id_prefix = "resp_"
    media_type = EVENT_STREAM
    paths: tuple[str, ...] = ("/v1/responses",)

    def read(self, document: dict[str, Any]) -> Asked:
        return read_response(document)

    def writer(self, about: About, accepted: Accepted) -> Writer:
        return ResponseWriter(self.id_prefix, about, accepted)

    def alive(self, word: str, figures: dict[str, Any]) -> Event | Comment | None:
        return Comment(f"{word} {to_json(figures)}")

    def error(self, problem: Problem) -> dict[str, Any]:
        return error_of(problem)

    def failure(self, problem: Problem) -> list[Event]:
        return [failure_of(problem)]
