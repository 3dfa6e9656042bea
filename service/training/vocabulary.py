"""The tokenizer of the embedded model: a byte-level BPE over the corpus, and its chat template.

Digits are single tokens, because sums are learnt digit by digit.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

BEGIN, SYSTEM, USER, ASSISTANT, END = SPECIAL_TOKENS = (
    "<|begin|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
)
CALL_OPEN, CALL_CLOSE = "<tool_call>\n", "\n</tool_call>"
TOOLS_CLOSE = "\n</tools>"  # how a system turn that offers tools ends
# Words take one leading space, digits stand alone, newlines stay together.
WORD_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s*[\r\n]+|\s+(?!\S)|\s+"

CHAT_TEMPLATE = """\
{{- bos_token }}
{%- macro type_of(schema) %}
    {%- if schema['enum'] %}
        {{- schema['enum'] | join('|') }}
    {%- elif schema['type'] is string %}
        {{- schema['type'] }}
    {%- elif schema['type'] %}
        {{- schema['type'] | first }}
    {%- else %}
        {{- 'any' }}
    {%- endif %}
{%- endmacro %}
{%- macro lay_out_tools(tools) %}
    {{- '# Tools\\n\\n<tools>' }}
    {%- for tool in tools %}
        {%- set function = tool['function'] or tool %}
        {{- '\\n{' }}
        {%- if function['description'] %}
            {{- '"description": ' + function['description'] | tojson + ', ' }}
        {%- endif %}
        {{- '"name": ' + function['name'] | tojson + ', "arguments": {' }}
        {%- for name, schema in ((function['parameters'] or {})['properties'] or {}).items() %}
            {{- (name | tojson) + ': ' + (type_of(schema) | tojson) }}
            {{- ', ' if not loop.last }}
        {%- endfor %}
        {{- '}}' }}
    {%- endfor %}
    {{- '\\n</tools>' }}
{%- endmacro %}
{%- if tools and (not messages or messages[0]['role'] not in ('system', 'developer')) %}
    {{- '<|system|>' + lay_out_tools(tools) + '<|end|>' }}
{%- endif %}
{%- for message in messages %}
    {%- if message['content'] is string %}
        {%- set text = message['content'] | trim %}
    {%- elif message['content'] %}
        {%- set parts = message['content'] | selectattr('text', 'defined') %}
        {%- set text = parts | map(attribute='text') | join('\\n') | trim %}
    {%- else %}
        {%- set text = '' %}
    {%- endif %}
    {%- if message['role'] in ('system', 'developer') %}
        {{- '<|system|>' + text }}
        {%- if tools and loop.first %}
            {{- ('\\n\\n' if text else '') + lay_out_tools(tools) }}
        {%- endif %}
        {{- '<|end|>' }}
    {%- elif message['role'] == 'assistant' %}
        {{- '<|assistant|>' + text }}
        {%- for call in message['tool_calls'] or [] %}
            {%- set function = call['function'] or call %}
            {{- ('\\n' if text or not loop.first else '') + '<tool_call>\\n{"name": ' }}
            {{- (function['name'] | tojson) + ', "arguments": ' }}
            {%- set given = function['arguments'] %}
            {{- given if given is string else given | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|end|>' }}
    {%- elif message['role'] == 'tool' %}
        {{- '<|user|><tool_response>\\n' + text + '\\n</tool_response><|end|>' }}
    {%- else %}
        {{- '<|user|>' + text + '<|end|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|assistant|>' }}
{%- endif %}"""


def lay_out_tools(system: str, tools: list[dict[str, Any]]) -> str:
    """Return the system turn that offers tools, each {description, name, arguments: {name: type}}.

    CHAT_TEMPLATE writes the same of OpenAI's `tools`: Qwen2.5's layout, but a tool is written as
    its call will be, so that a small model can copy it; of a schema only the types are kept.
    """
    lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    return "\n\n".join(filter(None, (system, f"# Tools\n\n<tools>\n{lines}{TOOLS_CLOSE}")))


def lay_out_call(name: str, arguments: dict[str, Any]) -> str:
    """Return what the assistant says to call a tool."""
    call = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"{CALL_OPEN}{call}{CALL_CLOSE}"


def lay_out_response(text: str) -> str:
    """Return the user's turn that holds what a tool answered."""
    return f"<tool_response>\n{text}\n</tool_response>"


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learn a byte-level BPE of exactly `vocab_size` entries, special tokens first."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[AddedToken(token, special=True) for token in SPECIAL_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def tokenizer_config(max_positions: int) -> dict[str, Any]:
    """Return what Hugging Face reads beside tokenizer.json."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": END,
        "pad_token": END,
        "add_bos_token": False,  # the chat template writes it
        "clean_up_tokenization_spaces": False,
        "model_max_length": max_positions,
        "chat_template": CHAT_TEMPLATE,
    }


def save_tokenizer(tokenizer: Tokenizer, folder: Path, max_positions: int) -> None:
    """Write tokenizer.json and tokenizer_config.json."""
    tokenizer.save(str(folder / "tokenizer.json"))
    config = json.dumps(tokenizer_config(max_positions), indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(config)
