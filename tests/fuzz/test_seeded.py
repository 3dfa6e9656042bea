"""Right inputs are taken; some hundreds that are wrong at one place are, or are refused.

The same ones at each run. `make fuzz` looks for longer, and where coverage leads.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from random import Random

import pytest

from tests.fuzz.mutate import JSON, mutate_bytes, mutate_json
from tests.fuzz.seeds import seeds
from tests.fuzz.sockets import close
from tests.fuzz.targets import TARGETS

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy on what is no number
COUNTS = {"greeting": 40, "assign": 60, "settings": 40}  # these are slow


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
    close()


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_wrong_at_one_place_ends_no_process(target: str) -> None:
    chance, right = Random(target), seeds(target)
    for data in right:
        TARGETS[target](data)
    for number in range(COUNTS.get(target, 200)):
        data = right[number % len(right)]
        changed = mutate_json(data, JSON[target], chance) if target in JSON else None
        if changed is None or chance.random() < 0.2:
            changed = mutate_bytes(data, chance)
        try:
            TARGETS[target](changed)
        except BaseException as error:
            error.add_note(f"{target}: {changed!r}")
            raise
