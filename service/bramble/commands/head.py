"""`bramble head`: the head process, as systemd runs it on a node."""

from __future__ import annotations

import argparse
import signal

from bramble.commands.flags import add_flags, to_config
from bramble.commands.keyring import add_secret, read_keyring
from bramble.config import HeadConfig
from bramble.observe import log, notify
from bramble.wire.transport import Transport

EXAMPLE = """example:
  bramble head --config /etc/bramble/head.yml --secret /etc/bramble/secrets/node.key
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "head",
        help="run the head process",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_flags(parser, HeadConfig)
    add_secret(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from bramble.head.service import Service

    log.configure()
    config = to_config(HeadConfig, args)
    with Transport(read_keyring(config.keys, args.secret)) as transport:
        service = Service(config, transport, notify.from_environment())
        signal.signal(signal.SIGTERM, lambda *_: service.leave())
        service.run()
    return 0
