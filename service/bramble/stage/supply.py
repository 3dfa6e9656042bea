"""Where the files of an assignment lie; fetched from the head where they are lacking.

The fetch has a thread of its own, so that the service loop goes on: it beats, feeds the watchdog
and hears of a newer assignment, which ends a fetch that is no longer wanted.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from pathlib import Path

from bramble.errors import BadInput, BadShard, BrambleError
from bramble.model import manifest as manifests
from bramble.model import store
from bramble.model.disk import size
from bramble.model.download import Server
from bramble.model.fetch import fetch
from bramble.model.manifest import MAX_LAYERS, Manifest
from bramble.model.store import Wanted
from bramble.stage.proof import Proofs
from bramble.wire.messages import Assign

REPAIRED_S = 60.0  # what was put right and still does not load is not fetched again sooner
ASIDE_S = 60.0  # between fetches of what nothing waits for: the head may have it damaged too


class Supply:
    def __init__(self, models: Path, files: str, proofs: Proofs) -> None:
        """files  the head's /files; where it is empty, what is lacking is an error.

        Raises BadInput if it is no address.
        """
        self._models = models
        self._server = Server(files) if files else None
        self._proofs = proofs
        self._fetch: _Fetch | None = None
        self._repaired: tuple[Wanted, float] | None = None  # every byte of it was right, and when
        self._aside_at = float("-inf")  # when a fetch for later was last begun

    def find(self, assign: Assign) -> tuple[Path, Manifest] | None:
        """Return the folder that has the assigned parts, and its manifest.

        None while they are on their way: ask again when `is_ready`. Raises what ended the fetch,
        or BadShard or BadInput where nothing can be fetched.
        """
        wanted = _wanted(assign)
        folder: Path | None
        under_way = self._fetch if self._fetch and self._fetch.wanted == wanted else None
        if under_way is not None and under_way.is_aside:
            under_way = None  # what is here may do: whoever loads it finds out
        if under_way is not None and not under_way.result.done():
            return None
        self.stop()
        if under_way is not None:
            folder = under_way.result.result()
            self._repaired = (wanted, time.monotonic()) if under_way.is_suspect else None
        else:
            folder = store.find(self._models, wanted)
        if folder is None and self._server is None:
            folder = _by_hand(self._models / assign.model, assign)
        if folder is None:
            self._begin(wanted, is_suspect=False)
            return None
        return folder, manifests.read(folder)

    def repair(self, assign: Assign) -> bool:
        """Begin to fetch anew what is damaged; False if it just was, or has nowhere to come from.

        A repair that failed is tried again whenever the head asks: its cause may be put right.
        """
        wanted = _wanted(assign)
        if self._server is None:
            return False
        if self._repaired is not None:
            what, at = self._repaired
            if what == wanted and time.monotonic() - at < REPAIRED_S:
                return False
        self.stop()
        self._begin(wanted, is_suspect=True)
        return True

    def repair_aside(self, assign: Assign) -> None:
        """Fetch anew what is damaged, and is needed only by a later start: once in ASIDE_S."""
        now = time.monotonic()
        if self._server is None or not self.is_ready or now - self._aside_at < ASIDE_S:
            return
        self._aside_at = now
        self._begin(_wanted(assign), is_suspect=True, is_aside=True)

    def trust(self) -> None:
        """What was found has been loaded: later damage is new damage."""
        self._repaired = None

    def stop(self) -> None:
        """End the fetch that is under way, if one is; what it brought stays."""
        if self._fetch is not None:
            self._fetch.stop()
            self._fetch = None

    @property
    def is_ready(self) -> bool:
        """True if `find` has an answer."""
        return self._fetch is None or self._fetch.result.done()

    @property
    def sentence(self) -> str:
        """What is being fetched, for a person."""
        return "" if self._fetch is None else self._fetch.sentence

    def _begin(self, wanted: Wanted, is_suspect: bool, is_aside: bool = False) -> None:
        assert self._server is not None
        self._fetch = _Fetch(self._models, self._server, wanted, is_suspect, is_aside, self._proofs)


class _Stopped(BrambleError):
    """Nobody waits for this fetch any more."""


class _Fetch:
    def __init__(
        self,
        models: Path,
        server: Server,
        wanted: Wanted,
        is_suspect: bool,
        is_aside: bool,
        proofs: Proofs,
    ) -> None:
        self.wanted, self.is_suspect, self.is_aside = wanted, is_suspect, is_aside
        self.result: Future[Path] = Future()
        self._models, self._server, self._proofs = models, server, proofs
        self._is_stopped = threading.Event()
        self._done = self._total = 0
        threading.Thread(target=self._run, name="fetch", daemon=True).start()

    def stop(self) -> None:
        self._is_stopped.set()

    @property
    def sentence(self) -> str:
        if not self._total:
            return f"fetching {self.wanted.model} from {self._server.url}"
        share = 100 * self._done // self._total
        return (
            f"fetching {self.wanted.model}: {share} % of {size(self._total)} "
            f"from {self._server.url}"
        )

    def _run(self) -> None:
        try:
            folder = fetch(
                self._models,
                self._server,
                self.wanted,
                self._progress,
                self.is_suspect,
                self._proofs.is_right,
            )
            self.result.set_result(folder)
        except BaseException as error:  # noqa: BLE001  raised again by whoever asks for the result
            self.result.set_exception(error)

    def _progress(self, done: int, total: int) -> None:
        self._done, self._total = done, total
        if self._is_stopped.is_set():
            raise _Stopped


def _wanted(assign: Assign) -> Wanted:
    """Raises BadInput for layers that no model has: their names would fill the memory."""
    share = assign.share
    if not 0 <= share.start <= share.stop <= MAX_LAYERS:
        raise BadInput(
            f"layers {share.start}:{share.stop} were assigned; a model has 0:{MAX_LAYERS} at most"
        )
    return Wanted(assign.model, assign.manifest_sha256, share.part_names)


def _by_hand(folder: Path, assign: Assign) -> Path:
    """The folder that a person put there: what it lacks is told by who loads it."""
    manifests.read(folder)  # for its clear sentences
    found = manifests.sha256(folder)
    if found != assign.manifest_sha256:
        raise BadShard(
            f"{folder} is another export than the head's: its manifest has sha256 "
            f"{found[:12]}…, the head's {assign.manifest_sha256[:12]}…; copy the head's folder, "
            "or set `files`, so that this stage fetches it"
        )
    return folder
