"""A process's settings as flags: one per field of its dataclass, or all from a YAML file."""

from __future__ import annotations

import argparse
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from bramble.config import from_dict, read_config
from bramble.errors import BadInput

Config = TypeVar("Config")


def add_flags(parser: argparse.ArgumentParser, kind: type[Any]) -> None:
    """Add --config FILE and one flag per field of `kind`; a list is written with commas.

    Lists of a list have slashes between them: pi1,pi2/pi3,pi4. Names and what they stand for have
    an equals sign: pi1=tcp://10.0.0.11:7100,pi2=tcp://10.0.0.12:7100.
    """
    parser.add_argument("--config", type=Path, help="YAML file with the settings below")
    hints = get_type_hints(kind)
    for each in fields(kind):
        default = "" if each.default is MISSING else f" (default: {each.default})"
        name = f"--{each.name.replace('_', '-')}"
        is_int = hints[each.name] is int
        parser.add_argument(name, type=int if is_int else str, help=f"see config.py{default}")


def to_config(kind: type[Config], args: argparse.Namespace) -> Config:
    """Make the dataclass from a file or from flags. Raises BadInput."""
    hints = get_type_hints(kind)
    given = {key: getattr(args, key) for key in hints if getattr(args, key) is not None}
    if args.config is not None:
        if given:
            raise BadInput(f"--config and --{next(iter(given))} exclude each other")
        return read_config(kind, args.config)
    for key in given:
        if hints[key] == tuple[str, ...]:
            given[key] = given[key].split(",")
        elif hints[key] == tuple[tuple[str, ...], ...]:
            given[key] = [words.split(",") for words in given[key].split("/")]
        elif hints[key] == dict[str, str]:
            given[key] = dict(_pair(words, key) for words in given[key].split(","))
    return from_dict(kind, given, "flags")


def _pair(words: str, key: str) -> tuple[str, str]:
    name, separator, value = words.partition("=")
    if not separator:
        raise BadInput(f"--{key.replace('_', '-')}: got {words!r}, need NAME=VALUE")
    return name, value
