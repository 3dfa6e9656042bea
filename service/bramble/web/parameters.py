"""The parameters of OpenAI's completions: from a JSON object to Generate messages, or BadInput.

All that is wrong is told in one error. Which parameters there are is in `rules.py`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from bramble.errors import BadInput
from bramble.web.constraints import read_constraint
from bramble.web.conversation import read_messages
from bramble.web.dialect import MAX_CHOICES, Asked
from bramble.web.faults import Faults
from bramble.web.fields import INT32_MAX, Fields, refusal, whole
from bramble.web.rules import CHAT, TEXT, sift
from bramble.web.sampling_parameters import (
    SEEDS,
    read_chat_length,
    read_length,
    read_logit_bias,
    read_sampling,
    read_stop,
)
from bramble.web.thinking import read_inline, read_template_options
from bramble.web.tools import Tools, read_tools
from bramble.wire.messages import Generate

MAX_TOP_LOGPROBS = 20  # as OpenAI
LEGACY_MAX_TOKENS = 16  # the default of OpenAI's /v1/completions


def read_chat(document: dict[str, Any]) -> Asked:
    """Check a body of /v1/chat/completions."""
    faults = Faults()
    values, ignored = sift(document, CHAT, faults)
    body, attempt = Fields(values, faults=faults), faults.attempt
    messages = attempt(partial(read_messages, body, faults), [])
    tools = attempt(partial(read_tools, body, faults), Tools())
    top_logprobs = attempt(partial(_read_top_logprobs, body), None)
    request = Generate(
        request="",
        messages=messages,
        **_read_common(body, -1 if top_logprobs is None else top_logprobs, faults),
        max_tokens=attempt(partial(read_chat_length, body), None),
        tools=tools.tools,
        tool_choice=tools.choice,
        parallel_calls=tools.has_parallel,
        template_options=attempt(partial(read_template_options, body), {}),
    )
    has_inline_thoughts = attempt(partial(read_inline, body), None)
    asked = _ask(body, [request], [""], faults)
    return replace(asked, ignored=ignored, has_inline_thoughts=has_inline_thoughts)


def read_text(document: dict[str, Any]) -> Asked:
    """Check a body of /v1/completions."""
    faults = Faults()
    values, ignored = sift(document, TEXT, faults)
    body, attempt = Fields(values, faults=faults), faults.attempt
    prompts = attempt(partial(_read_prompts, body), [])
    echoes = attempt(partial(_read_echoes, body, prompts), [])
    top_logprobs = body.integer("logprobs", 0, MAX_TOP_LOGPROBS)
    request = Generate(
        request="",
        **_read_common(body, -1 if top_logprobs is None else top_logprobs, faults),
        max_tokens=attempt(partial(read_length, body, "max_tokens", LEGACY_MAX_TOKENS), None),
    )
    requests = [replace(request, prompt=prompt) for prompt in prompts]
    return replace(_ask(body, requests, echoes, faults), ignored=ignored)


def _read_common(body: Fields, top_logprobs: int, faults: Faults) -> dict[str, Any]:
    """Return the members of Generate that both have."""
    members = read_sampling(body, top_logprobs)
    biases = faults.attempt(partial(read_logit_bias, body), ())
    return members | {
        "sampling": replace(members["sampling"], logit_bias=biases),
        "stop": faults.attempt(partial(read_stop, body), ()),
        "ignore_eos": body.flag("ignore_eos"),
        "constraint": faults.attempt(partial(read_constraint, body), None),
    }


def _ask(body: Fields, requests: list[Generate], echoes: list[str], faults: Faults) -> Asked:
    """Repeat each request n times, each with a seed of its own, in OpenAI's order of indices.

    Raises BadInput with all the faults.
    """
    n = faults.attempt(partial(_read_count, body, len(requests)), 1)
    is_streamed = body.flag("stream")
    includes_usage = faults.attempt(partial(_read_includes_usage, body, is_streamed), False)
    faults.check()
    return Asked(
        requests=tuple(_with_seed(request, i) for request in requests for i in range(n)),
        is_streamed=is_streamed,
        choices_per_prompt=n,
        shown={
            "includes_usage": includes_usage,
            "echoes": [echo for echo in echoes for _ in range(n)],
        },
    )


def _read_count(body: Fields, num_prompts: int) -> int:
    n = body.integer("n", 1, MAX_CHOICES) or 1
    if n * num_prompts > MAX_CHOICES:
        raise BadInput(
            f"n: {n} replies to each of {num_prompts} prompts; at most {MAX_CHOICES} in all", "n"
        )
    return n


def _with_seed(request: Generate, offset: int) -> Generate:
    seed = (request.sampling.seed + offset) % SEEDS
    return replace(request, sampling=replace(request.sampling, seed=seed))


def _read_top_logprobs(body: Fields) -> int | None:
    """Return how many likely tokens are shown beside the chosen one; None = not even that."""
    count = body.integer("top_logprobs", 0, MAX_TOP_LOGPROBS)
    if body.flag("logprobs"):
        return count or 0
    if count:
        raise BadInput("top_logprobs: needs logprobs to be true", "top_logprobs")
    return None


def _read_includes_usage(body: Fields, is_streamed: bool) -> bool:
    options = body.object("stream_options")
    if options is None:
        return False
    if not is_streamed:
        raise BadInput("stream_options: only allowed when stream is true", "stream_options")
    # The others add to what a stream says beside its text: padding, or figures with each chunk.
    options.check_names(("include_usage", "include_obfuscation", "continuous_usage_stats"))
    return options.flag("include_usage")


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
    tokens = [whole(token) for token in prompt]
    for i, token in enumerate(tokens):
        if type(token) is not int or not 0 <= token <= INT32_MAX:
            raise refusal(f"{param}[{i}]", token, "a token id")
    return tokens


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
