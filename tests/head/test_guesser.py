"""Guesses grow where they come true, and cost next to nothing where they do not."""

from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest
from bramble.head.guesser import COUNTS, FORGET, INTEREST, OVERDRAFT, START, SURE, Costs, Guesser

from tests.texts import a_summary_with_quotes, a_table_as_json, an_edit, an_essay, tokens_of

# ms by tokens: bound by memory, by arithmetic, and measured
CHEAP = {1: 10.0, 2: 11.0, 3: 12.5, 4: 14.0, 6: 17.0, 8: 20.0, 16: 40.0}
# Llama-3.2-1B shape in int4-128, one core
MEASURED = {1: 26.7, 2: 28.0, 3: 37.2, 4: 42.3, 6: 56.3, 8: 69.7, 16: 121.2}
DEAR = {1: 10.0, 2: 19.0, 3: 25.0, 4: 30.0, 6: 40.0, 8: 50.0, 16: 90.0}


def measured(table: dict[int, float]) -> Costs:
    costs = Costs()
    for tokens, cost in [*table.items()] * SURE:
        costs.count(tokens, cost)
    return costs


def reply(text: list[int], start: int, table: dict[int, float]) -> tuple[float, list[int]]:
    """Return what decoding text[start:] costs against one token at a time, and all widths."""
    costs, guesser, length, spent, widths = measured(table), Guesser(), start, 0.0, []
    while length < len(text):
        room = len(text) - length - 1
        guesses = guesser.guess(text[:length], room, costs)
        assert len(guesses) <= room
        ahead = text[length : length + len(guesses)]
        num_true = next(
            (i for i, pair in enumerate(zip(guesses, ahead, strict=True)) if pair[0] != pair[1]),
            len(guesses),
        )
        if guesses:
            guesser.learn(len(guesses), num_true, costs)
        width = len(guesses) + 1
        spent += costs.ratio(width)
        length += num_true + 1
        widths.append(width)
    return spent / (length - start), widths


def random_text(random: Random) -> list[int]:
    """Few words: pairs come again by chance all the time, and mislead."""
    return [random.randrange(4) for _ in range(600)]


def misleading_text(random: Random) -> list[int]:
    """Long passages that come again, and always end differently from where they are guessed."""
    passage, text = [random.randrange(100) for _ in range(12)], []
    for i in range(50):
        text += [*passage, 1000 + i]
    return text


@pytest.mark.parametrize("table", [CHEAP, DEAR])
def test_text_that_repeats_is_guessed_further_and_further(table: dict[int, float]) -> None:
    quote = Random(1).choices(range(1000), k=300)
    cost, widths = reply(quote + quote, 303, table)
    assert widths[0] <= 4
    assert max(widths) >= 8
    assert cost < 1 / 1.5


@pytest.mark.parametrize(
    ("make", "speed"),
    [(an_edit, 2.2), (a_table_as_json, 1.5), (a_summary_with_quotes, 1.4), (an_essay, 1.0)],
)
def test_real_texts_that_repeat_are_written_faster_and_others_no_slower(
    make: Callable[[], tuple[str, str]], speed: float
) -> None:
    prompt, answer = make()
    text = tokens_of(f"{prompt}\n\n{answer}")
    cost, _ = reply(text, len(tokens_of(f"{prompt}\n\n")) + 1, MEASURED)
    assert cost < 1 / speed


@pytest.mark.parametrize("table", [CHEAP, DEAR])
@pytest.mark.parametrize("make", [random_text, misleading_text])
@pytest.mark.parametrize("seed", range(5))
def test_text_that_misleads_costs_less_than_three_percent(
    seed: int, make: Callable[[Random], list[int]], table: dict[int, float]
) -> None:
    text = make(Random(seed))
    cost, _ = reply(text, 50, table)
    assert cost < 1 / 0.97


@pytest.mark.parametrize("seed", range(20))
def test_no_text_costs_more_than_start_overdraft_and_interest(seed: int) -> None:
    random = Random(seed)
    text: list[int] = []
    while len(text) < 500:
        if text and random.random() < 0.2:
            start = random.randrange(len(text))
            text += text[start : start + random.randrange(40)]
        text.append(random.randrange(6))
    cost, _ = reply(text, 30, DEAR)
    assert cost <= 1 + INTEREST + (START + OVERDRAFT) / (len(text) - 30)


def test_failed_probes_come_ever_more_seldom() -> None:
    costs, guesser = measured(CHEAP), Guesser()
    tokens, probes = [1, 2, 3, 9, 1, 2, 3], []
    for i in range(400):
        if guesser.guess(tokens, 20, costs):
            probes.append(i)
            guesser.learn(1, 0, costs)
    gaps = [b - a for a, b in pairwise(probes)]
    assert gaps == sorted(gaps)
    assert gaps[-1] > 8 * gaps[0]


def test_slow_steps_do_not_count_and_a_first_one_alone_never_does() -> None:
    costs = measured({1: 10.0})
    assumed = costs.ratio(2)
    costs.count(2, 500.0)
    assert costs.ratio(2) == assumed
    costs.count(2, 12.0)
    costs.count(2, 400.0)
    assert costs.ratio(2) == 1.2


def test_a_width_that_looked_dear_is_tried_again_after_a_while() -> None:
    costs = measured({1: 10.0, 2: 11.0, 4: 90.0})
    assert costs.ratio(4) == 4.0
    for _ in range(SURE * FORGET):
        costs.count(1, 10.0)
    assert costs.ratio(4) == pytest.approx(1.3)  # as the line through 1 and 2 has it


def test_a_width_that_is_cheap_is_known_for_as_long_as_nothing_is_guessed() -> None:
    costs = measured(CHEAP)
    for _ in range(20 * FORGET):
        costs.count(1, 10.0)
    assert [costs.ratio(width) for width in CHEAP] == [1.0, 1.1, 1.25, 1.4, 1.7, 2.0, 4.0]


def test_a_step_never_counts_dearer_than_its_tokens_one_by_one() -> None:
    costs = measured({1: 10.0, 2: 900.0})
    assert costs.ratio(2) == 2.0
    assert all(1 <= costs.ratio(count + 1) <= count + 1 for count in COUNTS)
    assert Costs().ratio(1) == 1.0
