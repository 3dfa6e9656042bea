"""Arguments of a call, whole or cut off anywhere."""

import json

import pytest
from bramble.web.partial_json import read_arguments

TEXT = '{"a": 1, "b": {"c": [true, "x\\"y", 2.5]}, "d": "é"}'


def test_whole_arguments_are_themselves() -> None:
    assert read_arguments(TEXT) == json.loads(TEXT)
    assert read_arguments("") == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1', {}),
        ('{"a": 1,', {"a": 1}),
        ('{"a": 1, "b', {"a": 1}),
        ('{"a": "x", "b": {"c": [1, "y', {"a": "x", "b": {"c": [1]}}),
        ('{"a": tr', {}),
        ("not json", {"arguments": "not json"}),
        ("[1, 2]", {"arguments": [1, 2]}),
    ],
)
def test_what_is_cut_off_keeps_what_is_complete(text: str, found: object) -> None:
    assert read_arguments(text) == found


def test_arguments_can_be_cut_off_anywhere() -> None:
    for stop in range(1, len(TEXT)):
        assert set(read_arguments(TEXT[:stop])) <= {"a", "b", "d"}


def test_deep_or_long_arguments_end_nothing() -> None:
    assert read_arguments("[" * 100_000).keys() == {"arguments"}
    assert read_arguments('{"a": ' + "[1," * 50_000) is not None
