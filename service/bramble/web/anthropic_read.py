"""Bodies of Anthropic's /v1/messages and /v1/messages/count_tokens, checked: to Generate.

All that is wrong is told in one error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from bramble.errors import BadInput
from bramble.web.anthropic_messages import read_conversation
from bramble.web.anthropic_tools import read_tools
from bramble.web.constraints import schema_constraint
from bramble.web.dialect import Asked
from bramble.web.faults import Faults
from bramble.web.fields import INT32_MAX, Fields, refusal
from bramble.web.sampling_parameters import MAX_STOP_CHARACTERS, MAX_STOPS, read_sampling
from bramble.web.thinking import effort_options
from bramble.wire.messages import Constraint, Generate

_OBEYED = (
    *("model", "messages", "system", "max_tokens", "stream", "stop_sequences"),
    *("temperature", "top_p", "top_k", "tools", "tool_choice", "thinking", "output_config"),
    *("output_format", "seed", "cache_control"),  # Bramble caches whatever is marked, or not
)
# They label or route a request at Anthropic, or say how a cache of theirs is to be used.
_WITHOUT_EFFECT = (
    *("metadata", "service_tier", "inference_geo", "speed", "diagnostics", "betas"),
    *("context_management", "user_profile_id", "anthropic_version", "billing_policy"),
)
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "container": (),
    "mcp_servers": ([],),
    "fallbacks": ([],),
    "compaction": (),
}
# By this code clients of Anthropic's know to send the conversation whole.
NO_THREADS = "thread_unsupported_request"
_THINKING = ("enabled", "disabled", "adaptive")


def read_message(document: dict[str, Any]) -> Asked:
    """Check a body of /v1/messages. Raises BadInput with the path of what is wrong."""
    faults = Faults()
    body = Fields(document, faults=faults)
    attempt = faults.attempt
    _check_names(body, faults)
    thinking = attempt(partial(_read_thinking, body), {})
    max_tokens = attempt(partial(_read_length, body), 1)
    request = replace(
        _read_prompt(body, thinking, faults),
        max_tokens=max_tokens,
        stop=attempt(partial(_read_stop, body), ()),
        constraint=attempt(partial(_read_format, body), None),
    )
    is_streamed = body.flag("stream")
    faults.check()
    ignored = [name for name in _WITHOUT_EFFECT if body.has(name)]
    if "budget_tokens" in thinking:
        ignored.append("thinking.budget_tokens")
    hides_thoughts = thinking.get("display") == "omitted"
    return Asked(
        requests=(request,),
        is_streamed=is_streamed,
        shown={"max_tokens": max_tokens, "hides_thoughts": hides_thoughts},
        ignored=tuple(ignored),
    )


def read_count(document: dict[str, Any]) -> Generate:
    """Check a body of /v1/messages/count_tokens: a request whose prompt is only counted."""
    faults = Faults()
    body = Fields(document, faults=faults)
    _check_names(body, faults)
    request = _read_prompt(body, faults.attempt(partial(_read_thinking, body), {}), faults)
    faults.check()
    return replace(request, max_tokens=0)


def _check_names(body: Fields, faults: Faults) -> None:
    if body.has("thread"):
        message = "thread: conversations are not kept here; send all messages again"
        faults.keep(BadInput(message, "thread", NO_THREADS))
    for name, neutral in _NEUTRAL.items():
        if body.has(name) and body.get(name) not in neutral:
            faults.keep(BadInput(f"{name}: not offered by this server; leave it out", name))
    body.check_names((*_OBEYED, *_WITHOUT_EFFECT, *_NEUTRAL, "thread"))


def _read_prompt(body: Fields, thinking: dict[str, Any], faults: Faults) -> Generate:
    """Return a request with all that the prompt depends on, and how to sample."""
    options: dict[str, Any] = {}
    if (kind := thinking.get("type")) is not None:
        options["enable_thinking"] = kind != "disabled"
    if (config := body.object("output_config")) is not None:
        config.check_names(("effort", "format"))
        effort = faults.attempt(partial(effort_options, config, "effort"), {})
        effort.pop("enable_thinking", None)  # which is for `thinking` to say
        options |= effort
    return Generate(
        request="",
        messages=faults.attempt(partial(read_conversation, body), []),
        **read_sampling(body, -1),
        **faults.attempt(partial(read_tools, body, faults), {}),
        template_options=options,
    )


def _read_length(body: Fields) -> int:
    max_tokens = Fields(body.values).integer("max_tokens", 1, INT32_MAX)
    if max_tokens is None:
        raise body.refuse("max_tokens", "how many tokens the reply may have, at least 1")
    return max_tokens


def _read_thinking(body: Fields) -> dict[str, Any]:
    thinking = body.object("thinking")
    if thinking is None:
        return {}
    thinking.check_names(("type", "budget_tokens", "display"))
    if thinking.get("type") not in _THINKING:
        raise thinking.refuse("type", f"one of {', '.join(_THINKING)}")
    thinking.integer("budget_tokens", 1, INT32_MAX)
    if thinking.get("display") not in (None, "summarized", "omitted"):
        raise thinking.refuse("display", "summarized or omitted")
    return {name: value for name, value in thinking.values.items() if value is not None}


def _read_format(body: Fields) -> Constraint | None:
    """Return what the reply has to be; beside output_config.format there is the older name."""
    config = body.get("output_config")
    found = Fields(config, "output_config.").object("format") if isinstance(config, dict) else None
    found = found or body.object("output_format")
    if found is None:
        return None
    found.check_names(("type", "schema", "name"))
    if found.get("type") != "json_schema":
        raise found.refuse("type", "json_schema")
    if not isinstance(found.get("schema"), dict):
        raise found.refuse("schema", "a JSON schema: an object")
    return schema_constraint(found.get("schema"), found.path + "schema")


def _read_stop(body: Fields) -> tuple[str, ...]:
    stops = body.get("stop_sequences")
    if stops is None:
        return ()
    if not isinstance(stops, list) or len(stops) > MAX_STOPS:
        raise body.refuse("stop_sequences", f"a list of at most {MAX_STOPS} strings")
    for i, text in enumerate(stops):
        if not isinstance(text, str) or not 1 <= len(text) <= MAX_STOP_CHARACTERS:
            allowed = f"a string of 1 to {MAX_STOP_CHARACTERS} characters"
            raise refusal(f"stop_sequences[{i}]", text, allowed)
    return tuple(stops)
