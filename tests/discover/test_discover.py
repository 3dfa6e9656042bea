"""`bramble discover` over real multicast: what it shows, what it refuses, what it advises."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.discover.conftest import Announce, node
from tests.discover.lan import LAPTOP_ADDRESS, Lan


def heard(done: subprocess.CompletedProcess[str]) -> dict:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_table_shows_the_head_and_a_blank_node(lan: Lan, announce: Announce) -> None:
    announce(
        node("pi1", "head", version="0.3.0", model="Raspberry Pi 5 Model B Rev 1.0"),
        node("pi9", "blank", "10.78.0.19"),
    )
    done = lan.bramble("discover")
    assert done.returncode == 0, done.stderr
    for word in ("pi1", "head", "10.78.0.11", "0.3.0", "Model B", "pi9", "blank", "10.78.0.19"):
        assert word in done.stdout
    assert done.stdout.splitlines()[-1] == "chat page: http://10.78.0.11:8080"


def test_json_tells_every_field_in_the_order_of_names(lan: Lan, announce: Announce) -> None:
    announce(node("pi2", version="0.3.0"), node("pi1", "head", model="Raspberry Pi 5"))
    document = heard(lan.bramble("discover", "--json"))
    assert document["listened_on"] == [LAPTOP_ADDRESS]
    head = {"name": "pi1", "role": "head", "address": "10.78.0.11", "port": 8080}
    stage = {"name": "pi2", "role": "stage", "address": "10.78.0.11", "port": 22}
    assert document["nodes"] == [
        {**head, "version": "", "model": "Raspberry Pi 5"},
        {**stage, "version": "0.3.0", "model": ""},
    ]


def test_twenty_nodes_are_all_heard(lan: Lan, announce: Announce) -> None:
    announce(*(node(f"pi{number}", address=f"10.78.0.{100 + number}") for number in range(20)))
    document = heard(lan.bramble("discover", "--json", "--seconds", "2"))
    assert {one["name"] for one in document["nodes"]} == {f"pi{number}" for number in range(20)}


def test_silence_gets_a_sentence_and_advice(lan: Lan) -> None:
    done = lan.bramble("discover", "--seconds", "0.5")
    assert done.returncode == 1 and done.stdout == ""
    assert f"nothing announced itself as _bramble._tcp within 0.5 s on {LAPTOP_ADDRESS}" in (
        done.stderr
    )
    for word in ("multicast", "isolation", "subnet", "UDP port 5353", "--seconds 30"):
        assert word in done.stderr


@pytest.mark.parametrize(
    ("announced", "sentence"),
    [
        (node("{{ lookup('pipe', 'id') }}"), "which is no hostname"),
        (node("pi1", "king"), "announces the role 'king', known are head, stage, blank"),
        (node("pi1", version="{{ 7 * 7 }}"), "announces the version"),
        (node("pi1", model="\x1b[2J[red]"), "announces the model '\\x1b[2J[red]'"),
    ],
)
def test_an_announcement_that_could_do_harm_is_left_out(
    lan: Lan, announce: Announce, announced: dict, sentence: str
) -> None:
    announce(announced, node("pi2", address="10.78.0.12"))
    done = lan.bramble("discover", "--json", "--seconds", "1")
    assert [one["name"] for one in heard(done)["nodes"]] == ["pi2"]
    assert sentence in done.stderr and "\x1b" not in done.stderr


def test_two_nodes_of_one_name_are_pointed_out(lan: Lan, announce: Announce) -> None:
    announce(node("pi1"), node("pi1", address="10.78.0.12"))
    done = lan.bramble("discover", "--seconds", "1")
    assert "2 nodes call themselves pi1 (10.78.0.11, 10.78.0.12)" in done.stderr


def test_a_machine_without_a_network_is_told_so(lan: Lan) -> None:
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-m", "bramble", "discover"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "no IPv4 address beside loopback" in done.stderr


@pytest.mark.parametrize("seconds", ["0", "-1", "301", "nan"])
def test_a_time_out_of_range_is_bad_input(seconds: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bramble", "discover", "--seconds", seconds],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "--seconds: got" in done.stderr and "up to 300" in done.stderr


@pytest.mark.parametrize("words", [["--help"], ["discover", "--help"], ["status", "--help"]])
def test_zeroconf_is_loaded_by_nothing_but_discover_itself(words: list[str]) -> None:
    program = (
        "import sys, contextlib, io\n"
        "from bramble.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        f"    main({words!r})\n"
        "sys.exit('zeroconf' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
