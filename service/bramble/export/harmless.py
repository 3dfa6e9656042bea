"""The keys of config.json that change nothing about what a model computes, each with its reason.

A key that is neither here nor read by a family's reader is refused: some later release of the
family, or a fork of it, computes something else because of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from bramble.errors import BadInput
from bramble.export.config_file import ConfigFile, plain, shown

WHERE_FROM = "says where the file came from"
TRAINING = "is used in training alone"
RETURNED = "decides what a call returns beside the logits"
KERNEL = "chooses the kernels that compute the same"
LABELS = "names a classifier's labels"
TOKENS = "is about text: export reads the tokens' part of the settings by itself"
LENGTH = "is a limit that nothing computes with; max_position_embeddings is the model's"
PRECISION = "says how the weights are stored, which the files say of themselves"

# Whatever their values are
ANY: Mapping[str, str] = MappingProxyType(
    {
        "_name_or_path": WHERE_FROM,
        "name_or_path": WHERE_FROM,
        "_commit_hash": WHERE_FROM,
        "transformers_version": WHERE_FROM,
        "unsloth_version": WHERE_FROM,
        "unsloth_fixed": WHERE_FROM,
        "is_llama_config": WHERE_FROM,
        "transformers.js_config": "is for browsers",
        "attention_dropout": TRAINING,
        "hidden_dropout": TRAINING,
        "initializer_range": TRAINING,
        "gradient_checkpointing": TRAINING,
        "pretraining_tp": "cuts sums in pieces, whose sum is the same",
        "use_cache": "recomputes what a cache would hold, if false",
        "torchscript": RETURNED,
        "return_dict": RETURNED,
        "use_return_dict": RETURNED,
        "return_dict_in_generate": RETURNED,
        "output_attentions": RETURNED,
        "output_hidden_states": RETURNED,
        "output_scores": RETURNED,
        "_attn_implementation": KERNEL,
        "_attn_implementation_autoset": KERNEL,
        "attn_implementation": KERNEL,
        "_flash_attn_2_enabled": KERNEL,
        "id2label": LABELS,
        "label2id": LABELS,
        "num_labels": LABELS,
        "problem_type": LABELS,
        "finetuning_task": LABELS,
        "tokenizer_class": TOKENS,
        "bos_token_id": TOKENS,
        "eos_token_id": TOKENS,
        "pad_token_id": TOKENS,
        "unk_token_id": TOKENS,
        "sep_token_id": TOKENS,
        "max_length": LENGTH,
        "min_length": LENGTH,
        "max_new_tokens": LENGTH,
        "model_max_length": LENGTH,
        "max_sequence_length": LENGTH,
        "max_seq_len": LENGTH,
        "tokenizer_model_max_length": LENGTH,
        "tokenizer_padding_side": TOKENS,
        "is_decoder": "is of models that are also encoders",
        "tf_legacy_loss": TRAINING,
    }
)
_UNUSED = "is of other models, and off"
_SAMPLING = "is a default of sampling, which belongs in generation_config.json"
_DTYPES = ("float32", "float16", "bfloat16", "auto", None)

# Only at these values
ONLY: Mapping[str, tuple[tuple[Any, ...], str]] = MappingProxyType(
    {
        "torch_dtype": (_DTYPES, PRECISION),
        "dtype": (_DTYPES, PRECISION),
        "use_bfloat16": ((False, True), PRECISION),
        "is_encoder_decoder": ((False,), _UNUSED),
        "add_cross_attention": ((False,), _UNUSED),
        "cross_attention_hidden_size": ((None,), _UNUSED),
        "tie_encoder_decoder": ((False,), _UNUSED),
        "chunk_size_feed_forward": ((0,), _UNUSED),
        "pruned_heads": (({}, None), _UNUSED),
        "prefix": ((None, ""), _UNUSED),
        "task_specific_params": ((None, {}), _UNUSED),
        "sliding_window": ((None,), _UNUSED),
        "use_sliding_window": ((False,), _UNUSED),
        "attention_bias": ((False,), _UNUSED),
        "mlp_bias": ((False,), _UNUSED),
        "layer_types": ((None,), "makes it a Ministral, whose layers differ"),
        "use_mrope": ((False,), _UNUSED),
        "rope_interleaved": ((False,), _UNUSED),
        "do_sample": ((False, None), _SAMPLING),
        "temperature": ((1.0, None), _SAMPLING),
        "top_k": ((50, None), _SAMPLING),
        "top_p": ((1.0, None), _SAMPLING),
        "typical_p": ((1.0, None), _SAMPLING),
        "repetition_penalty": ((1.0, None), _SAMPLING),
        "length_penalty": ((1.0, None), _SAMPLING),
        "diversity_penalty": ((0.0, None), _SAMPLING),
        "encoder_no_repeat_ngram_size": ((0, None), _SAMPLING),
        "no_repeat_ngram_size": ((0, None), _SAMPLING),
        "num_beams": ((1, None), _SAMPLING),
        "num_beam_groups": ((1, None), _SAMPLING),
        "num_return_sequences": ((1, None), _SAMPLING),
        "early_stopping": ((False, None), _SAMPLING),
        "remove_invalid_values": ((False, None), _SAMPLING),
        "bad_words_ids": ((None,), _SAMPLING),
        "suppress_tokens": ((None,), _SAMPLING),
        "begin_suppress_tokens": ((None,), _SAMPLING),
        "forced_bos_token_id": ((None,), _SAMPLING),
        "forced_eos_token_id": ((None,), _SAMPLING),
        "decoder_start_token_id": ((None,), _SAMPLING),
        "exponential_decay_length_penalty": ((None,), _SAMPLING),
    }
)


def check_rest(config: ConfigFile, architecture: str) -> None:
    """Raises BadInput for a key that nobody read and that may change what the model computes."""
    for key in sorted(set(config.document) - config.read - set(ANY)):
        found = config.document[key]
        if key not in ONLY:
            raise BadInput(
                f"config.json: {plain(key)} is {shown(found)}, a setting that is not known for "
                f"{architecture}, so it may be another model; remove the key if it changes nothing"
            )
        allowed, reason = ONLY[key]
        if not any(_is_same(found, each) for each in allowed):
            raise BadInput(
                f"config.json: {key} is {shown(found)}; of {architecture}, Bramble computes "
                f"{' or '.join(map(shown, allowed))}: this key {reason}"
            )


def _is_same(found: Any, allowed: Any) -> bool:
    """1 is 1.0, and neither is true."""
    return found == allowed and isinstance(found, bool) == isinstance(allowed, bool)
