"""What stages do over time: they do not grow, and use idle moments."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest
from bramble.wire.messages import Generate

from tests.ring.conftest import Ring, RingMaker, greedy, sampled

WARM, MORE, AT_ONCE = 500, 2000, 8
GROWTH_KB = 4096  # 2 kB per request that stay would show


def request(number: int) -> Generate:
    """Of many lengths; some begin alike, so that rows are copied and beginnings found."""
    random = Random(number)
    prompt = [5, 6, 7, 8] * random.randrange(5) + random.choices(range(3, 150), k=number % 40 + 1)
    tokens = random.randrange(1, 12)
    if number % 2:
        return greedy(f"r{number}", prompt, tokens)
    return sampled(f"r{number}", prompt, tokens, seed=number)


def ask(ring: Ring, numbers: range) -> None:
    """Ask for them, eight at once; every seventh is left after its first word."""

    def asked(number: int) -> None:
        events = ring.client.generate(request(number))
        for _ in events:
            if number % 7 == 0:
                break
        events.close()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(asked, numbers))


def anonymous_kb(ring: Ring) -> dict[str, int]:
    """Process → kB that are its own; pages of files come and go."""
    found = {}
    for child in ring.supervisor.children:
        assert child.process is not None and child.restarts == 0
        status = Path(f"/proc/{child.process.pid}/status").read_text()
        found[child.name] = int(re.findall(r"RssAnon:\s+(\d+) kB", status)[0])
    return found


def has_numba(ring: Ring, name: str) -> bool:
    process = ring.child(name).process
    assert process is not None
    return "llvmlite" in Path(f"/proc/{process.pid}/maps").read_text()


def test_numba_is_imported_once_the_last_stage_is_idle(models: Path, make_ring: RingMaker) -> None:
    ring = make_ring(models / "llama2-int4", 2)
    ring.generate(greedy("r0", [3, 4, 5], 4))
    deadline = time.monotonic() + 20
    while not has_numba(ring, "stage-1") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (has_numba(ring, "stage-0"), has_numba(ring, "stage-1")) == (False, True)


@pytest.mark.timeout(300)
def test_memory_stays_flat_over_two_thousand_requests(models: Path, make_ring: RingMaker) -> None:
    ring = make_ring(models / "llama2-int4", 2)
    ask(ring, range(WARM))
    before = anonymous_kb(ring)
    ask(ring, range(WARM, WARM + MORE))
    after = anonymous_kb(ring)
    growth = {name: after[name] - before[name] for name in after}
    assert max(growth.values()) < GROWTH_KB, growth
