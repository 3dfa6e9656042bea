"""Rings, a group and several heads on booted hosts: what is left serves while a part is down."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.cluster.conftest import Cluster
from tests.cluster.lab import running
from tests.cluster.plays import changes

pytestmark = pytest.mark.timeout(1200)
ADDRESS = "10.77.0.10"
TAKEOVER_S = 60.0  # 7 to 8 on a quiet machine (service/DESIGN.md); here other tests run beside
QUESTION = "How do I add a Pi?"
CHOSEN = ("-e", json.dumps({"bramble_rings": [], "bramble_objective": "throughput"}))
TWO_HEADS = (*CHOSEN, "-e", f"bramble_virtual_address={ADDRESS}")


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three fresh hosts: pi1 is one ring, pi2 and pi3 are another, as a group of two."""
    folder = tmp_path_factory.mktemp("replicas")
    with running(folder / "lab", 3) as lab:
        yield Cluster(lab, "replica", folder)


def rings(cluster: Cluster) -> list[list[str]]:
    _, text = cluster.get("/api/status")
    plan = json.loads(text)["plan"]
    return [[stage["node"] for stage in ring["stages"]] for ring in plan["rings"]]


def layers(cluster: Cluster, name: str) -> set[str]:
    """Names of the layers whose weights a host has."""
    command = "sudo find /var/lib/bramble/models -name 'layer-*.data' -printf '%f\\n'"
    return set(cluster.host(name).ssh(command).split())


def test_site_makes_the_rings_and_the_group_that_the_inventory_names(replicas: Cluster) -> None:
    replicas.play("site")
    assert rings(replicas) == [["pi1"], ["pi2+pi3"]]
    assert "Bramble" in replicas.ask("Who are you?")
    assert all(len(layers(replicas, name)) == 6 for name in ("pi1", "pi2", "pi3"))
    for name, rank, heads in (("pi2", 0, "0 to 1"), ("pi3", 1, "2 to 3")):
        said = replicas.host(name).ssh("systemctl show -p StatusText --value bramble-stage@0")
        assert f"layers 0 to 5, lm_head, of each heads {heads} as rank {rank} of pi2+pi3" in said
    assert can_exchange(replicas, "pi2", "pi3") and not can_exchange(replicas, "pi1", "pi3")


def can_exchange(cluster: Cluster, name: str, other: str) -> bool:
    """True if the port at which `other` exchanges lets `name` in."""
    knock = f"timeout 2 bash -c 'exec 3<>/dev/tcp/{cluster.host(other).address}/7102' && echo in"
    return "in" in cluster.host(name).ssh(knock, check=False)


def test_a_group_answers_alone_with_the_same_tokens_and_outlives_a_member(
    replicas: Cluster,
) -> None:
    stage = "bramble-stage@0"
    before = replicas.ask(QUESTION)  # of pi1: the first ring, as long as none has more to do
    replicas.host("pi1").ssh(f"sudo systemctl stop {stage}")
    with replicas.asking() as answers:
        replicas.host("pi3").ssh(f"sudo systemctl kill --signal=KILL {stage}")
        assert replicas.ask(QUESTION) == before
    assert [answer for answer in answers if "error" in answer] == []
    replicas.host("pi1").ssh(f"sudo systemctl start {stage}")
    replicas.wait_until_ready()


def test_a_group_that_is_down_is_named_while_the_other_ring_answers(replicas: Cluster) -> None:
    replicas.host("pi3").ssh("sudo systemctl stop bramble-stage@0")
    deadline = time.monotonic() + 30
    while (
        "not heard of" not in (text := replicas.get("/readyz")[1]) and time.monotonic() < deadline
    ):
        time.sleep(0.5)
    assert "ring 1: stage 0, rank 1 (pi3): " in json.loads(text)["reason"]
    assert replicas.get("/readyz")[0] == 200
    assert "Bramble" in replicas.ask("Who are you?")
    replicas.host("pi3").ssh("sudo systemctl start bramble-stage@0")


def test_rings_that_are_chosen_bring_each_node_its_part_and_stay(replicas: Cluster) -> None:
    replicas.play("site", *CHOSEN)
    assert rings(replicas) == [["pi1"], ["pi2"], ["pi3"]]
    assert all(len(layers(replicas, name)) == 6 for name in ("pi2", "pi3"))
    assert changes(replicas.play("site", *CHOSEN, "--limit", "pi1"))["pi1"] == 0
    assert set(changes(replicas.play("site", *CHOSEN)).values()) == {0}
    assert "Bramble" in replicas.ask("Who are you?")


def wait_until(condition: Callable[[], bool], limit_s: float) -> float:
    """Return the seconds it took."""
    started = time.monotonic()
    while True:
        with suppress(AssertionError):  # nobody listens yet
            if condition():
                return time.monotonic() - started
        assert time.monotonic() - started < limit_s
        time.sleep(0.1)


def has_address(cluster: Cluster, name: str) -> bool:
    return f" {ADDRESS}/32" in cluster.host(name).ssh("ip -br -4 address show eth0")


def test_a_second_head_stands_by_and_the_virtual_address_is_at_the_first(
    replicas: Cluster,
) -> None:
    replicas.edit(pi2={"address": "10.77.0.12", "role": "head"})
    assert f"Chat page http://{ADDRESS}:8080" in replicas.play("site", *TWO_HEADS)
    assert "Bramble" in replicas.ask("Who are you?", at=ADDRESS)
    assert has_address(replicas, "pi1") and not has_address(replicas, "pi2")
    assert replicas.get("/leader")[0] == replicas.get("/leader/quorum")[0] == 200
    status, text = replicas.get("/leader", at="10.77.0.12")
    assert status == 503 and "the head on pi1 has the role" in text
    refused = replicas.play("remove-node", "-e", "node=pi2", is_good=False)
    assert "pi2 may lead: take `role: head` from its line" in refused
    unit = replicas.host("pi2").ssh("systemctl show -p User,ActiveState bramble-address")
    assert "User=bramble" in unit and "ActiveState=active" in unit


def test_the_virtual_address_answers_soon_after_the_head_lost_its_power(replicas: Cluster) -> None:
    before = replicas.ask(QUESTION, at=ADDRESS)
    with replicas.asking(at=ADDRESS) as answers:
        replicas.host("pi1").pull_plug()
        took = wait_until(
            lambda: replicas.ask(QUESTION, at=ADDRESS, timeout_s=2) == before, TAKEOVER_S
        )
        time.sleep(4)  # it asks again a second after each answer
    print(f"answered after {took:.1f} s")
    texts = [answer.get("text") for answer in answers]
    assert texts[0] == texts[-1]
    assert len({text for text in texts if text}) == 1  # what is not refused is right


def test_the_head_that_comes_back_stands_by_and_site_changes_nothing(replicas: Cluster) -> None:
    replicas.lab.start(1)
    wait_until(lambda: "the head on pi2 has the role" in replicas.get("/leader")[1], 60)
    assert has_address(replicas, "pi2") and not has_address(replicas, "pi1")
    assert set(changes(replicas.play("site", *TWO_HEADS)).values()) == {0}
    assert has_address(replicas, "pi2")
