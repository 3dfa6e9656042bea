"""The predictor against what others measured: errors, and how much the fit owes to each row."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from bramble.plan.peers import CONSTANTS, Constants, tokens_s
from bramble.plan.published import PREFILL, PUBLISHED, Published

FIRST_STEP, LAST_STEP = 0.3, 0.001  # relative changes that the fit tries


@dataclass(frozen=True, slots=True)
class Checked:
    row: Published
    predicted: float
    # Predicted by constants fitted to all other rows; None: not fitted to, or alone with its kernel
    without: float | None

    @property
    def error(self) -> float:
        return self.predicted / self.row.tokens_s - 1

    @property
    def error_without(self) -> float | None:
        return None if self.without is None else self.without / self.row.tokens_s - 1


def check(rows: Sequence[Published] = PUBLISHED, constants: Constants = CONSTANTS) -> list[Checked]:
    """Predict every row, and each fitted one again by constants that have not seen it."""
    fitted = [row for row in rows if row.is_fitted]
    checked = []
    for row in rows:
        without = None
        others = [other for other in fitted if other is not row]
        is_alone = row.kernel not in {other.kernel for other in others}
        if row.is_fitted and not is_alone:
            without = tokens_s(row, fit(others, constants))
        checked.append(Checked(row, tokens_s(row, constants), without))
    return checked


def median_error(errors: Sequence[float]) -> float:
    return statistics.median(map(abs, errors))


def fit(rows: Sequence[Published], start: Constants = CONSTANTS) -> Constants:
    """Constants of the least mean absolute error of the logarithms; outliers count once.

    One constant after the other is changed by a step that shrinks; nothing is drawn at random.
    """
    best, cost = start, _cost(rows, start)
    step = FIRST_STEP
    while step > LAST_STEP:
        has_moved = False
        for field in fields(Constants):
            for factor in (1 + step, 1 / (1 + step)):
                tried = replace(best, **{field.name: getattr(best, field.name) * factor})
                if (tried_cost := _cost(rows, tried)) < cost - 1e-12:
                    best, cost, has_moved = tried, tried_cost, True
        if not has_moved:
            step /= 2
    return best


def num_fitted(kind: str) -> int:
    """Constants that the rows of one kind determine."""
    endings = ("parameters_s", "instructions_s")
    prefill = sum(field.name.endswith(endings) for field in fields(Constants))
    return prefill if kind == PREFILL else len(fields(Constants)) - prefill


def _cost(rows: Sequence[Published], constants: Constants) -> float:
    """Prefill knows nothing of bandwidth: it must not pull at decode's constants."""
    return sum(abs(math.log(tokens_s(row, constants) / row.tokens_s)) for row in rows)
