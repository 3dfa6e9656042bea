"""Which parameters of OpenAI's APIs are obeyed, which have no effect here, which are refused.

One that would change the reply and is not offered is refused by name, save at the values that ask
for nothing. One without effect on the reply is accepted and named in the header X-Bramble-Ignored.
What is in none of the lists is unknown. A parameter that is null is absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bramble.errors import BadInput
from bramble.web.faults import Faults
from bramble.web.fields import shown, unknown, whole

# ------------------------------------------------------------------------------------- obeyed

_COMMON = (
    *("model", "stream", "stream_options", "max_tokens", "n", "stop", "seed", "logprobs"),
    *("temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias"),
    # beyond OpenAI's:
    *("top_k", "min_p", "repetition_penalty", "ignore_eos"),
    *("guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs"),
    "response_format",
)
CHAT = (
    *(*_COMMON, "messages", "max_completion_tokens", "top_logprobs"),
    *("tools", "tool_choice", "parallel_tool_calls", "reasoning_effort"),
    *("reasoning", "think", "thinking", "enable_thinking", "chat_template_kwargs"),
    "reasoning_format",
)
TEXT = (*_COMMON, "prompt", "echo")

# What other servers call them.
ALIASES = {
    "num_predict": "max_tokens",
    "n_predict": "max_tokens",
    "max_new_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "repeat_penalty": "repetition_penalty",
    "stop_sequences": "stop",
    "random_seed": "seed",
    "json_schema": "guided_json",
    "regex": "guided_regex",
}

# ----------------------------------------------------------------------- without effect here

IGNORED = frozenset(
    (
        # They label, route, price or store a request elsewhere.
        *("user", "metadata", "safety_identifier", "store", "service_tier", "priority"),
        *("prompt_cache_key", "prompt_cache_retention", "cache_salt", "request_id", "provider"),
        *("session_id", "chat_id", "verbosity", "prediction", "guided_decoding_backend"),
        # They lay out a server that runs on one machine.
        *("num_ctx", "num_keep", "num_batch", "num_gpu", "main_gpu", "num_thread", "low_vram"),
        *("use_mmap", "use_mlock", "numa", "f16_kv", "vocab_only", "keep_alive"),
        *("ttl", "draft_model", "n_keep", "cache_prompt", "id_slot", "slot_id", "n_cache_reuse"),
        # They ask for figures beside the reply.
        *("timings_per_token", "return_progress", "return_tokens", "return_token_ids", "usage"),
    )
)

# ------------------------------------- would change the reply: refused save at neutral values

_USE_TOOLS = "this older form of tools is not offered; send tools and tool_choice"
_REFUSED: Mapping[str, tuple[Any, ...]] = {
    "functions": ([],),
    "function_call": ("none", "auto"),
    "echo": (False,),
    "audio": (),
    "modalities": (["text"],),
    "web_search_options": (),
    "grammar": ("",),
    "ebnf": ("",),
    "chat_template": (),
    "documents": ([],),
    "add_generation_prompt": (True,),
    "continue_final_message": (False,),
    "include_reasoning": (True,),
    "separate_reasoning": (True,),
    "stream_reasoning": (True,),
    "reasoning_budget": (-1,),
    "suffix": ("",),
    "best_of": (1,),
    "min_tokens": (0,),
    "stop_token_ids": ([],),
    "allowed_token_ids": (),
    "bad_words": ([],),
    "include_stop_str_in_output": (False,),
    "skip_special_tokens": (True,),
    "add_special_tokens": (False,),
    "spaces_between_special_tokens": (True,),
    "return_tokens_as_token_ids": (False,),
    "prompt_logprobs": (),
    "safe_prompt": (False,),
    "no_stop_trim": (False,),
    "truncate_prompt_tokens": (),
    "use_beam_search": (False,),
    "length_penalty": (1,),
    "repeat_last_n": (-1,),
    "penalty_last_n": (-1,),
    "penalize_nl": (False,),
    "typical_p": (1,),
    "tfs_z": (1,),
    "top_a": (0,),
    "mirostat": (0,),
    "mirostat_mode": (0,),
    "dynatemp_range": (0,),
    "dry_multiplier": (0,),
    "xtc_probability": (0,),
    "samplers": (),
    "n_probs": (0,),
    "min_keep": (0,),
    "t_max_predict_ms": (0,),
}
# Settings of a sampler that is off, as the one beside them says.
_OF_REFUSED = frozenset(
    (
        *("mirostat_tau", "mirostat_eta", "dynatemp_exponent", "xtc_threshold"),
        *("dry_base", "dry_allowed_length", "dry_penalty_last_n", "dry_sequence_breakers"),
    )
)
_HINTS = {
    "functions": _USE_TOOLS,
    "function_call": _USE_TOOLS,
    "grammar": "GBNF is not offered; send guided_grammar with a Lark grammar, or guided_json",
    "ebnf": "EBNF is not offered; send guided_grammar with a Lark grammar, or guided_json",
}


def sift(
    document: dict[str, Any], names: tuple[str, ...], faults: Faults
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return what is obeyed, by its own names, and the names of what has no effect.

    names  CHAT or TEXT
    """
    obeyed: dict[str, Any] = {}
    ignored: list[str] = []
    for name, value in document.items():
        own_name = ALIASES.get(name, name)
        if faults.is_full:
            break
        if value is None:
            continue
        if own_name in names:
            _obey(obeyed, name, own_name, value, faults)
        elif name in IGNORED or name in _OF_REFUSED:
            ignored.append(name)
        elif name in _REFUSED:
            if not any(_is_same(value, neutral) for neutral in _REFUSED[name]):
                faults.keep(_refuse(name, value))
        else:
            faults.keep(unknown(name, name, names))
    return obeyed, tuple(ignored)


def _obey(obeyed: dict[str, Any], name: str, own_name: str, value: Any, faults: Faults) -> None:
    if own_name in obeyed and not _is_same(obeyed[own_name], value):
        other = f"{own_name} {shown(obeyed[own_name])}"
        faults.keep(BadInput(f"{name}: {shown(value)} contradicts {other}; send one", name))
    obeyed.setdefault(own_name, value)


def _refuse(name: str, value: Any) -> BadInput:
    hint = _HINTS.get(name, "it would change the reply and is not offered here; leave it out")
    return BadInput(f"{name}: got {shown(value)}; {hint}", name, "unsupported_parameter")


def _is_same(value: Any, other: Any) -> bool:
    """Compare as JSON does: 1 and 1.0 are one number, and true is none."""
    return whole(value) == whole(other) and isinstance(value, bool) is isinstance(other, bool)
