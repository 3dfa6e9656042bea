"""Chunks become as short as the running streams' pace asks for, and no shorter."""

import pytest
from bramble.head.pace import FIXED_TOKENS, MIN_CHUNK, PACE, Pace

DECODE_US, FIXED_US, TOKEN_US = 100_000, 50_000, 2_000


def chunk_us(tokens: int) -> int:
    return FIXED_US + TOKEN_US * tokens


def settled(num_stages: int, decode_us: float = DECODE_US) -> int:
    """The chunk's length after some steps that took what the constants say."""
    pace, tokens = Pace(), 128
    for _ in range(60):
        pace.count_decode(decode_us)
        pace.count_chunk(tokens, [chunk_us(tokens)])
        tokens = pace.chunk_tokens(num_stages, 128)
    return tokens


def test_what_is_not_known_yet_bounds_nothing() -> None:
    pace = Pace()
    pace.count_decode(DECODE_US)
    assert pace.chunk_tokens(2, 128) == 128


def test_a_chunk_and_a_decode_step_take_what_the_pace_allows() -> None:
    tokens = settled(num_stages=1)
    assert chunk_us(tokens) + DECODE_US <= PACE * DECODE_US
    assert chunk_us(tokens + 3) + DECODE_US > PACE * DECODE_US


@pytest.mark.parametrize("num_stages", [2, 3, 8])
def test_a_decode_step_behind_all_chunks_of_a_ring_keeps_the_pace(num_stages: int) -> None:
    share = chunk_us(settled(num_stages)) / num_stages  # of each stage
    assert (2 * num_stages - 1) * share + DECODE_US <= PACE * DECODE_US * 1.01


def test_many_prompts_beside_few_streams_get_more_and_fewer_no_less() -> None:
    pace = Pace(decode_us=30_000, token_us=2_000)
    alone = pace.chunk_tokens(1, 1000)
    assert pace.chunk_tokens(1, 1000, share=7.0) == 7 * alone
    assert pace.chunk_tokens(1, 1000, share=0.25) == alone


def test_chunks_are_never_longer_or_shorter_than_is_sensible() -> None:
    assert settled(1, decode_us=10 * DECODE_US) == 128
    assert settled(1, decode_us=DECODE_US / 10) == MIN_CHUNK


@pytest.mark.parametrize("num_stages", [2, 3, 5])
@pytest.mark.parametrize("num_tokens", [512, 1000, 8000])
def test_a_lone_prompt_passes_the_ring_about_as_fast_as_any_chunks_let_it(
    num_stages: int, num_tokens: int
) -> None:
    def ring_time(chunk: int) -> float:
        return (num_tokens / chunk + num_stages - 1) * (FIXED_TOKENS + chunk)

    chosen = Pace().lone_chunk_tokens(num_stages, num_tokens, 512)
    assert ring_time(chosen) <= 1.03 * min(map(ring_time, range(8, 512)))


def test_one_stage_has_no_others_to_wait_for() -> None:
    assert Pace().lone_chunk_tokens(1, 100, 128) == 128


@pytest.mark.parametrize("shares", [(1.0, 0.78), (1.0, 0.95), (1.0, 1.0), (1.0, 0.7, 0.6)])
def test_chunks_shrink_where_the_first_stage_is_the_slowest(shares: tuple[float, ...]) -> None:
    pace = Pace()
    pace.count_chunk(64, [share * chunk_us(64) for share in shares])

    def ring_time(lengths: list[int]) -> float:
        """Each stage takes a chunk when it has done the one before, and the stage before it has."""
        done = [0.0] * (len(shares) + 1)
        for length in lengths:
            for i, share in enumerate(shares):
                done[i + 1] = max(done[i], done[i + 1]) + share * (FIXED_TOKENS + length)
        return done[-1]

    lengths = []
    while (rest := 512 - sum(lengths)) > 0:
        lengths.append(min(rest, pace.lone_chunk_tokens(len(shares), rest, 128, 512 - rest)))
    equal = min(ring_time([c] * (512 // c) + [512 % c]) for c in range(16, 129))
    assert ring_time(lengths) <= 1.03 * equal
    if min(shares) < 0.8:
        assert ring_time(lengths) < 0.985 * equal
