"""`bramble fetch`: a model's files from the head onto this node, and old ones off it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskProgressColumn,
    TransferSpeedColumn,
)

from bramble.errors import BadInput, Broken
from bramble.model import fetch, store
from bramble.model.disk import size
from bramble.model.download import PATIENCE_S, Server
from bramble.model.share import Share
from bramble.model.store import Wanted

EXAMPLES = """examples:
  bramble fetch llama --manifest-sha256 3b4c… --from http://10.0.0.11:8080/files \\
                      --models /var/lib/bramble/models --layers 0:8 --embed
  bramble fetch llama --manifest-sha256 3b4c… --from http://10.0.0.11:8080/files \\
                      --models /var/lib/bramble/models            every file, tokenizer and all
  bramble fetch --prune --models /var/lib/bramble/models --keep llama@3b4c5d6e7f80
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "fetch",
        help="fetch a model's files from the head, or remove old ones",
        description="Fetch the files of a model that this node lacks, each by its sha256, into "
        "MODELS/NAME@SHA12, where a stage finds them. May be interrupted: the next call goes on. "
        "A model that serves stays as it is. Without --layers, --embed and --lm-head: every file.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("name", nargs="?", metavar="NAME", help="the model's name, as its manifest has it")
    add("--manifest-sha256", metavar="SHA", help="of its manifest.json: says which export it is")
    add("--from", dest="url", metavar="URL", help="the head's files: http://HEAD:8080/files")
    add("--models", type=Path, required=True, metavar="DIR", help="holds one folder per model")
    add("--layers", metavar="A:B", help="decoder layers A up to, not including, B")
    add("--embed", action="store_true", help="the embedding")
    add("--lm-head", action="store_true", help="the last projection")
    add("--verify", action="store_true", help="hash what is here, and fetch anew what differs")
    add(
        "--patience",
        type=float,
        default=PATIENCE_S,
        metavar="SECONDS",
        help=f"without a byte before it is given up (default: {PATIENCE_S:.0f})",
    )
    add("--prune", action="store_true", help="remove every model that is not among --keep")
    add("--keep", nargs="+", metavar="NAME", help="NAME, or NAME@SHA for one export of it")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.prune:
        return _prune(args)
    needed = {"NAME": args.name, "--manifest-sha256": args.manifest_sha256, "--from": args.url}
    if missing := [flag for flag, value in needed.items() if not value]:
        raise BadInput(f"{missing[0]} is missing; bramble fetch --help has examples")
    if args.keep:
        raise BadInput("--keep goes with --prune")
    wanted = Wanted(args.name, args.manifest_sha256, _parts(args))
    server = Server(args.url, args.patience)
    if not args.verify and (folder := store.find(args.models, wanted)) is not None:
        print(f"nothing to fetch: {folder} has it all")
        return 0
    started = time.monotonic()
    with _progress(args.name) as progress:
        folder = fetch.fetch(args.models, server, wanted, progress, args.verify)
    print(f"{folder}: complete, {size(server.came)} fetched in {time.monotonic() - started:.1f} s")
    return 0


def _prune(args: argparse.Namespace) -> int:
    if args.name or not args.keep:
        raise BadInput("--prune takes --models DIR and --keep NAME…, and no NAME before them")
    try:
        removed = store.prune(args.models, args.keep)
    except OSError as error:
        raise Broken(f"{error.filename}: cannot be removed: {error.strerror}") from error
    for path in removed:
        print(f"removed {path}")
    return 0


def _parts(args: argparse.Namespace) -> tuple[str, ...] | None:
    if not (args.layers or args.embed or args.lm_head):
        return None
    start, stop = _range(args.layers) if args.layers else (0, 0)
    return Share.uncut(start, stop, args.embed, args.lm_head).part_names


def _range(text: str) -> tuple[int, int]:
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal() and int(first) < int(last)):
        raise BadInput(f"--layers {text}: need A:B with A smaller than B, e.g. 0:8")
    return int(first), int(last)


class _Shown:
    """The fetch's progress, on a bar and for the summary."""

    def __init__(self, bars: Progress, name: str) -> None:
        self._bars, self._task = bars, bars.add_task(name, total=None)

    def __call__(self, done: int, total: int) -> None:
        if total:
            self._bars.update(self._task, completed=done, total=total)


@contextmanager
def _progress(name: str) -> Iterator[_Shown]:
    """One bar on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    columns = (
        *("{task.description}", BarColumn(), TaskProgressColumn()),
        *(DownloadColumn(), TransferSpeedColumn()),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        yield _Shown(bars, name)
