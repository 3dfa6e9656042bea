"""Settings and keys prove themselves: a changed bit is a sentence, and never another setting."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from bramble.commands.keyring import Peers, read_keyring
from bramble.config import StageConfig, read_config, read_keys
from bramble.errors import BadInput
from bramble.wire.transport import new_secret, public_of
from jinja2 import Environment

ROLES = Path(__file__).parent.parent / "roles"
SETTINGS = "# Written by Bramble\nnode: pi1\nhead: tcp://10.0.0.11:7100\nthreads: 4\n"
TEMPLATES = ("stage/templates/stage", "head/templates/head", "web/templates/web")


def rendered(template: str, body: str) -> bytes:
    """What Ansible writes from a role's template, were its lines these."""
    lines = (ROLES / f"bramble_{template}.yml.j2").read_text().splitlines(keepends=True)
    environment = Environment(trim_blocks=True, keep_trailing_newline=True)
    environment.filters["hash"] = lambda text, kind: hashlib.new(kind, text.encode()).hexdigest()
    text = lines[0] + body + "".join(lines[-2:])
    return environment.from_string(text).render().encode()


@pytest.mark.parametrize("template", [*TEMPLATES, "keys/templates/keys"])
def test_what_the_plays_write_reads_back_and_refuses_every_changed_bit(
    template: str, tmp_path: Path
) -> None:
    path = tmp_path / "stage.yml"
    whole = rendered(template, SETTINGS)
    path.write_bytes(whole)
    right = read_config(StageConfig, path)
    assert (right.node, right.threads) == ("pi1", 4)
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 7]) + whole[at + 1 :])
        try:
            assert read_config(StageConfig, path) == right  # in the words of the last line
        except BadInput:
            continue


def test_a_changed_digit_is_told_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "stage.yml"
    path.write_bytes(rendered(TEMPLATES[0], SETTINGS).replace(b"threads: 4", b"threads: 5"))
    with pytest.raises(BadInput, match=r"stage\.yml is damaged, or was edited: .* site\.yml"):
        read_config(StageConfig, path)


def test_a_file_that_a_person_wrote_needs_no_sum(tmp_path: Path) -> None:
    (tmp_path / "stage.yml").write_text(SETTINGS)
    assert read_config(StageConfig, tmp_path / "stage.yml").threads == 4


def test_a_secret_that_is_not_the_nodes_is_refused_with_both_files(tmp_path: Path) -> None:
    secret, keys = tmp_path / "node.key", tmp_path / "keys.yml"
    secret.write_text(new_secret())
    keys.write_text(f'pi1: "{public_of(new_secret())}"\n')
    with pytest.raises(BadInput, match=r"node\.key is not the secret .* pi1's .* keys\.yml"):
        read_keyring(keys, secret, "pi1")
    keys.write_text(f'pi1: "{public_of(secret.read_text())}"\n')
    assert read_keyring(keys, secret, "pi1") is not None


def test_keys_that_are_damaged_while_a_process_runs_do_not_end_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = tmp_path / "keys.yml"
    keys.write_text(f'pi1: "{public_of(new_secret())}"\n')
    peers = Peers(keys)
    before = peers()
    keys.write_text("pi1: [")
    os.utime(keys, ns=(1, 1))
    assert peers() == before and peers() == before
    assert caplog.text.count("event=keys_not_read") == 1
    keys.write_text(f'pi2: "{public_of(new_secret())}"\n')
    assert peers() == read_keys(keys)
