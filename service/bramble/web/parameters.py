"""The parameters of a completion: from a JSON object to Generate messages, or BadInput.

A parameter that would change the answer and is not supported is refused by name; one at its
neutral value, or without effect on the answer, passes.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bramble.errors import BadInput
from bramble.model.sampling import RANGES
from bramble.web.conversation import read_messages
from bramble.web.dialect import MAX_CHOICES, Asked
from bramble.web.fields import INT32_MAX, Fields, is_number, refusal
from bramble.wire.messages import Generate, Sampling

MAX_STOPS = 16  # OpenAI allows 4, but clients of local servers send their whole list
MAX_STOP_CHARACTERS = 1000
MAX_TOP_LOGPROBS = 20  # as OpenAI
MAX_BIASES = 1024
LEGACY_MAX_TOKENS = 16  # the default of OpenAI's /v1/completions
_SEEDS = 2**64

_COMMON = (
    *("model", "stream", "stream_options", "max_tokens", "n", "stop", "seed", "logprobs"),
    *("temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias"),
    *("top_k", "min_p", "repetition_penalty", "ignore_eos"),  # beyond OpenAI's
)
_CHAT = (*_COMMON, "messages", "max_completion_tokens", "top_logprobs")
_TEXT = (*_COMMON, "prompt", "echo")
# They label or route a request at OpenAI and do not change the answer.
_IGNORED = ("user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention")
# Known to OpenAI's API, not supported here: the values that ask for nothing.
_NEUTRAL_CHAT: Mapping[str, tuple[Any, ...]] = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "reasoning_effort": (),
    "verbosity": (),
    "web_search_options": (),
}
_NEUTRAL_TEXT: Mapping[str, tuple[Any, ...]] = {"suffix": ("",), "best_of": (1,)}


def read_chat(document: dict[str, Any]) -> Asked:
    """Check a body of /v1/chat/completions."""
    body = Fields(document)
    _check_supported(body, _CHAT, _NEUTRAL_CHAT)
    top_logprobs = body.integer("top_logprobs", 0, MAX_TOP_LOGPROBS)
    if not body.flag("logprobs"):
        if top_logprobs is not None:
            raise BadInput("top_logprobs: needs logprobs to be true", "top_logprobs")
        top_logprobs = -1
    request = Generate(
        request="",
        messages=read_messages(body),
        **_read_sampling(body, top_logprobs or 0),
        max_tokens=_read_chat_length(body),
        stop=_read_stop(body),
        ignore_eos=body.flag("ignore_eos"),
    )
    return _ask(body, [request], [""])


def read_text(document: dict[str, Any]) -> Asked:
    """Check a body of /v1/completions."""
    body = Fields(document)
    _check_supported(body, _TEXT, _NEUTRAL_TEXT)
    top_logprobs = body.integer("logprobs", 0, MAX_TOP_LOGPROBS)
    request = Generate(
        request="",
        **_read_sampling(body, -1 if top_logprobs is None else top_logprobs),
        max_tokens=body.integer("max_tokens", 1, INT32_MAX) or LEGACY_MAX_TOKENS,
        stop=_read_stop(body),
        ignore_eos=body.flag("ignore_eos"),
    )
    prompts = _read_prompts(body)
    echoes = _read_echoes(body, prompts)
    return _ask(body, [replace(request, prompt=prompt) for prompt in prompts], echoes)


def _ask(body: Fields, requests: list[Generate], echoes: list[str]) -> Asked:
    """Repeat each request n times, each with a seed of its own, in OpenAI's order of indices."""
    n = body.integer("n", 1, MAX_CHOICES) or 1
    if n * len(requests) > MAX_CHOICES:
        raise BadInput(
            f"n: {n} replies to each of {len(requests)} prompts; at most {MAX_CHOICES} in all", "n"
        )
    is_streamed = body.flag("stream")
    return Asked(
        requests=tuple(_with_seed(request, i) for request in requests for i in range(n)),
        is_streamed=is_streamed,
        choices_per_prompt=n,
        shown={
            "includes_usage": _read_includes_usage(body, is_streamed),
            "echoes": [echo for echo in echoes for _ in range(n)],
        },
    )


def _with_seed(request: Generate, offset: int) -> Generate:
    seed = (request.sampling.seed + offset) % _SEEDS
    return replace(request, sampling=replace(request.sampling, seed=seed))


def _check_supported(
    body: Fields, supported: tuple[str, ...], neutral: Mapping[str, tuple[Any, ...]]
) -> None:
    for name, value in body.values.items():
        if value is not None and name in neutral:
            if not any(type(value) is type(v) and value == v for v in neutral[name]):
                message = f"{name}: not supported by this server; leave it out"
                raise BadInput(message, name, "unsupported_parameter")
        elif name not in neutral and name not in _IGNORED:
            Fields({name: value}).check_names(supported)


