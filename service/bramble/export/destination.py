"""The folder an export writes into: it appears under its name complete, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bramble.errors import BadInput, Broken
from bramble.model.disk import FULL, size
from bramble.model.manifest import FILE_NAME as MANIFEST


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
    if not dest.name or dest.name == "..":
        raise BadInput(
            f"{dest} names no new folder; give the model folder a name, e.g. {dest}/model"
        )
    if dest.is_symlink():
        raise BadInput(f"{dest} is a symbolic link; give the folder that it points to")
    if not dest.exists():
        _check_parent(dest)
        return
    if not dest.is_dir():
        raise BadInput(f"{dest} is a file; choose another name")
    if not may_replace:
        raise BadInput(f"{dest} exists; choose another name, or --force to replace it")
    if any(dest.iterdir()) and not (dest / MANIFEST).is_file():
        raise BadInput(
            f"{dest} holds files and no {MANIFEST}, so it is no model folder of Bramble's, which "
            "alone --force replaces; choose another name, or remove it yourself"
        )


def _check_parent(dest: Path) -> None:
    """Folders that are missing are made, which nothing may stand in the way of."""
    above = next(path for path in dest.absolute().parents if path.exists())
    if not above.is_dir():
        raise BadInput(f"{dest} cannot be made: {above} is a file; choose another name")


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
