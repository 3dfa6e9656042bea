"""Tools, calls and results are laid out as transformers does, or as text for who knows none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bramble.errors import BadInput
from bramble.model.tokenizer import Chat, Detokenizer, Tokenizer

from tests.golden.tokenizer_layouts import CHATML, Layout, token
from tests.golden.tool_cases import (
    CONVERSATIONS,
    FIRST,
    LIGHT,
    SECOND,
    TEMPLATES,
    USER,
    WEATHER,
    called,
    layout,
    result,
    said,
)

FILE = Path(__file__).parents[1] / "golden" / "tools" / "expected.json"
EXPECTED: dict[str, dict[str, str | None]] = json.loads(FILE.read_text("utf-8"))["templates"]
FAST = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
DEEP = json.loads('{"a":' * 150 + "1" + "}" * 150)
CALL = [USER, called(FIRST, SECOND), result(0, "weather", "18"), result(1, "light", "on")]


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    folder = tmp_path_factory.mktemp("tools")
    return {name: Tokenizer(layout(name).write(folder / name)) for name in TEMPLATES}


def plain(folder: Path, template: str = CHATML) -> Tokenizer:
    return Tokenizer(Layout("byte_level", FAST | {"chat_template": template}).write(folder))


def refused(tokenizer: Tokenizer, messages: Any, chat: Chat) -> BadInput:
    with pytest.raises(BadInput) as caught:
        tokenizer.render_chat(messages, chat)
    return caught.value


# --------------------------------------------------------------------------- templates that know it


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("case", CONVERSATIONS)
def test_tools_are_laid_out_as_transformers_does(
    template: str, case: str, tokenizers: dict[str, Tokenizer]
) -> None:
    messages, tools, options = CONVERSATIONS[case]
    expected = EXPECTED[template][case]
    text = tokenizers[template].render_chat(messages, Chat(tools or (), options))
    if expected is not None:
        assert text == expected
    else:  # the template refuses two calls in one message
        calls = [called(FIRST, content="Both."), messages[2], called(SECOND), messages[3]]
        apart = tokenizers[template].render_chat([USER, *calls], Chat(tools or (), options))
        assert text == apart and text.count('"parameters": {"') == 2


@pytest.mark.parametrize(
    ("template", "call_format"),
    [
        ("hermes", "hermes"),
        ("thinking", "hermes"),
        ("llama", "llama"),
        ("mistral", "mistral"),
        ("signatures", "hermes"),
    ],
)
def test_a_templates_own_call_tells_the_format(
    template: str, call_format: str, tokenizers: dict[str, Tokenizer]
) -> None:
    use = tokenizers[template].tool_use
    assert use.is_native and not use.takes_text
    assert tokenizers[template].reply_format == call_format
    assert use.takes_several is (template != "llama")
    assert use.takes_bare is (template != "signatures")


def test_a_template_may_want_arguments_as_text(tmp_path: Path) -> None:
    source = TEMPLATES["hermes"].replace("tool_call.arguments | tojson", "'' + tool_call.arguments")
    tokenizer = plain(tmp_path, source)
    assert tokenizer.tool_use.takes_text
    text = tokenizer.render_chat(CALL, Chat([WEATHER]))
    assert FIRST["function"]["arguments"] in text


def test_ids_are_made_such_as_mistrals_templates_take(tokenizers: dict[str, Tokenizer]) -> None:
    messages = json.loads(json.dumps(CALL).replace("abcdefgh", "call_of-some-Length_"))
    text = tokenizers["mistral"].render_chat(messages, Chat([WEATHER]))
    ids = [part[:9] for part in text.split('"id": "')[1:]]
    assert [part[:9] for part in text.split('"call_id": "')[1:]] == ids
    assert len(set(ids)) == 2 and all(name.isalnum() for name in ids)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_tool_may_be_no_more_than_a_name(template: str, tokenizers: dict[str, Tokenizer]) -> None:
    bare = {"type": "function", "function": {"name": "f", "strict": True, "description": None}}
    text = tokenizers[template].render_chat([USER], Chat([bare]))
    assert '"f"' in text and "strict" not in text and "null" not in text


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("content", [None, "", "So."])
def test_calls_in_the_history_need_no_text_and_no_tools(
    template: str, content: str | None, tokenizers: dict[str, Tokenizer]
) -> None:
    messages = [USER, called(FIRST, content=content), result(0, "weather", "18")]
    text = tokenizers[template].render_chat(messages)
    assert "Zürich" in text and "18" in text and "None" not in text


# ---------------------------------------------------------------------- templates that know nothing


def test_without_a_format_of_its_own_a_model_is_told_in_the_system_message(tmp_path: Path) -> None:
    tokenizer = plain(tmp_path)
    assert not tokenizer.tool_use.is_native and tokenizer.reply_format == "hermes"
    messages = [said("system", "Be brief."), *CALL]
    text = tokenizer.render_chat(messages, Chat([WEATHER, LIGHT]))
    system, user, assistant, results, rest = text.split("<|im_start|>")[1:]
    assert system.startswith("system\nBe brief.\n\n# Tools")
    assert json.dumps(WEATHER, ensure_ascii=False) in system.splitlines()
    assert user == "user\nHow is the weather?<|im_end|>\n"
    first, second = assistant.removeprefix("assistant\n").split("</tool_call>\n", 1)
    assert json.loads(first.removeprefix("<tool_call>\n")) == {
        "name": "weather",
        "arguments": json.loads(FIRST["function"]["arguments"]),
    }
    assert second.startswith("<tool_call>\n") and second.endswith("</tool_call><|im_end|>\n")
    assert results == (
        "user\n<tool_response>\n18\n</tool_response>\n<tool_response>\non\n</tool_response>"
        "<|im_end|>\n"
    )
    assert rest == "assistant\n"


def test_where_no_system_message_is_taken_the_first_question_tells(tmp_path: Path) -> None:
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    tokenizer = plain(tmp_path, refuses + CHATML)
    text = tokenizer.render_chat(CALL, Chat([WEATHER]))
    assert text.startswith("<|im_start|>user\n# Tools")
    assert "otherwise answer as usual.\n\nHow is the weather?<|im_end|>" in text


def test_a_question_behind_a_result_is_of_the_same_turn(tmp_path: Path) -> None:
    messages = [USER, called(FIRST), result(0, "weather", "18"), said("user", "And now?")]
    text = plain(tmp_path).render_chat(messages)
    assert "\n18\n</tool_response>\nAnd now?<|im_end|>\n<|im_start|>assistant" in text


# ----------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "is_thinking"),
    [
        ({}, True),
        ({"enable_thinking": True}, True),
        ({"enable_thinking": False}, False),
        ({"reasoning_effort": "none"}, False),
        ({"reasoning_effort": "high"}, True),
        ({"reasoning_effort": "none", "enable_thinking": True}, True),
        ({"nobody_asks": [1, {"a": None}]}, True),
    ],
)
def test_an_effort_tells_whether_to_think(
    options: dict[str, Any], is_thinking: bool, tokenizers: dict[str, Tokenizer]
) -> None:
    text = tokenizers["thinking"].render_chat([USER], Chat((), options))
    assert text.endswith("</think>\n\n") is not is_thinking


@pytest.mark.parametrize(
    "name", ["messages", "tools", "add_generation_prompt", "bos_token", "raise_exception", "range"]
)
def test_what_the_template_is_given_anyway_is_no_option(
    name: str, tokenizers: dict[str, Tokenizer]
) -> None:
    error = refused(tokenizers["hermes"], [USER], Chat((), {name: "x"}))
    assert error.param == f"chat_template_kwargs.{name}"


@pytest.mark.parametrize("value", ["false", 0, None, {}])
def test_to_think_or_not_is_true_or_false(value: object, tokenizers: dict[str, Tokenizer]) -> None:
    error = refused(tokenizers["thinking"], [USER], Chat((), {"enable_thinking": value}))
    assert error.param == "chat_template_kwargs.enable_thinking"


# ---------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("value", [DEEP, "\ud800", {"a": ["\udc00"]}])
def test_an_option_that_cannot_be_written_is_named(
    value: object, tokenizers: dict[str, Tokenizer]
) -> None:
    error = refused(tokenizers["hermes"], [USER], Chat((), {"x": value}))
    assert error.param == "chat_template_kwargs.x"


@pytest.mark.parametrize(
    "arguments", ["[1]", "{", '"a"', "{'a': 1}", '{"a": NaN}', '{"a": "\\ud800"}', json.dumps(DEEP)]
)
@pytest.mark.parametrize("template", ["hermes", "none"])
def test_arguments_that_are_no_object_are_named(
    template: str, arguments: str, tokenizers: dict[str, Tokenizer], tmp_path: Path
) -> None:
    tokenizer = tokenizers.get(template) or plain(tmp_path)
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    error = refused(tokenizer, [USER, called(FIRST, call)], Chat([WEATHER]))
    assert error.param == "messages[1].tool_calls[1].function.arguments"


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({}, "tools[1].function"),
        ({"function": {"description": "x"}}, "tools[1].function"),
        ({"function": {"name": "f", "parameters": [1]}}, "tools[1].function.parameters"),
        ({"function": {"name": "f", "parameters": DEEP}}, "tools[1].function"),
        ({"function": {"name": "f", "description": "\ud800"}}, "tools[1].function"),
    ],
)
def test_a_tool_that_is_none_is_named(
    tool: Any, param: str, tokenizers: dict[str, Tokenizer]
) -> None:
    assert refused(tokenizers["hermes"], [USER], Chat([WEATHER, tool])).param == param


# ------------------------------------------------------------------------------------------ markers


def test_markers_of_calls_are_shown_where_they_are_asked_for(tmp_path: Path) -> None:
    marker = token(0, "[TOOL_CALLS]")
    marker = {key: value for key, value in marker.items() if key != "id"}
    tools = {"additional_special_tokens": [marker]}
    tokenizer = Tokenizer(Layout("byte_level", FAST | tools).write(tmp_path))
    ids = tokenizer.encode("[TOOL_CALLS]a</s>")
    assert "".join(map(Detokenizer(tokenizer).push, ids)) == "a"
    shown = Detokenizer(tokenizer, tokenizer.marker_ids)
    assert "".join(map(shown.push, ids)) == "[TOOL_CALLS]a"


def test_a_tokenizer_tells_what_its_model_can_do(
    tokenizers: dict[str, Tokenizer], tmp_path: Path
) -> None:
    keys = ("tools", "native_tools", "thinking", "format")
    told = {name: tuple(each.capabilities[k] for k in keys) for name, each in tokenizers.items()}
    assert told == {
        "hermes": (True, True, False, "hermes"),
        "thinking": (True, True, True, "hermes"),
        "llama": (True, True, False, "llama"),
        "mistral": (True, True, False, "mistral"),
        "signatures": (True, True, False, "hermes"),
    }
    without = Tokenizer(Layout("byte_level", FAST).write(tmp_path / "none"))
    assert tuple(without.capabilities[k] for k in keys) == (False, False, False, "")
    known = plain(tmp_path / "plain").capabilities
    assert tuple(known[k] for k in keys) == (True, False, False, "hermes")
