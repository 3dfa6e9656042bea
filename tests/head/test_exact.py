"""A reply that somebody could tell from another comes out to the bit, whatever happens to its ring.

The stand-in ring rounds as stages do: a token's keys and values depend on every one before it and
on whether the token was computed alone or among several of a prompt; what follows depends on them.
"""

from __future__ import annotations

from random import Random

from bramble.head.flips import is_reply, next_flip, num_alike, spliced, whole_chunks, without_lone
from bramble.head.scheduler import Scheduler
from bramble.head.sequence import Sequence, State
from bramble.head.step_plan import StepPlan
from bramble.wire.messages import Finish, StepKind
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.head.test_scheduler import CheckingRing, check_invariants, drive, limits

Cell = tuple[int, int]  # a token, and the bits of its keys and values
FLIPS = st.lists(st.integers(1, 40), unique=True, max_size=6).map(lambda f: tuple(sorted(f)))


def cell(before: list[Cell], token: int, is_alone: bool) -> Cell:
    return token, hash((before[-1][1] if before else 0, token, is_alone))


def model(cells: list[Cell]) -> int:
    return cells[-1][1] % 97 + 3


class RoundingRing(CheckingRing):
    def computed(self, cached: list[Cell], plan: StepPlan, index: int) -> list[Cell]:  # type: ignore[override]
        tokens = plan.token_ids[index]
        is_alone = plan.kind is not StepKind.PREFILL or len(tokens) == 1
        made = list(cached)
        for token in tokens:
            made.append(cell(made, token, is_alone))
        return made[len(cached) :]


def undisturbed(prompt: list[int], flips: tuple[int, ...], length: int) -> list[int]:
    """What one process gives that has nothing else to do."""
    cells: list[Cell] = []
    for position, token in enumerate(prompt):
        cells.append(cell(cells, token, is_reply(flips, position)))
    tokens = list(prompt)
    while len(tokens) < length:
        tokens.append(model(cells))
        cells.append(cell(cells, tokens[-1], True))
    return tokens


def asked(random: Random, others: list[Sequence]) -> Sequence:
    """A new request, or the next turn of a conversation; the history of some is known as such."""
    tokens = [random.randrange(3, 6) for _ in range(random.randrange(1, 50))]
    flips: tuple[int, ...] = ()
    ended = [other for other in others if other.state is State.FINISHED]
    if ended and random.random() < 0.6:
        before = random.choice(ended)
        stop = len(before.tokens) - random.randrange(2)
        # An inexact reply that was preempted counts as a prompt up to where it was then
        if stop > before.flips[-1] and random.random() < 0.7:
            flips = (*before.flips, stop)
        tokens = before.tokens[:stop] + tokens
    length = len(tokens) + random.randrange(1, 40)
    is_exact = random.random() < 0.7
    return Sequence(
        "r", tokens, len(tokens), length, flips=(*flips, len(tokens)), is_exact=is_exact
    )


@settings(max_examples=150)
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 3), st.booleans(), st.booleans())
@example(683, 4, 1, False, False)
def test_an_exact_reply_is_what_it_would_be_alone(
    seed: int, num_stages: int, rows_per_stage: int, is_tight: bool, is_guessing: bool
) -> None:
    random = Random(seed)
    scheduler = Scheduler(
        limits(
            num_stages=num_stages,
            num_rows=num_stages * rows_per_stage,
            budget_tokens=512 if is_tight else 100_000,
            is_guessing=is_guessing,
        )
    )
    ring = RoundingRing(scheduler.limits, model)  # type: ignore[arg-type]
    sequences: list[Sequence] = []
    for _ in range(200):
        event = random.random()
        if event < 0.15:
            new = asked(random, sequences)
            if new.max_tokens <= scheduler.limits.budget_tokens:
                sequences.append(new)
                scheduler.add(new)
        elif event < 0.17 and sequences:
            scheduler.finish(random.choice(sequences), Finish.CANCELLED)
        elif event < 0.19:
            scheduler.reset()
            ring.under_way.clear()
            ring.rows.clear()
        for plan in scheduler.schedule():
            ring.send(plan)
        check_invariants(scheduler, ring)
        for _ in range(random.randrange(3)):
            if ring.under_way:
                scheduler.complete(*ring.answer())
    drive(scheduler, ring)
    for each in sequences:
        if each.is_exact:
            prompt = each.tokens[: each.num_prompt_tokens]
            want = undisturbed(prompt, each.flips, each.max_tokens)
            assert each.tokens == want[: len(each.tokens)]


@given(FLIPS, FLIPS, st.integers(0, 45))
def test_spliced_tokens_follow_one_and_then_the_other(
    a: tuple[int, ...], b: tuple[int, ...], length: int
) -> None:
    made = spliced(a, b, length)
    assert made == tuple(sorted(set(made)))
    for position in range(50):
        assert is_reply(made, position) == is_reply(a if position < length else b, position)


@given(FLIPS, FLIPS, st.integers(0, 45))
def test_tokens_are_alike_up_to_the_first_that_is_computed_another_way(
    a: tuple[int, ...], b: tuple[int, ...], length: int
) -> None:
    alike = num_alike(a, b, length)
    assert all(is_reply(a, i) == is_reply(b, i) for i in range(alike))
    assert alike == length or is_reply(a, alike) != is_reply(b, alike)


@given(FLIPS, st.integers(0, 45), st.integers(1, 45))
def test_what_is_left_of_a_prompt_is_no_single_token(
    flips: tuple[int, ...], num_known: int, length: int
) -> None:
    flips = without_lone(flips)
    known = whole_chunks(flips, num_known, length)
    assert 0 <= known <= min(num_known, length - 1)
    if known and not is_reply(flips, known):
        assert next_flip(flips, known, length) - known > 1
