"""The bodies of Ollama's /api/chat and /api/generate: from a JSON object to Generate."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from bramble.errors import BadInput
from bramble.web.dialect import Asked
from bramble.web.fields import Fields, is_number
from bramble.web.ollama_messages import read_images, read_messages
from bramble.web.ollama_models import untagged
from bramble.web.ollama_options import NAMES, read_options
from bramble.wire.messages import Constraint, Generate

MAX_TOP_LOGPROBS = 20
LEVELS = ("low", "medium", "high", "max")
_COMMON = (
    *("model", "stream", "format", "options", "keep_alive", "think", "truncate", "shift"),
    *("logprobs", "top_logprobs", "template", "_debug_render_only"),
)
_CHAT = (*_COMMON, "messages", "tools")
_GENERATE = (*_COMMON, "prompt", "system", "raw", "suffix", "context", "images")
# A model stays where it is, and a prompt that is too long is refused
_WITHOUT_EFFECT = ("keep_alive", "truncate", "shift")
_DURATION = re.compile(r"[-+]?(\d+(\.\d*)?(ns|us|µs|ms|s|m|h))*(\d+(\.\d*)?)?")


def read_chat(document: dict[str, Any]) -> Asked:
    """Check a body of /api/chat that has messages. Raises BadInput."""
    body = Fields(document)
    _check_names(body, _CHAT)
    _refuse_if_set(body, "template", "_debug_render_only")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise body.refuse("messages", "a list of messages")
    return _ask(body, messages=read_messages(messages), tools=read_tools(body))


def read_generate(document: dict[str, Any]) -> Asked:
    """Check a body of /api/generate that has a prompt. Raises BadInput."""
    body = Fields(document)
    _check_names(body, _GENERATE)
    _refuse_if_set(body, "template", "suffix", "context", "_debug_render_only")
    read_images(body)
    prompt, system = body.text("prompt"), body.text("system")
    if not prompt:
        raise body.refuse("prompt", "a text")
    if body.flag("raw"):
        if system:
            raise BadInput("system: raw mode has none; write it into the prompt", "system")
        return _ask(body, prompt=prompt)
    messages = [{"role": "system", "content": system}] if system else []
    return _ask(body, messages=[*messages, {"role": "user", "content": prompt}])


def read_load(document: dict[str, Any], name: str) -> str | None:
    """Return why a request is done at once that has nothing in its member `name`, else None.

    It asks for the model to be loaded or, if it is to be kept for no time, to be unloaded.
    """
    asked = document.get(name)
    if asked is not None and asked != ("" if name == "prompt" else []):
        return None
    body = Fields(document)
    _check_names(body, _GENERATE if name == "prompt" else _CHAT)
    read_options(body, -1)
    return "load" if _read_keep_alive(body) else "unload"


def read_name(document: dict[str, Any]) -> str:
    """Return the model's name as it was sent; `name` is how older clients call it."""
    body = Fields(document)
    name = body.text("model") or body.text("name")
    if not name:
        raise BadInput("model: is required; GET /api/tags lists what is served", "model")
    return name


def read_streams(document: dict[str, Any]) -> bool:
    """Return whether a stream is wanted: it is, unless said otherwise."""
    body = Fields(document)
    return not body.has("stream") or body.flag("stream")


def read_template_options(body: Fields) -> dict[str, Any]:
    """Return what `think` tells the chat template."""
    think = body.get("think")
    if think is None:
        return {}
    if isinstance(think, bool):
        return {"enable_thinking": think}
    if think not in LEVELS:
        raise body.refuse("think", f"true, false or one of {', '.join(LEVELS)}")
    effort = "high" if think == "max" else think  # as Ollama tells templates without a "max"
    return {"enable_thinking": True, "reasoning_effort": effort}


def read_tools(body: Fields) -> list[dict[str, Any]] | None:
    tools = body.get("tools")
    if tools is None or tools == []:
        return None
    if not isinstance(tools, list):
        raise body.refuse("tools", "a list of tools")
    return tools


def read_constraint(body: Fields) -> Constraint | None:
    """Return what `format` asks for: "json" for any object, or a JSON schema."""
    wanted = body.get("format")
    if wanted is None or wanted == "":
        return None
    if wanted == "json":
        return Constraint("json_schema", '{"type":"object"}')
    if not isinstance(wanted, dict):
        raise body.refuse("format", '"json" or a JSON schema')
    return Constraint("json_schema", json.dumps(wanted, ensure_ascii=False))


def _ask(body: Fields, **asked: Any) -> Asked:
    name = read_name(body.values)
    options = read_options(body, _read_logprobs(body))
    request = Generate(
        request="",
        sampling=options.sampling,
        max_tokens=options.max_tokens,
        stop=options.stop,
        is_seeded=options.is_seeded,
        model=untagged(name),
        chosen=options.chosen,
        constraint=read_constraint(body),
        template_options=read_template_options(body),
        **asked,
    )
    _read_keep_alive(body)
    ignored = tuple(name for name in _WITHOUT_EFFECT if body.has(name))
    return Asked(
        requests=(request,),
        is_streamed=read_streams(body.values),
        shown={"model": name},
        ignored=ignored + options.ignored,
    )


def _read_logprobs(body: Fields) -> int:
    """Return Sampling's top_logprobs."""
    top_logprobs = body.integer("top_logprobs", 0, MAX_TOP_LOGPROBS)
    return top_logprobs or 0 if body.flag("logprobs") else -1


def _read_keep_alive(body: Fields) -> bool:
    """Return whether the model is to stay after the reply at all."""
    keep_alive = body.get("keep_alive")
    if keep_alive is None:
        return True
    if is_number(keep_alive):
        return bool(keep_alive)
    if not isinstance(keep_alive, str) or not _DURATION.fullmatch(keep_alive):
        raise body.refuse("keep_alive", 'seconds, or a text like "5m"')
    return any(digit in keep_alive for digit in "123456789")


def _check_names(body: Fields, known: Collection[str]) -> None:
    for name in body.values:
        if name in NAMES and name not in known and body.has(name):
            raise BadInput(f"{name}: belongs into options: {{{name!r}: …}}", name)
    Fields({name: value for name, value in body.values.items() if value is not None}).check_names(
        known
    )


def _refuse_if_set(body: Fields, *names: str) -> None:
    for name in names:
        if body.get(name):
            message = f"{name}: not supported by this server; leave it out"
            raise BadInput(message, name, "unsupported_parameter")
