"""Bodies of Anthropic's /v1/messages and /v1/messages/count_tokens, checked: to Generate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bramble.errors import BadInput
from bramble.web.anthropic_messages import read_conversation
from bramble.web.anthropic_tools import read_tools
from bramble.web.dialect import Asked
from bramble.web.fields import INT32_MAX, Fields
from bramble.web.sampling_parameters import MAX_STOP_CHARACTERS, MAX_STOPS, read_sampling
from bramble.wire.messages import Constraint, Generate

_OBEYED = (
    *("model", "messages", "system", "max_tokens", "stream", "stop_sequences"),
    *("temperature", "top_p", "top_k", "tools", "tool_choice", "thinking", "output_config"),
    *("output_format", "seed", "cache_control"),  # Bramble caches whatever is marked, or not
)
# They label or route a request at Anthropic, or say how a cache of theirs is to be used.
_WITHOUT_EFFECT = (
    *("metadata", "service_tier", "inference_geo", "speed", "diagnostics", "betas"),
    *("context_management", "user_profile_id", "anthropic_version"),
)
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {"container": (), "mcp_servers": ([],)}
# By this code clients of Anthropic's know to send the conversation whole.
NO_THREADS = "thread_unsupported_request"
_THINKING = ("enabled", "disabled", "adaptive")


def read_message(document: dict[str, Any]) -> Asked:
    """Check a body of /v1/messages. Raises BadInput with the path of what is wrong."""
    body = Fields(document)
    _check_names(body)
    max_tokens = body.integer("max_tokens", 1, INT32_MAX)
    if max_tokens is None:
        raise body.refuse("max_tokens", "how many tokens the reply may have, at least 1")
    thinking = _read_thinking(body)
    ignored = [name for name in _WITHOUT_EFFECT if body.has(name)]
    if "budget_tokens" in thinking:
        ignored.append("thinking.budget_tokens")
    request = replace(
        _read_prompt(body, thinking),
        **read_sampling(body, -1),
        max_tokens=max_tokens,
        stop=_read_stop(body),
        constraint=_read_format(body),
    )
    return Asked(
        requests=(request,),
        is_streamed=body.flag("stream"),
        shown={
            "max_tokens": max_tokens,
            "hides_thoughts": thinking.get("display") == "omitted",
        },
        ignored=tuple(ignored),
    )


def read_count(document: dict[str, Any]) -> Generate:
    """Check a body of /v1/messages/count_tokens: a request whose prompt is only counted."""
    body = Fields(document)
    _check_names(body)
    request = _read_prompt(body, _read_thinking(body))
    return replace(request, **read_sampling(body, -1), max_tokens=0)


def _check_names(body: Fields) -> None:
    if body.has("thread"):
        raise BadInput(
            "thread: conversations are not kept here; send all messages again", "thread", NO_THREADS
        )
    for name, neutral in _NEUTRAL.items():
        if body.has(name) and body.get(name) not in neutral:
            raise BadInput(f"{name}: not offered by this server; leave it out", name)
    body.check_names((*_OBEYED, *_WITHOUT_EFFECT, *_NEUTRAL, "thread"))


def _read_prompt(body: Fields, thinking: dict[str, Any]) -> Generate:
    """Return a request with all that the prompt depends on."""
    options: dict[str, Any] = {}
    if (kind := thinking.get("type")) is not None:
        options["enable_thinking"] = kind != "disabled"
    if (effort := _read_config(body).text("effort")) is not None:
        options["reasoning_effort"] = effort
    return Generate(
        request="",
        sampling=read_sampling(body, -1)["sampling"],
        messages=read_conversation(body),
        **read_tools(body),
        template_options=options,
    )


def _read_thinking(body: Fields) -> dict[str, Any]:
    thinking = body.get("thinking")
    if thinking is None:
        return {}
    if not isinstance(thinking, dict):
        raise body.refuse("thinking", 'an object such as {"type": "enabled"}')
    fields = Fields(thinking, "thinking.")
    fields.check_names(("type", "budget_tokens", "display"))
    if fields.get("type") not in _THINKING:
        raise fields.refuse("type", f"one of {', '.join(_THINKING)}")
    fields.integer("budget_tokens", 1, INT32_MAX)
    if fields.get("display") not in (None, "summarized", "omitted"):
        raise fields.refuse("display", "summarized or omitted")
    return {name: value for name, value in thinking.items() if value is not None}


def _read_config(body: Fields) -> Fields:
    config = body.get("output_config")
    if config is not None and not isinstance(config, dict):
        raise body.refuse("output_config", "an object")
    fields = Fields(config or {}, "output_config.")
    fields.check_names(("effort", "format"))
    return fields


def _read_format(body: Fields) -> Constraint | None:
    """Return what the reply has to be; beside output_config.format there is the older name."""
    config = _read_config(body)
    holder, name = (config, "format") if config.has("format") else (body, "output_format")
    asked = holder.get(name)
    if asked is None:
        return None
    path = holder.path + name
    if not isinstance(asked, dict):
        raise holder.refuse(name, 'an object such as {"type": "json_schema", "schema": …}')
    fields = Fields(asked, path + ".")
    fields.check_names(("type", "schema", "name"))
    if fields.get("type") != "json_schema":
        raise fields.refuse("type", "json_schema")
    if not isinstance(fields.get("schema"), dict):
        raise fields.refuse("schema", "a JSON schema, which is an object")
    return Constraint("json_schema", json.dumps(asked["schema"], ensure_ascii=False))


def _read_stop(body: Fields) -> tuple[str, ...]:
    stops = body.get("stop_sequences")
    if stops is None:
        return ()
    if not isinstance(stops, list) or len(stops) > MAX_STOPS:
        raise body.refuse("stop_sequences", f"a list of at most {MAX_STOPS} strings")
    for i, text in enumerate(stops):
        if not isinstance(text, str) or not 1 <= len(text) <= MAX_STOP_CHARACTERS:
            listed = Fields({f"stop_sequences[{i}]": text})
            raise listed.refuse(
                f"stop_sequences[{i}]", f"a string of 1 to {MAX_STOP_CHARACTERS} characters"
            )
    return tuple(stops)
