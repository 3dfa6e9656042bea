"""The layouts by name: where tokens, names, flags and templates may stand, one variation each."""

from __future__ import annotations

from tests.golden.tokenizer_layouts import (
    CHATML,
    FAST,
    LLAMA2,
    MARKERS,
    NEXT,
    NEXT_PIECE,
    QWEN,
    Layout,
    adds,
    bos_dict,
    entry,
    template,
    token,
)

MISTRAL, QWEN2 = {"model_type": "mistral"}, {"model_type": "qwen2"}
QWEN3 = {"model_type": "qwen3"}
CUT = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
PADDED = {
    "strategy": {"Fixed": 40},
    "direction": "Left",
    "pad_to_multiple_of": None,
    "pad_id": 1,
    "pad_type_id": 0,
    "pad_token": "<pad>",
}

LAYOUTS: dict[str, Layout] = {
    # Where added tokens stand
    "nothing beside tokenizer.json": Layout("byte_level"),
    "markers only in added_tokens_decoder": Layout(
        "byte_level", FAST | {"added_tokens_decoder": MARKERS, "chat_template": CHATML}
    ),
    "markers only in added_tokens.json": Layout(
        "byte_level",
        FAST | {"chat_template": CHATML},
        files={"added_tokens.json": {"<|im_start|>": NEXT, "<|im_end|>": NEXT + 1}},
    ),
    "markers only in additional_special_tokens": Layout(
        "byte_level", FAST | {"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]}
    ),
    "markers only in extra_special_tokens": Layout(
        "byte_level", FAST | {"extra_special_tokens": ["<|im_start|>", "<|im_end|>"]}
    ),
    "markers only in special_tokens_map.json": Layout(
        "byte_level",
        {},
        files={"special_tokens_map.json": {"additional_special_tokens": ["<|im_start|>"]}},
    ),
    "bos only in special_tokens_map.json": Layout(
        "byte_level",
        {"chat_template": "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}"},
        files={"special_tokens_map.json": {"bos_token": entry("<s>"), "eos_token": "</s>"}},
    ),
    "special_tokens_map.json without tokenizer_config.json": Layout(
        "byte_level",
        files={
            "special_tokens_map.json": {"bos_token": "<s>"},
            "chat_template.jinja": "{{ bos_token }}{{ messages[0].content }}",
        },
    ),
    "a map beside added_tokens_decoder is not read": Layout(
        "byte_level",
        {"added_tokens_decoder": MARKERS, "chat_template": "{{ bos_token }}x"},
        files={"special_tokens_map.json": {"bos_token": "<s>"}},
    ),
    "the map comes before the configuration": Layout(
        "byte_level",
        {"bos_token": "</s>", "chat_template": "{{ bos_token }}x"},
        files={"special_tokens_map.json": {"bos_token": "<s>"}},
    ),
    "flags of added_tokens_decoder replace the file's": Layout(
        "byte_level",
        FAST | {"added_tokens_decoder": {"0": entry("<s>", rstrip=True), "1": entry("</s>")}},
    ),
    "a token that strips spaces": Layout(
        "byte_level",
        FAST | {"added_tokens_decoder": {str(NEXT): entry("<|end|>", lstrip=True, rstrip=True)}},
    ),
    "a token that is a word of its own": Layout(
        "byte_level",
        FAST | {"added_tokens_decoder": {str(NEXT): entry("<|end|>", single_word=True)}},
    ),
    "a token of the vocabulary becomes an added one": Layout(
        "byte_level", FAST | {"pad_token": "the", "added_tokens_decoder": {}}
    ),
    "an added token without special": Layout(
        "byte_level", FAST, edit=adds(token(NEXT, "<tool>", special=False, normalized=True))
    ),
    "a named token that no file has": Layout("byte_level", FAST | {"pad_token": "<pad>"}),
    "a model's own named tokens": Layout(
        "byte_level",
        FAST
        | {
            "image_token": "<tool>",
            "extra_special_tokens": {"end_of_turn_token": "<|end|>"},
            "chat_template": "{{ image_token }}{{ end_of_turn_token }}{{ sep_token }}",
        },
    ),
    "a token as an object with __type": Layout(
        "byte_level", bos_dict({"__type": "AddedToken"} | entry("<s>"))
    ),
    "null is no token": Layout("byte_level", bos_dict(None)),
    "ids with a hole": Layout(
        "byte_level",
        FAST | {"added_tokens_decoder": {str(NEXT + 5): entry("<|end|>")}},
        refused=f"'<|end|>' has id {NEXT + 5} in added_tokens_decoder",
    ),
    "two ids for one token": Layout(
        "byte_level",
        FAST | {"added_tokens_decoder": {"0": entry("</s>")}},
        refused="'</s>' has id 0 in added_tokens_decoder",
    ),
    "thoughts are added tokens": Layout(
        "byte_level",
        FAST,
        edit=adds(token(NEXT, "<think>"), token(NEXT + 1, "</think>", special=False)),
    ),
    # Flags of tokenizer_config.json
    "add_bos_token is left to the file": Layout(
        "byte_level", FAST | {"add_bos_token": True, "add_eos_token": True}
    ),
    "special tokens may be split": Layout("llama3", FAST | {"split_special_tokens": True}),
    "flags without effect": Layout(
        "byte_level",
        FAST
        | {"clean_up_tokenization_spaces": True, "do_lower_case": True, "model_max_length": 4}
        | {"truncation_side": "left", "padding_side": "left", "add_prefix_space": True},
    ),
    "truncation cuts no prompt": Layout(
        "byte_level", FAST, edit=lambda d: d.update(truncation=CUT)
    ),
    "padding pads no prompt": Layout("byte_level", FAST, edit=lambda d: d.update(padding=PADDED)),
    "dropout": Layout(
        "byte_level",
        FAST,
        edit=lambda d: d["model"].update(dropout=0.5),
        refused="model.dropout is 0.5",
    ),
    # Classes and families
    "llama 3": Layout("llama3", FAST | {"chat_template": "{{ bos_token }}" + CHATML}),
    "llama 2, legacy false": Layout("sentencepiece", LLAMA2 | {"legacy": False}),
    "llama 2, legacy true": Layout("sentencepiece", LLAMA2 | {"legacy": True}),
    "llama 2, legacy null, fast name": Layout(
        "sentencepiece", LLAMA2 | {"legacy": None, "tokenizer_class": "LlamaTokenizerFast"}
    ),
    "llama 2 without a prefix": Layout(
        "sentencepiece", LLAMA2 | {"add_prefix_space": False, "legacy": False}
    ),
    "llama 2, class in config.json": Layout(
        "sentencepiece",
        {key: value for key, value in LLAMA2.items() if key != "tokenizer_class"},
        model={"model_type": "llama", "tokenizer_class": "LlamaTokenizer"},
    ),
    "llama 2 without a class": Layout(
        "sentencepiece", {k: v for k, v in LLAMA2.items() if k != "tokenizer_class"}
    ),
    "llama 2 with a pad token": Layout(
        "sentencepiece",
        LLAMA2
        | {
            "pad_token": "<pad>",
            "added_tokens_decoder": LLAMA2["added_tokens_decoder"]
            | {str(NEXT_PIECE): entry("<pad>", normalized=True)},
        },
    ),
    "llama 2 as transformers 5 saves it": Layout("metaspace", LLAMA2 | {"legacy": False}),
    "llama's class over a byte-level file": Layout(
        "llama3", FAST | {"tokenizer_class": "LlamaTokenizerFast", "legacy": True}
    ),
    "mistral, llama's class": Layout("sentencepiece", LLAMA2 | {"legacy": False}, model=MISTRAL),
    "unigram": Layout("unigram", FAST),
    "unigram under llama's class": Layout(
        "unigram", LLAMA2, refused="needs a BPE model with merges"
    ),
    "qwen2": Layout("byte_level", QWEN | {"chat_template": CHATML}, model=QWEN2),
    "qwen2, another class": Layout("llama3", QWEN | {"tokenizer_class": "X"}, model=QWEN2),
    "qwen2 without tokenizer_config.json": Layout("byte_level", model=QWEN2),
    "qwen3": Layout("byte_level", QWEN | {"chat_template": CHATML}, model=QWEN3),
    "qwen3, the file as it is": Layout(
        "llama3", QWEN | {"tokenizer_class": "PreTrainedTokenizerFast"}, model=QWEN3
    ),
    "gpt-2's class splits no digits": Layout("digits", FAST | {"tokenizer_class": "GPT2Tokenizer"}),
    "digits, the file as it is": Layout("digits", FAST),
    "a class with a pipeline of its own": Layout(
        "byte_level",
        FAST | {"tokenizer_class": "GPTNeoXTokenizer"},
        refused="tokenizer_class 'GPTNeoXTokenizer' is not supported",
    ),
    # Where templates stand
    "a template in chat_template.jinja": Layout(
        "byte_level", FAST | {"chat_template": "unused"}, files={"chat_template.jinja": CHATML}
    ),
    "named templates as an object": template("", chat_template={"default": CHATML, "rag": "x"}),
    "named templates as a list": template(
        "",
        chat_template=[
            {"name": "tool_use", "template": "x"},
            {"name": "default", "template": CHATML},
        ],
    ),
    "named templates in a folder": Layout(
        "byte_level",
        FAST,
        files={
            "chat_template.jinja": CHATML,
            "additional_chat_templates/tool_use.jinja": "x",
        },
    ),
    "named templates without a default": Layout(
        "byte_level",
        FAST | {"chat_template": {"rag": "x", "tool_use": "y"}},
        refused="chat templates are called rag, tool_use; one has to be called default",
    ),
    "a folder of templates hides the configuration's": Layout(
        "byte_level",
        FAST | {"chat_template": CHATML},
        files={"additional_chat_templates/tool_use.jinja": "x"},
        refused="one has to be called default",
    ),
    # What templates meet
    "blocks are trimmed": template(
        "  {% for m in messages %}\n    {% if true %}\n  {{ m.content }}\n    {% endif %}\n"
        "  {%- endfor %}\n\n"
    ),
    "tojson escapes nothing": template(
        "{{ messages | tojson }}{{ messages[-1] | tojson(indent=2) }}{{ {'b': 1, 'a': 'é'} | "
        "tojson(separators=(',', ':'), sort_keys=true) }}{{ 'é' | tojson(true) }}"
    ),
    "loops may break and continue": template(
        "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}"
        "{{ m.content }}{% break %}{% endfor %}"
    ),
    "generation marks": template(
        "{% set x = 'out' %}{% for m in messages %}{% generation %}{% set x = 'in' %}"
        "{{ m.content }}{{ x }}{% endgeneration %}{{ x }}{% endfor %}"
    ),
    "a namespace": template(
        "{% set ns = namespace(n=0, self='s') %}{% for m in messages %}{% set ns.n = ns.n + 1 %}"
        "{% endfor %}{{ ns.n }}{{ ns.self }}{{ dict(a=1) }}{{ dict.fromkeys('ab') }}"
    ),
    "a namespace with an underscore": template("{% set ns = namespace(_n=0) %}{{ ns._n }}"),
    "what is there and what is not": template(
        "{{ tools is none }}{{ documents is defined }}{{ unk_token is defined }}"
        "{{ additional_special_tokens is defined }}{{ strftime_now is defined }}"
        "{{ enable_thinking is defined }}{{ add_generation_prompt }}{{ date_string }}",
        additional_special_tokens=["</s>"],
    ),
    "messages cannot be changed": template("{{ messages.append(1) }}"),
    "a template that needs tools": template(
        "{% if not tools %}{{ raise_exception('tools are needed') }}{% endif %}"
    ),
    "a dictionary's method hides a key": template("{{ messages[0].items() | list | length }}"),
    "end of lines": template("a\r\nb\r{{ messages[0].content }}\r\n"),
}
