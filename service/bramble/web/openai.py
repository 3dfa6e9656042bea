"""OpenAI's dialects: chat completions and the older text completions."""

from __future__ import annotations

from typing import Any

from bramble.web.about import About
from bramble.web.dialect import EVENT_STREAM, Asked, Comment, Event, Writer
from bramble.web.framing import to_json
from bramble.web.openai_chat import ChatWriter
from bramble.web.openai_envelope import error_of
from bramble.web.openai_text import TextWriter
from bramble.web.parameters import read_chat, read_text
from bramble.web.problem import Problem
from bramble.wire.messages import Accepted


class _OpenAI:
    """What both have in common."""

    media_type = EVENT_STREAM
    paths: tuple[str, ...] = ()

    def alive(self, word: str, figures: dict[str, Any]) -> Event | Comment | None:
        return Comment(f"{word} {to_json(figures)}")

    def error(self, problem: Problem) -> dict[str, Any]:
        return error_of(problem)

    def failure(self, problem: Problem) -> list[Event]:
        return [Event(error_of(problem))]


class ChatDialect(_OpenAI):
    name = "chat"
    id_prefix = "chatcmpl-"
    paths: tuple[str, ...] = ("/api/status",)  # our own pages read it, amid URLs of Ollama's

    def read(self, document: dict[str, Any]) -> Asked:
        return read_chat(document)

    def writer(self, about: About, accepted: Accepted) -> Writer:
        return ChatWriter(self.id_prefix, about, accepted)


class TextDialect(_OpenAI):
    name = "text"
    id_prefix = "cmpl-"

    def read(self, document: dict[str, Any]) -> Asked:
        return read_text(document)

    def writer(self, about: About, accepted: Accepted) -> Writer:
        return TextWriter(self.id_prefix, about, accepted)
