"""A group that a process cannot be of is refused with a sentence, before anything is computed."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from bramble.errors import BadInput
from bramble.model.share import Share
from bramble.stage.exchange.tcp import TcpExchange
from bramble.stage.membership import Membership
from bramble.wire.messages import Assign, Member

GROUP = (Member("a", "tcp://127.0.0.1:1"), Member("b", "tcp://127.0.0.1:2"))
ALONE = Assign("ab" * 16, 1, "m", "cd", 0, 1, Share.uncut(0, 1, True, True), (), 1, 8, 1)
IN_GROUP = replace(ALONE, rank=1, group=GROUP, exchange_key="0f" * 32)


@pytest.fixture
def member() -> Iterator[Membership]:
    made = Membership("b", "tcp://127.0.0.1:0", lambda: None)
    yield made
    made.close()


def test_a_stage_alone_exchanges_with_nobody(member: Membership) -> None:
    assert member.join(ALONE) is None and member.drain() == {}
    assert member.endpoint.startswith("tcp://127.0.0.1:") and not member.endpoint.endswith(":0")


def test_each_epoch_has_an_exchange_of_its_own(member: Membership) -> None:
    first, second = member.join(IN_GROUP), member.join(replace(IN_GROUP, epoch=2))
    assert isinstance(first, TcpExchange) and isinstance(second, TcpExchange)
    assert first is not second and (second.rank, second.size) == (1, 2)
    assert member.drain() == {"exchange_dropped": 0}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rank": 0}, r"b was assigned rank 0 of a\+b"),
        ({"rank": 2}, r"b was assigned rank 2 of a\+b"),
        ({"rank": -1}, r"b was assigned rank -1 of a\+b"),
        ({"group": GROUP[1:], "rank": 0}, "rank 0 of 1 members, need 2 to 64"),
        ({"exchange_key": "0f"}, "a key of 2 characters"),
        ({"exchange_key": "zz" * 32}, "need 64 hex digits"),
        ({"exchange": "q4"}, "got 'q4', need one of float32"),
        ({"group": (Member("a", "ipc://x"), GROUP[1])}, "got 'ipc://x', need tcp://ADDRESS:PORT"),
        ({"group": (Member("a", "tcp://127.0.0.1:70000"), GROUP[1])}, "need tcp://ADDRESS:PORT"),
        ({"group": (Member("a", ""), GROUP[1])}, "need tcp://ADDRESS:PORT"),
    ],
)
def test_a_group_that_cannot_be_is_refused(
    changes: dict[str, Any], says: str, member: Membership
) -> None:
    with pytest.raises(BadInput, match=says):
        member.join(replace(IN_GROUP, **changes))


def test_a_stage_that_listens_for_nobody_can_be_of_no_group() -> None:
    member = Membership("b", "", lambda: None)
    assert member.endpoint == ""
    with pytest.raises(BadInput, match=r"assigned to a\+b, and listens for no other members"):
        member.join(IN_GROUP)
