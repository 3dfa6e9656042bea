"""What `bramble bench --contexts` asks for, measures, shows and refuses."""

from __future__ import annotations

import socket

import pytest
from bramble.cli import main
from bramble.commands import bench_context as over_context
from bramble.errors import BadInput
from bramble.head.client import Events
from bramble.wire.messages import Accepted, Delta, Done, Finish, Generate

TOKENS = 21


class SlowingClient:
    """Takes a second for 20 tokens, and as much again for each 1,000 before them; reads 100/s."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.known: set[tuple[int, ...]] = set()

    def generate(self, request: Generate, watch: socket.socket | None = None) -> Events:
        length = len(request.prompt)
        self.asked.append(length)
        first = 0.0 if tuple(request.prompt) in self.known else length / 100
        self.known.add(tuple(request.prompt))
        yield Accepted(request.request, length)
        yield Delta(request.request, "x", (7,))
        total = first + 1 + length / 1000
        yield Done(request.request, Finish.LENGTH, length, TOKENS, 0.0, first, total)

    def status(self) -> dict[str, object]:
        return {}


def measured(repeat: int = 3) -> list[dict[str, object]]:
    return over_context.measure(SlowingClient(), [1000, 3000], TOKENS, repeat, 100)


def test_speeds_are_of_the_reply_alone_and_compared_with_the_shortest() -> None:
    short, long = measured()
    assert (short["context_tokens"], long["context_tokens"]) == (1000, 3000)
    assert short["decode_tokens_s"] == pytest.approx(10) and short["of_shortest"] == 1
    assert long["decode_tokens_s"] == pytest.approx(5)
    assert long["of_shortest"] == pytest.approx(0.5)


def test_what_the_cache_saves_of_the_second_round_is_told_beside_it() -> None:
    _, long = measured()
    assert (long["first_token_s"], long["cached_first_token_s"]) == (30, 0)
    _, once = measured(repeat=1)
    assert once["cached_first_token_s"] == 30


def test_the_lengths_take_turns() -> None:
    client = SlowingClient()
    over_context.measure(client, [10, 20], TOKENS, 2, 100)
    assert client.asked == [10, 20, 10, 20]


@pytest.mark.parametrize(
    ("text", "max_length", "found"),
    [
        (over_context.DEFAULT, 8192, [64, 1000, 4000, 8000]),
        (over_context.DEFAULT, 2048, [64, 1000]),
        (over_context.DEFAULT, 60, [39]),
        ("300,5,5", 2048, [5, 300]),
    ],
)
def test_lengths_are_those_that_fit(text: str, max_length: int, found: list[int]) -> None:
    assert over_context.lengths(text, TOKENS, max_length) == found


@pytest.mark.parametrize("text", ["", "a", "64,", "0", "-1,5", "5000", "1.5"])
def test_what_is_no_length_or_does_not_fit_is_refused_with_the_range(text: str) -> None:
    with pytest.raises(BadInput, match=r"--contexts .*: (need numbers|each has to be 1 to 4075)"):
        over_context.lengths(text, TOKENS, 4096)


def test_the_table_shows_each_length(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"model": "m", "quantization": "int4", "kv_cache": "float16", "reply_tokens": 21}
    over_context.show(document | {"contexts": measured()})
    said = capsys.readouterr().out
    assert "a float16 KV cache" in said
    assert "3,000 tokens" in said and "0.50" in said


def test_a_plot_of_something_else_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--plot=x.png"]) != 0
    assert "--plot goes with --contexts" in capsys.readouterr().err
