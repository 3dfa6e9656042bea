"""Who signed a file, by gpgv and a keyring of this machine; no key is fetched, and none is trusted by itself."""

from __future__ import annotations

import base64
import re
import subprocess
import tempfile
import urllib.parse
from pathlib import Path

from cards.errors import Refused

# Publisher's domain → a keyring with its key that a Debian or Ubuntu package installs, and that package
KNOWN = {"ubuntu.com": (Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg"), "ubuntu-keyring")}
ARMOUR = re.compile(rb"-----BEGIN PGP PUBLIC KEY BLOCK-----.*?\n\r?\n(.*?)\n=?[^\n]{0,5}\s*-----END", re.DOTALL)


def keyring_for(url: str, given: str) -> tuple[Path | None, str]:
    """Return the keyring to check an address's signature with, or None and why there is none.

    given  the keyring that the user named; it has to be there
    """
    if given:
        path = Path(given).expanduser()
        if not path.is_file():
            raise Refused(f"there is no keyring {path}: correct bramble_flash_keyring")
        return path, ""
    host = urllib.parse.urlsplit(url).hostname or ""
    for domain, (path, package) in KNOWN.items():
        if host == domain or host.endswith(f".{domain}"):
            return (path, "") if path.is_file() else (None, _lacking(path, package))
    return None, f"no package of this system brings the key of {host}; bramble_flash_keyring can name one"


def check(signed: Path, signature: bytes, keyring: Path) -> str:
    """Return the fingerprint of the key that signed the file. Raises Refused if none of the keyring's did."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name) / "signature"
        place.write_bytes(signature)
        keys = Path(name) / "keys.gpg"
        keys.write_bytes(_binary(keyring.read_bytes()))
        words = ["gpgv", "--status-fd", "1", "--keyring", keys, place, signed]
        try:
            done = subprocess.run(words, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise Refused("gpgv is missing: apt install gpgv") from error
    said = re.findall(r"^\[GNUPG:\] (\w+) (\w+)", done.stdout, re.MULTILINE)
    kinds = {kind for kind, _ in said}
    signers = [key for kind, key in said if kind == "VALIDSIG"]
    if "GOODSIG" not in kinds or "BADSIG" in kinds or not signers:
        reason = "; ".join(line.removeprefix("gpgv: ") for line in done.stderr.splitlines()[-2:])
        raise Refused(
            f"the signature of {signed.name} is no good one by a key of {keyring} ({reason}): another "
            "publisher's image or keyring, or somebody changed it on the way; nothing of it is used"
        )
    return signers[0]


def _lacking(path: Path, package: str) -> str:
    return f"there is no {path}; apt install {package} (Ubuntu, Debian 13; Debian 12 has it in its backports)"


def _binary(keys: bytes) -> bytes:
    """Return a keyring as gpgv reads it, out of its armour if it has one."""
    if not keys.startswith(b"-----BEGIN"):
        return keys
    return b"".join(base64.b64decode(block) for block in ARMOUR.findall(keys))
