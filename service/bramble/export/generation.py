"""generation_config.json: every key is obeyed, or changes nothing here, or is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bramble.errors import BadInput
from bramble.export.config_file import plain
from bramble.model.sampling import RANGES, check_defaults

FILE = "generation_config.json"
SAMPLING = ("do_sample", *RANGES)
_TOKEN_IDS = ("bos_token_id", "eos_token_id")
# They would change the reply and are not supported: the values that ask for nothing
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "num_beams": (1,),
    "num_beam_groups": (1,),
    "diversity_penalty": (0,),
    "constraints": ([],),
    "force_words_ids": ([],),
    "penalty_alpha": (0,),
    "typical_p": (1,),
    "epsilon_cutoff": (0,),
    "eta_cutoff": (0,),
    "top_h": (),
    "dola_layers": (),
    "guidance_scale": (1,),
    "encoder_repetition_penalty": (1,),
    "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "bad_words_ids": ([],),
    "suppress_tokens": ([],),
    "begin_suppress_tokens": ([],),
    "sequence_bias": ([], {}),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "exponential_decay_length_penalty": (),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "max_time": (),
    "stop_strings": ([],),
    "token_healing": (False,),
    "watermarking_config": ({},),
    "is_assistant": (False,),
}
_LIMIT = "limits one call of generate(); here the request's max_tokens and the context do"
_BEAMS = "of beam search, which num_beams 1 switches off"
_SPEED = "how tokens are computed or guessed, not which"
_OUTPUT = "what generate() returns beside the tokens"
_OTHERS = "read by nothing in transformers: written by a library or a model's own chat code"
# Key → why it changes nothing
HARMLESS: Mapping[str, str] = {
    "max_length": _LIMIT,
    "max_new_tokens": _LIMIT,
    "num_return_sequences": "a request's n says it",
    "pad_token_id": "only batches are padded",
    "decoder_start_token_id": "of models with an encoder",
    "length_penalty": _BEAMS,
    "early_stopping": _BEAMS,
    "low_memory": _BEAMS,
    "renormalize_logits": "the sampler's probabilities always sum to 1",
    "remove_invalid_values": "replaces numbers that are not finite, which end a step here",
    "use_cache": _SPEED,
    "cache_implementation": _SPEED,
    "cache_config": _SPEED,
    "max_cache_len": _SPEED,
    "return_legacy_cache": _SPEED,
    "prefill_chunk_size": _SPEED,
    "compile_config": _SPEED,
    "disable_compile": _SPEED,
    "continuous_batching_config": _SPEED,
    "assistant_confidence_threshold": _SPEED,
    "assistant_early_exit": _SPEED,
    "assistant_ensemble_weight": _SPEED,
    "assistant_lookbehind": _SPEED,
    "num_assistant_tokens": _SPEED,
    "num_assistant_tokens_schedule": _SPEED,
    "prompt_lookup_num_tokens": _SPEED,
    "max_matching_ngram_size": _SPEED,
    "target_lookbehind": _SPEED,
    "speculation_type": _SPEED,
    "use_mtp": _SPEED,
    "output_attentions": _OUTPUT,
    "output_hidden_states": _OUTPUT,
    "output_logits": _OUTPUT,
    "output_scores": _OUTPUT,
    "return_dict_in_generate": _OUTPUT,
    "transformers_version": "who wrote the file",
    "_from_model_config": "who wrote the file",
    "_commit_hash": "who wrote the file",
    "_original_object_hash": "who wrote the file",
    "trust_remote_code": "there is no code to run here",
    "chat_format": _OTHERS,
    "max_window_size": _OTHERS,
    "user_token_id": _OTHERS,
    "assistant_token_id": _OTHERS,
    "attn_implementation": _SPEED,
}


def read_defaults(document: Mapping[str, Any]) -> dict[str, Any]:
    """The sampling defaults of generation_config.json, which are what the author wrote there.

    Raises BadInput that names a key and its value: one that is unknown, that would change the
    reply in a way that is not supported, or that no request could be sampled with.
    """
    for key, value in document.items():
        _check(key, value)
    defaults = {key: document[key] for key in SAMPLING if document.get(key) is not None}
    check_defaults(defaults, FILE)
    return defaults


def _check(key: str, value: Any) -> None:
    if key in SAMPLING or key in _TOKEN_IDS or key in HARMLESS:
        return
    if key not in NEUTRAL:
        raise BadInput(
            f"{FILE}: {plain(key)} is {_short(value)}, and this key is not known; "
            "if it changes nothing, remove it"
        )
    allowed = NEUTRAL[key]
    if value is not None and not any(_is_same(value, one) for one in allowed):
        need = " or ".join([*map(repr, allowed), "null"])
        raise BadInput(
            f"{FILE}: {key} is {_short(value)}, which is not supported: the reply would be another "
            f"one; supported is {need}: change it there if the model may be served without"
        )


def _is_same(value: Any, neutral: Any) -> bool:
    """1 and 1.0 are the same, 1 and true are not."""
    return bool(value == neutral) and isinstance(value, bool) == isinstance(neutral, bool)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
