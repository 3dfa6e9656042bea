"""A node's keys from its files: its own secret, and everybody's public ones."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from bramble.config import read_keys
from bramble.errors import BadInput
from bramble.wire.transport import Keyring, public_of

log = logging.getLogger(__name__)

MISSING = -1


def add_secret(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--secret", type=Path, help="file with this node's secret key (bramble keygen)"
    )


def read_keyring(keys: Path | None, secret: Path | None, node: str = "") -> Keyring | None:
    """Return the keyring, or None without keys. Raises BadInput, also where the secret is not
    `node`'s.
    """
    if keys is None:
        return None
    if secret is None:
        raise BadInput(f"keys {keys} are given and no --secret: whose of them is ours?")
    try:
        own = secret.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{secret}: cannot be read: {error}") from error
    peers = Peers(keys)
    known, public = peers(), public_of(own)
    if known.get(node, public) != public:
        raise BadInput(
            f"{secret} is not the secret that belongs to {node}'s public key in {keys}: one of "
            "them is damaged or another node's; run ansible-playbook site.yml"
        )
    return Keyring(public, own, peers)


class Peers:
    """Reads the file again when it has changed, so that a node that joins needs no restart.

    Should it be damaged then, or missing, the keys of before hold.
    """

    def __init__(self, path: Path) -> None:
        """Raises BadInput if the file cannot be read now."""
        self._path = path
        self._stamp = self._written_at()
        self._keys = read_keys(path)

    def __call__(self) -> dict[str, str]:
        stamp = self._written_at()
        if stamp not in (self._stamp, MISSING):
            self._stamp = stamp
            try:
                self._keys = read_keys(self._path)
            except BadInput as error:
                log.error("event=keys_not_read reason=%r now='those of before hold'", str(error))
        return self._keys

    def _written_at(self) -> int:
        try:
            return self._path.stat().st_mtime_ns
        except OSError:
            return MISSING
