"""Parameters: obeyed, without effect or refused; other servers' names; all faults at once."""

from typing import Any

import pytest
from bramble.errors import BadInput
from bramble.web.parameters import read_chat, read_text
from bramble.wire.messages import Generate
from flask.testing import FlaskClient

from tests.web.fake_client import FakeClient

CHAT = "/v1/chat/completions"
USER = [{"role": "user", "content": "hi"}]


def asked(**members: Any) -> Generate:
    return read_chat({"messages": USER, **members}).requests[0]


def test_what_has_no_effect_is_accepted_and_named_in_a_header(http: FlaskClient) -> None:
    body = {"messages": USER, "store": True, "verbosity": "low", "num_ctx": 4096, "user": None}
    response = http.post(CHAT, json=body)
    assert response.status_code == 200
    assert response.headers["X-Bramble-Ignored"] == "store, verbosity, num_ctx"
    assert "X-Bramble-Ignored" not in http.post(CHAT, json={"messages": USER}).headers


def test_null_is_absent_whatever_it_is_called() -> None:
    nulls = ("temperature", "tools", "functions", "audio", "grammar", "nobody_knows_this")
    assert asked(**dict.fromkeys(nulls)).chosen == ()


@pytest.mark.parametrize("name", ["max_tokens", "num_predict", "n_predict", "max_new_tokens"])
@pytest.mark.parametrize(
    ("value", "most"), [(5, 5), (5.0, 5), (-1, None), (-1.0, None), (-2, None)]
)
def test_lengths_by_any_name_and_without_limit(name: str, value: float, most: int | None) -> None:
    assert asked(**{name: value}).max_tokens == most
    assert read_text({"prompt": "x", name: value}).requests[0].max_tokens == most


@pytest.mark.parametrize("value", [0, -3, 1.5, "5", True])
def test_a_length_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(BadInput, match=r"max_tokens: got .*or -1 for no limit"):
        asked(max_tokens=value)


def test_whole_floats_are_integers() -> None:
    request = asked(seed=7.0, top_k=40.0)
    assert (request.sampling.seed, request.sampling.top_k) == (7, 40)
    assert len(read_chat({"messages": USER, "n": 2.0}).requests) == 2
    assert read_text({"prompt": [1.0, 2.0]}).requests[0].prompt == [1, 2]


def test_top_p_0_is_greedy() -> None:
    request = asked(top_p=0, temperature=0.9)
    assert (request.sampling.temperature, request.sampling.top_p) == (0.0, 1.0)
    assert set(request.chosen or ()) == {"temperature", "top_p"}


def test_other_servers_names_are_obeyed() -> None:
    request = asked(repeat_penalty=1.2, stop_sequences=["x"], random_seed=5)
    assert request.sampling.repetition_penalty == 1.2
    assert request.stop == ("x",) and request.sampling.seed == 5


def test_two_names_of_one_parameter_may_not_contradict() -> None:
    assert asked(max_tokens=5, num_predict=5.0).max_tokens == 5
    with pytest.raises(BadInput, match="num_predict: 6 contradicts max_tokens 5"):
        asked(max_tokens=5, num_predict=6)


@pytest.mark.parametrize(
    ("name", "neutral", "other"),
    [
        ("best_of", 1, 2),
        ("suffix", "", "x"),
        ("typical_p", 1.0, 0.5),
        ("mirostat", 0, 2),
        ("min_tokens", 0, 5),
        ("modalities", ["text"], ["text", "audio"]),
        ("functions", [], [{"name": "f"}]),
        ("use_beam_search", False, True),
    ],
)
def test_what_would_change_the_reply_is_refused_save_where_it_asks_for_nothing(
    name: str, neutral: Any, other: Any
) -> None:
    asked(**{name: neutral})
    with pytest.raises(BadInput) as caught:
        asked(**{name: other})
    assert caught.value.param == name and caught.value.code == "unsupported_parameter"


def test_the_old_functions_are_refused_with_a_word_on_tools() -> None:
    with pytest.raises(BadInput, match=r"functions: .* send tools and tool_choice"):
        asked(functions=[{"name": "f"}])


def test_all_that_is_wrong_comes_in_one_answer(http: FlaskClient) -> None:
    messages = [{"role": "god", "content": "x"}, USER[0], {"role": "user"}]
    tools = [{"type": "function", "function": {"name": "two words"}}, {"type": "retrieval"}]
    body = {"messages": messages, "tools": tools, "temprature": 1, "top_p": 7, "n": 99, "stop": [1]}
    response = http.post(CHAT, json=body)
    assert response.status_code == 400 and response.json is not None
    error = response.json["error"]
    assert error["param"] == "temprature"
    wrong = ["temprature", "messages[0].role", "messages[2].content", "tools[0].function.name"]
    wrong += ["tools[1].type", "top_p", "n", "stop[0]"]
    assert error["message"].startswith("8 parameters are wrong: (1) temprature: unknown")
    assert all(f") {param}: " in error["message"] for param in wrong)


def test_a_long_list_of_faults_is_cut_before_it_takes_time() -> None:
    some: list[dict[str, Any]] = [
        {"messages": ["x"] * 100_000},
        {"messages": [dict.fromkeys(map(str, range(100_000)), 1) | {"role": "user"}]},
        {"messages": USER, "tools": ["x"] * 100_000},
        {"messages": USER} | dict.fromkeys(map(str, range(100_000)), 1),
    ]
    for body in some:
        with pytest.raises(BadInput, match=r"^16 parameters and more are wrong: \(1\) "):
            read_chat(body)


@pytest.mark.parametrize(
    ("members", "options"),
    [
        ({"reasoning_effort": "low"}, {"reasoning_effort": "low", "enable_thinking": True}),
        ({"reasoning_effort": "none"}, {"reasoning_effort": "none", "enable_thinking": False}),
        ({"reasoning": {"effort": "high", "summary": "auto"}}, {"reasoning_effort": "high"}),
        ({"think": False}, {"enable_thinking": False}),
        ({"think": "high"}, {"reasoning_effort": "high"}),
        ({"thinking": {"type": "disabled"}}, {"enable_thinking": False}),
        (
            {"chat_template_kwargs": {"enable_thinking": False, "x": None}},
            {"enable_thinking": False},
        ),
        (
            {"think": True, "chat_template_kwargs": {"enable_thinking": False}},
            {"enable_thinking": False},
        ),
    ],
)
def test_thinking_reaches_the_template(members: dict[str, Any], options: dict[str, Any]) -> None:
    got = asked(**members).template_options
    assert {name: got.get(name) for name in options} == options


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"reasoning_effort": "much"}, "reasoning_effort"),
        ({"think": 3}, "think"),
        ({"reasoning": "high"}, "reasoning"),
        ({"thinking": {"type": "enabled", "budget_tokens": 5}}, "thinking.budget_tokens"),
        ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs.messages"),
        ({"chat_template_kwargs": []}, "chat_template_kwargs"),
        ({"reasoning_format": "xml"}, "reasoning_format"),
    ],
)
def test_thinking_that_cannot_be_read_is_refused(members: dict[str, Any], param: str) -> None:
    with pytest.raises(BadInput) as caught:
        asked(**members)
    assert caught.value.param == param


def test_thoughts_are_where_the_setting_or_the_request_says(
    http: FlaskClient, fake: FakeClient
) -> None:
    for members in ({}, {"reasoning_format": "none"}, {"reasoning_format": "parsed"}):
        http.post(CHAT, json={"messages": USER, **members})
    found = [request.about["has_inline_thoughts"] for request in fake.asked]
    assert found == [False, True, False]
