"""The bodies of Ollama's /api/chat and /api/generate: from a JSON object to Generate.

All that is wrong is told in one error.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import partial
from typing import Any

from bramble.errors import BadInput
from bramble.web.constraints import ANY_OBJECT, schema_constraint
from bramble.web.dialect import Asked
from bramble.web.faults import Faults
from bramble.web.fields import Fields, is_number
from bramble.web.ollama_messages import check_images, read_messages
from bramble.web.ollama_models import untagged
from bramble.web.ollama_options import NAMES, ignored, open_options, read_options
from bramble.web.rules import IGNORED
from bramble.web.thinking import effort_options
from bramble.web.tools import Tools, read_tools
from bramble.wire.messages import Constraint, Generate

MAX_TOP_LOGPROBS = 20
_COMMON = (
    *("model", "stream", "format", "options", "keep_alive", "think", "truncate", "shift"),
    *("logprobs", "top_logprobs", "template", "_debug_render_only"),
)
_CHAT = (*_COMMON, "messages", "tools")
_GENERATE = (*_COMMON, "prompt", "system", "raw", "suffix", "context", "images")
_NOT_OFFERED = ("template", "suffix", "context", "_debug_render_only")
# A model stays where it is, and a prompt that is too long is refused; the rest labels a request
_WITHOUT_EFFECT = IGNORED | {"keep_alive", "truncate", "shift"}
_DURATION = re.compile(r"[-+]?(\d+(\.\d*)?(ns|us|µs|ms|s|m|h))*(\d+(\.\d*)?)?")


def read_chat(document: dict[str, Any]) -> Asked:
    """Check a body of /api/chat that has messages. Raises BadInput."""
    faults = Faults()
    body = Fields(document, faults=faults)
    _check_names(body, _CHAT, faults)
    messages = faults.attempt(partial(read_messages, body, faults), [])
    tools = faults.attempt(partial(read_tools, body, faults), Tools())
    return _ask(body, faults, messages=messages, tools=tools.tools)


def read_generate(document: dict[str, Any]) -> Asked:
    """Check a body of /api/generate that has a prompt. Raises BadInput."""
    faults = Faults()
    body = Fields(document, faults=faults)
    _check_names(body, _GENERATE, faults)
    faults.attempt(partial(check_images, body), None)
    prompt, system = body.text("prompt"), body.text("system")
    if body.flag("raw"):
        if system:
            faults.keep(BadInput("system: raw mode has none; write it into the prompt", "system"))
        return _ask(body, faults, prompt=prompt)
    messages = [{"role": "system", "content": system}] if system else []
    return _ask(body, faults, messages=[*messages, {"role": "user", "content": prompt}])


def read_load(document: dict[str, Any], name: str) -> str | None:
    """Return why a request is done at once that has nothing in its member `name`, else None.

    It asks for the model to be loaded or, if it is to be kept for no time, to be unloaded.
    """
    asked = document.get(name)
    if asked is not None and asked != ("" if name == "prompt" else []):
        return None
    faults = Faults()
    body = Fields(document, faults=faults)
    _check_names(body, _GENERATE if name == "prompt" else _CHAT, faults)
    read_options(open_options(body), -1, faults)
    is_kept = faults.attempt(partial(_read_keep_alive, body), True)
    faults.check()
    return "load" if is_kept else "unload"


def read_name(document: dict[str, Any]) -> str:
    """Return the model's name as it was sent; `name` is how older clients call it."""
    body = Fields(document)
    name = body.text("model") or body.text("name")
    if not name:
        raise BadInput("model: is required; GET /api/tags lists what is served", "model")
    return name


def read_streams(body: Fields) -> bool:
    """Return whether a stream is wanted: it is, unless said otherwise."""
    return body.choice("stream") is not False


def _ask(body: Fields, faults: Faults, **asked: Any) -> Asked:
    """Read what both have in common. Raises BadInput with all the faults."""
    options = open_options(body)
    sampling = read_options(options, _read_logprobs(body), faults)
    constraint = faults.attempt(partial(_read_constraint, body), None)
    template_options = faults.attempt(partial(_read_template_options, body), {})
    name = faults.attempt(partial(read_name, body.values), "")
    is_streamed = read_streams(body)
    faults.attempt(partial(_read_keep_alive, body), None)
    faults.check()
    members = {**sampling, **asked, "model": untagged(name)}
    request = Generate("", constraint=constraint, template_options=template_options, **members)
    return Asked(
        requests=(request,),
        is_streamed=is_streamed,
        shown={"model": name},
        ignored=(*_without_effect(body), *ignored(options)),
    )


def _read_template_options(body: Fields) -> dict[str, Any]:
    """Return what `think` tells the chat template: whether to, or how much."""
    think = body.get("think")
    if isinstance(think, bool):
        return {"enable_thinking": think}
    return effort_options(body, "think")


def _read_constraint(body: Fields) -> Constraint | None:
    """Return what `format` asks for: "json" for any object, or a JSON schema."""
    wanted = body.get("format")
    if wanted is None or wanted == "":
        return None
    if wanted == "json":
        return ANY_OBJECT
    if not isinstance(wanted, dict):
        raise body.refuse("format", '"json" or a JSON schema')
    return schema_constraint(wanted, "format")


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


def _without_effect(body: Fields) -> tuple[str, ...]:
    """Return the names of what was sent and has no effect."""
    return tuple(name for name in body.values if name in _WITHOUT_EFFECT and body.has(name))


def _check_names(body: Fields, known: Collection[str], faults: Faults) -> None:
    """Keep a fault for each name that is not known, not offered, or an option's."""
    misplaced = [name for name in NAMES if body.has(name)]
    for name in misplaced:
        faults.keep(BadInput(f"{name}: belongs into options", name, "unknown_parameter"))
    others = {name: value for name, value in body.values.items() if name not in misplaced}
    Fields(others, faults=faults).check_names((*known, *_without_effect(body)))
    for name in _NOT_OFFERED:
        if name in known and body.get(name):
            message = f"{name}: not offered here; leave it out"
            faults.keep(BadInput(message, name, "unsupported_parameter"))
