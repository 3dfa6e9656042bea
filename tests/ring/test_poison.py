"""A request that ends stages is ended itself, after the second time; the others lose nothing."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bramble.errors import PoisonRequest
from bramble.wire.messages import Generate

from tests.ring.conftest import Ring, RingMaker, greedy

NUM_OTHERS = 20


def others() -> list[Generate]:
    return [greedy(f"other-{i}", [5 + i, 6, 7 + i % 3], 20 + i) for i in range(NUM_OTHERS)]


def all_replies(ring: Ring, requests: list[Generate]) -> list[list[int] | Exception]:
    """What each of them gets, all asked at once; the ring is tended meanwhile."""
    with ThreadPoolExecutor(len(requests)) as pool:
        futures = [pool.submit(ring.generate, request) for request in requests]
        while not all(future.done() for future in futures):
            ring.supervisor.tend()
            time.sleep(0.02)
    return [f.exception() or f.result()[0] for f in futures]


def test_a_token_that_ends_stages_ends_its_request_and_no_other(
    models: Path, make_ring: RingMaker, tmp_path: Path
) -> None:
    fault = tmp_path / "fault"
    stage = ("tests.ring.fragile_stage", str(fault))
    ring = make_ring(models / "llama3-float32", 3, stage=stage, **{"max-rows": 12})
    spoken = greedy("spoken", [9, 8, 7, 6, 5], 60)
    wanted, (reply,) = all_replies(ring, others()), all_replies(ring, [spoken])
    harmless = {token for each in wanted for token in each} | set(range(5, 5 + NUM_OTHERS))
    poison = next(token for token in reply[2:] if token not in harmless)
    asked = greedy("asked", [9, 8, poison, 6, 5], 60)
    for bad, node, how in ((asked, "stage-2", "raise"), (spoken, "stage-1", "kill")):
        fault.write_text(f"{poison} {node} {how}")
        *got, outcome = all_replies(ring, [*others(), bad])
        assert got == wanted
        assert isinstance(outcome, PoisonRequest)
        assert "ended 2 times" in str(outcome) and node in str(outcome)
    restarts = [ring.child(f"stage-{i}").restarts for i in range(3)]
    assert restarts == [0, 2, 0], "a step that fails ends no stage"
    assert ring.wait_for("serving")["requests"]["failed"] == 2
    fault.unlink()
    assert all_replies(ring, [spoken]) == [reply]
