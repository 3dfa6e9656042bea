"""Several rings on booted hosts: each has the whole model, and one serves while another is down."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.cluster.conftest import Cluster
from tests.cluster.lab import running
from tests.cluster.plays import changes

pytestmark = pytest.mark.timeout(1200)
CHOSEN = ("-e", json.dumps({"bramble_rings": [], "bramble_objective": "throughput"}))


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three fresh hosts: pi1 is one ring, pi2 and pi3 are another."""
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


def test_site_makes_the_rings_that_the_inventory_names(replicas: Cluster) -> None:
    replicas.play("site")
    assert rings(replicas) == [["pi1"], ["pi2", "pi3"]]
    assert "Bramble" in replicas.ask("Who are you?")
    assert len(layers(replicas, "pi1")) == 6
    parts = layers(replicas, "pi2"), layers(replicas, "pi3")
    assert [len(part) for part in parts] == [3, 3] and not parts[0] & parts[1]


def test_a_ring_that_is_down_is_named_while_the_other_answers(replicas: Cluster) -> None:
    replicas.host("pi3").ssh("sudo systemctl stop bramble-stage@0")
    deadline = time.monotonic() + 30
    while "reason" not in json.loads(replicas.get("/readyz")[1]) and time.monotonic() < deadline:
        time.sleep(0.5)
    status, text = replicas.get("/readyz")
    assert status == 200
    assert "ring 1: stage 1 (pi3): not heard of" in json.loads(text)["reason"]
    assert "Bramble" in replicas.ask("Who are you?")
    replicas.host("pi3").ssh("sudo systemctl start bramble-stage@0")


def test_rings_that_are_chosen_bring_each_node_its_part_and_stay(replicas: Cluster) -> None:
    replicas.play("site", *CHOSEN)
    assert rings(replicas) == [["pi1"], ["pi2"], ["pi3"]]
    assert all(len(layers(replicas, name)) == 6 for name in ("pi2", "pi3"))
    assert changes(replicas.play("site", *CHOSEN, "--limit", "pi1"))["pi1"] == 0
    assert set(changes(replicas.play("site", *CHOSEN)).values()) == {0}
    assert "Bramble" in replicas.ask("Who are you?")
