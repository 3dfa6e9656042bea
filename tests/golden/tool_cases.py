"""Chat templates with tools, in the ways in which published models lay them out, and conversations.

The templates are written for these tests; what they share with published ones is how tools, calls
and results are passed and where they stand. make_tool_goldens.py has transformers lay them out.
"""

from __future__ import annotations

import json
from typing import Any

from tests.golden.tokenizer_layouts import Layout

Object = dict[str, Any]

# As Qwen 2.5: tools in the system message, calls and results between tags, results as user turns
HERMES = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}{{- messages[0]['content'] + '\\n' }}{%- endif %}
    {{- "Functions:\\n<tools>" }}
    {%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}
    {{- "\\n</tools>\\nWrite <tool_call>\\n{\\"name\\": <name>, \\"arguments\\": <object>}" }}
    {{- "\\n</tool_call><|im_end|>\\n" }}
{%- elif messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == "tool" %}
        {%- if loop.index0 == 0 or messages[loop.index0 - 1].role != "tool" %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != "tool" %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- elif message.role == "assistant" and message.tool_calls %}
        {{- '<|im_start|>assistant' }}
        {%- if message.content %}{{- '\\n' + message.content }}{%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' }}{{- tool_call.name }}{{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}{{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role != "system" or not loop.first %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

# As Qwen 3: a thought is kept for the turn it belongs to, and may be turned off
THINKING = (
    HERMES.replace(
        "{%- for message in messages %}\n",
        "{%- set ns = namespace(last=messages | length - 1) %}\n"
        "{%- for message in messages %}\n"
        "    {%- if message.role == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}\n"
        "{%- endfor %}\n"
        "{%- for message in messages %}\n"
        "    {%- set reasoning = message.reasoning_content or '' %}\n",
        1,
    )
    .replace(
        "        {{- '<|im_start|>assistant' }}\n",
        "        {{- '<|im_start|>assistant' }}\n"
        "        {%- if reasoning and loop.index0 > ns.last %}\n"
        "            {{- '\\n<think>\\n' + reasoning + '\\n</think>\\n' }}\n"
        "        {%- endif %}\n",
    )
    .replace(
        "{{- '<|im_start|>assistant\\n' }}{%- endif %}",
        "{{- '<|im_start|>assistant\\n' }}\n"
        "    {%- if enable_thinking is defined and enable_thinking is false %}\n"
        "        {{- '<think>\\n\\n</think>\\n\\n' }}\n"
        "    {%- endif %}\n"
        "{%- endif %}",
    )
)

# As Llama 3.1 and 3.2: tools in the first user turn, one call a message, results as ipython
LLAMA = """\
{{- bos_token }}
{%- if not tools_in_user_message is defined %}{%- set tools_in_user_message = true %}{%- endif %}
{%- if not date_string is defined %}{%- set date_string = strftime_now("%d %b %Y") %}{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}{%- set system_message = "" %}{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}{{- "Environment: ipython\\n" }}{%- endif %}
{{- "Today: " + date_string + "\\n\\n" + system_message + "<|eot_id|>" }}
{%- if tools_in_user_message and tools is not none %}
    {%- set first_user_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
    {{- '<|start_header_id|>user<|end_header_id|>\\n\\n' -}}
    {{- 'Call one as {"name": its name, "parameters": its arguments}.\\n\\n' }}
    {%- for t in tools %}{{- t | tojson(indent=4) }}{{- "\\n\\n" }}{%- endfor %}
    {{- first_user_message + "<|eot_id|>" }}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
        {{- message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if message.tool_calls | length != 1 %}
            {{- raise_exception("one call at a time") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {{- '{"name": "' + tool_call.name + '", "parameters": ' }}
        {{- tool_call.arguments | tojson }}{{- "}<|eot_id|>" }}
    {%- else %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}{{- message.content }}{%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

# As Mistral 7B 0.3 and Nemo: tools before the last user turn, ids of nine characters, no roles
MISTRAL = """\
{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}{%- set loop_messages = messages %}{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and message == user_messages[-1] %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.function.items() if key != "return" %}
                    {{- '"' + key + '": ' }}{{- val | tojson }}
                    {%- if not loop.last %}{{- ", " }}{%- endif %}
                {%- endfor %}
                {{- "}}" }}{{- ", " if not loop.last else "]" }}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}{{- "[INST] " + message["content"] + "[/INST]" }}{%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[TOOL_CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- if not tool_call.id is defined or tool_call.id | length != 9 %}
                {{- raise_exception("ids are of nine letters and digits") }}
            {%- endif %}
            {{- (tool_call.function | tojson)[:-1] + ', "id": "' + tool_call.id + '"}' }}
            {{- ", " if not loop.last else "]" + eos_token }}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"] | trim + eos_token }}
    {%- elif message["role"] == "tool" %}
        {{- '[TOOL_RESULTS] {"content": ' + message.content | string + ', "call_id": "' }}
        {%- if not message.tool_call_id is defined or message.tool_call_id | length != 9 %}
            {{- raise_exception("ids are of nine letters and digits") }}
        {%- endif %}
        {{- message.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- else %}{{- raise_exception("no such role") }}{%- endif %}
{%- endfor %}
"""

# As Hermes 2 Pro and 3: a template of its own for tools, which writes them as Python signatures
SIGNATURES = """\
{%- macro kind(spec) %}
    {%- set basic = {"string": "str", "number": "float", "integer": "int", "boolean": "bool"} %}
    {%- if basic[spec.type] is defined %}{{- basic[spec.type] }}
    {%- elif spec.type == "array" %}{{- "list[" + kind(spec.items) + "]" }}
    {%- else %}{{- "dict" }}{%- endif %}
{%- endmacro %}
{{- bos_token + "<|im_start|>system\\nFunctions: " }}
{%- for tool in tools %}
    {%- if tool.function is defined %}{%- set tool = tool.function %}{%- endif %}
    {{- '{"name": "' + tool.name + '", "description": "' + tool.name + '(' }}
    {%- for name, spec in tool.parameters.properties | items %}
        {{- name + ": " + kind(spec) }}{%- if not loop.last %}{{- ", " }}{%- endif %}
    {%- endfor %}
    {{- ') - ' + tool.description + '", "parameters": ' }}{{- tool.parameters | tojson }}{{- "}" }}
{%- endfor %}
{{- "<|im_end|>\\n" }}
{%- for message in messages %}
    {%- if message.role == "assistant" and message.tool_calls is defined %}
        {{- '<|im_start|>assistant' }}
        {%- for tool_call in message.tool_calls %}
            {{- '\\n<tool_call>\\n{"arguments": ' }}{{- tool_call.function.arguments | tojson }}
            {{- ', "name": "' + tool_call.function.name + '"}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {{- '<|im_start|>tool\\n<tool_response>\\n' + message.content }}
        {{- '\\n</tool_response><|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

CHATML = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEMPLATES: dict[str, Any] = {
    "hermes": HERMES,
    "thinking": THINKING,
    "llama": LLAMA,
    "mistral": MISTRAL,
    "signatures": [
        {"name": "default", "template": CHATML},
        {"name": "tool_use", "template": SIGNATURES},
    ],
}


def layout(name: str) -> Layout:
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    return Layout("byte_level", config | {"chat_template": TEMPLATES[name]})


def function(name: str, description: str, **properties: Object) -> Object:
    parameters = {"type": "object", "properties": properties, "required": [*properties][:1]}
    described = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": described}


WEATHER = function(
    "weather",
    'The weather <now> of a "place", in °C.',
    place={"type": "string", "description": "A town's name."},
    days={"type": "integer", "description": "How many days ahead."},
)
LIGHT = function("light", "Turns a light on.", rooms={"type": "array", "items": {"type": "string"}})


def call(index: int, name: str, **arguments: Any) -> Object:
    text = json.dumps(arguments, ensure_ascii=False)
    function = {"name": name, "arguments": text}
    return {"id": f"abcdefgh{index}", "type": "function", "function": function}


def said(role: str, content: str) -> Object:
    return {"role": role, "content": content}


def called(*calls: Object, **members: Any) -> Object:
    return {"role": "assistant", "content": "", "tool_calls": list(calls)} | members


def result(index: int, name: str, content: str) -> Object:
    return {"role": "tool", "tool_call_id": f"abcdefgh{index}", "name": name, "content": content}


FIRST = call(0, "weather", place="Zürich & 'Bern' <b>", days=2)
SECOND = call(1, "light", rooms=["é", "漢字"], deep={"a": [1, 2.5, None, True]})
USER = said("user", "How is the weather?")
FIXED = {"date_string": "26 Jul 2024"}

# Each: messages, tools, options; arguments are text, as clients send them
CONVERSATIONS: dict[str, tuple[list[Object], list[Object] | None, Object]] = {
    "a question": ([USER], [WEATHER, LIGHT], FIXED),
    "a system message": ([said("system", "Be brief."), USER], [WEATHER], FIXED),
    "no tools": ([USER], None, FIXED),
    "a call": (
        [USER, called(FIRST), result(0, "weather", '{"°C": 18}')],
        [WEATHER, LIGHT],
        FIXED,
    ),
    "a call and what follows": (
        [
            *(USER, called(FIRST), result(0, "weather", "18"), said("assistant", "18 °C.")),
            *(said("user", "And the light?"), called(SECOND), result(1, "light", "on")),
        ],
        [WEATHER, LIGHT],
        FIXED,
    ),
    "two calls": (
        [
            *(USER, called(FIRST, SECOND, content="Both.")),
            *(result(0, "weather", "18"), result(1, "light", "on")),
        ],
        [WEATHER, LIGHT],
        FIXED,
    ),
    "a thought": (
        [USER, called(FIRST, reasoning_content="I look it up."), result(0, "weather", "18")],
        [WEATHER],
        FIXED | {"enable_thinking": True},
    ),
    "no thought": ([USER], [WEATHER], FIXED | {"enable_thinking": False}),
    "tools in the system message": ([USER], [WEATHER], FIXED | {"tools_in_user_message": False}),
}
