"""Make Raspberry Pi cards that come up with a name, an address and one ssh key.

    python3 flash_card.py fetch --image URL --cache DIR
    python3 flash_card.py build --image FILE --seed DIR --to pi1.img
    python3 flash_card.py inspect --device /dev/sdX
    python3 flash_card.py write --device /dev/sdX --image pi1.img --confirm /dev/sdX

Each prints one JSON object; an error is one sentence on stderr, with exit code 2 where nothing
was touched and 1 where something was begun.
"""

from __future__ import annotations

import argparse
import errno
import json
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from cards.build import build
from cards.card import write_card
from cards.device import Device, inspect, refuse_unconfirmed, refuse_unsafe
from cards.errors import Failed, FlashError
from cards.fetch import fetch

DEFAULT_MAX_GIB = 256


def main() -> int:
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, _stop)
    try:
        print(json.dumps(arguments.run(arguments)))
    except FlashError as error:
        return _say(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _say("stopped before the end: nothing half-made is used, run again", 1)
    except OSError as error:
        return _say(_sentence(error), 1)
    return 0


def _fetch(arguments: argparse.Namespace) -> dict[str, Any]:
    image = fetch(arguments.image, arguments.sha256, arguments.cache, arguments.keyring)
    said = {"path": str(image.path), "sha256": image.sha256, "signature": image.signature}
    return {"changed": image.fetched, **said}


def _build(arguments: argparse.Namespace) -> dict[str, Any]:
    sha256 = arguments.sha256 or fetch(str(arguments.image), "", Path()).sha256
    return {"changed": build(arguments.image, sha256, arguments.seed, arguments.to)}


def _inspect(arguments: argparse.Namespace) -> dict[str, Any]:
    device = _safe(arguments, 0)
    if arguments.confirm:
        refuse_unconfirmed(device, arguments.confirm, "")
    return {"changed": False, "summary": device.summary}


def _write(arguments: argparse.Namespace) -> dict[str, Any]:
    device = _safe(arguments, arguments.image.stat().st_size)
    refuse_unconfirmed(device, arguments.confirm, arguments.shown)
    was_interrupted = write_card(arguments.image, device.path)
    note = (
        " (an earlier write had been interrupted; this one began anew)" if was_interrupted else ""
    )
    return {"changed": True, "summary": f"{device.path} is written and reads back the same{note}"}


def _safe(arguments: argparse.Namespace, needed_bytes: int) -> Device:
    device = inspect(arguments.device)
    refuse_unsafe(device, needed_bytes, arguments.max_gib << 30, arguments.serial)
    return device


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flash_card", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True, metavar="fetch|build|inspect|write")

    verb = verbs.add_parser("fetch", help="download (or find) an image and check its sha256")
    verb.add_argument("--image", required=True, help="path or address of a .img or .img.xz")
    verb.add_argument(
        "--sha256", default="", help="default: from the SHA256SUMS beside the address"
    )
    verb.add_argument("--keyring", default="", help="with the publisher's key; default: a package's")
    verb.add_argument("--cache", required=True, type=Path, help="folder for downloads")
    verb.set_defaults(run=_fetch)

    verb = verbs.add_parser("build", help="make one node's image file")
    verb.add_argument("--image", required=True, type=Path, help="a .img or .img.xz file")
    verb.add_argument("--sha256", default="", help="of that file, where already known")
    verb.add_argument("--seed", required=True, type=Path, help="folder with cloud-init's files")
    verb.add_argument("--to", required=True, type=Path, help="the .img file to make")
    verb.set_defaults(run=_build)

    verb = verbs.add_parser("inspect", help="say what a device is, or why it may not be erased")
    _add_device(verb)
    verb.set_defaults(run=_inspect)

    verb = verbs.add_parser("write", help="erase a device and write an image file to it")
    _add_device(verb)
    verb.add_argument("--image", required=True, type=Path, help="the .img file for it")
    verb.add_argument("--shown", default="", help="what inspect said; refused if it changed since")
    verb.set_defaults(run=_write)
    return parser


def _add_device(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--device", required=True, help="a whole card, /dev/sdX")
    verb.add_argument("--max-gib", type=int, default=DEFAULT_MAX_GIB, help="largest card taken")
    verb.add_argument("--serial", default="", help="takes a larger one if it has this serial")
    verb.add_argument("--confirm", default="", help="the device or its serial, said again")


def _stop(number: int, frame: FrameType | None) -> None:
    raise Failed("stopped before the end: a card that was being written will not boot; run again")


def _sentence(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "the disk is full: free some room, or choose other folders for cache and output"
    return f"{error.filename or 'input/output'}: {error.strerror}"


def _say(sentence: str, exit_code: int) -> int:
    print(f"flash_card: {sentence}", file=sys.stderr)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
