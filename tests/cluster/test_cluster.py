"""A cluster's whole life on booted hosts: each test goes on where the last one ended."""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import bramble
import pytest

from tests.cluster.conftest import Cluster
from tests.cluster.plays import ROOT, changes

pytestmark = pytest.mark.timeout(1200)
PLAYS = sorted(path.stem for path in (ROOT / "ansible").glob("*.yml"))
NODES = ("pi1", "pi2", "pi3")


@pytest.mark.parametrize("play", PLAYS)
def test_the_play_is_sound(cluster: Cluster, play: str) -> None:
    cluster.play(play, "--syntax-check", "-e", "node=pi3")


def test_a_dry_run_on_fresh_hosts_succeeds_and_changes_nothing(cluster: Cluster) -> None:
    cluster.play("site", "--check", "--diff")
    for name in NODES:
        found = cluster.host(name).ssh(
            "ls -d /opt/bramble /etc/bramble /var/lib/bramble 2>/dev/null || true"
        )
        assert found == ""


def test_site_brings_fresh_hosts_to_an_answer(cluster: Cluster) -> None:
    output = cluster.play("site")
    assert "Chat page http://10.77.0.11:8080" in output
    assert "Bramble" in cluster.ask("Who are you?")
    status, _ = cluster.get("/")
    assert status == 200


def test_a_second_run_changes_nothing(cluster: Cluster) -> None:
    said = cluster.play("site")
    assert changes(said) == {"pi1": 0, "pi2": 0, "pi3": 0, "localhost": 0}
    assert len(said.splitlines()) <= 24, said  # one screen


def test_the_units_run_as_they_should(cluster: Cluster) -> None:
    for name in NODES:
        host = cluster.host(name)
        units = ["bramble-stage@0"] + (["bramble-head", "bramble-web"] if name == "pi1" else [])
        for unit in units:
            shown = host.ssh(f"systemctl show -p ActiveState,User,StatusText {unit}")
            assert "ActiveState=active" in shown and "User=bramble" in shown
            exposure = host.ssh(f"systemd-analyze security --no-pager {unit}.service | tail -1")
            assert float(re.search(r": (\d+\.\d+) ", exposure)[1]) <= 2.0  # type: ignore[index]
        assert re.search(
            r"Status: \"bramble-demo: .*layers \d",
            host.ssh("systemctl status --no-pager bramble-stage@0"),
        )
        assert host.ssh("systemctl list-units --failed --no-legend 'bramble*'") == ""
        assert host.ssh("sudo stat -c %s /run/bramble-stage-0/step") == "8\n"


def test_the_cli_answers_root_on_the_head_and_tells_others_where_to_ask(cluster: Cluster) -> None:
    head, worker = cluster.host("pi1"), cluster.host("pi2")
    assert "bramble-demo" in head.ssh("sudo bramble status")
    assert "use sudo" in head.ssh("bramble status 2>&1", check=False)
    told = worker.ssh("bramble chat hello 2>&1", check=False)
    assert f"ask on pi1, or open http://{head.address}:8080" in told


def test_who_asks_while_the_web_restarts_waits_and_is_answered(cluster: Cluster) -> None:
    cluster.host("pi1").ssh("sudo systemctl restart --no-block bramble-web")
    assert [cluster.get("/healthz")[0] for _ in range(15)] == [200] * 15


def test_only_what_must_listens_and_the_ring_is_for_nodes_alone(cluster: Cluster) -> None:
    for name in NODES:
        listening = cluster.host(name).ssh("ss -Hltn | awk '{print $4}'").split()
        ports = {int(entry.rsplit(":", 1)[1]) for entry in listening}
        assert ports == {22, 7101} | ({7099, 7100, 8080} if name == "pi1" else set())
        laptop = [
            "timeout",
            "2",
            "bash",
            "-c",
            f"exec 3<>/dev/tcp/{cluster.host(name).address}/7101",
        ]
        assert cluster.lab.run(*laptop).returncode != 0  # it is no node
    cluster.host("pi2").ssh("timeout 2 bash -c 'exec 3<>/dev/tcp/10.77.0.13/7101'")


