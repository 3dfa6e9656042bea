"""The embedded model's chat template writes tools and calls as its training laid them out."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import jinja2
import pytest

ROOT = Path(__file__).parents[2]
EMBEDDED = ROOT / "service" / "bramble" / "embedded"

Message = dict[str, Any]


@pytest.fixture(scope="module")
def vocabulary() -> ModuleType:
    """service/training/vocabulary.py, which is no part of the package."""
    path = ROOT / "service" / "training" / "vocabulary.py"
    spec = importlib.util.spec_from_file_location("vocabulary", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def render(template: str, messages: list[Message], tools: list[Message] | None = None) -> str:
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string(template).render(
        bos_token="<|begin|>", messages=messages, tools=tools, add_generation_prompt=True
    )


@pytest.mark.parametrize("tools", [None, []])
def test_without_tools_a_prompt_is_what_the_model_learned(
    tools: list[Message] | None, vocabulary: ModuleType
) -> None:
    own = json.loads((EMBEDDED / "tokenizer_config.json").read_text())["chat_template"]
    messages = [
        {"role": "system", "content": " Be kind. "},
        {"role": "user", "content": [{"type": "text", "text": t} for t in ("one", "two ")]},
        {"role": "assistant", "content": "Yes."},
        {"role": "developer", "content": ""},
        {"role": "user", "content": None},
    ]
    text = render(vocabulary.CHAT_TEMPLATE, messages, tools)
    assert (
        text
        == render(own, messages)
        == (
            "<|begin|><|system|>Be kind.<|end|><|user|>one\ntwo<|end|><|assistant|>Yes.<|end|>"
            "<|system|><|end|><|user|><|end|><|assistant|>"
        )
    )


SCHEMA = {
    "type": "object",
    "properties": {
        "room": {"type": "string", "description": "Which room."},
        "state": {"type": "string", "enum": ["on", "off"]},
        "items": {"type": ["integer", "null"]},
        "other": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "free": {},
    },
    "required": ["room"],
}
TOOLS = [
    {"type": "function", "function": {"name": "a", "description": 'A "b" é', "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "now"}},
]
SHOWN = [
    {
        "description": 'A "b" é',
        "name": "a",
        "arguments": {
            "room": "string", "state": "on|off", "items": "integer", "other": "any", "free": "any"
        },
    },
    {"name": "now", "arguments": {}},
]  # fmt: skip


@pytest.mark.parametrize("system", ["", "Be kind."])
def test_tools_stand_in_the_first_system_turn(system: str, vocabulary: ModuleType) -> None:
    messages = [{"role": "system", "content": system}] * bool(system)
    text = render(
        vocabulary.CHAT_TEMPLATE, [*messages, {"role": "user", "content": "Hello"}], TOOLS
    )
    offered = vocabulary.lay_out_tools(system, SHOWN)
    assert text == f"<|begin|><|system|>{offered}<|end|><|user|>Hello<|end|><|assistant|>"


@pytest.mark.parametrize("said", ["", "Well."])
@pytest.mark.parametrize("is_text", [False, True])
def test_calls_and_results_are_laid_out_as_trained(
    said: str, is_text: bool, vocabulary: ModuleType
) -> None:
    arguments = {"room": "hall", "items": 3, "free": [True, None]}
    given = json.dumps(arguments) if is_text else arguments
    calls = [{"function": {"name": "a", "arguments": given}}, {"function": {"name": "now"}}]
    calls[1]["function"]["arguments"] = "{}" if is_text else {}
    messages = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": said or None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "x", "content": "ok"},
    ]
    first, second = vocabulary.lay_out_call("a", arguments), vocabulary.lay_out_call("now", {})
    answer = "\n".join(filter(None, (said, first, second)))
    assert render(vocabulary.CHAT_TEMPLATE, messages, TOOLS).partition("Hello<|end|>")[2] == (
        f"<|assistant|>{answer}<|end|><|user|>{vocabulary.lay_out_response('ok')}<|end|>"
        "<|assistant|>"
    )
