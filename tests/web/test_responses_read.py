"""What clients of OpenAI's Responses send becomes what the templates read, or is refused."""

from typing import Any

import pytest
from bramble.errors import BadInput, ReplyNotFound
from bramble.web.responses_read import read_count, read_response
from bramble.web.responses_references import put_in
from bramble.wire.messages import Constraint, Generate

WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
CLOCK = {"type": "function", "name": "clock", "parameters": None, "strict": True}
USER = {"role": "user", "content": "hi"}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather"}
CALL |= {"arguments": '{"place": "Ulm"}', "status": "completed"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "rain"}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": None}
THOUGHT |= {"content": [{"type": "reasoning_text", "text": "hm"}]}
SUMMARY = {"type": "reasoning", "id": "rs_1", "content": []}
SUMMARY |= {"summary": [{"type": "summary_text", "text": "hm"}]}


def read(**members: Any) -> Generate:
    (request,) = read_response({"model": "m", "input": "hi"} | members).requests
    return request


def test_a_text_is_a_message_of_the_user_behind_the_instructions() -> None:
    assert read(instructions="be brief").messages == [
        {"role": "system", "content": "be brief"},
        USER,
    ]


@pytest.mark.parametrize("thought", [THOUGHT, SUMMARY])
def test_the_items_of_one_reply_are_one_message(thought: dict[str, Any]) -> None:
    parts = [{"type": "output_text", "text": "Let me see.", "annotations": [], "logprobs": []}]
    said = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
    items = [USER, thought, said | {"content": parts}, CALL, OUTPUT, USER]
    assert read(input=items, tools=[WEATHER]).messages == [
        USER,
        {
            "role": "assistant",
            "content": "Let me see.",
            "reasoning_content": "hm",
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"place": "Ulm"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "name": "weather", "content": "rain"},
        USER,
    ]


def test_calls_side_by_side_are_of_one_message() -> None:
    second = CALL | {"call_id": "call_2", "arguments": "{}"}
    messages = read(input=[USER, CALL, second, OUTPUT, OUTPUT | {"call_id": "call_2"}]).messages
    assert messages is not None
    assert [call["id"] for call in messages[1]["tool_calls"]] == ["call_1", "call_2"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool"]


def test_parts_of_text_are_joined_and_a_developer_is_the_system() -> None:
    parts = [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]
    request = read(input=[{"role": "developer", "content": parts}, USER])
    assert request.messages == [{"role": "system", "content": "ab"}, USER]


def test_neighbouring_messages_of_one_role_are_one() -> None:
    developer = {"role": "developer", "content": "and kind"}
    assert read(input=[developer, USER, USER], instructions="be brief").messages == [
        {"role": "system", "content": "be brief\nand kind"},
        {"role": "user", "content": "hi\nhi"},
    ]


def test_tools_are_laid_out_as_the_chat_api_lists_them() -> None:
    request = read(tools=[WEATHER, CLOCK], parallel_tool_calls=False)
    assert request.tools == [
        {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}},
        {"type": "function", "function": {"name": "clock", "strict": True}},
    ]
    assert (request.tool_choice, request.parallel_calls) == ("auto", False)


@pytest.mark.parametrize(
    ("choice", "read_as"),
    [
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "name": "clock"}, "function:clock"),
    ],
)
def test_each_choice_of_tools_is_read(choice: Any, read_as: str) -> None:
    assert read(tools=[WEATHER, CLOCK], tool_choice=choice).tool_choice == read_as


def test_tools_that_are_not_allowed_are_left_out() -> None:
    allowed = {"type": "allowed_tools", "mode": "required"}
    allowed |= {"tools": [{"type": "function", "name": "clock"}]}
    request = read(tools=[WEATHER, CLOCK], tool_choice=allowed)
    assert request.tool_choice == "required" and request.tools is not None
    assert [tool["function"]["name"] for tool in request.tools] == ["clock"]


