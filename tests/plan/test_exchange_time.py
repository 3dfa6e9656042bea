"""An exchange takes what others measured on Raspberry Pi 5s, and what the arithmetic says."""

import pytest
from bramble.plan.devices import GIGABIT
from bramble.plan.exchange_time import (
    FLOAT16,
    FLOAT32,
    Q8,
    exchange_s,
    one_step_s,
    two_steps_s,
)

KB = 1000


@pytest.mark.parametrize(
    ("members", "hidden", "one_ms", "two_ms"),
    [
        (2, 2048, 0.10, None),
        (2, 4096, 0.12, None),
        (2, 8192, 0.16, None),
        (4, 2048, 0.14, 0.20),
        (4, 4096, 0.20, 0.23),
        (4, 8192, 0.31, 0.28),
        (8, 2048, 0.22, 0.20),
        (8, 4096, 0.35, 0.24),
        (8, 8192, 0.61, 0.30),
    ],
)
def test_a_token_takes_what_the_published_model_says(
    members: int, hidden: int, one_ms: float, two_ms: float | None
) -> None:
    count = hidden * 34 / 32
    assert 1000 * one_step_s(count, members, GIGABIT) == pytest.approx(one_ms, rel=0.05)
    if two_ms is not None:
        assert 1000 * two_steps_s(count, members, GIGABIT) == pytest.approx(two_ms, rel=0.05)
    quicker = min(one_ms, two_ms or one_ms)
    assert 1000 * exchange_s(hidden, members, Q8, GIGABIT) == pytest.approx(quicker, rel=0.05)


@pytest.mark.parametrize(
    ("kilobytes", "members", "least_ms", "most_ms"),
    [(2.2, 4, 0.127, 0.127), (4.35, 4, 0.20, 0.26)],
)
def test_four_pi_5s_took_about_as_long(
    kilobytes: float, members: int, least_ms: float, most_ms: float
) -> None:
    said_ms = 1000 * one_step_s(kilobytes * KB, members, GIGABIT)
    assert 0.88 * least_ms <= said_ms <= 1.12 * most_ms


@pytest.mark.parametrize(("kilobytes", "measured_ms"), [(8, 0.31), (12, 0.39)])
def test_two_pi_5s_in_a_star_took_about_as_long(kilobytes: float, measured_ms: float) -> None:
    there_and_back_ms = 2000 * one_step_s(kilobytes * KB, 2, GIGABIT)
    assert there_and_back_ms == pytest.approx(measured_ms, rel=0.12)


def test_a_prompt_goes_in_two_steps_and_a_token_of_up_to_four_in_one() -> None:
    for members in (2, 3, 4):
        token = 2048 * 34 / 32
        assert exchange_s(2048, members, Q8, GIGABIT) == one_step_s(token, members, GIGABIT)
    prompt = 512 * 2048
    said = exchange_s(prompt, 4, Q8, GIGABIT)
    assert said == two_steps_s(prompt * 34 / 32, 4, GIGABIT)
    # 32 exchanges of 512 tokens: 0.3 s at two members, 0.45 s at four
    assert 32 * exchange_s(prompt, 2, Q8, GIGABIT) == pytest.approx(0.31, rel=0.05)
    assert 32 * said == pytest.approx(0.45, rel=0.05)


def test_more_exact_numbers_take_longer_and_a_member_alone_exchanges_nothing() -> None:
    times = [exchange_s(1 << 20, 4, form, GIGABIT) for form in (Q8, FLOAT16, FLOAT32)]
    assert times == sorted(times) and times[2] == pytest.approx(times[0] * 128 / 34, rel=0.01)
    assert exchange_s(2048, 1, FLOAT32, GIGABIT) == 0.0
