"""What Anthropic's clients send becomes what the templates read, or is refused with its path."""

from typing import Any

import pytest
from bramble.errors import BadInput
from bramble.web.anthropic_read import read_count, read_message
from bramble.wire.messages import Generate

WEATHER = {"name": "weather", "description": "of a place", "input_schema": {"type": "object"}}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"place": "Zürich"}}
USER = {"role": "user", "content": "hi"}


def read(*messages: dict[str, Any], **members: Any) -> Generate:
    document = {"model": "m", "max_tokens": 9, "messages": list(messages) or [USER]} | members
    (request,) = read_message(document).requests
    return request


def result(**members: Any) -> dict[str, Any]:
    block = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"} | members
    return {"role": "user", "content": [block]}


def test_a_system_prompt_of_blocks_comes_first_a_block_a_line() -> None:
    system = [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]
    request = read(system=[*system, {"type": "text", "text": "b"}])
    assert request.messages == [{"role": "system", "content": "a\nb"}, USER]


def test_a_label_for_billing_does_not_stand_before_the_system_prompt() -> None:
    label = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197.fa0;"}
    request = read(system=[label, {"type": "text", "text": "a"}])
    assert request.messages == [{"role": "system", "content": "a"}, USER]


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(BadInput, match="5 parameters are wrong") as caught:
        read(max_tokens=-1, top_k="x", tools=[{}, WEATHER | {"type": "bash_20250124"}], messages=3)
    for param in ("max_tokens", "top_k", "tools[0]", "tools[1].type", "messages"):
        assert param in str(caught.value)


def test_a_call_and_its_result_are_a_message_each_that_templates_know() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "x"}
    said = {"type": "text", "text": "Let me see.", "citations": None}
    redacted = {"type": "redacted_thinking", "data": "…"}
    assistant = {"role": "assistant", "content": [redacted, thought, said, CALL]}
    answer = result(cache_control={"type": "ephemeral"})
    answer["content"].append({"type": "text", "text": "and now?"})
    request = read(USER, assistant, answer, tools=[WEATHER])
    function = {"name": "weather", "arguments": '{"place": "Zürich"}'}
    assert request.messages == [
        USER,
        {
            "role": "assistant",
            "content": "Let me see.",
            "reasoning_content": "hm",
            "tool_calls": [{"id": "toolu_1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "toolu_1", "name": "weather", "content": "rain"},
        {"role": "user", "content": "and now?"},
    ]


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"content": None}, ""),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "a\nb"),
        ({"is_error": True}, "Error: rain"),
    ],
)
def test_a_result_is_text_however_it_is_sent(members: dict[str, Any], text: str) -> None:
    messages = read(USER, {"role": "assistant", "content": [CALL]}, result(**members)).messages
    assert messages is not None and messages[-1]["content"] == text


def test_neighbouring_turns_of_one_role_are_one() -> None:
    said = {"role": "assistant", "content": [{"type": "text", "text": "x"}]}
    calls = {"role": "assistant", "content": [CALL]}
    request = read(USER, USER, said, calls, result(), USER)
    assert request.messages is not None
    roles = [message["role"] for message in request.messages]
    assert roles == ["user", "assistant", "tool", "user"]
    assert request.messages[0]["content"] == "hi\nhi"
    assert len(request.messages[1]["tool_calls"]) == 1


def test_a_document_of_plain_text_is_read() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "words"}
    request = read({"role": "user", "content": [{"type": "document", "source": source}]})
    assert request.messages == [{"role": "user", "content": "words"}]


def test_tools_are_laid_out_as_openai_lists_them() -> None:
    request = read(tools=[WEATHER | {"type": "custom", "strict": True, "cache_control": {}}])
    function = {"name": "weather", "description": "of a place", "strict": True}
    function["parameters"] = {"type": "object"}
    assert request.tools == [{"type": "function", "function": function}]
    assert (request.tool_choice, request.parallel_calls) == ("auto", True)


@pytest.mark.parametrize(
    ("choice", "read_as"),
    [
        ({"type": "auto"}, ("auto", True)),
        ({"type": "any", "disable_parallel_tool_use": True}, ("required", False)),
        ({"type": "tool", "name": "weather"}, ("function:weather", True)),
        ({"type": "none"}, ("none", True)),
    ],
)
def test_each_choice_of_tools_is_read(choice: dict[str, Any], read_as: tuple[str, bool]) -> None:
    request = read(tools=[WEATHER], tool_choice=choice)
    assert (request.tool_choice, request.parallel_calls) == read_as


