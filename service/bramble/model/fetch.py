"""Brings what a node lacks of an export from the head, file by file, each by its sha256.

May be ended at any moment, by a pulled plug too: the next call goes on from there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bramble.errors import BadInput, BadShard, Broken
from bramble.model import manifest as manifests
from bramble.model import store
from bramble.model.catalogue import Catalogue
from bramble.model.disk import FULL, check_space, settle
from bramble.model.download import Server, size_of
from bramble.model.manifest import FILE_NAME, File, Manifest, sha256_of
from bramble.model.store import Wanted

MAX_MANIFEST_BYTES = 64 << 20
SPARE_BYTES = 64 << 20  # left free on the disk
SUFFIX = ".partial"  # of a file that is on its way
LINK = ".link"  # another suffix, as nothing may ever be appended to a shared file

Progress = Callable[[int, int], None]  # bytes that are here, of how many
Prove = Callable[[Path, File], bool]


def _is_right(path: Path, file: File) -> bool:
    return sha256_of(path) == file.sha256


def fetch(
    models: Path,
    server: Server,
    wanted: Wanted,
    progress: Progress,
    is_suspect: bool = False,
    is_right: Prove = _is_right,
) -> Path:
    """Return the folder below `models` that holds what is wanted, fetched if need be.

    progress    called several times a second; what it raises ends the fetch
    is_suspect  do not take a file's size for proof: replace what is not right
    is_right    tells that of a file, by its sha256

    Raises BadInput, Unavailable if the server cannot be reached for long, BadShard if it has not
    what is wanted, Broken for a disk that is full or cannot be written.
    """
    if not is_suspect and (found := store.find(models, wanted)) is not None:
        return found
    wanted.check()
    folder = models / wanted.folder
    with _disk(folder), store.locked(folder, lambda: progress(0, 0)):
        _Fetch(models, folder, server, wanted, progress, is_right).run(is_suspect)
    return folder


class _Fetch:
    def __init__(
        self,
        models: Path,
        folder: Path,
        server: Server,
        wanted: Wanted,
        progress: Progress,
        is_right: Prove,
    ) -> None:
        self._folder, self._server, self._wanted = folder, server, wanted
        self._progress, self._is_right = progress, is_right
        self._catalogue = Catalogue(models)
        self._done = self._total = 0

    def run(self, is_suspect: bool) -> None:
        manifest = self._manifest()
        names = self._wanted.files(manifest)
        self._total = sum(manifest.files[name].bytes for name in names)
        lacking = [name for name in names if not self._has(name, manifest, is_suspect)]
        lacking = [name for name in lacking if not self._link(name, manifest.files[name])]
        partial = sum(size_of(_partial(self._folder / name)) for name in lacking)
        needed = sum(manifest.files[name].bytes for name in lacking) - partial
        if needed > 0:
            check_space(self._folder, needed + SPARE_BYTES)
        for name in lacking:
            file = manifest.files[name]
            self._bring(self._folder / name, file.sha256, file.bytes)
            self._done += file.bytes

    def _manifest(self) -> Manifest:
        sha256 = self._wanted.manifest_sha256
        if not store.is_export(self._folder, sha256):
            self._bring(self._folder / FILE_NAME, sha256, MAX_MANIFEST_BYTES)
        manifest = manifests.read(self._folder)
        if manifest.name != self._wanted.model:
            raise BadInput(
                f"the manifest {sha256[:12]}… is of model {manifest.name!r}, "
                f"{self._wanted.model!r} was asked for"
            )
        return manifest

    def _has(self, name: str, manifest: Manifest, is_suspect: bool) -> bool:
        self._tell(0)
        if not store.is_there(self._folder, name, manifest):
            return False
        file = manifest.files[name]
        if is_suspect and not self._is_right(self._folder / name, file):
            return False
        self._done += file.bytes
        return True

    def _link(self, name: str, file: File) -> bool:
        """Share the file with another export here that has the same one, if the disk can."""
        path = self._folder / name
        link = path.with_name(path.name + LINK)
        for other in self._catalogue.find_all(file.sha256):
            self._tell(0)
            if other == path.resolve() or sha256_of(other) != file.sha256:
                continue
            with suppress(OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                link.unlink(missing_ok=True)
                os.link(other, link)
                settle(link, path)
                self._done += file.bytes
                return True
        return False

    def _bring(self, path: Path, sha256: str, max_bytes: int) -> None:
        """Download a file and prove it, from the beginning if what was here before spoilt it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = _partial(path)
        for _ in range(2):
            if size_of(partial) > max_bytes:
                partial.unlink()
            if size_of(partial) < max_bytes or not partial.exists():
                self._server.download(sha256, max_bytes, partial, self._tell)
            got = sha256_of(partial)
            if got == sha256:
                settle(partial, path)
                return
            partial.unlink()
        raise BadShard(
            f"{self._server.url}/{sha256} brings a file with sha256 {got}, twice: it is damaged "
            "there; export the model again or copy it anew to the head"
        )

    def _tell(self, count: int) -> None:
        self._progress(self._done + count, self._total)


def _partial(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = error.filename or folder
        if error.errno in FULL:
            raise Broken(
                f"{place}: the disk is full; make room, e.g. with bramble fetch --prune, and what "
                "has come is gone on with"
            ) from error
        raise Broken(f"{place}: {error.strerror}; the models' folder must be writable") from error
