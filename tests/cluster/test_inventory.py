"""A wrong inventory gets one sentence, and no node hears of it."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bramble.model.manifest import BYTES_PER_WEIGHT
from bramble.plan.cost import AARCH64, PACKED_BITS
from bramble.plan.devices import DEVICES, Device

from tests.cluster.plays import ROOT, Played, ansible_playbook, environment, write_site

PLUGIN = ROOT / "ansible" / "plugins" / "filter" / "bramble.py"
_spec = importlib.util.spec_from_file_location("bramble_filters", PLUGIN)
assert _spec is not None and _spec.loader is not None
filters = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(filters)

LAN = "192.168.1.0/24"
GATEWAY = "192.168.1.1"


def node(name: str = "pi1", address: str | None = "192.168.1.11", role: str = "stage") -> dict:
    return {"name": name, "address": address, "role": role}


HEAD = node(role="head")
PI2 = node("pi2", "192.168.1.12")

WRONG = {
    "a duplicate address": (
        ([HEAD, node("pi2")], LAN, GATEWAY),
        "pi1, pi2 have the same address 192.168.1.11: each node needs its own",
    ),
    "two heads": (
        ([HEAD, node("pi2", "192.168.1.12", "head")], LAN, GATEWAY),
        "pi1, pi2 are all `role: head`: set bramble_virtual_address to a free address of your LAN, "
        "at which the one that leads answers",
    ),
    "a virtual address that is none": (
        ([HEAD, PI2], LAN, GATEWAY, (), "192.168.1"),
        "bramble_virtual_address 192.168.1 is no IPv4 address: a free one of your LAN, or leave it "
        "out",
    ),
    "a virtual address outside": (
        ([HEAD, PI2], LAN, GATEWAY, (), "192.168.2.10"),
        "bramble_virtual_address 192.168.2.10 is not in bramble_network 192.168.1.0/24",
    ),
    "a virtual address of everybody": (
        ([HEAD, PI2], LAN, GATEWAY, (), "192.168.1.255"),
        "bramble_virtual_address 192.168.1.255 stands for all of 192.168.1.0/24: choose a free one",
    ),
    "a virtual address that is a node's": (
        ([HEAD, PI2], LAN, GATEWAY, (), "192.168.1.12"),
        "bramble_virtual_address 192.168.1.12 is the address of pi2: choose a free one",
    ),
    "a virtual address that is the router's": (
        ([HEAD, PI2], LAN, GATEWAY, (), GATEWAY),
        "bramble_virtual_address 192.168.1.1 is your router's: choose a free one",
    ),
    "an address outside": (
        ([HEAD, node("pi2", "192.168.2.12")], LAN, GATEWAY),
        "pi2 has the address 192.168.2.12, which is not in bramble_network 192.168.1.0/24",
    ),
    "no address": (
        ([HEAD, node("pi2", None)], LAN, GATEWAY),
        "pi2 has no address: add `address: 192.168.…` to its line",
    ),
    "an address that is none": (
        ([HEAD, node("pi2", "192.168.1")], LAN, GATEWAY),
        "pi2 has the address '192.168.1', which is no IPv4 address",
    ),
    "the network's own address": (
        ([node(address="192.168.1.0")], LAN, GATEWAY),
        "pi1 has the address 192.168.1.0, which stands for all of 192.168.1.0/24",
    ),
    "the broadcast address": (
        ([node(address="192.168.1.255")], LAN, GATEWAY),
        "pi1 has the address 192.168.1.255, which stands for all of 192.168.1.0/24",
    ),
    "the gateway's address": (
        ([node(address=GATEWAY)], LAN, GATEWAY),
        "pi1 has the gateway's address 192.168.1.1: give it another",
    ),
    "no hosts": (
        ([], LAN, GATEWAY),
        "the group `bramble` has no hosts: add a line per Pi to hosts.yml",
    ),
    "a role there is not": (
        ([node(role="master")], LAN, GATEWAY),
        "pi1 has `role: master`: need head or stage",
    ),
    "a gateway outside": (
        ([HEAD], LAN, "192.168.2.1"),
        "bramble_gateway 192.168.2.1 is not in bramble_network 192.168.1.0/24",
    ),
    "a gateway at the network's own address": (
        ([HEAD], LAN, "192.168.1.255"),
        "bramble_gateway 192.168.1.255 stands for all of 192.168.1.0/24: your router's address, "
        'or ""',
    ),
    "a gateway that is none": (
        ([HEAD], LAN, "router"),
        "bramble_gateway 'router' is no IPv4 address: your router's, or \"\"",
    ),
    "a network that is none": (
        ([HEAD], "192.168.1.7/24", GATEWAY),
        "'192.168.1.7/24' is no network: write it as 192.168.1.0/24",
    ),
    "another network that is none": (
        ([HEAD], LAN, GATEWAY, ["vpn"]),
        "'vpn' is no network: write it as 192.168.1.0/24",
    ),
    "no list of further networks": (
        ([HEAD], LAN, GATEWAY, "10.8.0.0/24"),
        "bramble_admin_networks is '10.8.0.0/24': write it as [10.8.0.0/24]",
    ),
}


@pytest.mark.parametrize(("arguments", "sentence"), WRONG.values(), ids=WRONG)
def test_a_wrong_inventory_gets_one_sentence(arguments: tuple, sentence: str) -> None:
    assert filters.inventory_problems(*arguments) == [sentence]


@pytest.mark.parametrize("name", ["pi_1", "Pi1", "-pi1", "pi1-", "pi.1", "pi1\n", "p" * 64, "π1"])
def test_a_name_that_is_no_hostname_gets_one_sentence(name: str) -> None:
    (sentence,) = filters.inventory_problems([node(name)], LAN, GATEWAY)
    assert sentence.startswith(f"{name!r} is no hostname: lower-case letters, digits and hyphens")


@pytest.mark.parametrize("gateway", [GATEWAY, ""])
@pytest.mark.parametrize("nodes", [[HEAD, PI2], [node(), PI2], [node("p" * 63)]])
def test_a_good_inventory_gets_none(nodes: list, gateway: str) -> None:
    assert filters.inventory_problems(nodes, LAN, gateway, ["10.8.0.0/24"]) == []


@pytest.mark.parametrize("nodes", [[HEAD, PI2], [HEAD, node("pi2", "192.168.1.12", "head")]])
def test_one_head_or_several_may_have_a_virtual_address(nodes: list) -> None:
    assert filters.inventory_problems(nodes, LAN, GATEWAY, (), "192.168.1.10") == []


THREE = [HEAD, node("pi2", "192.168.1.12", "head"), node("pi3", "192.168.1.13")]


@pytest.mark.parametrize(
    ("nodes", "rings", "said"),
    [
        ([HEAD, PI2], [], ""),
        (THREE[:2], [], "pi2 takes over if the head's process on pi1 ends, but not if pi1 loses"),
        (THREE, [], "if pi1 loses power, pi2 takes over but has no ring to serve with, as every"),
        (THREE, [["pi2"], ["pi1", "pi3"]], ""),
        (THREE, [["pi2"], ["pi1+pi3"]], ""),
        (THREE, [["pi2", "pi1+pi3"]], "if pi1 loses power, pi2 takes over but has no ring"),
    ],
)
def test_what_a_standby_does_not_help_against_is_said(nodes: list, rings: list, said: str) -> None:
    assert "; ".join(filters.standby_remarks(nodes, rings)).startswith(said)
    assert bool(filters.standby_remarks(nodes, rings)) == bool(said)


SPELT = (
    "[[pi1, pi2], [pi3, pi4]], a list per ring, or [[pi1+pi2], [pi3, pi4]] where pi1 and pi2 are "
    "a group"
)
WRONG_RINGS = {
    "a group as a list": (
        [[["pi1", "pi2"]]],
        "",
        f"bramble_rings is [[['pi1', 'pi2']]]: write it as {SPELT}",
    ),
    "a group without a ring": (
        ["pi1+pi2"],
        "",
        f"bramble_rings is ['pi1+pi2']: write it as {SPELT}",
    ),
    "a node with itself": (
        [["pi1+pi1", "pi2"]],
        "",
        "bramble_rings names pi1 2 times: a node is in one ring, and in one group of it",
    ),
    "a node in two groups": (
        [["pi1+pi2", "pi2"]],
        "",
        "bramble_rings names pi2 2 times: a node is in one ring, and in one group of it",
    ),
    "a group across rings": (
        [["pi1+pi2"], ["pi2"]],
        "",
        "bramble_rings names pi2 2 times: a node is in one ring, and in one group of it",
    ),
    "a member that is not there": (
        [["pi1+pi2+pi9"]],
        "",
        "bramble_rings names pi9, which the inventory has not: it has pi1, pi2",
    ),
    "a group with nobody behind the plus": (
        [["pi1+", "pi2"]],
        "",
        "bramble_rings has 'pi1+': a + stands between two nodes of a group, as pi1+pi2",
    ),
    "a group with nobody between": (
        [["pi1++pi2"]],
        "",
        "bramble_rings has 'pi1++pi2': a + stands between two nodes of a group, as pi1+pi2",
    ),
    "a name of nothing": (
        [["pi1", "", "pi2"]],
        "",
        "bramble_rings has '': a + stands between two nodes of a group, as pi1+pi2",
    ),
    "a group with blanks": (
        [["pi1 + pi2"]],
        "",
        "bramble_rings has 'pi1 + pi2': write a group without blanks, as pi1+pi2",
    ),
    "a node that is not there": (
        [["pi1"], ["pi2", "pi9"]],
        "",
        "bramble_rings names pi9, which the inventory has not: it has pi1, pi2",
    ),
    "a node in two rings": (
        [["pi1", "pi2"], ["pi1"]],
        "",
        "bramble_rings names pi1 2 times: a node is in one ring, and in one group of it",
    ),
    "a node in none": ([["pi1"]], "", "pi2 is in no ring of bramble_rings: add it to one"),
    "one list": (
        ["pi1", "pi2"],
        "",
        f"bramble_rings is ['pi1', 'pi2']: write it as {SPELT}",
    ),
    "a ring without nodes": (
        [["pi1", "pi2"], []],
        "",
        f"bramble_rings is [['pi1', 'pi2'], []]: write it as {SPELT}",
    ),
    "an objective there is not": (
        [],
        "speed",
        "bramble_objective is 'speed': need one of latency, throughput, capacity, "
        'or "" for one ring of all',
    ),
    "rings and an objective": (
        [["pi1"], ["pi2"]],
        "latency",
        "bramble_rings and bramble_objective are both given: name the rings, or have them chosen",
    ),
}


@pytest.mark.parametrize(("rings", "objective", "sentence"), WRONG_RINGS.values(), ids=WRONG_RINGS)
def test_wrong_rings_get_one_sentence(rings: list, objective: str, sentence: str) -> None:
    assert filters.ring_problems([HEAD, PI2], rings, objective) == [sentence]


@pytest.mark.parametrize("rings", [[], [["pi1", "pi2"]], [["pi2"], ["pi1"]], [["pi2+pi1"]]])
def test_good_rings_get_none(rings: list) -> None:
    assert filters.ring_problems([HEAD, PI2], rings) == []
    assert filters.ring_problems([HEAD, PI2], [], "throughput") == []


def test_a_node_that_goes_leaves_its_ring_and_an_empty_ring_goes_too() -> None:
    rings = [["pi1", "pi2"], ["pi3"]]
    assert filters.rings_without(rings, "pi2") == [["pi1"], ["pi3"]]
    assert filters.rings_without(rings, "pi3") == [["pi1", "pi2"]]
    assert filters.rings_without(rings, "") == rings
    assert filters.rings_without("pi1", "pi1") == "pi1"
    assert filters.rings_of(rings, ["pi2", "pi4"]) == [["pi2"]]


def test_a_node_that_goes_leaves_its_group_and_an_empty_group_goes_too() -> None:
    rings = [["pi1+pi2", "pi3"], ["pi4+pi5"]]
    assert filters.rings_without(rings, "pi2") == [["pi1", "pi3"], ["pi4+pi5"]]
    assert filters.rings_of(rings, ["pi2", "pi3"]) == [["pi2", "pi3"]]
    assert filters.rings_of(rings, ["pi4", "pi5"]) == [["pi4+pi5"]]


def test_a_node_serves_with_its_group_or_where_groups_are_chosen_maybe_with_anyone() -> None:
    nodes, rings = ["pi1", "pi2", "pi3"], [["pi1+pi2", "pi3"]]
    assert filters.partners_of(rings, "pi1", nodes) == ["pi2"]
    assert filters.partners_of(rings, "pi3", nodes) == []
    assert filters.partners_of([["pi1+pi9"]], "pi1", nodes) == []  # pi9 is no node of ours
    assert filters.partners_of([], "pi2", nodes, "latency") == ["pi1", "pi3"]
    assert filters.partners_of([], "pi1", ["pi1"], "latency") == []
    assert filters.partners_of([], "pi2", nodes) == []


THREE_8_GB = {f"pi{n}": 8060 for n in (1, 2, 3)}


@pytest.mark.parametrize(
    ("model", "gib"),
    [
        ("meta-llama/Llama-3.3-70B-Instruct", 37.2),
        ("/home/me/models/llama-3.1-70b/", 37.2),
        ("Qwen/Qwen3-235B-A22B", 124.8),
    ],
)
def test_a_model_that_cannot_fit_gets_one_sentence(model: str, gib: float) -> None:
    assert filters.model_problems(model, "int4", THREE_8_GB) == [
        f"{model} needs about {gib} GiB as int4, and the 3 nodes have 18.9 GiB for it: "
        "add nodes, or choose a smaller model"
    ]


@pytest.mark.parametrize(
    ("model", "num_weights"),
    [
        ("meta-llama/Llama-3.2-1B", 1e9),
        ("qwen2.5-0.5b-instruct", 0.5e9),
        ("Qwen/Qwen3-4B", 4e9),
        ("llama-3.1-8b", 8e9),
        ("Qwen/Qwen2.5-1.5B-Instruct", 1.5e9),
    ],
)
def test_a_models_size_is_read_from_its_name(model: str, num_weights: float) -> None:
    need = num_weights * 0.57 / (1 << 20)  # int4
    mib = max(need / 0.8, need + 768)  # a stage takes a share, and leaves some at least
    assert filters.model_problems(model, "int4", {"pi1": mib * 1.01}) == []
    assert len(filters.model_problems(model, "int4", {"pi1": mib * 0.99})) == 1


@pytest.mark.parametrize("is_head", [False, True])
@pytest.mark.parametrize("board", DEVICES.values(), ids=lambda board: board.name)
def test_a_stage_may_take_what_the_predictor_says(board: Device, is_head: bool) -> None:
    usable = board.usable_bytes(is_head=is_head) >> 20
    assert filters.usable_mib(board.memory_bytes >> 20, is_head) == usable


def test_a_model_whose_name_tells_no_size_is_left_to_the_planner() -> None:
    assert filters.model_problems("embedded", "int4", {"pi1": 1}) == []
    assert filters.model_problems("embedded", "int4", {"pi1": 1}, weight_bytes=1 << 30) != []


def test_a_quantization_there_is_not_gets_one_sentence() -> None:
    (sentence,) = filters.model_problems("embedded", "int5", THREE_8_GB)
    kinds = ", ".join(BYTES_PER_WEIGHT)
    assert sentence == f"bramble_quantization is 'int5': need one of {kinds}"


def test_weights_take_what_the_planner_says() -> None:
    packed = {kind: round(bits / 8, 2) for kind, bits in PACKED_BITS[AARCH64].items()}
    assert packed == filters.BYTES_PER_WEIGHT


# --------------------------------------------------------------- through the play that a user runs


class Door:
    """A port on this machine that counts who comes; nobody gets an answer."""

    def __init__(self) -> None:
        self.num_visitors = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._count)
        self._thread.start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _count(self) -> None:
        while True:
            try:
                visitor, _ = self._socket.accept()
            except OSError:
                return
            self.num_visitors += 1
            visitor.close()


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()
    yield door
    door.close()


Play = Callable[..., Played]


@pytest.fixture
def play(tmp_path: Path, door: Door) -> Play:
    """Give a function that runs a play with a hosts.yml; every node is behind the door."""

    def run(hosts: str, *words: str, name: str = "site", **values: object) -> Played:
        values = {"bramble_network": "127.0.0.0/24", "ansible_port": door.port, **values}
        site = write_site(tmp_path / "site", hosts, **values)
        done = subprocess.run(
            [ansible_playbook(), f"{name}.yml", "-i", site, *words],
            cwd=ROOT / "ansible",
            env=environment(tmp_path),
            stdin=subprocess.DEVNULL,
            text=True,
            capture_output=True,
        )
        return Played(done.returncode, done.stdout + done.stderr)

    return run


def test_the_door_notices_a_good_inventory(play: Play, door: Door) -> None:
    played = play("bramble: {hosts: {pi1: {address: 127.0.0.1}}}")
    assert door.num_visitors == 1
    assert played.sentences == [
        "pi1 is the head and does not answer at 127.0.0.1: check its power, its cable and its "
        "card, or give `role: head` to another node"
    ]


@pytest.mark.parametrize("words", [(), ("--limit", "pi2"), ("--tags", "stage"), ("--check",)])
def test_the_play_stops_before_any_node_is_asked(play: Play, door: Door, words: tuple) -> None:
    hosts = "bramble: {hosts: {pi1: {address: 127.0.0.1}, pi2: {address: 127.0.0.1}}}"
    played = play(hosts, *words)
    assert played.returncode != 0
    assert played.sentences == ["pi1, pi2 have the same address 127.0.0.1: each node needs its own"]
    assert set(played.changed.values()) == {0}
    assert door.num_visitors == 0


STOPPED = {
    "two heads": (
        "{pi1: {address: 127.0.0.1, role: head}, pi2: {address: 127.0.0.2, role: head}}",
        "pi1, pi2 are all `role: head`: set bramble_virtual_address to a free address of your LAN, "
        "at which the one that leads answers",
    ),
    "no hosts": ("{}", "the group `bramble` has no hosts: add a line per Pi to hosts.yml"),
    "no address": (
        "{pi1: {}, pi2: {address: 127.0.0.1}}",
        "pi1 has no address: add `address: 192.168.…` to its line",
    ),
    "no hostname": (
        "{pi_1: {address: 127.0.0.1}}",
        "'pi_1' is no hostname: lower-case letters, digits and hyphens, 63 at most",
    ),
    "outside": (
        "{pi1: {address: 127.0.1.1}}",
        "pi1 has the address 127.0.1.1, which is not in bramble_network 127.0.0.0/24",
    ),
}


@pytest.mark.parametrize(("hosts", "sentence"), STOPPED.values(), ids=STOPPED)
def test_the_play_says_what_is_wrong(play: Play, door: Door, hosts: str, sentence: str) -> None:
    played = play(f"bramble: {{hosts: {hosts}}}")
    assert played.returncode != 0
    assert played.sentences == [sentence]
    assert set(played.changed.values()) <= {0}
    assert door.num_visitors == 0


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("bramble_port", 22, "bramble_port is 22, which is ssh's: choose another, as 8080"),
        ("bramble_rosw", 8, "bramble_rosw is no setting: did you mean bramble_rows?"),
        (
            "bramble_dns",
            "10.77.0.1, 1.1.1.1",
            "bramble_dns is '10.77.0.1, 1.1.1.1': write it as a list, [10.77.0.1, 1.1.1.1]",
        ),
    ],
)
def test_the_play_says_which_setting_is_wrong(
    play: Play, door: Door, setting: str, value: object, sentence: str
) -> None:
    played = play("bramble: {hosts: {pi1: {address: 127.0.0.1}}}", **{setting: value})
    assert played.sentences == [sentence]
    assert door.num_visitors == 0


def test_the_play_names_a_line_that_was_lost(play: Play, door: Door) -> None:
    played = play("bramble: {hosts: {pi1: {address: 127.0.0.1}}}", bramble_network=...)
    (sentence,) = played.sentences
    assert sentence.startswith("bramble_network is not set: copy its line from inventory/example/")
    assert door.num_visitors == 0


def test_nothing_is_restored_from_a_folder_that_is_not_there(play: Play, door: Door) -> None:
    hosts = "bramble: {hosts: {pi1: {address: 127.0.0.1}}}"
    played = play(hosts, "-e", "folder=/nowhere", name="restore")
    assert played.sentences == [
        "/nowhere/pi1.tar.gz.base64 is not there, nor .age or .gpg: "
        "`-e folder=…` names the folder that backup.yml wrote"
    ]
    assert door.num_visitors == 0


def test_an_inventory_without_the_group_is_no_success(play: Play) -> None:
    played = play("all: {hosts: {pi1: {address: 127.0.0.1}}}")
    assert played.returncode != 0
    assert played.sentences == ["the group `bramble` has no hosts: add a line per Pi to hosts.yml"]


def test_a_node_twice_is_no_inventory(play: Play, door: Door) -> None:
    played = play(
        "bramble:\n  hosts:\n    pi1: {address: 127.0.0.1}\n    pi1: {address: 127.0.0.2}\n"
    )
    assert played.returncode != 0
    assert "Found duplicate mapping key 'pi1'" in played.output
    assert "hosts.yml:4:5" in played.output
    assert door.num_visitors == 0
