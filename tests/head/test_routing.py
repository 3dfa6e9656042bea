"""Which ring a request goes to: prefix against load, within bounds."""

from bramble.head.routing import MAX_LEAD, TOKENS_PER_REQUEST, Load, relief, route
from hypothesis import given
from hypothesis import strategies as st

LOADS = st.lists(
    st.builds(Load, st.integers(0, 8), st.integers(0, 20), st.integers(1, 8), st.integers(0, 8192)),
    min_size=1,
    max_size=6,
)


def test_a_request_without_a_prefix_goes_to_the_least_loaded_ring() -> None:
    assert route([Load(3, 0, 8), Load(1, 0, 8), Load(2, 0, 8)]) == 1


def test_a_conversation_goes_back_to_the_ring_that_remembers_it() -> None:
    assert route([Load(0, 0, 8), Load(2, 0, 8, prefix_tokens=500)]) == 1


def test_a_short_prefix_is_not_worth_a_busier_ring() -> None:
    assert route([Load(0, 0, 8), Load(2, 0, 8, prefix_tokens=2 * TOKENS_PER_REQUEST - 1)]) == 0


def test_no_prefix_is_worth_waiting_while_another_ring_has_room() -> None:
    assert route([Load(1, 0, 2), Load(2, 0, 2, prefix_tokens=8000)]) == 0


@given(LOADS)
def test_a_ring_is_never_given_more_than_its_lead(loads: list[Load]) -> None:
    chosen = loads[route(loads)]
    least = min(load.num_requests for load in loads)
    has_room = any(load.has_room for load in loads)
    assert chosen.has_room or not has_room
    if chosen.num_requests >= least + MAX_LEAD:
        near = [load for load in loads if load.num_requests < least + MAX_LEAD]
        assert chosen.has_room and not any(load.has_room for load in near)


@given(LOADS, st.integers(0, 3))
def test_all_else_equal_the_longer_prefix_and_the_smaller_load_win(
    loads: list[Load], index: int
) -> None:
    chosen = loads[route(loads)]
    for load in loads:
        is_no_better_served = (load.has_room, load.num_rows) == (chosen.has_room, chosen.num_rows)
        if is_no_better_served and load.num_requests <= chosen.num_requests:
            assert load.prefix_tokens <= chosen.prefix_tokens


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 8)), min_size=1, max_size=6))
def test_levelling_ends_with_nobody_waiting_beside_an_idle_row(
    rings: list[tuple[int, int]],
) -> None:
    counts = [count for count, _ in rings]
    loads = [Load(min(count, rows), max(0, count - rows), rows) for count, rows in rings]
    for _ in range(sum(counts) + 1):
        if (pair := relief(loads)) is None:
            break
        source, to = pair
        counts[source], counts[to] = counts[source] - 1, counts[to] + 1
        loads = [
            Load(min(count, rows), max(0, count - rows), rows)
            for count, (_, rows) in zip(counts, rings, strict=True)
        ]
    else:
        raise AssertionError("the moves do not come to an end")
    assert not (any(load.num_waiting for load in loads) and any(load.has_room for load in loads))


def test_what_waits_for_memory_at_two_rings_is_not_sent_to_and_fro() -> None:
    assert relief([Load(1, 1, 8), Load(1, 0, 8)]) is None
