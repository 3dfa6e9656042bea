"""Tools and what a reply has to be, as OpenAI's chat API asks for them."""

import json
from typing import Any

import pytest
from bramble.errors import BadInput
from bramble.web.parameters import read_chat
from bramble.wire.messages import Generate
from flask.testing import FlaskClient

CHAT = "/v1/chat/completions"
USER = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def tool(name: Any = "weather", **members: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": SCHEMA, **members}}


def call(call_id: Any = "c1", arguments: Any = '{"city": "Rome"}') -> dict[str, Any]:
    return {"id": call_id, "function": {"name": "weather", "arguments": arguments}}


def calling(*calls: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": [*calls]}


def read(*messages: Any, **members: Any) -> Generate:
    return read_chat({"messages": [*(messages or (USER,))], **members}).requests[0]


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def test_tools_reach_the_head_with_what_a_template_is_shown() -> None:
    request = read(tools=[tool(description="d", cache_control={"type": "ephemeral"})])
    assert request.tools == [tool(description="d")]
    assert request.tool_choice == "auto" and request.parallel_calls
    assert read(tools=[]).tools is None
    assert not read(tools=[tool()], parallel_tool_calls=False).parallel_calls


@pytest.mark.parametrize(
    ("choice", "read_as"),
    [
        ("none", "none"),
        ("required", "required"),
        ("any", "required"),
        ({"type": "function", "function": {"name": "weather"}}, "function:weather"),
    ],
)
def test_the_choice_of_a_tool_is_read(choice: Any, read_as: str) -> None:
    assert read(tools=[tool()], tool_choice=choice).tool_choice == read_as


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"tools": {}}, "tools"),
        ({"tools": ["x"]}, "tools[0]"),
        ({"tools": [tool(None)]}, "tools[0].function.name"),
        ({"tools": [tool("")]}, "tools[0].function.name"),
        ({"tools": [tool(), tool()]}, "tools[1].function.name"),
        ({"tools": [tool(description=5)]}, "tools[0].function.description"),
        ({"tools": [tool(parameters=[])]}, "tools[0].function.parameters"),
        ({"tools": [tool(parameters={"type": "array"})]}, "tools[0].function.parameters.type"),
        (
            {"tools": [tool(parameters={"properties": ["a"]})]},
            "tools[0].function.parameters.properties",
        ),
        (
            {"tools": [tool(parameters={"properties": {"b": True, "a": "string"}})]},
            "tools[0].function.parameters.properties.a",
        ),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [tool(strict="yes")]}, "tools[0].function.strict"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [tool()], "tool_choice": "weather"}, "tool_choice"),
        ({"tools": [tool()], "tool_choice": {"type": "function"}}, "tool_choice.function.name"),
        (
            {"tools": [tool()], "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice.function.name",
        ),
        ({"tools": [tool()], "parallel_tool_calls": "no"}, "parallel_tool_calls"),
    ],
)
def test_tools_that_cannot_be_read_are_refused(members: dict[str, Any], param: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(**members)
    assert caught.value.param == param


def test_calls_results_and_thoughts_are_accepted_back() -> None:
    answered = {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "18°"}]}
    thinking = calling(call()) | {"reasoning_content": "hm"}
    messages = read(USER, thinking, answered, {"role": "assistant", "content": "ok"}).messages
    assert messages is not None
    called = {"id": "c1", "type": "function", "function": call()["function"]}
    assert messages[1] == {
        "role": "assistant",
        "content": "",
        "reasoning_content": "hm",
        "tool_calls": [called],
    }
    result = {"role": "tool", "content": "18°", "tool_call_id": "c1", "name": "weather"}
    assert messages[2] == result
    assert messages[3] == {"role": "assistant", "content": "ok"}


