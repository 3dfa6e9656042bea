"""What ails a board is said in plain words, with what helps."""

from __future__ import annotations

import pytest
from bramble.observe import health


@pytest.mark.parametrize(
    ("temperature_c", "throttled", "said"),
    [
        (None, None, []),
        (61.0, None, []),
        (81.2, None, ["warning: hot (81 °C), soon it is slowed down"]),
        (85.0, None, ["bad: too hot (85 °C), so it is slowed down"]),
        (85.0, "frequency capped, throttled", ["bad: too hot (85 °C), so it is slowed down"]),
        (81.0, "throttled", ["bad: too hot (81 °C), so it is slowed down"]),
        (None, "too hot", ["bad: too hot, so it is slowed down"]),
        (55.0, "under-voltage, throttled", ["bad: too little power, so it is slowed down"]),
        (
            86.0,
            "under-voltage, frequency capped, throttled, too hot",
            [
                "bad: too little power, so it is slowed down",
                "bad: too hot (86 °C), so it is slowed down",
            ],
        ),
        (
            82.0,
            "under-voltage, throttled",
            [
                "bad: too little power, so it is slowed down",
                "warning: hot (82 °C), soon it is slowed down",
            ],
        ),
        (
            50.0,
            "frequency capped",
            ["bad: slowed down by its firmware (frequency capped): too little power, or heat"],
        ),
    ],
)
def test_each_cause_has_its_sentence(
    temperature_c: float | None, throttled: str | None, said: list[str]
) -> None:
    troubles = health.judge(temperature_c, throttled)
    assert [f"{one.level}: {one.sentence}" for one in troubles] == said
    for one in troubles:
        assert ("27 W" in one.advice) == ("power" in one.sentence)
        assert ("cooler" in one.advice) == any(word in one.sentence for word in ("hot", "heat"))
