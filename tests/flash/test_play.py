"""flash.yml as a user runs it: twice, in check mode, and with what it must refuse."""

from __future__ import annotations

import pytest

from tests.cluster.plays import changes
from tests.flash.conftest import Site
from tests.flash.machine import run
from tests.flash.small_image import FAT_OFFSET

pytestmark = pytest.mark.timeout(600)  # several runs of a play


def test_check_mode_first_then_an_image_for_each_node_then_nothing_to_do(small_site: Site) -> None:
    checked = small_site.flash("--check", "--diff")
    assert checked.returncode == 0, checked.stdout
    assert not small_site.output.exists()

    made = small_site.flash()
    assert made.returncode == 0, made.stdout
    for name, address in (("pi1", "10.77.9.11"), ("pi2", "10.77.9.12")):
        drive = f"{small_site.output / name}.img@@{FAT_OFFSET}"
        assert f"hostname: {name}" in run("mtype", "-i", drive, "::user-data")
        assert f"{address}/24" in run("mtype", "-i", drive, "::network-config")

    again = small_site.flash()
    assert (again.returncode, changes(again.stdout)) == (0, {"localhost": 0})
    checked = small_site.flash("--check")
    assert (checked.returncode, changes(checked.stdout)) == (0, {"localhost": 0})


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["bramble_flash_node=pi9"], "pi9 is not in the inventory or empty; it knows pi1, pi2"),
        (["bramble_flash_device=/dev/sdz"], "Got 2 nodes and one card, /dev/sdz"),
        (
            ["bramble_flash_device=/dev/null", "bramble_flash_node=pi1"],
            "/dev/null is no block device",
        ),
        (["bramble_flash_image_url=/nowhere.img"], "there is no image /nowhere.img"),
        (["bramble_flash_image_sha256=abc"], "need 64 hexadecimal digits"),
        (["bramble_flash_network=10.77.9.0"], "need the prefix too, as 10.77.9.0/24"),
        (["bramble_dns=10.77.9.999"], "bramble_dns is '10.77.9.999': need the IPv4 address"),
        (["bramble_flash_gateway=10.77.8.1"], "10.77.8.1 is not in bramble_network 10.77.9.0/24"),
        (["bramble_flash_interface=wlan0"], "need a wired interface's name"),
        (["bramble_flash_timezone=Mars/Olympus"], "need a time zone"),
        (["bramble_flash_user=root"], "Got user root"),
        (['{"bramble_flash_ssh_keys": []}'], "the card has no password"),
        (['{"bramble_flash_ssh_keys": ["-----BEGIN OPENSSH PRIVATE KEY-----"]}'], "a public key"),
        (
            ['{"bramble_flash_nodes": [{"name": "Pi_1", "address": "10.77.9.11"}]}'],
            "'Pi_1' is no hostname",
        ),
        (
            ['{"bramble_flash_nodes": [{"name": "pi1", "address": "10.77.8.11"}]}'],
            "pi1 has the address 10.77.8.11, which is not in bramble_network 10.77.9.0/24",
        ),
    ],
)
def test_bad_input_gets_one_sentence_and_makes_nothing(
    arguments: list[str], sentence: str, small_site: Site
) -> None:
    done = small_site.flash(*[word for argument in arguments for word in ("-e", argument)])
    assert done.returncode != 0
    said = " ".join((done.stdout + done.stderr).split())
    assert sentence in said, said
    assert not small_site.output.exists()
