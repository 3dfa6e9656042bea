"""Signatures of published images: checked by gpgv against a keyring, or said not to be checked."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cards import signature
from cards.errors import Refused
from cards.fetch import fetch
from cards.signature import keyring_for

from tests.flash.conftest import PROGRAM_FOLDER  # first: puts the program's folder on the path
from tests.flash.http_server import Files, served

CONTENT = b"an image" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SUMS = f"{SHA256} *a.img.xz\n".encode()

assert PROGRAM_FOLDER.is_dir()


class Signer:
    """A publisher with a key of its own, in a home of its own."""

    def __init__(self, home: Path, name: str) -> None:
        self.home = home / name
        self.home.mkdir(mode=0o700)
        self._gpg("--quick-generate-key", "--passphrase", "", name, "ed25519", "sign", "never")
        self.keyring = home / f"{name}.gpg"
        self.keyring.write_bytes(self._gpg("--export"))
        self.armoured = home / f"{name}.asc"
        self.armoured.write_bytes(self._gpg("--export", "--armor"))

    def sign(self, content: bytes) -> bytes:
        return self._gpg("--detach-sign", "--output", "-", stdin=content)

    def close(self) -> None:
        subprocess.run(["gpgconf", "--homedir", self.home, "--kill", "all"], check=True)

    def _gpg(self, *words: str, stdin: bytes = b"") -> bytes:
        command = ["gpg", "--homedir", self.home, "--batch", "--quiet", *words]
        return subprocess.run(command, input=stdin, capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def signers() -> Iterator[list[Signer]]:
    if missing := [tool for tool in ("gpg", "gpgconf", "gpgv") if not shutil.which(tool)]:
        pytest.skip(f"missing: {', '.join(missing)} (apt-get install gpg gpgv)")
    with tempfile.TemporaryDirectory() as name:  # short, for the agent's socket in it
        signers = [Signer(Path(name), who) for who in ("publisher", "stranger")]
        yield signers
        for signer in signers:
            signer.close()


@pytest.fixture
def publisher(signers: list[Signer]) -> Signer:
    return signers[0]


@pytest.fixture
def files() -> Iterator[Files]:
    with served() as files:
        files.content |= {"a.img.xz": CONTENT, "SHA256SUMS": SUMS}
        yield files


@pytest.mark.parametrize("kind", ["keyring", "armoured"])
def test_a_checksum_with_a_good_signature_is_taken(
    files: Files, publisher: Signer, tmp_path: Path, kind: str
) -> None:
    files.content["SHA256SUMS.gpg"] = publisher.sign(SUMS)
    keyring = getattr(publisher, kind)
    image = fetch(f"{files.url}/a.img.xz", "", tmp_path, str(keyring))
    assert image.path.read_bytes() == CONTENT
    assert image.signature.startswith(f"{files.url}/SHA256SUMS is signed by ")


def test_nothing_is_fetched_where_the_signature_is_bad(
    files: Files, signers: list[Signer], tmp_path: Path
) -> None:
    publisher, stranger = signers
    bad = {
        "of another text": publisher.sign(b"other"),
        "of another key": stranger.sign(SUMS),
        "none at all": b"hello",
        "empty": b"",
    }
    for content in bad.values():
        files.content["SHA256SUMS.gpg"] = content
        with pytest.raises(Refused, match="the signature of SHA256SUMS is no good one by a key of"):
            fetch(f"{files.url}/a.img.xz", "", tmp_path, str(publisher.keyring))
    assert list(tmp_path.iterdir()) == []
    assert "/a.img.xz" not in [path for path, _ in files.requests]


def test_a_signature_that_is_missing_is_no_way_around_it(
    files: Files, publisher: Signer, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match=r"SHA256SUMS\.gpg: the server says 404"):
        fetch(f"{files.url}/a.img.xz", "", tmp_path, str(publisher.keyring))


def test_an_image_may_be_signed_itself(files: Files, publisher: Signer, tmp_path: Path) -> None:
    del files.content["SHA256SUMS"]
    files.content["a.img.xz.sha256"] = f"{SHA256}  a.img.xz\n".encode()
    url, keyring = f"{files.url}/a.img.xz", str(publisher.keyring)
    files.content["a.img.xz.sig"] = publisher.sign(b"another image")
    with pytest.raises(Refused, match="is no good one"):
        fetch(url, "", tmp_path, keyring)
    files.content["a.img.xz.sig"] = publisher.sign(CONTENT)
    assert fetch(url, "", tmp_path, keyring).signature.startswith("a.img.xz is signed by ")
    again = fetch(url, "", tmp_path, keyring)
    assert (again.fetched, again.signature[:22]) == (False, "a.img.xz is signed by ")


def test_what_is_not_checked_is_said(files: Files, tmp_path: Path) -> None:
    image = fetch(f"{files.url}/a.img.xz", "", tmp_path)
    assert image.signature == (
        "not checked: no package of this system brings the key of 127.0.0.1; "
        "bramble_flash_keyring can name one"
    )


def test_who_gives_the_checksum_vouches_for_it(files: Files, tmp_path: Path) -> None:
    assert fetch(f"{files.url}/a.img.xz", SHA256, tmp_path).signature == ""


def test_a_keyring_that_is_not_there_is_refused(files: Files, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"there is no keyring /nowhere\.gpg"):
        fetch(f"{files.url}/a.img.xz", "", tmp_path, "/nowhere.gpg")
    assert files.requests == []


def test_ubuntus_key_is_its_packages_and_no_other_domains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring = tmp_path / "ubuntu.gpg"
    monkeypatch.setitem(signature.KNOWN, "ubuntu.com", (keyring, "ubuntu-keyring"))
    url = "https://cdimage.ubuntu.com/releases/24.04/release/x.img.xz"
    keys, reason = keyring_for(url, "")
    assert keys is None and "apt install ubuntu-keyring" in reason
    keyring.write_bytes(b"key")
    assert keyring_for(url, "") == (keyring, "")
    for other in ("https://notubuntu.com/x", "https://ubuntu.com.example/x"):
        assert keyring_for(other, "")[0] is None
