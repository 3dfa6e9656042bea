"""Whether and how much a model thinks, in the words of several clients, as template options."""

from __future__ import annotations

from typing import Any

from bramble.errors import BadInput
from bramble.web.fields import Fields

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
# Where thoughts stand, in the words of llama.cpp and of Groq: within the text or beside it
_INLINE = {"none": True, "raw": True, "deepseek": False, "parsed": False}
# What the template is given anyway; a client cannot replace it.
_OWN = ("messages", "tools", "documents", "add_generation_prompt", "continue_final_message")
_OWN_TEXTS = ("bos_token", "eos_token", "raise_exception", "strftime_now")


def read_template_options(body: Fields) -> dict[str, Any]:
    """Return what the chat template is told; chat_template_kwargs has the last word."""
    options: dict[str, Any] = {}
    options |= effort_options(body, "reasoning_effort")
    if (reasoning := body.object("reasoning")) is not None:
        options |= _read_reasoning(reasoning)
    if isinstance(body.get("think"), str):
        options |= effort_options(body, "think")
    else:
        options |= _switch(body.choice("think"))
    options |= _switch(body.choice("enable_thinking"))
    if (thinking := body.object("thinking")) is not None:
        options |= _read_thinking(thinking)
    return options | _read_kwargs(body)


def effort_options(body: Fields, name: str) -> dict[str, Any]:
    """Return the options of an effort. Raises BadInput."""
    effort = body.get(name)
    if effort is None:
        return {}
    if effort not in EFFORTS:
        raise body.refuse(name, f"one of {', '.join(EFFORTS)}")
    return {"reasoning_effort": effort, "enable_thinking": effort != "none"}


def read_inline(body: Fields) -> bool | None:
    """Return whether thoughts stand in the text; None = as the setting says."""
    way = body.get("reasoning_format")
    if way is None or way == "auto":
        return None
    if not isinstance(way, str) or way not in _INLINE:
        raise body.refuse("reasoning_format", f"auto or one of {', '.join(_INLINE)}")
    return _INLINE[way]


def _switch(is_on: bool | None) -> dict[str, Any]:
    return {} if is_on is None else {"enable_thinking": is_on}


def _read_reasoning(reasoning: Fields) -> dict[str, Any]:
    reasoning.check_names(("effort", "enabled", "summary", "generate_summary", "exclude"))
    if reasoning.flag("exclude"):
        path = reasoning.path + "exclude"
        raise BadInput(f"{path}: got true; thoughts are always shown; leave it out", path)
    return effort_options(reasoning, "effort") | _switch(reasoning.choice("enabled"))


def _read_thinking(thinking: Fields) -> dict[str, Any]:
    thinking.check_names(("type", "clear_thinking"))
    kinds = {"enabled": True, "disabled": False}
    kind = thinking.get("type")
    if not isinstance(kind, str) or kind not in kinds:
        raise thinking.refuse("type", "enabled or disabled")
    return _switch(kinds[kind])


def _read_kwargs(body: Fields) -> dict[str, Any]:
    options = body.object("chat_template_kwargs")
    if options is None:
        return {}
    for name in (*_OWN, *_OWN_TEXTS):
        if options.has(name):
            path = options.path + name
            raise BadInput(f"{path}: it is the server's to set; leave it out", path)
    return {name: value for name, value in options.values.items() if value is not None}
