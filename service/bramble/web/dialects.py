"""The protocols that are spoken here: by name, and by the URL that was asked."""

from __future__ import annotations

from bramble.web.anthropic import AnthropicDialect
from bramble.web.dialect import Dialect
from bramble.web.ollama import OllamaChat, OllamaGenerate
from bramble.web.openai import ChatDialect, TextDialect
from bramble.web.responses import ResponsesDialect

CHAT = ChatDialect()
TEXT = TextDialect()
OLLAMA_CHAT = OllamaChat()
OLLAMA_GENERATE = OllamaGenerate()
RESPONSES = ResponsesDialect()
ANTHROPIC = AnthropicDialect()

DIALECTS: tuple[Dialect, ...] = (
    CHAT,
    TEXT,
    OLLAMA_CHAT,
    OLLAMA_GENERATE,
    RESPONSES,
    ANTHROPIC,
)


def named(name: str) -> Dialect:
    """Return the dialect of an About.kind."""
    return next(dialect for dialect in DIALECTS if dialect.name == name)


def of_path(path: str) -> Dialect:
    """Return the dialect whose shape errors take at a URL: where none claims it, OpenAI's chat."""
    found: Dialect = CHAT
    length = 0
    for dialect in DIALECTS:
        for start in dialect.paths:
            if path.startswith(start) and len(start) > length:
                found, length = dialect, len(start)
    return found
