"""Bodies of OpenAI's /v1/responses and /v1/responses/input_tokens, checked: to Generate.

All that is wrong is told in one error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from bramble.errors import BadInput
from bramble.web.constraints import ANY_OBJECT, schema_constraint
from bramble.web.dialect import Asked
from bramble.web.faults import Faults
from bramble.web.fields import Fields
from bramble.web.parameters import MAX_TOP_LOGPROBS
from bramble.web.responses_items import read_input
from bramble.web.responses_tools import read_tools
from bramble.web.sampling_parameters import read_length, read_sampling
from bramble.web.thinking import effort_options
from bramble.wire.messages import Constraint, Generate

_OBEYED = (
    *("model", "input", "instructions", "max_output_tokens", "stream", "stream_options"),
    *("temperature", "top_p", "top_logprobs", "include", "tools", "tool_choice"),
    *("parallel_tool_calls", "text", "reasoning"),
    *("top_k", "min_p", "seed"),  # beyond OpenAI's
)
# They label or route a request at OpenAI, or say how caches and stores of theirs are to be used.
_WITHOUT_EFFECT = (
    *("metadata", "client_metadata", "user", "safety_identifier", "service_tier", "store"),
    *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "max_tool_calls"),
    "truncation",
)
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "background": (False,),
    "context_management": ([],),
    "conversation": (),
    "moderation": (),
    "previous_response_id": (),
    "prompt": (),
}
_HINTS = {
    "previous_response_id": "conversations are not kept here; send the earlier items again, "
    "in input",
}
_LOGPROBS = "message.output_text.logprobs"
_SHOWN = (  # in the reply, as they were sent
    *("instructions", "max_output_tokens", "max_tool_calls", "metadata", "prompt_cache_key"),
    *("safety_identifier", "store", "temperature", "text", "top_p", "truncation", "user"),
    *("tools", "tool_choice", "parallel_tool_calls", "reasoning", "top_logprobs"),
)


def read_response(document: dict[str, Any]) -> Asked:
    """Check a body of /v1/responses. Raises BadInput with the path of what is wrong."""
    faults = Faults()
    body = Fields(document, faults=faults)
    request = _read_prompt(body, faults)
    request = replace(
        request,
        sampling=replace(
            request.sampling, top_logprobs=faults.attempt(partial(_read_logprobs, body), -1)
        ),
        max_tokens=faults.attempt(partial(read_length, body, "max_output_tokens"), None),
        constraint=faults.attempt(partial(_read_format, body), None),
    )
    if (options := body.object("stream_options")) is not None:
        options.check_names(("include_obfuscation",))
        options.flag("include_obfuscation")  # padding against eavesdroppers: not added
    is_streamed = body.flag("stream")
    faults.check()
    ignored = [name for name in _WITHOUT_EFFECT if body.has(name)]
    if (body.get("text") or {}).get("verbosity") is not None:
        ignored.append("text.verbosity")
    return Asked(
        requests=(request,),
        is_streamed=is_streamed,
        shown={name: document[name] for name in _SHOWN if body.has(name)},
        ignored=tuple(ignored),
    )


def read_count(document: dict[str, Any]) -> Generate:
    """Check a body of /v1/responses/input_tokens: a request whose prompt is only counted."""
    faults = Faults()
    request = _read_prompt(Fields(document, faults=faults), faults)
    faults.check()
    return replace(request, max_tokens=0)


def _read_prompt(body: Fields, faults: Faults) -> Generate:
    """Return a request with all that the prompt depends on, and how to sample."""
    _check_names(body, faults)
    return Generate(
        request="",
        messages=faults.attempt(partial(read_input, body), []),
        **read_sampling(body, -1),
        **faults.attempt(partial(read_tools, body, faults), {}),
        template_options=faults.attempt(partial(_read_reasoning, body), {}),
    )


def _check_names(body: Fields, faults: Faults) -> None:
    for name, neutral in _NEUTRAL.items():
        if body.has(name) and body.get(name) not in neutral:
            hint = _HINTS.get(name, "not offered by this server; leave it out")
            faults.keep(BadInput(f"{name}: {hint}", name, "unsupported_parameter"))
    body.check_names((*_OBEYED, *_WITHOUT_EFFECT, *_NEUTRAL))


def _read_logprobs(body: Fields) -> int:
    include = body.get("include")
    if include is not None and not isinstance(include, list):
        raise body.refuse("include", "a list")
    top = body.integer("top_logprobs", 0, MAX_TOP_LOGPROBS)
    return (top or 0) if _LOGPROBS in (include or []) or top else -1


def _read_reasoning(body: Fields) -> dict[str, Any]:
    reasoning = body.object("reasoning")
    if reasoning is None:
        return {}
    reasoning.check_names(("effort", "summary", "generate_summary", "context", "mode"))
    return effort_options(reasoning, "effort")


def _read_format(body: Fields) -> Constraint | None:
    text = body.object("text")
    asked = text.object("format") if text is not None else None
    if text is None or asked is None:
        return None
    text.check_names(("format", "verbosity"))
    match asked.get("type"):
        case "text":
            asked.check_names(("type",))
            return None
        case "json_object":
            asked.check_names(("type",))
            return ANY_OBJECT
        case "json_schema":
            asked.check_names(("type", "name", "schema", "strict", "description"))
            asked.flag("strict")
            if not isinstance(asked.get("schema"), dict):
                raise asked.refuse("schema", "a JSON schema: an object")
            return schema_constraint(asked.get("schema"), asked.path + "schema")
    raise asked.refuse("type", "text, json_object or json_schema")
