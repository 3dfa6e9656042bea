"""The files beside the weights as published models have them: every key, with values of its kind.

Taken from the models' own pages. They hold that no list of known keys refuses a real model.
"""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

_TOKEN = {"content": "<s>", "lstrip": False, "normalized": False, "rstrip": False}
_TOKEN |= {"single_word": False, "special": True}
_DECODER = {"added_tokens_decoder": {"0": _TOKEN}}
_TYPED = {"__type": "AddedToken"} | {k: v for k, v in _TOKEN.items() if k != "special"}
_UNLIMITED = {"model_max_length": 1000000000000000019884624838656}
_SENTENCEPIECE = {"legacy": False, "sp_model_kwargs": {}, "clean_up_tokenization_spaces": False}
_QWEN: Object = _DECODER | {
    "add_bos_token": False,
    "add_prefix_space": False,
    "additional_special_tokens": ["</s>"],
    "bos_token": None,
    "chat_template": "x",
    "clean_up_tokenization_spaces": False,
    "eos_token": "</s>",
    "errors": "replace",
    "model_max_length": 131072,
    "pad_token": "</s>",
    "split_special_tokens": False,
    "tokenizer_class": "Qwen2Tokenizer",
    "unk_token": None,
}
TOKENIZER_CONFIGS: dict[str, Object] = {
    "Llama 2": _DECODER
    | _SENTENCEPIECE
    | _UNLIMITED
    | {"add_bos_token": True, "add_eos_token": False, "padding_side": "right", "pad_token": None}
    | {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<s>", "chat_template": "x"}
    | {"tokenizer_class": "LlamaTokenizer"},
    "Llama 2, first release": _SENTENCEPIECE
    | _UNLIMITED
    | {"add_bos_token": True, "bos_token": _TYPED, "eos_token": _TYPED, "unk_token": _TYPED}
    | {"add_eos_token": False, "pad_token": None, "tokenizer_class": "LlamaTokenizer"},
    "Llama 3": _DECODER
    | {"bos_token": "<s>", "eos_token": "</s>", "chat_template": "x", "model_max_length": 131072}
    | {"clean_up_tokenization_spaces": True, "tokenizer_class": "PreTrainedTokenizerFast"}
    | {"model_input_names": ["input_ids", "attention_mask"]},
    "Llama 3 of unsloth": _DECODER
    | {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>", "unk_token": None}
    | {"extra_special_tokens": {}, "padding_side": "left", "model_max_length": 131072}
    | {"clean_up_tokenization_spaces": True, "tokenizer_class": "PreTrainedTokenizerFast"},
    "TinyLlama": _SENTENCEPIECE
    | _UNLIMITED
    | {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>", "padding_side": "right"}
    | {"chat_template": "x", "unk_token": "</s>", "use_default_system_prompt": False}
    | {"tokenizer_class": "LlamaTokenizer"},
    "Mistral 0.2": _DECODER
    | _SENTENCEPIECE
    | _UNLIMITED
    | {"additional_special_tokens": [], "spaces_between_special_tokens": False}
    | {"add_bos_token": True, "add_eos_token": False, "use_default_system_prompt": False}
    | {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": None}
    | {"tokenizer_class": "LlamaTokenizer", "chat_template": "x", "legacy": True},
    "Mistral 0.3": _DECODER
    | _SENTENCEPIECE
    | _UNLIMITED
    | {"add_prefix_space": True, "spaces_between_special_tokens": False, "pad_token": None}
    | {
        "chat_template": [
            {"name": "default", "template": "x"},
            {"name": "tool_use", "template": "y"},
        ]
    }
    | {"tokenizer_class": "LlamaTokenizerFast", "use_default_system_prompt": False},
    "Mistral Nemo and Small": _DECODER
    | _UNLIMITED
    | {"add_bos_token": True, "add_eos_token": False, "add_prefix_space": False, "legacy": True}
    | {"extra_special_tokens": {}, "processor_class": "PixtralProcessor", "unk_token": "</s>"}
    | {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False},
    "Qwen 2.5 and 3": _QWEN,
    "Qwen 3.5": _QWEN
    | {"audio_bos_token": "<s>", "audio_eos_token": "</s>", "audio_token": "<s>"}
    | {"image_token": "<s>", "video_token": "<s>", "vision_bos_token": "<s>"}
    | {"vision_eos_token": "<s>", "pretokenize_regex": "x"},
    "Qwen 3, saved by transformers 5": {
        "add_prefix_space": False,
        "backend": "tokenizers",
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": "</s>",
        "errors": "replace",
        "extra_special_tokens": ["</s>"],
        "is_local": True,
        "local_files_only": False,
        "model_max_length": 131072,
        "pad_token": "</s>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    },
    "SmolLM2": _DECODER
    | {"add_prefix_space": False, "additional_special_tokens": ["<s>", "</s>"], "vocab_size": 49152}
    | {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>", "unk_token": "</s>"}
    | {"chat_template": "x", "clean_up_tokenization_spaces": False, "model_max_length": 8192}
    | {"tokenizer_class": "GPT2Tokenizer"},
    "SmolLM3": _DECODER
    | {"bos_token": None, "eos_token": "</s>", "fast": False, "pad_token": "</s>"}
    | {"clean_up_tokenization_spaces": True, "extra_special_tokens": {}, "model_max_length": 131072}
    | {"model_input_names": ["input_ids"], "tokenizer_class": "PreTrainedTokenizerFast"},
    "DeepSeek-R1 distilled": _SENTENCEPIECE
    | {"bos_token": _TYPED, "eos_token": _TYPED, "pad_token": _TYPED, "unk_token": None}
    | {"add_bos_token": True, "add_eos_token": False, "legacy": True, "model_max_length": 16384}
    | {"tokenizer_class": "LlamaTokenizerFast", "chat_template": "x"},
    "Yi 1.5": _DECODER
    | _SENTENCEPIECE
    | {"add_bos_token": False, "add_eos_token": False, "padding_side": "right"}
    | {
        "split_special_tokens": False,
        "model_max_length": 4096,
        "spaces_between_special_tokens": False,
    }
    | {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>", "unk_token": "</s>"}
    | {
        "chat_template": "x",
        "tokenizer_class": "LlamaTokenizer",
        "use_default_system_prompt": False,
    },
    "Dolphin on Mistral": _DECODER
    | _SENTENCEPIECE
    | {"trust_remote_code": True, "use_fast": True, "use_default_system_prompt": False}
    | {"eos_token": "</s>", "tokenizer_class": "LlamaTokenizer"},
    "fine-tunes of axolotl and TRL": _DECODER
    | {"max_length": 2048, "pad_to_multiple_of": None, "pad_token_type_id": 0, "stride": 0}
    | {"padding_side": "left", "truncation_side": "right", "truncation_strategy": "longest_first"}
    | {"bos_token": "<s>", "eos_token": "</s>", "tokenizer_file": None, "name_or_path": "x"}
    | {"tokenizer_class": "PreTrainedTokenizer", "device_map": "auto", "max_lenght": 8192},
}
SPECIAL_TOKENS_MAPS: dict[str, Object] = {
    "Llama 2": {"bos_token": _TOKEN, "eos_token": _TOKEN, "unk_token": _TOKEN},
    "Llama 3": {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"},
    "Qwen 3": {"additional_special_tokens": ["</s>"], "eos_token": _TOKEN, "pad_token": _TOKEN},
}
_FROM = {"_from_model_config": True, "transformers_version": "4.51.0"}
GENERATION_CONFIGS: dict[str, Object] = {
    "Llama 2": _FROM
    | {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "max_length": 4096}
    | {"do_sample": True, "temperature": 0.6, "top_p": 0.9},
    "Llama 3": {"bos_token_id": 3, "do_sample": True, "eos_token_id": [4, 5], "temperature": 0.6}
    | {"top_p": 0.9, "transformers_version": "4.45.0"},
    "Mistral": _FROM | {"bos_token_id": 1, "eos_token_id": 2},
    "Qwen 2": {"bos_token_id": 3, "do_sample": False, "eos_token_id": 3, "max_new_tokens": 2048},
    "Qwen 2.5": {"bos_token_id": 3, "pad_token_id": 3, "do_sample": True, "eos_token_id": [5, 3]}
    | {"repetition_penalty": 1.05, "temperature": 0.7, "top_p": 0.8, "top_k": 20},
    "Qwen 1": {"chat_format": "chatml", "eos_token_id": 3, "pad_token_id": 3, "top_k": 0}
    | {"max_window_size": 6144, "max_new_tokens": 512, "do_sample": True, "top_p": 0.8}
    | {"repetition_penalty": 1.1, "transformers_version": "4.31.0"},
    "TinyLlama": {"bos_token_id": 1, "eos_token_id": 2, "max_length": 2048, "pad_token_id": 0},
    "unsloth": _FROM
    | {"bos_token_id": 3, "eos_token_id": [4], "pad_token_id": 6, "max_length": 131072}
    | {"temperature": 0.6, "top_p": 0.9, "do_sample": True},
    "saved by transformers 5": {"do_sample": True, "temperature": 0.6, "top_k": None, "min_p": None}
    | {"eos_token_id": [4], "cache_implementation": None, "output_attentions": False}
    | {"output_hidden_states": False, "use_cache": True},
    "saved by transformers 4, every key": {
        "num_beams": 1,
        "num_beam_groups": 1,
        "penalty_alpha": None,
        "typical_p": 1.0,
        "repetition_penalty": 1.0,
        "no_repeat_ngram_size": 0,
        "encoder_repetition_penalty": 1.0,
        "suppress_tokens": None,
        "min_length": 0,
        "num_return_sequences": 1,
        "early_stopping": False,
        "diversity_penalty": 0.0,
        "exponential_decay_length_penalty": None,
        "forced_eos_token_id": None,
        "remove_invalid_values": False,
    },
}
