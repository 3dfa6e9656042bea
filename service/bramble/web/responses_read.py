"""Bodies of OpenAI's /v1/responses, checked: to Generate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bramble.errors import BadInput
from bramble.web.dialect import Asked
from bramble.web.fields import INT32_MAX, Fields
from bramble.web.parameters import MAX_TOP_LOGPROBS
from bramble.web.responses_items import read_input
from bramble.web.responses_tools import read_tools
from bramble.web.sampling_parameters import read_sampling
from bramble.wire.messages import Constraint, Generate

_OBEYED = (
    *("model", "input", "instructions", "max_output_tokens", "stream", "stream_options"),
    *("temperature", "top_p", "top_logprobs", "include", "tools", "tool_choice"),
    *("parallel_tool_calls", "text", "reasoning"),
    *("top_k", "min_p", "seed"),  # beyond OpenAI's
)
# They label or route a request at OpenAI, or say how caches and stores of theirs are to be used.
_WITHOUT_EFFECT = (
    *("metadata", "user", "safety_identifier", "service_tier", "store", "truncation"),
    *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "max_tool_calls"),
)
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "background": (False,),
    "context_management": ([],),
    "conversation": (),
    "moderation": (),
    "prompt": (),
}
_LOGPROBS = "message.output_text.logprobs"
_SHOWN = (  # in the reply, as they were sent
    *("instructions", "max_output_tokens", "max_tool_calls", "metadata", "prompt_cache_key"),
    *("safety_identifier", "store", "temperature", "text", "top_p", "truncation", "user"),
    *("tools", "tool_choice", "parallel_tool_calls", "reasoning", "top_logprobs"),
)
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def read_response(document: dict[str, Any]) -> Asked:
    """Check a body. Raises BadInput with the path of what is wrong."""
    body = Fields(document)
    _check_names(body)
    request = replace(
        read_prompt(body),
        **read_sampling(body, _read_logprobs(body)),
        max_tokens=body.integer("max_output_tokens", 1, INT32_MAX),
        constraint=_read_format(body),
    )
    _read_stream_options(body)
    ignored = [name for name in _WITHOUT_EFFECT if body.has(name)]
    ignored += ["text.verbosity"] if _member(body, "text").has("verbosity") else []
    return Asked(
        requests=(request,),
        is_streamed=body.flag("stream"),
        shown={name: document[name] for name in _SHOWN if body.has(name)},
        ignored=tuple(ignored),
    )


def read_count(document: dict[str, Any]) -> Generate:
    """Check a body of /v1/responses/input_tokens: a request whose prompt is only counted."""
    body = Fields(document)
    _check_names(body)
    request = read_prompt(body)
    return replace(request, **read_sampling(body, -1), max_tokens=0)


def read_prompt(body: Fields) -> Generate:
    """Return a request with all that the prompt depends on."""
    return Generate(
        request="",
        sampling=read_sampling(body, -1)["sampling"],
        messages=read_input(body),
        **read_tools(body),
        template_options=_read_reasoning(body),
    )


def _check_names(body: Fields) -> None:
    if body.has("previous_response_id"):
        raise BadInput(
            "previous_response_id: conversations are not kept here; send the earlier items again, "
            "in input",
            "previous_response_id",
            "unsupported_parameter",
        )
    for name, neutral in _NEUTRAL.items():
        if body.has(name) and body.get(name) not in neutral:
            message = f"{name}: not offered by this server; leave it out"
            raise BadInput(message, name, "unsupported_parameter")
    body.check_names((*_OBEYED, *_WITHOUT_EFFECT, *_NEUTRAL, "previous_response_id"))


def _member(body: Fields, name: str) -> Fields:
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        raise body.refuse(name, "an object")
    return Fields(value or {}, f"{name}.")


def _read_logprobs(body: Fields) -> int:
    include = body.get("include")
    if include is not None and not isinstance(include, list):
        raise body.refuse("include", "a list")
    top = body.integer("top_logprobs", 0, MAX_TOP_LOGPROBS)
    return (top or 0) if _LOGPROBS in (include or []) or top else -1


def _read_stream_options(body: Fields) -> None:
    options = _member(body, "stream_options")
    options.check_names(("include_obfuscation",))
    options.flag("include_obfuscation")  # padding against eavesdroppers: not added


def _read_reasoning(body: Fields) -> dict[str, Any]:
    reasoning = _member(body, "reasoning")
    reasoning.check_names(("effort", "summary", "generate_summary", "context", "mode"))
    effort = reasoning.text("effort")
    if effort is None:
        return {}
    if effort not in _EFFORTS:
        raise reasoning.refuse("effort", f"one of {', '.join(_EFFORTS)}")
    return {"reasoning_effort": effort, "enable_thinking": effort not in ("none", "minimal")}


def _read_format(body: Fields) -> Constraint | None:
    text = _member(body, "text")
    text.check_names(("format", "verbosity"))
    asked = text.get("format")
    if asked is None:
        return None
    if not isinstance(asked, dict):
        raise text.refuse("format", 'an object such as {"type": "text"}')
    fields = Fields(asked, "text.format.")
    match fields.get("type"):
        case "text":
            fields.check_names(("type",))
            return None
        case "json_object":
            fields.check_names(("type",))
            return Constraint("json_schema", '{"type": "object"}')
        case "json_schema":
            fields.check_names(("type", "name", "schema", "strict", "description"))
            fields.flag("strict")
            if not isinstance(fields.get("schema"), dict):
                raise fields.refuse("schema", "a JSON schema, which is an object")
            return Constraint("json_schema", json.dumps(asked["schema"], ensure_ascii=False))
    raise fields.refuse("type", "text, json_object or json_schema")
