"""`bramble stage`: the stage process, as systemd runs it on a node."""

from __future__ import annotations

import argparse
from dataclasses import replace

from bramble.commands.flags import add_flags, to_config
from bramble.commands.keyring import add_secret, read_keyring
from bramble.commands.lives import add_restarts, counted
from bramble.config import StageConfig
from bramble.observe import log, notify

LAST_STEP = "step"  # in the folder of what is remembered between restarts
EXAMPLE = """example:
  bramble stage --config /etc/bramble/stage.yml --secret /etc/bramble/secrets/node.key
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "stage",
        help="run the stage process",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_flags(parser, StageConfig)
    add_restarts(parser)
    add_secret(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    log.configure()
    notifier = notify.from_environment()
    with counted(args, notifier):
        from bramble.stage.service import serve

        config = to_config(StageConfig, args)
        if config.last_step is None and args.restarts is not None:
            config = replace(config, last_step=args.restarts / LAST_STEP)
        serve(config, read_keyring(config.keys, args.secret, config.node), notifier)
    return 0