def test_rules_that_another_program_flushed_come_back(cluster: Cluster) -> None:
    host = cluster.host("pi2")
    check = "sudo bramble-firewall check"
    host.ssh("sudo systemctl restart nftables; sudo systemctl start bramble-firewall-keep")
    assert host.ssh(check) == ""
    host.ssh("sudo systemctl stop bramble-firewall-keep.timer; sudo nft flush ruleset")
    assert "Bramble's rules are not in force" in host.ssh(check, check=False)
    assert "not in force" in host.ssh("sudo bramble doctor --quick --json", check=False)
    output = cluster.play("site", "--tags", "firewall", "--limit", "pi2")
    assert "changed: Load the firewall (pi2)" in output
    assert host.ssh(check) == ""


def test_a_unit_lets_in_whom_the_firewall_does(cluster: Cluster) -> None:
    units = "bramble-stage@0 bramble-head bramble-web bramble-web.socket"
    allowed = cluster.host("pi1").ssh(f"systemctl show -p IPAddressAllow {units}").split("\n\n")
    assert len(allowed) == 4
    assert all("10.77.0.0/24" in each and "192.168." not in each for each in allowed)


def test_secrets_are_each_nodes_own_and_hidden(cluster: Cluster) -> None:
    secrets = set()
    for name in NODES:
        host = cluster.host(name)
        assert (
            host.ssh("sudo stat -c '%a %U' /etc/bramble/secrets /etc/bramble/secrets/node.key")
            == "700 root\n600 root\n"
        )
        secrets.add(host.ssh("sudo cat /etc/bramble/secrets/node.key"))
        assert host.ssh("cat /etc/bramble/keys.yml", check=False) == ""  # not for everybody
    assert len(secrets) == 3


def test_nodes_hold_only_the_shards_they_need(cluster: Cluster) -> None:
    files = (
        cluster.host("pi2")
        .ssh("sudo find /var/lib/bramble/models -name '*.data' -printf '%f\\n'")
        .split()
    )
    assert set(files) == {"layer-002.data", "layer-003.data"}


def test_the_nodes_announce_themselves_with_their_version(cluster: Cluster) -> None:
    done = cluster.lab.run(sys.executable, "-m", "bramble", "discover", "--json")
    heard = {node["name"]: node["version"] for node in json.loads(done.stdout)["nodes"]}
    assert heard == dict.fromkeys(NODES, bramble.__version__)


MOMENTS = {
    "packages are unpacked": "usr/share/doc/*/copyright.dpkg-new",
    "libraries are installed": "opt/bramble/libraries/*/lib/*/site-packages/onnxruntime",
    "keys are written": "etc/bramble/secrets/node.key",
}


@pytest.mark.parametrize("path", MOMENTS.values(), ids=MOMENTS)
def test_power_is_lost_and_ansible_killed_while(cluster: Cluster, path: str) -> None:
    """The next test's site.yml finishes the job."""
    cluster.edit(pi4={"address": "10.77.0.14"})
    (host,) = cluster.lab.start(4, has_card=True)
    # Which files a cut empties is chance; of these, apt and dpkg notice nothing
    named = r"\( -name '*_Packages' -o -path /etc/avahi/hosts \)"
    host.ssh(
        f"sudo find /var/lib/apt/lists /etc/avahi {named} -exec truncate -s 0 {{}} +", check=False
    )
    deadline = time.monotonic() + 300
    with cluster.playing("site", "--limit", "pi4"):
        while not any(host.root.glob(path)):
            assert time.monotonic() < deadline, f"{path} was never there"
            time.sleep(0.02)
        host.pull_plug()


def test_a_node_joins_and_one_leaves_while_a_client_keeps_asking(cluster: Cluster) -> None:
    (joining,) = cluster.lab.start(4)
    before = cluster.ask("How do I add a Pi?")
    cluster.edit(pi4={"address": "10.77.0.14"})
    alone = cluster.play("site", "--limit", "pi4", is_good=False)
    assert "pi4 is new, and pi1, pi2, pi3 would not learn its key" in alone
    with cluster.asking() as answers:
        cluster.play("site")
        assert _nodes(cluster) == ["pi1", "pi2", "pi3", "pi4"]
        assert joining.ssh("sudo dpkg --audit") == ""
        cluster.play("remove-node", "-e", "node=pi2")
        assert _nodes(cluster) == ["pi1", "pi3", "pi4"]
    assert len(answers) > 3
    assert [answer for answer in answers if "error" in answer] == []
    assert {answer["text"] for answer in answers} == {before}
    cluster.edit(pi2=None)
    assert "inactive" in cluster.host("pi2").ssh("systemctl is-active bramble-stage@0", check=False)
    assert changes(cluster.play("site"))["pi1"] == 0


