"""Guessed tokens follow the longest of the newest places that read as the sequence's end does."""

from random import Random

from bramble.head.draft import MAX_CANDIDATES, MAX_MATCH, NGRAM, Draft, Index
from hypothesis import given
from hypothesis import strategies as st

A_FEW = st.lists(st.integers(1, 3), max_size=80)


def slow_draft(tokens: list[int], count: int) -> Draft | None:
    """As Index.draft, by looking everywhere."""
    found, looked = None, 0
    for end in range(len(tokens) - 1, NGRAM - 1, -1):
        common = 0
        while common < min(MAX_MATCH, end) and tokens[end - 1 - common] == tokens[-1 - common]:
            common += 1
        if common < NGRAM or looked == MAX_CANDIDATES:
            continue
        looked += 1
        if found is None or common > found.match:
            read = list(tokens)
            for place in range(end, end + count):
                read.append(read[place])
            found = Draft(tuple(read[len(tokens) :]), common)
    return found


@given(A_FEW, st.integers(1, 9))
def test_guesses_are_those_of_a_search_through_all_tokens(tokens: list[int], count: int) -> None:
    assert Index().draft(tokens, count) == slow_draft(tokens, count)


@given(A_FEW, st.randoms(use_true_random=False))
def test_an_index_that_grows_with_its_sequence_guesses_the_same(
    tokens: list[int], random: Random
) -> None:
    index = Index()
    for length in range(len(tokens) + 1):
        if random.random() < 0.5:
            assert index.draft(tokens[:length], 4) == slow_draft(tokens[:length], 4)


def test_a_loop_is_continued_beyond_its_end() -> None:
    assert Index().draft([9, 1, 2, 1, 2, 1, 2], 5) == Draft((1, 2, 1, 2, 1), 4)


def test_tokens_that_never_came_before_are_not_guessed() -> None:
    assert Index().draft(list(range(50)), 4) is None
    assert Index().draft([1, 2, 3, 1], 4) is None
    assert Index().draft([], 4) is None


def test_no_guess_is_made_where_there_is_no_room() -> None:
    assert Index().draft([7] * 20, 0) is None
