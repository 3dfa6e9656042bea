"""A support bundle holds what a helper needs, and none of the secrets planted all over the node."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from bramble.doctor import bundle
from bramble.doctor.finding import error
from bramble.doctor.report import Report
from bramble.errors import BadInput

from tests.doctor.written_machine import WrittenMachine

NODE_KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
PLAIN_KEY = "correcthorsebattery"  # looks like a word: only its file tells that it is a secret
API_KEY = "lan-key-of-the-laptop"
SSH_KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIHtq0dG9SbTqzWlhNnnpTDZQ"
PRIVATE = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ"
PASSWORD = "hunter2"
HUB = "hf_QwErTyUiOpAsDfGhJkLzXcVb"
BEARER = "s3cr3t-bearer"
SECRETS = (NODE_KEY, PLAIN_KEY, API_KEY, SSH_KEY, PRIVATE, PASSWORD, HUB, BEARER)

STAGE = f"""node: pi1
head: tcp://10.0.0.11:7100
hub_token: {HUB}
ssh_keys:
  - ssh-ed25519 {SSH_KEY} me@laptop
"""
JOURNAL = f"""2026-11-21T08:00:00+0000 pi1 bramble[412]: level=INFO stage=0 layers=0-7 loaded
2026-11-21T08:00:01+0000 pi1 bramble[412]: level=WARNING key {NODE_KEY} refused
2026-11-21T08:00:02+0000 pi1 bramble[413]: level=INFO GET /v1/models Authorization: Bearer {BEARER}
2026-11-21T08:00:03+0000 pi1 bramble[413]: level=ERROR unknown key {API_KEY}
2026-11-21T08:00:04+0000 pi1 bramble[414]: password={PASSWORD} user=admin
2026-11-21T08:00:05+0000 pi1 bramble[414]: -----BEGIN OPENSSH PRIVATE KEY-----
2026-11-21T08:00:06+0000 pi1 bramble[414]: {PRIVATE}
2026-11-21T08:00:07+0000 pi1 bramble[414]: the word is {PLAIN_KEY}, remember
"""
FILES = {
    "/etc/os-release": 'PRETTY_NAME="Ubuntu 24.04.3 LTS"\n',
    "/etc/bramble/stage-0.yml": STAGE,
    "/etc/bramble/keys.yml": f"pi1: '{NODE_KEY}'\n",
    "/etc/bramble/secrets/node.key": f"{NODE_KEY}\n",
    "/etc/bramble/secrets/word": f"{PLAIN_KEY}\n",
    "/etc/bramble/secrets/api_keys.yml": f"laptop: {API_KEY}\n",
}
PROGRAMS = {
    "journalctl --no-pager": JOURNAL,
    "dmesg": "".join(f"line {number}\n" for number in range(1000)),
    "ip -s link": "2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500\n",
    "systemctl status": f"bramble-web.service: active, key {API_KEY}\n",
}
REPORT = Report("pi1", {"bramble": "0.1.0"}, (error("card", f"I/O error {PASSWORD=}", "replace"),))


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    texts = bundle.collect(WrittenMachine(FILES, PROGRAMS), REPORT)
    bundle.write(texts, tmp_path / "support.tar.gz", "pi1")
    return tmp_path / "support.tar.gz"


def read(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        members = {member.name: archive.extractfile(member) for member in archive.getmembers()}
        return {name: file.read().decode() for name, file in members.items() if file}


def test_the_secrets_are_planted_where_the_bundle_reads() -> None:
    everything = "".join([*FILES.values(), *PROGRAMS.values()])
    assert all(secret in everything for secret in SECRETS)


@pytest.mark.parametrize("secret", SECRETS)
def test_no_planted_secret_is_in_the_bundle(packed: Path, secret: str) -> None:
    texts = read(packed)
    assert not [name for name, text in texts.items() if secret in name + text]


def test_the_files_of_secrets_are_not_there_at_all(packed: Path) -> None:
    assert not [name for name in read(packed) if "secret" in name or name.endswith(".key")]


def test_what_a_helper_needs_is_there(packed: Path) -> None:
    texts = {name.removeprefix("bramble-pi1/"): text for name, text in read(packed).items()}
    assert "layers=0-7 loaded" in texts["journal.txt"] and "user=admin" in texts["journal.txt"]
    assert "head: tcp://10.0.0.11:7100" in texts["config/stage-0.yml"]
    assert "Ubuntu 24.04.3" in texts["os-release.txt"]
    assert "eth0" in texts["ip-link.txt"] and "bramble: 0.1.0" in texts["versions.txt"]
    assert '"check": "card"' in texts["findings.json"]
    assert texts["dmesg.txt"].splitlines()[::499] == ["line 500", "line 999"]
    assert texts["ip-address.txt"].startswith("not available here: ip")


def test_only_its_owner_may_read_it_and_no_half_of_it_stays(packed: Path) -> None:
    assert packed.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in packed.parent.iterdir()] == ["support.tar.gz"]


def test_a_folder_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be written"):
        bundle.write({"a": "b"}, tmp_path / "no" / "x.tar.gz", "pi1")
