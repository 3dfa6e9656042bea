"""What is around the output of a response in OpenAI's Responses: what was asked, usage, errors."""

from __future__ import annotations

from typing import Any

from bramble.web import openai_envelope
from bramble.web.about import About
from bramble.web.problem import Problem
from bramble.web.reworded import reworded
from bramble.web.tally import Tally
from bramble.wire.messages import Accepted

# Items and messages do not count alike: which one it is, the error's message has to tell.
_NAMES = {r"tools\[(\d+)\]\.function": r"tools[\1]", r"messages.*": "input"}


def envelope(prefix: str, about: About, accepted: Accepted) -> dict[str, Any]:
    """Return a response without output, usage and status."""
    shown = about.shown
    text = {name: value for name, value in shown.get("text", {}).items() if value is not None}
    reasoning = shown.get("reasoning") or {}
    return {
        "id": prefix + about.name,
        "object": "response",
        "created_at": accepted.accepted_at_us // 1_000_000,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": shown.get("instructions"),
        "max_output_tokens": shown.get("max_output_tokens"),
        "max_tool_calls": shown.get("max_tool_calls"),
        "model": accepted.model,
        "output": [],
        "parallel_tool_calls": shown.get("parallel_tool_calls", True),
        "previous_response_id": None,
        "prompt_cache_key": shown.get("prompt_cache_key"),
        "reasoning": {
            "effort": reasoning.get("effort"),
            "summary": reasoning.get("summary"),
        },
        "safety_identifier": shown.get("safety_identifier"),
        "service_tier": "default",
        "store": shown.get("store", True),
        "temperature": shown.get("temperature"),
        "text": {"format": {"type": "text"}} | text,
        "tool_choice": shown.get("tool_choice", "auto"),
        "tools": shown.get("tools", []),
        "top_logprobs": shown.get("top_logprobs", 0),
        "top_p": shown.get("top_p"),
        "truncation": shown.get("truncation", "disabled"),
        "usage": None,
        "user": shown.get("user"),
        "metadata": shown.get("metadata", {}),
    }


def error_of(problem: Problem) -> dict[str, Any]:
    return openai_envelope.error_of(reworded(problem, _NAMES))


def usage_of(tally: Tally) -> dict[str, Any]:
    return {
        "input_tokens": tally.prompt_tokens,
        "input_tokens_details": {"cached_tokens": tally.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": tally.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": tally.thought_tokens},
        "total_tokens": tally.prompt_tokens + tally.completion_tokens,
    }
