"""`bramble head`: the head process, as systemd runs it on a node."""

from __future__ import annotations

import argparse
import signal

from bramble.commands.flags import add_flags, to_config
from bramble.commands.keyring import add_secret, read_keyring
from bramble.commands.lives import add_restarts, counted
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
    add_restarts(parser)
    add_secret(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    log.configure()
    notifier = notify.from_environment()
    with counted(args, notifier):
        from bramble.head.service import Service

        config = to_config(HeadConfig, args)
        with Transport(read_keyring(config.keys, args.secret, config.node)) as transport:
            service = Service(config, transport, notifier)
            signal.signal(signal.SIGTERM, lambda *_: service.leave())
            service.run()
    return 0
