"""Bodies of Ollama's API become what the head is asked, or are refused with the fault's path."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bramble.errors import BadInput
from bramble.web.ollama_read import read_chat, read_generate, read_load
from bramble.wire.messages import Constraint, Generate

USER = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "on", "parameters": {"type": "object"}}}
CALL = {"function": {"name": "on", "arguments": {"room": "kitchen"}}}


def chat(**members: Any) -> Generate:
    (request,) = read_chat({"model": "fake", "messages": [USER], **members}).requests
    return request


def generate(**members: Any) -> Generate:
    (request,) = read_generate({"model": "fake", "prompt": "hi", **members}).requests
    return request


def read_messages(messages: list[Any]) -> list[dict[str, Any]]:
    return chat(messages=messages).messages or []


def called(*names: str) -> dict[str, Any]:
    calls = [{"function": {"name": name, "arguments": {}}} for name in names]
    return {"role": "assistant", "content": "", "tool_calls": calls}


def test_options_have_other_names_than_in_openais_api() -> None:
    options = {
        "temperature": 0.5,
        "top_k": 40,
        "top_p": 0.9,
        "min_p": 0.1,
        "repeat_penalty": 1.1,
        "presence_penalty": 0.2,
        "frequency_penalty": 0.3,
        "seed": 7,
        "num_predict": 5,
        "stop": ["a", "b"],
    }
    request = chat(options=options)
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (0.5, 40, 0.9)
    assert (sampling.min_p, sampling.repetition_penalty) == (0.1, 1.1)
    assert (sampling.presence_penalty, sampling.frequency_penalty) == (0.2, 0.3)
    assert (sampling.seed, request.is_seeded) == (7, True)
    assert (request.max_tokens, request.stop) == (5, ("a", "b"))
    assert request.chosen is not None and set(request.chosen) == {
        *("temperature", "top_k", "top_p", "min_p"),
        *("repetition_penalty", "presence_penalty", "frequency_penalty"),
    }


def test_what_is_not_chosen_is_left_to_the_model() -> None:
    request = chat(options={"temperature": None, "seed": -1, "stop": None})
    assert request.chosen == () and not request.is_seeded
    assert request.max_tokens is None and request.stop == ()


@pytest.mark.parametrize("length", [-1, -2, None])
def test_a_reply_without_limit(length: int | None) -> None:
    assert chat(options={"num_predict": length}).max_tokens is None


def test_a_top_p_of_0_is_greedy() -> None:
    assert chat(options={"top_p": 0}).sampling.temperature == 0.0


def test_options_without_effect_pass_and_are_named() -> None:
    options = {"num_ctx": 8192, "num_gpu": 1, "use_mmap": True, "mirostat": 0, "typical_p": 1.0}
    asked = read_chat(
        {"model": "m", "messages": [USER], "keep_alive": "5m", "options": {**options, "numa": None}}
    )
    named = {"keep_alive", "options.num_ctx", "options.num_gpu", "options.use_mmap"}
    assert set(asked.ignored) == named


def test_labels_pass_and_are_named() -> None:
    body = {"model": "m", "messages": [USER], "user": "me", "metadata": {"a": "b"}, "x": None}
    assert set(read_chat(body).ignored) == {"user", "metadata"}


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"options": {"temprature": 1}}, "options.temprature"),
        ({"options": {"temperature": "hot"}}, "options.temperature"),
        ({"options": {"mirostat": 2}}, "options.mirostat"),
        ({"options": {"tfs_z": 0.5}}, "options.tfs_z"),
        ({"options": {"num_predict": 0}}, "options.num_predict"),
        ({"options": {"stop": ["", 1]}}, "options.stop[0]"),
        ({"options": {"repeat_penalty": 1.1, "repeat_last_n": 64}}, "options.repeat_last_n"),
        ({"options": [1]}, "options"),
        ({"temperature": 1}, "temperature"),
        ({"format": "yaml"}, "format"),
        ({"think": "hard"}, "think"),
        ({"think": {}}, "think"),
        ({"tools": {}}, "tools"),
        ({"stream": "yes"}, "stream"),
        ({"keep_alive": "soon"}, "keep_alive"),
        ({"keep_alive": []}, "keep_alive"),
        ({"template": "{{ .Prompt }}"}, "template"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"model": 5}, "model"),
        ({"model": None}, "model"),
        ({"messages": {}}, "messages"),
        ({"messages": [1]}, "messages[0]"),
        ({"messages": [{"role": "king", "content": ""}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [USER | {"images": ["aGk="]}]}, "messages[0].images"),
        ({"messages": [USER | {"tool_calls": [CALL]}]}, "messages[0].tool_calls"),
        ({"messages": [USER | {"text": "hi"}]}, "messages[0].text"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(members: dict[str, Any], path: str) -> None:
    with pytest.raises(BadInput) as refused:
        chat(**members)
    assert refused.value.param == path and path in str(refused.value)


def test_all_that_is_wrong_is_told_at_once() -> None:
    messages = [USER | {"images": ["aGk="]}, {"role": "king"}]
    with pytest.raises(BadInput) as refused:
        chat(messages=messages, format="yaml", think="hard", options={"seed": "x", "stop": [1]})
    paths = ("messages[0].images", "messages[1].role", "format", "think", "options.seed")
    assert all(path in str(refused.value) for path in (*paths, "options.stop[0]"))


@pytest.mark.parametrize(
    ("tools", "path"),
    [
        ([1], "tools[0]"),
        ([{"function": {}}], "tools[0].function.name"),
        ([TOOL, TOOL], "tools[1].function.name"),
        ([{"function": {"name": "on", "parameters": []}}], "tools[0].function.parameters"),
    ],
)
def test_a_tool_that_is_none_is_refused(tools: list[Any], path: str) -> None:
    with pytest.raises(BadInput) as refused:
        chat(tools=tools)
    assert refused.value.param == path


def test_tools_are_told_as_in_openais_api() -> None:
    assert chat(tools=[{"function": TOOL["function"]}]).tools == [TOOL]
    assert chat(tools=[]).tools is None


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (1, ""),
        ({}, ""),
        ({"function": {"arguments": {}}}, ".function.name"),
        ({"function": {"name": ""}}, ".function.name"),
        ({"function": {"name": "on", "arguments": [1]}}, ".function.arguments"),
        ({"function": {"name": "on", "arguments": "on"}}, ".function.arguments"),
        ({"function": {"name": "on", "arguments": "[]"}}, ".function.arguments"),
        ({"function": {"name": "on", "arguments": '{"a": "\\ud800"}'}}, ".function.arguments"),
    ],
)
def test_a_call_that_is_none_is_refused(call: Any, path: str) -> None:
    with pytest.raises(BadInput) as refused:
        read_messages([USER, {"role": "assistant", "tool_calls": [call]}])
    assert refused.value.param == "messages[1].tool_calls[0]" + path


def test_calls_have_their_arguments_as_text_and_an_id() -> None:
    (message,) = read_messages([{"role": "assistant", "thinking": "hm", "tool_calls": [CALL]}])
    (call,) = message["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"room": "kitchen"}
    assert call["type"] == "function" and call["id"]
    assert (message["content"], message["reasoning_content"]) == ("", "hm")


@pytest.mark.parametrize("arguments", ['{"room": "kitchen"}', {"room": "kitchen"}])
def test_arguments_may_be_sent_as_text(arguments: Any) -> None:
    call = {"id": "x", "type": "function", "function": {"name": "on", "arguments": arguments}}
    (message,) = read_messages([{"role": "assistant", "tool_calls": [call]}])
    assert message["tool_calls"][0]["function"]["arguments"] == '{"room": "kitchen"}'
    assert message["tool_calls"][0]["id"] == "x"


def test_results_without_a_name_belong_to_the_calls_in_their_order() -> None:
    results = [{"role": "tool", "content": "1"}, {"role": "tool", "content": "2"}]
    _, turn, first, second = read_messages([USER, called("on", "off"), *results])
    assert [first["name"], second["name"]] == ["on", "off"]
    ids = [call["id"] for call in turn["tool_calls"]]
    assert [first["tool_call_id"], second["tool_call_id"]] == ids


def test_results_that_name_their_tool_belong_to_its_call() -> None:
    named = [{"role": "tool", "content": "", "tool_name": name} for name in ("off", "on")]
    _, turn, first, second = read_messages([USER, called("on", "off"), *named])
    ids = [call["id"] for call in turn["tool_calls"]]
    assert [second["tool_call_id"], first["tool_call_id"]] == ids


def test_results_with_an_id_belong_to_its_call() -> None:
    turn = {"role": "assistant", "tool_calls": [CALL | {"id": "a"}, CALL | {"id": "b"}]}
    result = {"role": "tool", "content": "", "tool_call_id": "b"}
    assert read_messages([USER, turn, result])[2]["tool_call_id"] == "b"


@pytest.mark.parametrize(
    ("messages", "path"),
    [
        ([{"role": "tool", "content": "1"}], "messages[0]"),
        ([USER, {"role": "tool", "content": "1"}], "messages[1]"),
        ([USER, called("on"), *[{"role": "tool", "content": ""}] * 2], "messages[3]"),
        ([USER, called("on"), {"role": "tool", "tool_name": "off"}], "messages[2].tool_name"),
        ([USER, called("on"), {"role": "tool", "tool_call_id": "z"}], "messages[2].tool_call_id"),
    ],
)
def test_a_result_of_no_call_is_refused(messages: list[Any], path: str) -> None:
    with pytest.raises(BadInput) as refused:
        read_messages(messages)
    assert refused.value.param == path


def test_the_results_of_calls_that_are_wrong_are_not_wrong_too() -> None:
    turn = {"role": "assistant", "tool_calls": [{"function": {"name": "on", "arguments": 1}}, CALL]}
    with pytest.raises(BadInput) as refused:
        read_messages([USER, turn, *[{"role": "tool", "content": ""}] * 2])
    assert str(refused.value).startswith("messages[1].tool_calls[0].function.arguments: got 1")


def test_a_history_may_begin_with_results_whose_calls_were_cut_off() -> None:
    system = {"role": "system", "content": "be kind"}
    messages = read_messages([system, {"role": "tool", "content": "1"}, called(), USER])
    assert messages[1]["role"] == "tool"


def test_a_schema_and_json_become_a_constraint() -> None:
    schema = {"type": "object", "properties": {"é": {"type": "string"}}}
    constraint = chat(format=schema).constraint
    assert constraint is not None and json.loads(constraint.text) == schema
    assert chat(format="json").constraint == Constraint("json_schema", '{"type":"object"}')
    assert chat(format="").constraint is None


@pytest.mark.parametrize(
    ("think", "options"),
    [
        (None, {}),
        (False, {"enable_thinking": False}),
        (True, {"enable_thinking": True}),
        ("low", {"enable_thinking": True, "reasoning_effort": "low"}),
        ("none", {"enable_thinking": False, "reasoning_effort": "none"}),
    ],
)
def test_thinking_is_told_to_the_template(think: Any, options: dict[str, Any]) -> None:
    assert chat(think=think).template_options == options


def test_a_name_may_have_the_tag_latest() -> None:
    assert chat(model="fake:latest").model == chat(model="fake").model == "fake"
    assert chat(model="fake:7b").model == "fake:7b"


def test_it_streams_unless_told_otherwise() -> None:
    body = {"model": "fake", "messages": [USER]}
    assert read_chat(body).is_streamed and read_chat(body | {"stream": None}).is_streamed
    assert not read_chat(body | {"stream": False}).is_streamed


def test_log_probabilities() -> None:
    assert chat().sampling.top_logprobs == chat(top_logprobs=3).sampling.top_logprobs == -1
    assert chat(logprobs=True).sampling.top_logprobs == 0
    assert chat(logprobs=True, top_logprobs=3).sampling.top_logprobs == 3


def test_a_prompt_is_a_users_message() -> None:
    system = {"role": "system", "content": "be kind"}
    assert generate().messages == [USER] and generate().prompt is None
    assert generate(system="be kind").messages == [system, USER]


def test_a_raw_prompt_is_continued() -> None:
    request = generate(raw=True)
    assert request.prompt == "hi" and request.messages is None


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"suffix": "}"}, "suffix"),
        ({"context": [1, 2]}, "context"),
        ({"images": ["aGk="]}, "images"),
        ({"template": "x"}, "template"),
        ({"raw": True, "system": "x"}, "system"),
        ({"raw": "yes"}, "raw"),
        ({"prompt": 5}, "prompt"),
        ({"messages": [USER]}, "messages"),
    ],
)
def test_what_cannot_be_generated_is_refused(members: dict[str, Any], path: str) -> None:
    with pytest.raises(BadInput) as refused:
        generate(**members)
    assert refused.value.param == path


def test_nothing_to_reply_to_asks_for_the_model() -> None:
    assert read_load({}, "messages") == read_load({"messages": []}, "messages") == "load"
    assert read_load({"prompt": ""}, "prompt") == read_load({"keep_alive": -1}, "prompt") == "load"
    assert read_load({"messages": [USER]}, "messages") is None
    assert read_load({"prompt": "hi"}, "prompt") is None
    assert read_load({"messages": {}}, "messages") is None  # for read_chat to refuse
    for keep_alive in (0, 0.0, "0", "0s", "0m0s"):
        assert read_load({"keep_alive": keep_alive}, "prompt") == "unload"
