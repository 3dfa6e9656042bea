"""Members find each other in any order, and nobody else gets in."""

from __future__ import annotations

import socket
import threading
import time

import numpy as np
import pytest
from bramble.errors import BadFrame, BadInput, Broken
from bramble.stage.exchange.door import MAX_STRANGERS, Door, resolve
from bramble.stage.exchange.greeting import (
    ANSWER,
    ASK,
    CONFIRM,
    GREETING_BYTES,
    Member,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stage.exchange.groups import (
    KEY,
    doors,
    group,
    in_rank_order,
    member,
    reduced,
    together,
)


def knock(door: Door, said: bytes = b"") -> socket.socket:
    connection = socket.create_connection(resolve(door.endpoint)[1][:2], timeout=5)
    connection.sendall(said)
    return connection


def meet(members, delays=()):
    def one(exchange, delay):
        time.sleep(delay)
        exchange.begin_step(0)

    pauses = [*delays, *[0.0] * (len(members) - len(delays))]
    return together([lambda m=m, d=d: one(m, d) for m, d in zip(members, pauses, strict=True)])


def check_sum(members) -> None:
    for array in reduced(members, 1, 64):
        np.testing.assert_array_equal(array, in_rank_order(len(members), 1, 64))


@pytest.mark.parametrize("delays", [(0.0, 0.1, 0.2), (0.2, 0.1, 0.0), (0.1, 0.0, 0.2)])
def test_members_meet_in_whatever_order_they_come(delays):
    with doors(3) as opened:
        members = [member(opened, rank) for rank in range(3)]
        assert meet(members, delays) == [None] * 3
        check_sum(members)
        for one in members:
            one.close()


def test_a_member_that_listens_later_is_called_again():
    with doors(1) as opened:
        probe = Door("tcp://127.0.0.1:0")
        endpoint = probe.endpoint
        probe.close()
        endpoints = [endpoint, opened[0].endpoint]
        second = member([opened[0]] * 2, 1, endpoints=endpoints)
        found: list = []
        thread = threading.Thread(
            target=lambda: found.append(together([lambda: second.begin_step(0)]))
        )
        thread.start()
        time.sleep(0.2)
        late = Door(endpoint)
        first = member([late] * 2, 0, endpoints=endpoints)
        first.begin_step(0)
        thread.join()
        assert found == [[None]]
        check_sum([first, second])
        for one in (first, second, late):
            one.close()


def test_the_next_epoch_meets_at_the_same_doors():
    with doors(2) as opened:
        for epoch in (1, 2, 3):
            members = [member(opened, r, epoch=epoch, key=f"{epoch:064x}") for r in range(2)]
            assert meet(members) == [None, None]
            check_sum(members)
            for one in members:
                one.close()


def test_what_an_earlier_epoch_left_at_the_door_is_dropped_and_counted():
    with doors(2) as opened:
        earlier = Member(bytes.fromhex(KEY), 1, 1, 2, 0)
        left = [knock(opened[0], earlier.greet(ASK, 0, b"")) for _ in range(3)]
        members = [member(opened, rank, epoch=2) for rank in range(2)]
        assert meet(members) == [None, None]
        assert members[0].tally.dropped == 3
        check_sum(members)
        for one in (*left, *members):
            one.close()


def test_strangers_at_the_door_are_dropped_and_counted():
    with doors(2) as opened:
        strangers = [
            knock(opened[0], b"GET / HTTP/1.1\r\n\r\n" * 10),
            knock(opened[0], b"x"),
            knock(opened[0]),
            knock(opened[0], bytes(GREETING_BYTES)),
        ]
        members = [member(opened, rank) for rank in range(2)]
        assert meet(members) == [None, None]
        assert members[0].tally.dropped == 4 and opened[0].strangers == []
        check_sum(members)
        for one in (*strangers, *members):
            one.close()


def test_few_strangers_are_held_and_none_for_long():
    with doors(1) as opened:
        door = opened[0]
        knocking = []
        for _ in range(3):
            knocking += [knock(door) for _ in range(10)]
            door.admit(100.0)
        assert len(door.strangers) == MAX_STRANGERS and door.dropped == 30 - MAX_STRANGERS
        door.admit(106.0)
        assert door.strangers == [] and door.dropped == 30
        for one in knocking:
            one.close()


def test_a_recorded_greeting_gets_nobody_in():
    """The first message may be repeated by whoever heard it; the third one cannot be."""
    with doors(2) as opened:
        real = Member(bytes.fromhex(KEY), 7, 1, 2, 0)
        ask = real.greet(ASK, 0, b"")
        recorded = ask + real.greet(CONFIRM, 0, ask + bytes(GREETING_BYTES))
        thief = knock(opened[0], recorded)
        members = [member(opened, rank) for rank in range(2)]
        assert meet(members, (0.0, 0.2)) == [None, None]
        assert members[0].tally.dropped == 1
        check_sum(members)
        for one in (thief, *members):
            one.close()


def test_a_member_with_another_form_is_named():
    with doors(2) as opened:
        members = [member(opened, 0, form="float32"), member(opened, 1, form="q8", patience_s=0.4)]
        errors = [str(error) for error in meet(members)]
        assert "rank 1 is set up for 2 members and form 2" in errors[0]


def test_another_key_meets_nobody():
    with doors(2) as opened:
        members = [member(opened, r, key=f"{r:064x}", patience_s=0.4) for r in range(2)]
        first, second = meet(members)
        assert isinstance(first, Broken) and "rank 1 (pi1)" in str(first)
        assert isinstance(second, Broken) and "rank 0 (pi0)" in str(second)
        assert opened[0].dropped > 0


def test_a_member_that_ends_while_others_meet_is_met_when_it_is_back():
    with doors(2) as opened:
        early = member(opened, 1, patience_s=0.2)
        with pytest.raises(Broken, match="rank 0"):
            early.begin_step(0)
        members = [member(opened, rank) for rank in range(2)]
        assert meet(members) == [None, None]
        check_sum(members)
        for one in members:
            one.close()


MEMBERS = [Member(b"k" * 32, 7, rank, 2, 0) for rank in range(2)]
ASKED = MEMBERS[1].greet(ASK, 0, b"")
ANSWERED = MEMBERS[0].greet(ANSWER, 1, ASKED)


@given(st.integers(0, GREETING_BYTES - 1), st.integers(1, 255))
@settings(max_examples=80, deadline=None)
def test_a_changed_greeting_proves_nothing(at, difference):
    changed = bytearray(ANSWERED)
    changed[at] ^= difference
    with pytest.raises(BadFrame):
        MEMBERS[1].believe(bytes(changed), ANSWER, ASKED)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_garbage_proves_nothing(garbage):
    with pytest.raises(BadFrame):
        MEMBERS[0].believe(garbage, ASK, b"")


def test_a_greeting_is_bound_to_its_conversation_direction_and_epoch():
    assert MEMBERS[0].believe(ASKED, ASK, b"") == (1, MEMBERS[1].salt)
    assert MEMBERS[1].believe(ANSWERED, ANSWER, ASKED) == (0, MEMBERS[0].salt)
    again = MEMBERS[1].greet(ASK, 0, b"")
    for who, greeting, kind, said in [
        (MEMBERS[1], ANSWERED, ANSWER, again),  # the answer to another question
        (MEMBERS[1], ASKED, ASK, b""),  # our own words
        (MEMBERS[0], ASKED, CONFIRM, b""),
        (Member(b"k" * 32, 8, 0, 2, 0), ASKED, ASK, b""),
        (Member(b"l" * 32, 7, 0, 2, 0), ASKED, ASK, b""),
    ]:
        with pytest.raises(BadFrame):
            who.believe(greeting, kind, said)


def test_keys_differ_between_members_lives_and_epochs():
    keys = {one.sender_key(rank, one.salt) for one in MEMBERS for rank in range(2)}
    keys.add(Member(b"k" * 32, 8, 0, 2, 0, MEMBERS[0].salt).sender_key(0, MEMBERS[0].salt))
    assert len(keys) == 5 and {len(key) for key in keys} == {32}
    assert "k" * 32 not in repr(MEMBERS[0]) and "salt" not in repr(MEMBERS[0])


@pytest.mark.parametrize(
    "endpoint",
    ["", "tcp://", "127.0.0.1:1", "tcp://1.2.3.4", "tcp://1.2.3.4:x", "tcp://1.2.3.4:65536"],
)
def test_what_is_no_address_is_refused(endpoint):
    with pytest.raises(BadInput, match="need tcp://ADDRESS:PORT"):
        resolve(endpoint)


@pytest.mark.parametrize("listen", ["tcp://0.0.0.0:0", "tcp://[::]:0"])
def test_a_door_that_others_could_not_name_is_refused(listen):
    with pytest.raises(BadInput, match="name the address at which other members reach"):
        Door(listen)


def test_a_door_over_a_taken_port_says_so():
    with doors(1) as opened, pytest.raises(Broken, match="cannot listen at tcp://127"):
        Door(opened[0].endpoint)


def test_a_door_on_ipv6_says_where_it_is():
    try:
        door = Door("tcp://[::1]:0")
    except Broken:
        pytest.skip("no IPv6 here")
    assert door.endpoint.startswith("tcp://[::1]:")
    knock(door).close()
    door.close()


def test_one_group_is_not_disturbed_by_who_knocks_meanwhile():
    with group(2) as members:
        check_sum(members)
        strangers = [knock(m._group._door, b"x" * 500) for m in members for _ in range(8)]
        check_sum(members)
        for one in strangers:
            one.close()


@pytest.mark.parametrize("endpoint", ["tcp://pi.invalid:7102", "tcp://127.0.0.1", "ipc:///x"])
def test_an_address_that_is_not_known_is_refused_before_any_step(endpoint):
    with doors(2) as opened, pytest.raises(BadInput, match="exchange: "):
        member(opened, 1, endpoints=[endpoint, opened[1].endpoint])