@pytest.mark.parametrize(
    ("members", "options"),
    [
        ({}, {}),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, {"enable_thinking": True}),
        ({"thinking": {"type": "adaptive"}}, {"enable_thinking": True}),
        ({"thinking": {"type": "disabled"}}, {"enable_thinking": False}),
        ({"output_config": {"effort": "low"}}, {"reasoning_effort": "low"}),
    ],
)
def test_thinking_reaches_the_template(members: dict[str, Any], options: dict[str, Any]) -> None:
    assert read(**members).template_options == options


@pytest.mark.parametrize(
    "members",
    [
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        {"output_format": {"type": "json_schema", "schema": {"type": "object"}}},
    ],
)
def test_a_schema_becomes_a_constraint(members: dict[str, Any]) -> None:
    constraint = read(**members).constraint
    assert constraint is not None
    assert (constraint.kind, constraint.text) == ("json_schema", '{"type": "object"}')


def test_what_has_no_effect_here_is_accepted_and_named() -> None:
    members = {"metadata": {"user_id": "u"}, "service_tier": "auto", "container": None}
    thinking = {"type": "enabled", "budget_tokens": 1024}
    asked = read_message({"max_tokens": 9, "messages": [USER], "thinking": thinking} | members)
    assert asked.ignored == ("metadata", "service_tier", "thinking.budget_tokens")


def test_a_count_needs_no_length_and_computes_nothing() -> None:
    request = read_count({"model": "m", "messages": [USER], "tools": [WEATHER]})
    assert request.max_tokens == 0 and request.tools and request.model == "m"


def blocks(role: str, *content: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": list(content)}]}


IMAGE = {"type": "image", "source": {"type": "url", "url": "http://x"}}


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [USER, {"role": "assistant", "content": "I"}]}, "messages[1]"),
        (blocks("user", "hi"), "messages[0].content[0]"),
        (blocks("user", {"type": "text"}), "messages[0].content[0].text"),
        (blocks("user", IMAGE), "messages[0].content[0]"),
        (blocks("user", CALL), "messages[0].content[0]"),
        (blocks("user", {"type": "text", "text": "a", "txt": 1}), "messages[0].content[0].txt"),
        (blocks("user", *result()["content"]), "messages[0].content[0].tool_use_id"),
        (blocks("assistant", CALL | {"input": "{}"}), "messages[0].content[0].input"),
        (blocks("assistant", CALL | {"id": None}), "messages[0].content[0].id"),
        (blocks("assistant", CALL, CALL), "messages[0].content[1].id"),
        (blocks("user", {"type": "document", "source": {}}), "messages[0].content[0].source"),
        ({"system": 5}, "system"),
        ({"system": [IMAGE]}, "system[0]"),
        ({"tools": {}}, "tools"),
        ({"tools": ["x"]}, "tools[0]"),
        ({"tools": [WEATHER | {"input_schema": {"type": "array"}}]}, "tools[0].input_schema.type"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tools": [WEATHER | {"name": "a b"}]}, "tools[0].name"),
        ({"tools": [WEATHER, WEATHER]}, "tools[1].name"),
        ({"tools": [{"name": "x"}]}, "tools[0].input_schema"),
        ({"tools": [{"type": "web_search_20250305", "name": "w"}]}, "tools[0].type"),
        ({"tools": [WEATHER | {"defer_loading": True}]}, "tools[0].defer_loading"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tool_choice": {"type": "tool", "name": "x"}}, "tool_choice.name"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": {"type": "all"}}, "tool_choice.type"),
        ({"thinking": {"type": "always"}}, "thinking.type"),
        ({"thinking": True}, "thinking"),
        ({"output_config": {"format": {"type": "regex"}}}, "output_config.format.type"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"stop_sequences": [""]}, "stop_sequences[0]"),
        ({"mcp_servers": [{"url": "x"}]}, "mcp_servers"),
        ({"max_token": 5}, "max_token"),
    ],
)
def test_what_is_wrong_is_refused_with_its_path(members: dict[str, Any], param: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(**members)
    assert caught.value.param == param
    assert str(caught.value).startswith(param)


def test_a_result_behind_other_blocks_is_refused() -> None:
    answer = result()
    answer["content"].insert(0, {"type": "text", "text": "so"})
    with pytest.raises(BadInput, match=r"messages\[2\].content\[1\]: results of tools"):
        read(USER, {"role": "assistant", "content": [CALL]}, answer)
