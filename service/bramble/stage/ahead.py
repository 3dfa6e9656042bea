"""Steps that are computed before the head asks for them (WIRE.md, "Foresight").

What follows a lone row's token is a step of that token: of a stage that has the whole model it is
known at once, else the last stage tells the first one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bramble.stage.answer import is_of_one_token
from bramble.stage.engine import Engine
from bramble.stage.last_step import LastStep
from bramble.wire import messages as m


class Ahead:
    def __init__(self, last: LastStep, has_step: Callable[[], bool]) -> None:
        """has_step  True if a step has arrived, which is what comes next"""
        self._last, self._has_step = last, has_step
        self._lone: dict[int, m.Step] = {}  # lane → its latest step, if that is of one row

    def clear(self) -> None:
        self._lone = {}

    def follow(self, engine: Engine, step: m.Step, token_ids: NDArray[np.int32]) -> None:
        """Compute what follows a step of one row, or remember it until its token is known."""
        self._lone.pop(step.lane, None)
        if not is_of_one_token(step):
            return
        if not len(token_ids):
            self._lone[step.lane] = step
        elif not self._has_step():
            self._last.begin_ahead()
            engine.foresee(step, token_ids)
            self._last.end()

    def hear(self, engine: Engine | None, sampled: m.Sampled) -> bool:
        """The last stage tells what the head will most likely ask for; True if it was of use."""
        step, told = self._lone.get(sampled.lane), (sampled.plan_id, sampled.epoch, sampled.step)
        if step is None or (step.plan_id, step.epoch, step.step) != told:
            return False  # the head was quicker
        if len(sampled.token_ids) != 1 or engine is None:
            return False
        self.follow(engine, step, sampled.token_ids)
        return True
