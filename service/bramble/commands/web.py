"""`bramble web`: gunicorn with the web application, as systemd runs it on the head node."""

from __future__ import annotations

import argparse

from bramble.commands.flags import add_flags, to_config
from bramble.commands.lives import add_restarts, counted
from bramble.config import WebConfig
from bramble.observe import notify

EXAMPLE = """example:
  bramble web --config /etc/bramble/web.yml
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "web",
        help="run the web process",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_flags(parser, WebConfig)
    add_restarts(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    notifier = notify.from_environment()
    with counted(args, notifier):
        from bramble.web.server import serve

        serve(to_config(WebConfig, args), notifier=notifier)
    return 0
