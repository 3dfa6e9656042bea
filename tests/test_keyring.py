"""A node's keys from its files: damage is told, and what runs goes on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from bramble.commands.keyring import Peers, read_keyring
from bramble.config import read_keys
from bramble.errors import BadInput
from bramble.wire.transport import new_secret, public_of


def test_a_secret_that_is_not_the_nodes_is_refused_with_both_files(tmp_path: Path) -> None:
    secret, keys = tmp_path / "node.key", tmp_path / "keys.yml"
    secret.write_text(new_secret())
    keys.write_text(f'pi1: "{public_of(new_secret())}"\n')
    with pytest.raises(BadInput, match=r"node\.key is not the secret .* pi1's .*keys\.yml"):
        read_keyring(keys, secret, "pi1")
    keys.write_text(f'pi1: "{public_of(secret.read_text())}"\n')
    assert read_keyring(keys, secret, "pi1") is not None


def test_a_node_that_the_keys_do_not_name_yet_starts(tmp_path: Path) -> None:
    secret, keys = tmp_path / "node.key", tmp_path / "keys.yml"
    secret.write_text(new_secret())
    keys.write_text(f'pi1: "{public_of(new_secret())}"\n')
    assert read_keyring(keys, secret, "pi2") is not None


@pytest.mark.parametrize("damage", [b"pi1: [", b"\xff\xfe\0", b"- pi1\n", b"pi1: short\n"])
def test_keys_that_are_damaged_while_a_process_runs_do_not_end_it(
    damage: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = tmp_path / "keys.yml"
    keys.write_text(f'pi1: "{public_of(new_secret())}"\n')
    peers = Peers(keys)
    before = peers()
    keys.write_bytes(damage)
    os.utime(keys, ns=(1, 1))
    assert peers() == before and peers() == before
    assert caplog.text.count("event=keys_not_read") == 1
    keys.unlink()
    assert peers() == before
    keys.write_text(f'pi2: "{public_of(new_secret())}"\n')
    assert peers() == read_keys(keys)


def test_keys_that_are_damaged_or_missing_at_the_start_are_refused(tmp_path: Path) -> None:
    keys = tmp_path / "keys.yml"
    with pytest.raises(BadInput, match=r"keys\.yml: cannot be read"):
        Peers(keys)
    keys.write_text("pi1: [")
    with pytest.raises(BadInput, match=r"keys\.yml: cannot be read"):
        Peers(keys)
