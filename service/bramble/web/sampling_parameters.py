"""How a reply is sampled and where it ends: from a JSON object to members of Generate."""

from __future__ import annotations

import secrets
from typing import Any

from bramble.errors import BadInput
from bramble.model.sampling import RANGES
from bramble.web.fields import INT32_MAX, Fields, is_number, refusal, whole
from bramble.web.ollama_models import untagged
from bramble.wire.messages import Sampling

MAX_STOPS = 16  # OpenAI allows 4, but clients of local servers send their whole list
MAX_STOP_CHARACTERS = 1000
MAX_BIASES = 1024
SEEDS = 2**64
NO_LIMIT = (-1, -2)  # as max_tokens: -1 is llama.cpp's and Ollama's, -2 is Ollama's


def read_sampling(body: Fields, top_logprobs: int) -> dict[str, Any]:
    """Return the members of Generate that say how to sample, save biases, and of which model.

    The seed is drawn here if none is given, so that a resubmitted request goes on the same.
    """
    chosen = {name: value for name, value in _read_shape(body).items() if value is not None}
    if chosen.get("top_p") == 0.0:  # only the likeliest token is left
        chosen |= {"top_p": 1.0, "temperature": 0.0}
    seed = body.integer("seed", -(2**63), SEEDS - 1)
    sampling = Sampling(
        temperature=float(chosen.get("temperature", 1.0)),
        top_k=max(0, int(chosen.get("top_k", 0))),
        top_p=float(chosen.get("top_p", 1.0)),
        min_p=float(chosen.get("min_p", 0.0)),
        repetition_penalty=float(chosen.get("repetition_penalty", 1.0)),
        presence_penalty=float(chosen.get("presence_penalty", 0.0)),
        frequency_penalty=float(chosen.get("frequency_penalty", 0.0)),
        seed=secrets.randbits(63) if seed is None else seed % SEEDS,
        top_logprobs=top_logprobs,
    )
    return {
        "sampling": sampling,
        "chosen": tuple(chosen),
        "is_seeded": seed is not None,
        "model": untagged(body.text("model") or ""),
    }


def read_length(body: Fields, name: str, default: int | None = None) -> int | None:
    """Return how many tokens the reply may have; None = until the context is full."""
    if not body.has(name):
        return default
    value = whole(body.get(name))
    if type(value) is int and value in NO_LIMIT:
        return None
    if type(value) is not int or value < 1:
        raise body.refuse(name, "an integer of 1 or more, or -1 for no limit")
    return min(value, INT32_MAX)


def read_chat_length(body: Fields) -> int | None:
    old, new = read_length(body, "max_tokens"), read_length(body, "max_completion_tokens")
    if old is not None and new is not None and old != new:
        raise BadInput(
            f"max_tokens: {old} contradicts max_completion_tokens {new}; send one", "max_tokens"
        )
    return new if old is None else old


def read_stop(body: Fields) -> tuple[str, ...]:
    stop = body.get("stop")
    if stop is None:
        return ()
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or len(stops) > MAX_STOPS:
        raise body.refuse("stop", f"a string or a list of at most {MAX_STOPS}")
    for i, text in enumerate(stops):
        if not isinstance(text, str) or not 1 <= len(text) <= MAX_STOP_CHARACTERS:
            param = body.path + ("stop" if isinstance(stop, str) else f"stop[{i}]")
            raise refusal(param, text, f"a string of 1 to {MAX_STOP_CHARACTERS} characters")
    return tuple(stops)


def _read_shape(body: Fields) -> dict[str, float | None]:
    return {
        "temperature": body.number("temperature", *RANGES["temperature"]),
        "top_k": body.integer("top_k", -1, INT32_MAX),  # vLLM's clients send -1 for off
        "top_p": body.number("top_p", *RANGES["top_p"]),
        "min_p": body.number("min_p", *RANGES["min_p"]),
        "repetition_penalty": body.number("repetition_penalty", *RANGES["repetition_penalty"]),
        "presence_penalty": body.number("presence_penalty", -2.0, 2.0),
        "frequency_penalty": body.number("frequency_penalty", -2.0, 2.0),
    }


def read_logit_bias(body: Fields) -> tuple[tuple[int, float], ...]:
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
