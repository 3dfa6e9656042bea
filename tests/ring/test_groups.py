"""A stage that several processes serve together gives the tokens of one, whoever of them dies."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.ring.conftest import Ring, RingMaker, greedy, sampled
from tests.ring.test_recovery import LONG, kill, stream
from tests.ring.test_tokens import replies


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where members keep their slices from one test to the next."""
    return tmp_path_factory.mktemp("packed")


@pytest.fixture(scope="module")
def alone() -> dict[str, dict[str, list[int]]]:
    """The replies of one process, by model."""
    return {}


@pytest.mark.parametrize(
    ("name", "stages", "members"),
    [
        ("llama3-float32", 2, 2),
        ("llama3-float32", 1, 3),  # uneven, and more than there are KV heads
        ("llama3-float32", 1, 4),
        ("embedded-int8", 1, 2),
    ],
)
def test_a_group_gives_the_tokens_of_one_process_alone_and_under_eight_requests(
    name: str,
    stages: int,
    members: int,
    models: Path,
    packed: Path,
    make_ring: RingMaker,
    alone: dict[str, dict[str, list[int]]],
) -> None:
    """With 8-bit activations the last bit of a sum may decide how one is rounded, and that the
    logits by a percent: only the best of them is compared there.
    """
    if name not in alone:
        alone[name] = replies(make_ring(models / name, 1), at_once=8)
    ring = make_ring(models / name, stages, members=members, packed=packed)
    found, is_exact = replies(ring, at_once=8), name.endswith("float32")
    for which, tokens in alone[name].items():
        if is_exact or which.startswith("greedy"):
            assert found[which] == tokens, which


@pytest.fixture
def pair(make_ring: RingMaker, models: Path, packed: Path) -> Ring:
    return make_ring(models / "llama3-float32", 1, members=2, packed=packed)


def test_the_loss_of_any_member_costs_time_and_no_token(pair: Ring) -> None:
    wanted = pair.generate(sampled("before", [5, 6, 7], LONG, seed=1))[0]
    for victim in ("stage-1", "stage-0"):
        started = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            reply = pool.submit(stream, pair, started)
            started.wait(10)
            kill(pair, victim)
            while not reply.done():
                pair.supervisor.tend()
                time.sleep(0.02)
            assert reply.result() == wanted
        pair.wait_for("serving")
        assert pair.child(victim).restarts == 1


def test_status_shows_each_member_and_what_it_has(pair: Ring) -> None:
    pair.generate(greedy("any", [5, 6, 7], 20))
    document = pair.wait_for("serving")
    (stage,) = document["plan"]["rings"][0]["stages"]  # type: ignore[index]
    assert stage["node"] == "stage-0+stage-1"
    assert [(each["node"], each["rank"], each["part"]) for each in stage["members"]] == [
        ("stage-0", 0, "2 of 4 heads"),
        ("stage-1", 1, "2 of 4 heads"),
    ]
    assert stage["members"][1]["share"]["heads"] == [2, 4]
