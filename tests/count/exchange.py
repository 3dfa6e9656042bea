"""Run on the emulated board: count what a member executes for one exchange, in its own code.

Two members in one thread, so that none waits. What the kernel executes is not counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from bramble.stage.exchange.forms import FORMS
from bramble.stage.exchange.tcp import TcpExchange
from numpy.typing import NDArray

from tests.count.marks import Marks
from tests.stage.exchange.groups import group

SHAPES = ((1, 2048), (1, 4096), (128, 2048))


def reduce(members: Sequence[TcpExchange], arrays: Sequence[NDArray[np.float32]]) -> None:
    for member, array in zip(members, arrays, strict=True):
        member.begin_reduce(array)
    for member in members:
        member.end_reduce()


def main() -> None:
    marks = Marks()
    for form in FORMS:
        with group(2, form=form, patience_s=600.0) as members:
            for rows, hidden in SHAPES:
                arrays = [np.ones((rows, hidden), np.float32) for _ in members]
                marks.count(f"{form}, {rows} x {hidden}", lambda a=arrays: reduce(members, a))
    marks.write()


main()