@pytest.mark.parametrize(("arguments", "text"), [("", "{}"), (None, "{}"), ({"a": 1}, '{"a": 1}')])
def test_arguments_are_kept_as_text(arguments: Any, text: str) -> None:
    messages = read(calling(call(arguments=arguments))).messages
    assert messages is not None
    assert messages[0]["tool_calls"][0]["function"]["arguments"] == text


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (calling(call(arguments="[1]")), "tool_calls[0].function.arguments"),
        (calling(call(arguments='{"a":')), "tool_calls[0].function.arguments"),
        (calling(call(arguments=5)), "tool_calls[0].function.arguments"),
        (calling(call(arguments='{"a":' * 900 + "1" + "}" * 900)), "tool_calls[0].function.arg"),
        (calling(call(""), call()), "tool_calls[0].id"),
        (calling(call(), call()), "tool_calls[1].id"),
        (calling("x"), "tool_calls[0]"),
        (calling({"id": "c", "function": {}}), "tool_calls[0].function.name"),
        (calling({"id": "c", "type": "custom"}), "tool_calls[0].type"),
        ({"role": "assistant", "tool_calls": "x"}, "tool_calls"),
        ({"role": "tool", "content": "x"}, "tool_call_id"),
        ({"role": "tool", "content": "x", "tool_call_id": "nobody's"}, "tool_call_id"),
        ({"role": "function", "name": "f", "content": "x"}, "role"),
        ({"role": "assistant", "function_call": {"name": "f"}}, "function_call"),
    ],
)
def test_a_history_that_cannot_be_read_is_refused(message: dict[str, Any], param: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(USER, message)
    assert str(caught.value.param).startswith(f"messages[1].{param}")


def test_the_results_of_calls_that_are_wrong_are_not_wrong_too() -> None:
    turn = calling(call("c1", "[1]"), call("c2"))
    results = [{"role": "tool", "content": "", "tool_call_id": name} for name in ("c1", "c2")]
    with pytest.raises(BadInput) as caught:
        read(USER, turn, *results)
    assert str(caught.value).startswith("messages[1].tool_calls[0].function.arguments: got")


@pytest.mark.parametrize(
    ("members", "constraint"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, ("json_schema", {"type": "object"})),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "strict": True, "schema": SCHEMA},
                }
            },
            ("json_schema", SCHEMA),
        ),
        ({"guided_json": json.dumps(SCHEMA)}, ("json_schema", SCHEMA)),
        ({"structured_outputs": {"json": SCHEMA}}, ("json_schema", SCHEMA)),
        ({"guided_regex": "a+"}, ("regex", "a+")),
        ({"guided_choice": ["a.", "b"]}, ("regex", r"a\.|b")),
        ({"guided_grammar": 'start: "a"'}, ("lark", 'start: "a"')),
    ],
)
def test_what_a_reply_has_to_be_is_read(members: dict[str, Any], constraint: Any) -> None:
    got = read(**members).constraint
    if constraint is None:
        assert got is None
        return
    kind, wanted = constraint
    assert got is not None and got.kind == kind
    assert (json.loads(got.text) if kind == "json_schema" else got.text) == wanted
    assert got.param == "constraint" or got.param.startswith((*members, "structured_outputs"))


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
            "response_format.json_schema.name",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}},
            "response_format.json_schema.schema",
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": "string"},
                }
            },
            "response_format.json_schema.schema",
        ),
        ({"guided_json": "{"}, "guided_json"),
        ({"guided_regex": ""}, "guided_regex"),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_regex": "a", "response_format": {"type": "json_object"}}, "guided_regex"),
        ({"structured_outputs": {"xml": "a"}}, "structured_outputs.xml"),
    ],
)
def test_a_constraint_that_cannot_be_read_is_refused(members: dict[str, Any], param: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(**members)
    assert caught.value.param == param


def test_a_body_of_a_hundred_levels_is_refused_with_its_path(http: FlaskClient) -> None:
    assert http.post(CHAT, json={"messages": [USER], "tools": [tool(parameters=nested(20))]})
    response = http.post(CHAT, json={"messages": [USER], "tools": [tool(parameters=nested(50))]})
    assert response.status_code == 400 and response.json is not None
    assert response.json["error"]["param"].startswith("tools[0].function.parameters.properties.a")


def test_a_schema_of_five_megabytes_gets_a_413(http: FlaskClient) -> None:
    schema = {"type": "object", "description": "x" * 5_000_000}
    response = http.post(CHAT, json={"messages": [USER], "tools": [tool(parameters=schema)]})
    assert response.status_code == 413
