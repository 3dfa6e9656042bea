"""What a pulled plug leaves behind on a disk, and the next start that copes with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from bramble.cli import main
from bramble.export.destination import destination


def test_a_key_is_whole_and_its_owners_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "secrets" / "node.key"
    key.parent.mkdir()
    key.with_name("node.key.partial").write_text("")  # the plug was pulled before its contents
    assert main(["keygen", str(key)]) == 0
    public = capsys.readouterr().out
    assert key.stat().st_mode & 0o777 == 0o600 and list(key.parent.iterdir()) == [key]
    assert main(["keygen", str(key)]) == 0
    assert capsys.readouterr().out == public


def test_what_an_export_left_is_removed_by_the_next(tmp_path: Path) -> None:
    stale, others = tmp_path / "model.partial-99999999", tmp_path / f"model.partial-{os.getppid()}"
    for folder in (stale, others):
        folder.mkdir()
        (folder / "layer-000.data").write_bytes(b"half")
    with destination(tmp_path / "model", may_replace=False) as partial:
        (partial / "manifest.json").write_text("{}")
    assert not stale.exists() and others.exists()  # a process that runs keeps its own
    assert (tmp_path / "model" / "manifest.json").read_text() == "{}"
