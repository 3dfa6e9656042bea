"""Where exports lie on a node: NAME, put there by hand, or NAME@SHA12, fetched.

The second is named after its manifest, so that two exports of one model lie side by side and one
that serves stays as it is while another comes.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bramble.errors import BadInput
from bramble.model import manifest as manifests
from bramble.model.manifest import FILE_NAME, Manifest

LOCK = ".lock"  # held by whoever fills a fetched folder
SHA256 = re.compile(r"[0-9a-f]{64}")
SHORT = 12  # digits of the manifest's sha256 in a folder's name
NAME = re.compile(r"[^/\\@.\0][^/\\@\0]*")
FETCHED = re.compile(rf"(?P<model>[^@]+)@[0-9a-f]{{{SHORT}}}")
WAIT_S = 0.2  # between looks at a lock that another process holds


@dataclass(frozen=True, slots=True)
class Wanted:
    """Parts of one export of a model; all of its files where `parts` is None."""

    model: str
    manifest_sha256: str
    parts: tuple[str, ...] | None = None

    def check(self) -> None:
        """Raises BadInput for what can be no folder's name or no sha256."""
        if not NAME.fullmatch(self.model):
            raise BadInput(f"{self.model!r} is no model's name: no dot in front, no / \\ or @")
        if not SHA256.fullmatch(self.manifest_sha256):
            raise BadInput(
                f"{self.manifest_sha256!r} is no sha256: 64 of 0-9 a-f, as "
                f"`sha256sum {FILE_NAME}` prints it"
            )

    @property
    def folder(self) -> str:
        """The name of the folder that it is fetched into."""
        return f"{self.model}@{self.manifest_sha256[:SHORT]}"

    def files(self, manifest: Manifest) -> tuple[str, ...]:
        """The files that the parts need. Raises BadInput for a part that the model has not.

        Who has the lm_head samples, and reads grammars: it needs the tokenizer too.
        """
        if self.parts is None:
            return tuple(manifest.files)
        texts = manifest.text_files() if "lm_head" in self.parts else ()
        return (*manifest.part_files(self.parts), *texts)


def find(models: Path, wanted: Wanted) -> Path | None:
    """Return the folder that holds what is wanted, by names and sizes; fetched ones first."""
    wanted.check()
    for folder in (models / wanted.folder, models / wanted.model):
        if is_export(folder, wanted.manifest_sha256):
            manifest = manifests.read(folder)
            if all(is_there(folder, name, manifest) for name in wanted.files(manifest)):
                return folder
    return None


def is_export(folder: Path, manifest_sha256: str) -> bool:
    """True if the folder's manifest is the one with this sha256."""
    try:
        return manifests.sha256(folder) == manifest_sha256
    except OSError:
        return False


def is_there(folder: Path, name: str, manifest: Manifest) -> bool:
    """True if a file exists and is as long as it should be; its sha256 is seen at loading."""
    try:
        return (folder / name).stat().st_size == manifest.files[name].bytes
    except OSError:
        return False


@contextmanager
def locked(folder: Path, alive: Callable[[], None]) -> Iterator[None]:
    """Hold a folder, made if it is missing, against other processes that fill or remove it.

    alive  called while another one holds it; what it raises ends the waiting
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LOCK).open("wb") as file:
            while not _try(file.fileno()):
                alive()
                time.sleep(WAIT_S)
            if os.fstat(file.fileno()).st_nlink:  # else it was removed while we waited
                yield
                return


def prune(models: Path, keep: list[str]) -> list[Path]:
    """Remove the model folders that nobody keeps and return them.

    keep  NAME for all exports of a model, NAME@SHA256 (12 digits or more) for one of them
    Raises BadInput for a name that is not there, so that a typing error removes nothing. A folder
    that is being filled stays.
    """
    folders = [path for path in sorted(models.glob("*")) if _is_model(path)]
    for word in keep:
        if folders and not any(_is_kept(path, word) for path in folders):
            names = ", ".join(path.name for path in folders)
            raise BadInput(f"{models} has no {word!r}, so nothing was removed; it has {names}")
    unwanted = [path for path in folders if not any(_is_kept(path, word) for word in keep)]
    return [path for path in unwanted if _remove(path)]


def _is_model(path: Path) -> bool:
    return path.is_dir() and (
        (path / FILE_NAME).is_file() or FETCHED.fullmatch(path.name) is not None
    )


def _is_kept(path: Path, word: str) -> bool:
    name, _, sha256 = word.partition("@")
    fetched = FETCHED.fullmatch(path.name)
    if name != (fetched["model"] if fetched else path.name):
        return False
    if fetched:
        return sha256.startswith(path.name[-SHORT:]) or not sha256
    return not sha256 or manifests.sha256(path).startswith(sha256)


def _remove(path: Path) -> bool:
    """Remove a folder by way of another name, so that no half of it is ever taken for a model."""
    if path.is_symlink():
        path.unlink()
        return True
    with (path / LOCK).open("wb") as file:
        if not _try(file.fileno()):
            return False
        doomed = path.with_name(f".removed-{path.name}")
        shutil.rmtree(doomed, ignore_errors=True)
        path.rename(doomed)
        shutil.rmtree(doomed)
    return True


def _try(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
