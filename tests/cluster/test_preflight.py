"""What a node may be in when site.yml comes: one sentence each, and nothing has changed.

On real booted hosts. `--tags nothing` leaves of site.yml what always runs: the preflight.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.lab import Host, Lab, run, running
from tests.cluster.plays import ROOT, Played, ansible_playbook, environment, write_site

ONE = "bramble: {hosts: {pi1: {address: 10.77.0.11}}}"
OPTIONS = "-i {key} -o UserKnownHostsFile={known} -o IdentitiesOnly=yes -o BatchMode=yes"
HOLD = "import fcntl, time; f = open('{lock}', 'a'); fcntl.lockf(f, fcntl.LOCK_EX); time.sleep({s})"

PROBE = ROOT / "roles" / "bramble_preflight" / "files" / "probe.py"

PREPARE = "  Prepare the nodes\n"  # the phase that begins to change a node
Play = Callable[..., Played]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    missing = [name for name in ("systemd-nspawn", "mmdebstrap") if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        pytest.skip(f"booting hosts needs root, and apt-get install systemd-container {missing}")
    with running(tmp_path_factory.mktemp("lab"), 1) as lab:
        yield lab


@pytest.fixture
def pi1(lab: Lab) -> Host:
    return lab.hosts["pi1"]


@pytest.fixture
def home(lab: Lab) -> Iterator[Path]:
    """Give a home without connections that Ansible left open; short, for the sockets in it."""
    with tempfile.TemporaryDirectory(dir=lab.folder, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def play(lab: Lab, home: Path) -> Play:
    """Give a function that runs the preflight of site.yml; `values` are of the inventory."""

    def run(*words: str, hosts: str = ONE, key: Path | None = None, **values: object) -> Played:
        known = home / "known_hosts"
        if not known.exists():
            shutil.copy(lab.known_hosts, known)
        values["ansible_ssh_common_args"] = OPTIONS.format(key=key or lab.key, known=known)
        site = write_site(home / "site", hosts, **values)
        done = lab.run(
            *(ansible_playbook(), "site.yml", "-i", site, "--tags", "nothing", *words),
            cwd=ROOT / "ansible",
            env={**environment(home), "ANSIBLE_GATHERING": "smart"},  # later plays do nothing here
        )
        return Played(done.returncode, done.stdout + done.stderr)

    return run


@contextlib.contextmanager
def away(host: Host, path: str) -> Iterator[None]:
    """Take a file from the host for a while."""
    here = host.root / path
    here.rename(here.with_name(".away"))
    try:
        yield
    finally:
        here.with_name(".away").rename(here)


def assert_refused(played: Played, *sentences: str) -> None:
    assert played.sentences == list(sentences)
    assert played.returncode != 0
    assert set(played.changed.values()) == {0}
    assert PREPARE not in played.output


@pytest.mark.parametrize("words", [(), ("--check", "--diff")])
def test_a_good_node_passes_and_is_left_as_it_was(play: Play, words: tuple) -> None:
    played = play(*words)
    assert played.sentences == []
    assert played.returncode == 0
    assert set(played.changed.values()) == {0}
    assert PREPARE in played.output


# ------------------------------------------------------------------------------------- getting in


def test_a_wrong_user(play: Play) -> None:
    assert_refused(
        play(bramble_user="ubuntu"),
        "pi1 does not let ubuntu in with your key: check bramble_user, and "
        "`ssh-copy-id ubuntu@10.77.0.11` if the key is not there yet",
    )


def test_a_key_that_the_node_does_not_know(play: Play, home: Path) -> None:
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / "other")
    assert_refused(
        play(key=home / "other"),
        "pi1 does not let pi in with your key: check bramble_user, and "
        "`ssh-copy-id pi@10.77.0.11` if the key is not there yet",
    )


def test_another_host_key_than_before(play: Play, home: Path) -> None:
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / "before")
    (home / "known_hosts").write_text(f"10.77.0.11 {(home / 'before.pub').read_text()}")
    assert_refused(
        play(),
        "pi1 shows another host key than before: if its card was flashed anew, "
        "`ssh-keygen -R 10.77.0.11` forgets the old one; if not, another machine answers at "
        "10.77.0.11",
    )


LACKING = {
    "etc/sudoers.d/pi": "pi1 does not let pi use sudo without a password: put "
    "`pi ALL=(ALL) NOPASSWD:ALL` into /etc/sudoers.d/pi there",
    "usr/bin/sudo": "pi1 has no sudo: as root there, `apt install sudo && adduser pi sudo`",
    "usr/bin/python3": "pi1 has no /usr/bin/python3: `sudo apt install python3` there",
}


@pytest.mark.parametrize(("path", "sentence"), LACKING.items(), ids=LACKING)
def test_a_node_that_lacks(pi1: Host, play: Play, path: str, sentence: str) -> None:
    with away(pi1, path):
        assert_refused(play(), sentence)


# ---------------------------------------------------------------------------------------- answering


def test_the_others_are_served_without_a_node_that_does_not_answer(play: Play) -> None:
    played = play(
        hosts="bramble: {hosts: {pi1: {address: 10.77.0.11}, pi9: {address: 10.77.0.19}}}"
    )
    assert played.sentences == [
        "pi9 does not answer at 10.77.0.19: check its power, its cable and its card, then "
        "`ssh pi@10.77.0.19`; the others are served without it"
    ]
    _, prepared = played.output.split(PREPARE)
    assert "\npi1        0 changes\n" in prepared
    assert "pi9 did not answer and the ring runs without" in prepared
    assert set(played.changed.values()) == {0}


def test_nothing_is_served_without_the_head(play: Play) -> None:
    hosts = "{pi1: {address: 10.77.0.11}, pi9: {address: 10.77.0.19, role: head}}"
    assert_refused(
        play(hosts=f"bramble: {{hosts: {hosts}}}"),
        "pi9 is the head and does not answer at 10.77.0.19: check its power, its cable and its "
        "card, or give `role: head` to another node",
    )


def test_a_node_that_is_booting_is_waited_for(pi1: Host, play: Play) -> None:
    says = "System is booting up. Unprivileged users are not permitted to log in yet."
    pi1.ssh("sudo systemd-run -q sh -c 'sleep 5; rm /run/nologin'")
    pi1.ssh(f"echo '{says}' | sudo tee /run/nologin")
    played = play()
    assert played.sentences == []
    assert played.returncode == 0


def test_a_node_that_never_finishes_booting_does_not_answer(pi1: Host, play: Play) -> None:
    pi1.ssh("sudo systemd-run -q sh -c 'sleep 8; systemctl start ssh'; sudo systemctl stop ssh")
    played = play("-e", "bramble_preflight_boot_wait_s=2")
    pi1.wait_for_ssh()
    (sentence,) = played.sentences
    assert sentence.startswith("pi1 is the head and does not answer at 10.77.0.11: check")


# ---------------------------------------------------------------------------------- what is there


@contextlib.contextmanager
def held(host: Host, lock: str) -> Iterator[None]:
    host.ssh(f'sudo systemd-run -q -u hold python3 -c "{HOLD.format(lock=lock, s=60)}"')
    try:
        yield
    finally:
        host.ssh("sudo systemctl stop hold")


def test_packages_that_are_being_installed(pi1: Host, play: Play) -> None:
    with held(pi1, "/var/lib/dpkg/lock-frontend"):
        played = play("-e", "bramble_preflight_apt_wait_s=1")
    assert_refused(
        played,
        "pi1 is installing packages still after 1 s (an automatic update?): wait until it has "
        "ended, and run this again",
    )


def test_the_lists_of_packages_being_fetched_count_too(pi1: Host) -> None:
    (pi1.root / "home/pi/probe.py").write_text(PROBE.read_text())
    ask = "sudo python3 probe.py 0"
    assert json.loads(pi1.ssh(ask))["is_apt_locked"] is False
    with held(pi1, "/var/lib/apt/lists/lock"):
        time.sleep(0.5)  # systemd-run is back before its program has the lock
        assert json.loads(pi1.ssh(ask))["is_apt_locked"] is True


LISTS = "/var/lib/apt/lists"


@pytest.mark.parametrize("size", [0, 1000])
def test_lists_of_packages_that_a_power_cut_left_without_contents_are_fetched_anew(
    pi1: Host, play: Play, size: int
) -> None:
    (pi1.root / "home/pi/probe.py").write_text(PROBE.read_text())
    ask = "sudo python3 probe.py 0"
    pi1.ssh("sudo apt-get update -qq")
    assert json.loads(pi1.ssh(ask))["package_lists"] == "whole"
    pi1.ssh(f"sudo sh -c 'truncate -s {size} {LISTS}/*_bookworm_main_*_Packages'")
    assert json.loads(pi1.ssh(ask))["package_lists"] == "cut off"
    assert play().sentences == []
    assert json.loads(pi1.ssh(ask))["package_lists"] == "whole"
    assert "clang:" in pi1.ssh("apt-cache policy clang")


def test_a_time_client_is_a_package_that_a_node_may_lack(pi1: Host, play: Play) -> None:
    pi1.ssh(f"sudo rm -r {LISTS}")
    played = play("-e", '{"bramble_preflight_packages": ["python3"]}')
    assert played.sentences == []
    assert "systemd-timesyncd:" in pi1.ssh("apt-cache policy systemd-timesyncd")


def test_packages_that_are_soon_installed_are_waited_for(pi1: Host, play: Play) -> None:
    hold = HOLD.format(lock="/var/lib/dpkg/lock-frontend", s=5)
    pi1.ssh(f'sudo systemd-run -q python3 -c "{hold}"')
    played = play()
    assert played.sentences == []  # nor is the wait taken for a clock that differs
    assert played.returncode == 0


def test_a_first_start_is_waited_for(pi1: Host, play: Play) -> None:
    job = "systemd-run -q --no-block -p Type=oneshot --unit=cloud-final"
    pi1.ssh(f"sudo {job} sleep 8")
    played = play()
    assert played.sentences == []
    assert pi1.ssh("systemctl is-active cloud-final", check=False) != "activating\n"
    pi1.ssh(f"sudo {job} sleep 600")
    played = play("-e", "bramble_preflight_apt_wait_s=1")
    pi1.ssh("sudo systemctl kill cloud-final")
    assert_refused(
        played,
        "pi1 is still at its first start after 1 s: `cloud-init status --long` there says what it "
        "waits for",
    )


def test_another_firewall(pi1: Host, play: Play) -> None:
    settings = pi1.root / "etc/ufw/ufw.conf"
    settings.parent.mkdir(exist_ok=True)
    settings.write_text("ENABLED=yes\n")
    try:
        played = play()
    finally:
        settings.unlink()
    (sentence,) = played.sentences
    assert sentence.startswith("pi1 has ufw active, which drops what the ring needs")
    assert "`sudo ufw disable` there" in sentence
    assert_refused(played, sentence)


LIMITS = {
    "max_clock_skew_s=-1": r"has a clock that differs from this machine's by -?\d s: `timedatectl` "
    "there says whether it finds a time server",
    "min_memory_mib=9000000": r"has \d+ MiB of memory, need 9000000: leave it out of hosts.yml, or "
    "put in a board with more",
    "min_disk_mib=9000000": r"has \d+ MiB of free disk, need 9000000: a larger card, or "
    "`sudo apt clean`",
}


@pytest.mark.parametrize(("limit", "pattern"), LIMITS.items(), ids=LIMITS)
def test_a_node_outside_a_limit(play: Play, limit: str, pattern: str) -> None:
    played = play("-e", f"bramble_preflight_{limit}")
    (sentence,) = played.sentences
    assert re.fullmatch(f"pi1 {pattern}", sentence), sentence
    assert_refused(played, sentence)


@pytest.mark.parametrize("ahead_s", [-400, 90])
def test_a_clock_that_differs_is_measured(ahead_s: int) -> None:
    words = [sys.executable, PROBE, str(time.time() - ahead_s)]
    said = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    assert said["skew_s"] == pytest.approx(ahead_s, abs=3)


def test_another_release_than_this_checkouts(pi1: Host, play: Play) -> None:
    pi1.ssh("sudo mkdir -p /opt/bramble && sudo ln -s releases/0.0.1-aaaa /opt/bramble/current")
    try:
        played = play()
    finally:
        pi1.ssh("sudo rm -r /opt/bramble")
    (sentence,) = played.sentences
    assert sentence.startswith("pi1 runs release 0.0.1-aaaa, this checkout is ")
    assert sentence.endswith(": `ansible-playbook upgrade.yml` takes all nodes there")
    assert_refused(played, sentence)


def test_a_32_bit_system(pi1: Host, play: Play) -> None:
    drop_in = pi1.root / "etc/systemd/system/ssh.service.d/32-bit.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nPersonality=x86\n")  # uname -m says i686
    pi1.ssh("sudo systemctl daemon-reload && sudo systemctl restart ssh")
    try:
        played = play()
    finally:
        shutil.rmtree(drop_in.parent)
        pi1.ssh("sudo systemctl daemon-reload && sudo systemctl restart ssh")
    assert_refused(played, "pi1 runs a system for i386: flash it with a 64-bit one")


def test_a_model_that_cannot_fit(play: Play) -> None:
    played = play(bramble_model="giants/Giant-90000B")
    (sentence,) = played.sentences
    assert sentence.startswith("giants/Giant-90000B needs about 47776.8 GiB as int4, and the node")
    assert_refused(played, sentence)


def test_a_node_without_a_way_to_its_packages(pi1: Host, play: Play) -> None:
    lists = pi1.root / "var/lib/apt/lists"
    shutil.rmtree(lists)
    lists.mkdir()
    with away(pi1, "etc/apt/apt.conf.d/99lab"):
        played = play()
    (sentence,) = played.sentences
    assert sentence.startswith("pi1 cannot list packages: ")
    assert sentence.endswith("; does it reach the internet (`sudo apt update` there)?")
    assert_refused(played, sentence)
