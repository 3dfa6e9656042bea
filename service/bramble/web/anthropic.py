"""Anthropic's dialect: messages."""

from __future__ import annotations

from typing import Any

from bramble.web.about import About
from bramble.web.anthropic_read import read_message
from bramble.web.anthropic_writer import MessageWriter, error_of, failure_of
from bramble.web.dialect import EVENT_STREAM, Asked, Comment, Event, Writer
from bramble.web.problem import Problem
from bramble.wire.messages import Accepted


class AnthropicDialect:
    name = "anthropic"
    id_prefix = "msg_"
    media_type = EVENT_STREAM
    paths: tuple[str, ...] = ("/v1/messages",)

    def read(self, document: dict[str, Any]) -> Asked:
        return read_message(document)

    def writer(self, about: About, accepted: Accepted) -> Writer:
        return MessageWriter(self.id_prefix, about, accepted)

    def alive(self, word: str, figures: dict[str, Any]) -> Event | Comment | None:
        if word == "accepted":  # at once: a message begins with its own first event
            return Comment(word)
        return Event({"type": "ping"}, "ping")

    def error(self, problem: Problem) -> dict[str, Any]:
        return error_of(problem)

    def failure(self, problem: Problem) -> list[Event]:
        return [failure_of(problem)]