@pytest.mark.parametrize(
    ("form", "constraint"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, Constraint("json_schema", '{"type":"object"}')),
        (
            {"type": "json_schema", "name": "n", "schema": {"type": "array"}, "strict": True},
            Constraint("json_schema", '{"type": "array"}', "text.format.schema"),
        ),
    ],
)
def test_a_format_becomes_a_constraint(form: dict[str, Any], constraint: Constraint | None) -> None:
    assert read(text={"format": form}).constraint == constraint


def test_effort_reaches_the_template() -> None:
    low = {"reasoning_effort": "low", "enable_thinking": True}
    assert read(reasoning={"effort": "low", "summary": "auto"}).template_options == low
    none = {"reasoning_effort": "none", "enable_thinking": False}
    assert read(reasoning={"effort": "none"}).template_options == none
    assert read(reasoning=None).template_options == {}


def test_log_probabilities_are_asked_for_in_two_ways() -> None:
    assert read().sampling.top_logprobs == -1
    assert read(include=["message.output_text.logprobs"]).sampling.top_logprobs == 0
    assert read(top_logprobs=3).sampling.top_logprobs == 3


def test_what_has_no_effect_here_is_accepted_and_named() -> None:
    members = {"store": False, "truncation": "auto", "background": False, "conversation": None}
    members |= {"text": {"verbosity": "low"}, "include": ["reasoning.encrypted_content"]}
    asked = read_response({"input": "hi"} | members)
    assert asked.ignored == ("store", "truncation", "text.verbosity")


def test_a_count_computes_nothing() -> None:
    assert read_count({"input": "hi", "tools": [WEATHER]}).max_tokens == 0


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": [3]}, "input[0]"),
        ({"input": [{"type": "web_search_call", "id": "x"}]}, "input[0]"),
        ({"input": [{"role": "critic", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": None}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": ["x"]}]}, "input[0].content[0]"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "input[0].content[0]",
        ),
        ({"input": [USER | {"names": "x"}]}, "input[0].names"),
        ({"input": [CALL | {"arguments": "[1]"}]}, "input[0].arguments"),
        ({"input": [CALL | {"arguments": "{"}]}, "input[0].arguments"),
        ({"input": [CALL, CALL]}, "input[1].call_id"),
        ({"input": [OUTPUT]}, "input[0].call_id"),
        ({"input": [CALL, OUTPUT | {"output": 3}]}, "input[1].output"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [WEATHER, WEATHER]}, "tools[1].name"),
        ({"tools": [WEATHER | {"parameters": "x"}]}, "tools[0].parameters"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "weather"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "x"}}, "tool_choice.name"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"messages": [USER]}, "messages"),
    ],
)
def test_what_is_wrong_is_refused_with_its_path(members: dict[str, Any], param: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(**members)
    assert caught.value.param == param
    assert str(caught.value).startswith(param)


ITEM_ID = f"msg_{'ab' * 16}0"


def outputs(name: str) -> list[dict[str, Any]]:
    if name != "ab" * 16:
        raise ReplyNotFound("gone")
    return [{"type": "message", "id": ITEM_ID, "role": "assistant", "content": "Hello"}]


def test_an_item_that_is_referred_to_is_put_in() -> None:
    items = [USER, {"type": "item_reference", "id": ITEM_ID}]
    assert put_in({"input": items}, outputs)["input"] == [USER, *outputs("ab" * 16)]
    assert put_in({"input": "hi"}, outputs) == {"input": "hi"}


@pytest.mark.parametrize("item_id", [None, "msg_1", f"msg_{'cd' * 16}0", f"msg_{'ab' * 16}1"])
def test_an_item_that_is_not_kept_is_refused_with_its_path(item_id: Any) -> None:
    with pytest.raises(ReplyNotFound) as caught:
        put_in({"input": [USER, {"type": "item_reference", "id": item_id}]}, outputs)
    assert caught.value.param == "input[1].id"
