"""What `bramble bench --turns` and `--pace` refuse, and that they never wait for a dead ring."""

import argparse
import socket

import pytest
from bramble.commands import bench
from bramble.commands.bench_conversation import measure_pace
from bramble.errors import BadInput, Unavailable
from bramble.head.client import Events
from bramble.wire.messages import Accepted, Delta, Done, Finish, Generate


class DyingClient:
    """Answers one request; then the ring is gone."""

    def __init__(self) -> None:
        self.asked = 0

    def generate(self, request: Generate, watch: socket.socket | None = None) -> Events:
        self.asked += 1
        if self.asked > 1:
            raise Unavailable("no ring serves: stage 0")
        yield Accepted(request.request, 1)
        yield Delta(request.request, "x", (7,))
        yield Done(request.request, Finish.LENGTH, 1, 1, 0.0, 0.0, 0.0)

    def status(self) -> dict[str, object]:
        return {}


def test_the_pace_of_a_ring_that_dies_is_an_error_and_not_an_endless_wait() -> None:
    with pytest.raises(Unavailable, match="no ring serves: stage 0"):
        measure_pace(DyingClient(), 8, 2, 100)


@pytest.mark.parametrize(
    ("prompt", "tokens", "turns", "message"),
    [
        (100, 64, False, "--prompt 100 does not fit the context of 100 tokens: take 99 at most"),
        (10, 90, False, "--tokens 90 does not fit the context of 100 tokens: take 84 at most"),
        (60, 64, True, "--prompt 60 does not fit the context of 100 tokens: take 59 at most"),
        (10, 64, True, "--prompt 10 is too short for --turns: take 25 or more"),
    ],
)
def test_what_does_not_fit_is_named(prompt: int, tokens: int, turns: bool, message: str) -> None:
    args = argparse.Namespace(prompt=prompt, tokens=tokens, repeat=1, turns=turns)
    with pytest.raises(BadInput, match=message):
        bench._check_length(args, 100)
