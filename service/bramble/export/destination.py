"""The folder an export writes into: it appears under its name complete, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bramble.errors import BadInput, Broken
from bramble.model.disk import FULL, size


@contextmanager
def destination(dest: Path, may_replace: bool) -> Iterator[Path]:
    """Yield a folder beside `dest` and rename it to `dest` at the end.

    On any failure, also Ctrl-C, the folder is removed. Raises BadInput if `dest` exists and
    `may_replace` is False, Broken if the disk is full or cannot be written.
    """
    check_free(dest, may_replace)
    _remove_stale(dest)
    partial = dest.with_name(f"{dest.name}.partial-{os.getpid()}")
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        yield partial
        _flush(partial)
        _replace(partial, dest)
    except OSError as error:
        if error.errno in FULL:
            raise Broken(f"disk full: {_written(partial)} were written to {dest}") from error
        raise Broken(f"{error.filename or dest}: {error.strerror}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_free(dest: Path, may_replace: bool) -> None:
    """Raises BadInput if something stands at `dest` that must not be replaced."""
    if dest.exists() and not may_replace:
        raise BadInput(f"{dest} exists; choose another name, or --force to replace it")
    if dest.exists() and not dest.is_dir():
        raise BadInput(f"{dest} is a file; choose another name")


def _remove_stale(dest: Path) -> None:
    """Remove what an export that a pulled plug ended has left."""
    for stale in dest.parent.glob(f"{dest.name}.partial-*"):
        if not Path("/proc", stale.name.rpartition("-")[2]).exists():
            shutil.rmtree(stale, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Bring all of it to the disk: a pulled plug must not leave names without contents."""
    for path in (*folder.rglob("*"), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _replace(partial: Path, dest: Path) -> None:
    if not dest.exists():
        partial.rename(dest)
        return
    old = dest.with_name(f"{dest.name}.replaced-{os.getpid()}")
    dest.rename(old)
    partial.rename(dest)
    shutil.rmtree(old)


def _written(folder: Path) -> str:
    return size(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))