def _read_sampling(body: Fields, top_logprobs: int) -> dict[str, Any]:
    """Return the members of Generate that say how to sample, and of which model.

    The seed is drawn here if none is given, so that a resubmitted request goes on the same.
    """
    chosen = {name: value for name, value in _read_shape(body).items() if value is not None}
    seed = _read_seed(body)
    sampling = Sampling(
        temperature=float(chosen.get("temperature", 1.0)),
        top_k=max(0, int(chosen.get("top_k", 0))),
        top_p=float(chosen.get("top_p", 1.0)),
        min_p=float(chosen.get("min_p", 0.0)),
        repetition_penalty=float(chosen.get("repetition_penalty", 1.0)),
        presence_penalty=float(chosen.get("presence_penalty", 0.0)),
        frequency_penalty=float(chosen.get("frequency_penalty", 0.0)),
        logit_bias=_read_logit_bias(body),
        seed=secrets.randbits(63) if seed is None else seed % _SEEDS,
        top_logprobs=top_logprobs,
    )
    return {
        "sampling": sampling,
        "chosen": tuple(chosen),
        "is_seeded": seed is not None,
        "model": body.text("model") or "",
    }


def _read_seed(body: Fields) -> int | None:
    return body.integer("seed", -(2**63), 2**64 - 1)


def _read_shape(body: Fields) -> dict[str, float | None]:
    return {
        "temperature": body.number("temperature", *RANGES["temperature"]),
        "top_k": body.integer("top_k", -1, INT32_MAX),  # vLLM's clients send -1 for off
        "top_p": _above_zero(body, "top_p", body.number("top_p", *RANGES["top_p"])),
        "min_p": body.number("min_p", *RANGES["min_p"]),
        "repetition_penalty": body.number("repetition_penalty", *RANGES["repetition_penalty"]),
        "presence_penalty": body.number("presence_penalty", -2.0, 2.0),
        "frequency_penalty": body.number("frequency_penalty", -2.0, 2.0),
    }


def _above_zero(body: Fields, name: str, value: float | None) -> float | None:
    if value is not None and value <= 0.0:
        raise body.refuse(name, "a number above 0")
    return value


def _read_logit_bias(body: Fields) -> tuple[tuple[int, float], ...]:
    biases = body.get("logit_bias")
    if biases is None:
        return ()
    if not isinstance(biases, dict) or len(biases) > MAX_BIASES:
        raise body.refuse("logit_bias", f"an object of at most {MAX_BIASES} token ids")
    return tuple(_read_bias(token, bias) for token, bias in biases.items())


def _read_bias(token: str, bias: Any) -> tuple[int, float]:
    is_id = token.isascii() and token.isdigit() and len(token) <= 10
    if not is_id or int(token) > INT32_MAX:
        raise refusal("logit_bias", token, "token ids as names")
    if not is_number(bias) or not -100.0 <= bias <= 100.0:
        raise refusal("logit_bias", bias, "biases from -100 to 100")
    return int(token), float(bias)


def _read_chat_length(body: Fields) -> int | None:
    old = body.integer("max_tokens", 1, INT32_MAX)
    new = body.integer("max_completion_tokens", 1, INT32_MAX)
    if old is not None and new is not None and old != new:
        raise BadInput(
            f"max_tokens: {old} contradicts max_completion_tokens {new}; send one", "max_tokens"
        )
    return new if old is None else old


def _read_stop(body: Fields) -> tuple[str, ...]:
    stop = body.get("stop")
    if stop is None:
        return ()
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or len(stops) > MAX_STOPS:
        raise body.refuse("stop", f"a string or a list of at most {MAX_STOPS}")
    for i, text in enumerate(stops):
        if not isinstance(text, str) or not 1 <= len(text) <= MAX_STOP_CHARACTERS:
            param = "stop" if isinstance(stop, str) else f"stop[{i}]"
            raise refusal(param, text, f"a string of 1 to {MAX_STOP_CHARACTERS} characters")
    return tuple(stops)


def _read_includes_usage(body: Fields, is_streamed: bool) -> bool:
    options = body.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise body.refuse("stream_options", "an object")
    if not is_streamed:
        raise BadInput("stream_options: only allowed when stream is true", "stream_options")
    fields = Fields(options, "stream_options.")
    fields.check_names(("include_usage", "include_obfuscation"))
    fields.flag("include_obfuscation")  # padding against eavesdroppers: not added
    return fields.flag("include_usage")


def _read_prompts(body: Fields) -> list[str | list[int]]:
    prompt = body.get("prompt")
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list):
        if len(prompt) > MAX_CHOICES:
            raise body.refuse("prompt", f"at most {MAX_CHOICES} prompts")
        return [_read_prompt(item, f"prompt[{i}]") for i, item in enumerate(prompt)]
    return [_read_prompt(prompt, "prompt")]


def _read_prompt(prompt: Any, param: str) -> str | list[int]:
    if isinstance(prompt, str) and prompt:
        return prompt
    if not isinstance(prompt, list) or not prompt:
        raise refusal(param, prompt, "a string or a list of token ids, not empty")
    for i, token in enumerate(prompt):
        if type(token) is not int or not 0 <= token <= INT32_MAX:
            raise refusal(f"{param}[{i}]", token, "a token id")
    return prompt


def _read_echoes(body: Fields, prompts: list[str | list[int]]) -> list[str]:
    """Texts are repeated here; token ids would need the tokenizer, logprobs a second pass."""
    if not body.flag("echo"):
        return [""] * len(prompts)
    if body.has("logprobs"):
        raise BadInput("echo: not supported together with logprobs", "echo")
    texts = [prompt for prompt in prompts if isinstance(prompt, str)]
    if len(texts) != len(prompts):
        raise BadInput("echo: not supported for prompts of token ids; send text", "echo")
    return texts
