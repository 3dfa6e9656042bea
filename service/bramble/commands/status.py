"""`bramble status`: the ring, its stages and their work, once or live."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from bramble.commands.door import add_door, open_door
from bramble.errors import Unavailable
from bramble.head.client import Client

EXAMPLE = """examples:
  bramble status             a table; exit code 1 if the ring does not serve
  bramble status --watch     live
  bramble status --json      the document of /api/status
"""
MIB = 1 << 20
COLUMNS = ("stage", "node", "layers", "state", "busy", "compute", "memory", "KV", "board")
WRAPPED = ("layers", "board")
SPARED = ("KV", "memory", "compute", "busy")  # in this order, where the terminal is too narrow


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "status",
        help="show the ring and its stages",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print the whole document")
    parser.add_argument("--watch", action="store_true", help="refresh every second")
    add_door(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Return 0 if the ring serves, 1 if not."""
    with open_door(args) as client:
        document = client.status()
        if args.watch:
            with Live(auto_refresh=False) as live:
                while True:
                    live.update(look(client, live.console), refresh=True)
                    time.sleep(1)
        elif args.json:
            print(json.dumps(document, indent=1))
        else:
            console = Console()
            console.print(show(document, console))
    return 0 if document["state"] == "serving" else 1


def look(client: Client, console: Console) -> Group:
    """Lay out what there is to see now, which may be that the head is away."""
    try:
        return show(client.status(), console)
    except Unavailable as error:
        return Group(escape(str(error)))


def show(document: dict[str, Any], console: Console) -> Group:
    """Lay the status document out as two sentences and a table."""
    model, requests, speed = document["model"], document["requests"], document["speed"]
    reason = f": {escape(document['reason'])}" if document["reason"] else ""
    rings = document["plan"]["rings"]
    sentences = (
        f"[bold]{escape(model['name'])}[/] ({model['quantization']}, "
        f"context {model['max_length']}) is {document['state']}{reason}",
        f"{requests['running']} running, {requests['queued']} queued, "
        f"{speed['decode_tokens_s']} tokens/s out, {speed['prefill_tokens_s']} tokens/s in",
        *_reading(requests),
        *_troubles({"node": "head", "troubles": document.get("troubles", [])}),
        *(trouble for ring in rings for member in members(ring) for trouble in _troubles(member)),
    )
    return Group(*sentences, _table_that_fits(rings, console))


def _reading(requests: dict[str, Any]) -> list[str]:
    """Say how far the prompts are that are being read."""
    if not requests.get("reading"):  # a head of an older release does not tell
        return []
    prompts = "a prompt" if requests["reading"] == 1 else f"{requests['reading']} prompts"
    return [
        f"reading {prompts}: {requests['prompt_tokens_read']} of {requests['prompt_tokens']} tokens"
    ]


def _troubles(stage: dict[str, Any]) -> list[str]:
    """Say what ails a stage's board, and what to do."""
    colours = {"bad": "red", "warning": "yellow"}
    return [
        f"[{colours[one['level']]}]⚠ {escape(stage['node'])}: {escape(one['sentence'])}.[/] "
        f"{escape(one['advice'])}"
        for one in stage.get("troubles", [])
    ]


def _table_that_fits(rings: list[dict[str, Any]], console: Console) -> Table:
    unbounded = console.options.update(max_width=1000)
    for count in range(len(SPARED) + 1):
        table = _table(rings, [name for name in COLUMNS if name not in SPARED[:count]])
        if console.measure(table, options=unbounded).minimum <= console.width:
            break
    return table


def _table(rings: list[dict[str, Any]], names: list[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name in names:
        is_pair = name == "stage" and len(rings) > 1
        table.add_column(
            "ring/stage" if is_pair else name, no_wrap=name not in WRAPPED, overflow="fold"
        )
    for index, ring in enumerate(rings):
        for member in members(ring):
            number = str(member["stage"])
            number = number if len(rings) == 1 else f"{index}/{number}"
            cells = dict(zip(COLUMNS, [number, *_row(member)], strict=True))
            table.add_row(*(escape(cells[name]) for name in names))
        table.add_section()
    return table


def members(ring: dict[str, Any]) -> list[dict[str, Any]]:
    """The processes of a ring's stages; a head of the former release knows one of each."""
    return [member for stage in ring["stages"] for member in stage.get("members", [stage])]


def _row(stage: dict[str, Any]) -> list[str]:
    ends = ("embed + " if stage["has_embed"] else "", " + lm_head" if stage["has_lm_head"] else "")
    has_shard = stage["start"] is not None
    layers = f"{ends[0]}{stage['start']}–{stage['stop'] - 1}{ends[1]}" if has_shard else "–"
    layers += f", {stage['part']}" if stage.get("part") else ""
    board = [f"{stage['temperature_c']:.0f} °C"] if stage["temperature_c"] is not None else []
    board += ["⚠"] if stage.get("troubles") else []
    return [
        stage["node"],
        layers,
        stage["state"],
        f"{stage['busy']:.0%}",
        "–" if stage["compute_ms"] is None else f"{stage['compute_ms']:.2f} ms",
        _mebibytes(stage["resident_bytes"]),
        _mebibytes(stage["kv_used_bytes"]),
        " ".join(board) or "–",
    ]


def _mebibytes(number: int | None) -> str:
    return "–" if number is None else f"{number / MIB:.0f} MiB"