def test_another_model_is_taken_on_while_a_client_keeps_asking(cluster: Cluster) -> None:
    with cluster.asking(model="") as answers:
        cluster.play(
            "model",
            "-e",
            f"bramble_model={ROOT}/service/bramble/embedded",
            "-e",
            "bramble_quantization=float32",
        )
    assert len(answers) > 3
    assert [answer for answer in answers if not answer.get("text")] == []
    _, text = cluster.get("/v1/models")
    assert json.loads(text)["data"][0]["id"] == "embedded-float32"
    assert "Bramble" in cluster.ask("Who are you?")
    cluster.play("model")
    _, text = cluster.get("/v1/models")
    assert json.loads(text)["data"][0]["id"] == "bramble-demo"


def test_a_broken_release_goes_back_by_itself_and_says_why(
    cluster: Cluster, tmp_path: Path
) -> None:
    release = _release(cluster)
    source = _changed_service(
        tmp_path, "stage/service.py", '    """Serve until interrupted."""', '    """Broken."""'
    )
    file = source / "bramble/stage/service.py"
    file.write_text(
        file.read_text().replace(
            "    def run(self) -> None:\n",
            '    def run(self) -> None:\n        raise RuntimeError("broken on purpose")\n',
            1,
        )
    )
    output = cluster.play(
        "upgrade",
        "-e",
        f"bramble_service_folder={source}",
        "-e",
        "bramble_upgrade_timeout_s=60",
        is_good=False,
    )
    assert "all nodes are back on the one before" in output and "broken on purpose" in output
    assert _release(cluster) == release
    assert "Bramble" in cluster.ask("Who are you?")


def test_a_good_release_is_taken_on_and_can_be_left(cluster: Cluster, tmp_path: Path) -> None:
    release = _release(cluster)
    source = _changed_service(tmp_path, "__init__.py", '"0.1.0"', '"0.1.1"')
    with cluster.asking() as answers:
        cluster.play("upgrade", "-e", f"bramble_service_folder={source}")
    assert [answer for answer in answers if "error" in answer] == []
    assert _release(cluster).startswith("0.1.1-")
    output = cluster.play("site", is_good=False)
    assert "runs release 0.1.1" in output and "upgrade.yml" in output
    cluster.play("rollback")
    assert _release(cluster) == release
    assert "Bramble" in cluster.ask("Who are you?")


def test_status_doctor_and_bench_report(cluster: Cluster) -> None:
    assert "bramble-stage@0" in cluster.play("status")
    assert "pi3" in cluster.play("doctor")
    assert "tokens/s" in cluster.play(
        "bench", "-e", "bramble_bench_options='--tokens 8 --prompt 32 --streams 1 --repeat 1'"
    )


def test_hosts_reboot_one_by_one(cluster: Cluster) -> None:
    def started(name: str) -> str:
        return cluster.host(name).ssh("systemctl show -p UserspaceTimestampMonotonic")

    before = {name: started(name) for name in ("pi1", "pi3")}
    cluster.play("reboot", "--limit", "pi1,pi3")
    assert all(started(name) != moment for name, moment in before.items())
    assert "Bramble" in cluster.ask("Who are you?")
    assert "10.77.0.13/24" in cluster.host("pi3").ssh("ip -br -4 addr show eth0")


def test_hosts_that_were_shut_down_serve_again_by_themselves(cluster: Cluster) -> None:
    cluster.play("shutdown")
    for name in ("pi1", "pi3", "pi4"):
        cluster.host(name).wait_until_off()
    cluster.lab.start(1, 3, 4)
    cluster.wait_until_ready()
    assert "Bramble" in cluster.ask("Who are you?")


def test_another_board_takes_a_nodes_place(cluster: Cluster) -> None:
    cluster.host("pi3").exchange()
    known = f"bramble_known_hosts={cluster.lab.known_hosts}"
    cluster.play("replace", "-e", "node=pi3", "-e", known)
    assert _nodes(cluster) == ["pi1", "pi3", "pi4"]
    assert set(changes(cluster.play("site")).values()) == {0}


