"""What is kept of requests for those who come back, and how little that is."""

from array import array
from dataclasses import replace

import pytest
from bramble.errors import ReplyNotFound, Unavailable
from bramble.head.audiences import Audiences, Keeping
from bramble.head.record import Likely, Record
from bramble.wire.messages import (
    Accepted,
    ClientMessage,
    Delta,
    Done,
    Finish,
    Generate,
    Refused,
    Resume,
    Sampling,
)

KEEPING = Keeping(max_left=2, max_ended=3, max_ended_bytes=20_000)


def audiences(heard: list[ClientMessage] | None = None) -> Audiences:
    told = [] if heard is None else heard
    return Audiences(lambda peer, event: told.append(event) is None, KEEPING)


def begin(all_of_them: Audiences, name: str, key: str = "", num_tokens: int = 0) -> None:
    all_of_them.open(b"reader", Generate(name, Sampling(), prompt="x", key=key))
    record = Record(name, lambda token_id: b"ab")
    for token_id in range(num_tokens):
        record.add("ab", token_id)
    all_of_them[name].accept(Accepted(name, 1), record)


def end(all_of_them: Audiences, name: str, now: float) -> None:
    all_of_them.end(name, Done(name, Finish.STOP, 1, 1, 0.0, 0.0, 0.0), now)


def kept(all_of_them: Audiences, names: str) -> str:
    found = ""
    for name in names:
        try:
            found += name * all_of_them.join(b"later", Resume(name))
        except ReplyNotFound:
            found += ""
    return found


def test_of_many_ended_replies_the_newest_are_kept() -> None:
    some = audiences()
    for now, name in enumerate("abcde"):
        begin(some, name)
        end(some, name, now)
    some.tick(5.0)
    assert kept(some, "abcde") == "cde"


def test_large_replies_are_kept_for_less_long() -> None:
    some = audiences()
    for name in "abc":
        begin(some, name, num_tokens=80)
        end(some, name, 0.0)
    some.tick(1.0)
    assert kept(some, "abc") == "bc"
    some.tick(600.0)
    assert kept(some, "abc") == "" and not some._names and some._ended_bytes == 0


def test_of_many_requests_whose_readers_left_the_oldest_are_cancelled() -> None:
    some = audiences()
    for now, name in enumerate("abc"):
        begin(some, name, key=name)
        assert not some.leave(b"reader", name)
        assert some.tick(now) == (["a"] if name == "c" else [])


def test_a_web_process_that_dies_takes_no_request_with_it_however_many_there_are() -> None:
    some = Audiences(lambda peer, event: False, KEEPING)  # nobody can be reached
    for name in "abcdef":
        begin(some, name)
    assert some.tick(0.0) == some.tick(29.0) == []
    assert some.tick(31.0) == list("abcdef")


def test_a_long_reply_is_told_in_few_events_that_end_where_its_reader_was() -> None:
    heard: list[ClientMessage] = []
    some = audiences(heard)
    begin(some, "a", num_tokens=600)
    heard.clear()
    some.join(b"later", Resume("a", received=300))
    assert [len(each.token_ids) for each in heard[1:]] == [256, 44, 256, 44]  # type: ignore[union-attr]


def test_log_probabilities_are_told_again_as_they_were() -> None:
    record = Record("a", lambda token_id: bytes([65 + token_id]))
    record.add("A", 0, Likely(-0.5, array("q", [1, -1]), array("d", [-1.5, 0.0])))
    (told,) = record.delta(0, 1).logprobs
    assert (told.token, told.bytes, told.logprob) == ("A", [65], -0.5)
    assert told.top == [{"token": "B", "bytes": [66], "logprob": -1.5}]


def lost_and_gone_on() -> Record:
    """The record of a reply whose first two tokens an earlier head said."""
    record = Record("a", lambda token_id: bytes([65 + token_id]), has_logprobs=True)
    record.add("A", 0)
    record.add("B", 1)
    record.add("C", 2, Likely(-0.5, array("q"), array("d")))
    return record


@pytest.mark.parametrize("asked", [Resume("a"), Generate("a", Sampling(), key="k")])
def test_log_probabilities_that_a_reader_has_are_not_missed(asked: Resume | Generate) -> None:
    heard: list[ClientMessage] = []
    some = audiences(heard)
    begin(some, "a", key="k", num_tokens=0)
    some["a"].asked = replace(some["a"].asked, sampling=Sampling(top_logprobs=0))
    some["a"].record = lost_and_gone_on()
    with pytest.raises(Unavailable, match="log probabilities of this reply went with a head"):
        some.join(b"from the start", replace(asked, received=1))
    heard.clear()
    assert some.join(b"behind them", replace(asked, received=2))
    _, first, second = heard
    assert isinstance(first, Delta) and isinstance(second, Delta)
    assert [each.token for each in first.logprobs] == ["A", "B"]  # so that places can be counted
    assert [each.logprob for each in second.logprobs] == [-0.5]


def test_a_reply_without_log_probabilities_is_told_without_any() -> None:
    record = Record("a", lambda token_id: b"x")
    record.add("x", 0)
    assert record.delta(0, 1).logprobs == ()


@pytest.mark.parametrize("family", ["QueueFull", "Unavailable", "BadInput"])
def test_a_refused_request_can_be_asked_again_with_its_key(family: str) -> None:
    some = audiences()
    begin(some, "a", key="k")
    some.end("a", Refused("a", family, "no"), 0.0)
    assert not some.join(b"again", replace(Generate("b", Sampling()), key="k"))


@pytest.mark.parametrize(
    ("said_later", "is_same"), [((7, 8), True), ((7, 9), False), ((7,), False)]
)
def test_a_reader_that_has_more_than_was_said_hears_the_rest_only_of_the_same_reply(
    said_later: tuple[int, ...], is_same: bool
) -> None:
    """A lost head had said more to it than to the one who asked first at this head."""
    heard: list[ClientMessage] = []
    some = Audiences(lambda peer, event: peer != b"second" or heard.append(event) is None, KEEPING)
    begin(some, "a", num_tokens=1)
    record = some["a"].record
    assert record is not None
    some.join(b"second", Generate("a", Sampling(), prompt="x", generated=(0, 7, 8)))
    for token_id in said_later:
        record.add("x", token_id)
        some["a"].advance()
    end(some, "a", 1.0)
    assert isinstance(heard[0], Accepted) and len(heard) == 2
    assert isinstance(heard[1], Done if is_same else Refused)
