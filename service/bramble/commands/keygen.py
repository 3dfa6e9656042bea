"""`bramble keygen`: the secret that a node proves itself with."""

from __future__ import annotations

import argparse
from pathlib import Path

from bramble.errors import BadInput
from bramble.model.disk import settle
from bramble.wire.transport import new_secret, public_of

EXAMPLE = """examples:
  bramble keygen /etc/bramble/secrets/node.key
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "keygen",
        help="make this node's secret key",
        description="Make a secret key, readable by its owner alone, unless FILE is there already; "
        "print the public key that belongs to it.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        if not args.file.exists():
            args.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial = args.file.with_name(args.file.name + ".partial")
            partial.unlink(missing_ok=True)
            partial.touch(mode=0o600)
            partial.write_text(new_secret() + "\n", encoding="ascii")
            settle(partial, args.file)
        print(public_of(args.file.read_text(encoding="ascii").strip()))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{args.file}: {error}") from error
    return 0