def test_backup_reset_and_restore(cluster: Cluster, tmp_path: Path) -> None:
    key = cluster.host("pi3").ssh("sudo cat /etc/bramble/secrets/node.key")
    kept, places = tmp_path / "kept", {"folder": f"{tmp_path}/kept"}
    assert "not encrypted" in cluster.play("backup", "-e", json.dumps(places))
    public = subprocess.run(
        ["ssh-keygen", "-y", "-f", cluster.lab.key], capture_output=True, text=True, check=True
    )
    to_me = places | {"encrypt_to": public.stdout.strip()}
    assert "encrypted for ssh-ed25519" in cluster.play("backup", "-e", json.dumps(to_me))
    assert {path.name for path in kept.iterdir()} == {
        f"{name}.tar.gz.age" for name in ("pi1", "pi3", "pi4")
    }
    with_key = json.dumps(places | {"identity": str(cluster.lab.key)})
    without = cluster.play("restore", "-e", json.dumps(places), is_good=False)
    assert "is encrypted: `-e identity=FILE` names the file" in without
    cluster.host("pi1").ssh("sudo rm -r /etc/bramble/head.yml /etc/bramble/keys.yml")
    cluster.play("restore", "-e", with_key)
    cluster.wait_until_ready()
    cluster.play("reset", "-e", "confirm=yes")
    for name in ("pi1", "pi3", "pi4"):
        left = cluster.host(name).ssh(
            "sudo find / -xdev -iname '*bramble*' -not -path '/proc/*' -not -path '/var/log/*' "
            "-not -path '/etc/systemd/network/*'"
        )
        assert left == ""
        assert "/etc/avahi" not in cluster.host(name).ssh("sudo dpkg --verify avahi-daemon")
        assert "bramble" not in cluster.host(name).ssh(
            "cat /etc/passwd /etc/group /etc/hosts; "
            "systemctl list-units --all --no-legend --plain 'bramble*'"
        )
    assert changes(cluster.play("reset", "-e", "confirm=yes")) == {
        "pi1": 0,
        "pi3": 0,
        "pi4": 0,
        "localhost": 0,
    }
    cluster.play("restore", "-e", with_key)
    assert cluster.host("pi3").ssh("sudo cat /etc/bramble/secrets/node.key") == key


def test_one_node_without_internet_is_set_up_from_a_wheelhouse(
    cluster: Cluster, tmp_path: Path
) -> None:
    wheels = _wheelhouse(tmp_path / "wheels")
    alone = Cluster(cluster.lab, "one", tmp_path)
    alone.host("pi1").ssh("sudo rm -r /etc/pip.conf /etc/apt/apt.conf.d/99lab /var/lib/apt/lists")
    alone.play("site", "-e", f"bramble_wheelhouse={wheels}")
    assert _nodes(alone) == ["pi1"]
    assert "Bramble" in alone.ask("Who are you?")


def test_a_node_with_little_memory_takes_few_layers(cluster: Cluster, tmp_path: Path) -> None:
    pair = Cluster(cluster.lab, "uneven", tmp_path)
    pair.play("site")
    _, text = pair.get("/api/status")
    (ring,) = json.loads(text)["plan"]["rings"]
    layers = {stage["node"]: (stage["start"], stage["stop"]) for stage in ring["stages"]}
    assert layers == {"pi1": (0, 2), "pi2": (2, 6)}
    assert "Bramble" in pair.ask("Who are you?")


def _wheelhouse(folder: Path) -> Path:
    """Fetch wheels as roles/bramble_runtime/README.md says, for Debian 12 on this processor."""
    told = (ROOT / "roles/bramble_runtime/README.md").read_text(encoding="utf-8")
    kinds = re.findall(r"--platform (manylinux\w+)_aarch64", told)
    platforms = [f"{kind}_{platform.machine()}" for kind in kinds]
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes"]
    words += ["--only-binary=:all:", "--python-version=3.11", f"--dest={folder}"]
    words += [f"--platform={each}" for each in platforms]
    subprocess.run([*words, "-r", ROOT / "service/requirements.lock"], check=True)
    return folder


def _nodes(cluster: Cluster) -> list[str]:
    _, text = cluster.get("/api/status")
    return [stage["node"] for ring in json.loads(text)["plan"]["rings"] for stage in ring["stages"]]


def _release(cluster: Cluster) -> str:
    releases = {
        cluster.host(name).ssh("basename $(readlink /opt/bramble/current)").strip()
        for name in ("pi1", "pi3", "pi4")
    }
    assert len(releases) == 1
    return releases.pop()


def _changed_service(folder: Path, file: str, old: str, new: str) -> Path:
    source = folder / "service"
    shutil.copytree(
        ROOT / "service",
        source,
        ignore=shutil.ignore_patterns("__pycache__", "training", "*.egg-info", ".*cache"),
    )
    path = source / "bramble" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    return source
