"""What a template can write of values that clients send."""

import json
from typing import Any

import pytest
from bramble.errors import BadInput
from bramble.model.writable import check_writable


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (json.loads('{"a": 1e999}'), "too large"),
        (json.loads('{"a": [-1e400]}'), "too large"),
        ({"a": "\ud800"}, "surrogate"),
        (json.loads("[" * 101 + "]" * 101), "nested"),
    ],
)
def test_what_a_template_could_not_write_is_refused(value: Any, words: str) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        check_writable(value, "messages[0]")
    assert caught.value.param == "messages[0]"


def test_numbers_and_characters_of_json_can_be_written() -> None:
    check_writable({"é": [1e308, 10**30, None, True, "\x00", "😀"]}, "x")
