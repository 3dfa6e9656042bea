"""What a service under systemd remembers from one start to the next, and how it waits between them.

`--restarts FOLDER` names a folder that systemd keeps while it restarts the unit, and no longer.
The unit leaves `ended` there, with the reason of an end. Where somebody asked for the end, it
removes what was remembered (ExecStopPost in systemd/*.service): who restarts by hand never waits.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, astuple
from pathlib import Path

from bramble.model.disk import write_whole
from bramble.observe.notify import Notifier
from bramble.observe.restarts import Restarts, reason_of

log = logging.getLogger(__name__)

FILE_NAME = "restarts.json"
ENDED = "ended"  # by the unit's ExecStopPost
LOOK_S = 0.5  # between looks at the settings while it waits
MAX_REASON = 300  # characters
WHAT_TO_DO = "look at journalctl and bramble doctor on this node"


def add_restarts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--restarts", type=Path, help="folder for what is remembered between restarts (systemd)"
    )


@contextmanager
def counted(args: argparse.Namespace, notifier: Notifier) -> Iterator[None]:
    """Count this start, wait if the last ones were many, and remember an error that ends it.

    The Status line then says how often, since when and why, until it has run in peace.
    """
    folder: Path | None = args.restarts
    if folder is None:
        yield
        return
    life = _read(folder / FILE_NAME).begin(_now(), time.strftime("%H:%M"), _take_reason(folder))
    _write(folder, life)
    notifier.add(lambda: life.words(_now()))
    if life.count:
        log.warning("event=restarted count=%d since=%s reason=%r", life.count, life.at, life.reason)
    _wait(life.delay_s, args.config, notifier)
    try:
        yield
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        with suppress(OSError):
            (folder / ENDED).write_text(f"error {text[:MAX_REASON]}\n", encoding="utf-8")
        raise


def _wait(seconds: float, settings: Path | None, notifier: Notifier) -> None:
    """Wait, but no longer than until the settings are another."""
    before, until = _stamp(settings), _now() + seconds
    while (left := until - _now()) > 0 and _stamp(settings) == before:
        notifier.status(f"NOT RUNNING: tries again in {left:.0f} s; {WHAT_TO_DO}")
        time.sleep(min(LOOK_S, left))


def _take_reason(folder: Path) -> str:
    """Return why the last life ended. An error of its own says more than systemd's word for it."""
    path = folder / ENDED
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        path.unlink()
    except OSError:
        return "it ended without a word"
    errors = [line.removeprefix("error ") for line in lines if line.startswith("error ")]
    return errors[-1] if errors else reason_of(lines[-1] if lines else "")


def _read(path: Path) -> Restarts:
    try:
        kept, none = Restarts(**json.loads(path.read_text(encoding="utf-8"))), Restarts()
        pairs = zip(astuple(kept), astuple(none), strict=True)
        return kept if all(type(value) is type(default) for value, default in pairs) else none
    except (OSError, ValueError, TypeError, RecursionError):
        return Restarts()


def _write(folder: Path, life: Restarts) -> None:
    try:
        write_whole(folder / FILE_NAME, json.dumps(asdict(life)))
    except OSError as error:
        log.warning("event=not_kept what=restarts reason=%r", str(error))


def _stamp(path: Path | None) -> int:
    try:
        return 0 if path is None else path.stat().st_mtime_ns
    except OSError:
        return 0


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
