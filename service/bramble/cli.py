"""The `bramble` command: its parser, and how errors end it (2 for bad input, 1 for failure)."""

from __future__ import annotations

import argparse
import importlib
import sys

import bramble
from bramble.errors import BadInput, BrambleError

# In the order of a first evening. Each module has add_parser(commands); a command's own imports
# wait until it is asked for, so that `bramble --help` is quick.
COMMANDS = {
    "run": "bramble.commands.run",
    "chat": "bramble.commands.chat",
    "status": "bramble.commands.status",
    "discover": "bramble.commands.discover",
    "export": "bramble.export.command",
    "predict": "bramble.commands.predict",
    "plan": "bramble.commands.plan",
    "fetch": "bramble.commands.fetch",
    "bench": "bramble.commands.bench",
    "doctor": "bramble.commands.doctor",
    "stage": "bramble.commands.stage",
    "head": "bramble.commands.head",
    "web": "bramble.commands.web",
    "keygen": "bramble.commands.keygen",
}
EXAMPLES = """examples:
  bramble run                                                   try it on this machine
  bramble chat "How do I add a Pi?"                             ask in the terminal
  bramble export meta-llama/Llama-3.2-1B-Instruct models/llama  fetch and prepare a real model
  bramble run --model models/llama
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    args = _parser(words).parse_args(words)
    try:
        code: int = args.run(args)
    except BadInput as error:
        print(f"bramble {args.command}: {error}", file=sys.stderr)
        return 2
    except BrambleError as error:
        print(f"bramble {args.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 1
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        print(f"bramble {args.command}: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    return code


def _parser(words: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bramble",
        description="A stack of Raspberry Pis as one LLM service.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=bramble.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    asked = [word for word in words[:1] if word in COMMANDS]
    for name in asked or COMMANDS:
        importlib.import_module(COMMANDS[name]).add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
