"""Who gives way where room is short, and for whom there is no limit."""

from __future__ import annotations

import pytest
from bramble.web.visitors import Visitors, is_loopback


def test_the_longest_waiting_of_an_address_gives_way() -> None:
    visitors: Visitors[str] = Visitors(2)
    assert [visitors.wait(name, "10.0.0.1") for name in ("a", "b")] == [None, None]
    assert visitors.wait("other", "10.0.0.2") is None
    assert visitors.wait("c", "10.0.0.1") == "a"
    visitors.leave("a")
    visitors.wait("b", "10.0.0.1")  # asked and was answered, so that its time begins anew
    assert visitors.wait("d", "10.0.0.1") == "c"
    assert visitors.waiting == ("other", "c", "b", "d")


def test_an_address_has_only_so_many_at_work() -> None:
    visitors: Visitors[str] = Visitors(2)
    for name in ("a", "b", "c"):
        visitors.wait(name, "10.0.0.1")
    visitors.wait("other", "10.0.0.2")
    assert [visitors.work(name) for name in ("a", "b", "c", "other")] == [True, True, False, True]
    visitors.leave("a")
    assert visitors.work("c")
    assert visitors.waiting == ()


def test_this_machine_has_no_limit() -> None:
    visitors: Visitors[int] = Visitors(1)
    for number in range(5):
        assert visitors.wait(number, "127.0.0.1") is None
    assert all(visitors.work(number) for number in range(5))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        *((one, True) for one in ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1")),
        *((one, False) for one in ("10.0.0.1", "::ffff:10.0.0.1", "fe80::1%eth0", "", "pi1")),
    ],
)
def test_loopback_is_told_by_its_address(address: str, expected: bool) -> None:
    assert is_loopback(address) is expected
