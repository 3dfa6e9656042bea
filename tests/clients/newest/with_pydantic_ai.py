"""pydantic-ai: agents with text, tools and typed outputs."""

from __future__ import annotations

from calls import RING, Calls, Server
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

calls = Calls("pydantic-ai", "pydantic-ai-slim")


def chat_model(server: Server) -> OpenAIChatModel:
    return OpenAIChatModel(
        server.model, provider=OpenAIProvider(base_url=server.v1, api_key="none")
    )


@calls.add("`Agent(OpenAIChatModel)`", "a text")
def text() -> None:
    result = Agent(chat_model(RING), instructions="Be brief.").run_sync("Hello")
    assert result.output and result.usage.output_tokens > 0


if __name__ == "__main__":
    calls.run()
