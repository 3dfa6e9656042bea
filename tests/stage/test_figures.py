"""What `systemctl status` says of a stage reads like a sentence."""

from __future__ import annotations

from dataclasses import replace

from bramble.model.share import Share
from bramble.stage.figures import sentence_of
from bramble.wire.messages import Assign, Member

WHOLE = Share(0, 4, True, (0, 4), (0, 2), (0, 9))
ALONE = Assign("ab" * 16, 1, "m", "cd", 0, 1, WHOLE, (), 1, 8, 1)
GROUP = (Member("pi1", "tcp://10.0.0.1:7102"), Member("pi2", "tcp://10.0.0.2:7102"))
STATS = {
    "tokens_s": 19.8,
    "threads": "2 threads",
    "sequences": 4,
    "resident_bytes": 202 << 20,
    "kv_used_bytes": 0,
    "temperature_c": None,
    "throttled": "",
}
COMMON = "19.8 tokens/s with 2 threads, 4 sequences in the cache, 202 MiB, 0 of it KV cache"


def of_rank(rank: int, heads: tuple[int, int]) -> Assign:
    share = replace(ALONE.share, heads=heads)
    return replace(ALONE, share=share, rank=rank, group=GROUP)


def test_a_stage_that_is_alone_says_its_layers_and_its_pace() -> None:
    said = sentence_of(ALONE, STATS, "")
    assert said == f"m: embedding, layers 0 to 3, {COMMON}, not throttled"


def test_a_member_says_which_heads_it_has_and_with_whom_it_serves() -> None:
    stats = STATS | {"exchange_own_us": 106.4, "exchange_waiting_us": 4850.2}
    assert sentence_of(of_rank(1, (2, 4)), stats, "") == (
        f"m: embedding, layers 0 to 3, of each heads 2 to 3 as rank 1 of pi1+pi2, {COMMON}, "
        "an exchange takes 106 µs and waits 4850, not throttled"
    )


def test_one_is_not_many() -> None:
    said = sentence_of(of_rank(0, (0, 1)), STATS | {"sequences": 1}, "")
    assert "of each head 0 as rank 0 of pi1+pi2" in said
    assert "1 sequence in the cache" in said
