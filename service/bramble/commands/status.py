"""`bramble status`: the ring, its stages and their work, once or live."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from bramble.commands.door import add_door, open_door

EXAMPLE = """examples:
  bramble status             a table; exit code 1 if the ring does not serve
  bramble status --watch     live
  bramble status --json      the document of /api/status
"""
MIB = 1 << 20
COLUMNS = ("node", "layers", "state", "busy", "compute", "memory", "KV", "board")


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
            with Live(show(document), auto_refresh=False) as live:
                while True:
                    live.update(show(client.status()), refresh=True)
                    time.sleep(1)
        elif args.json:
            print(json.dumps(document, indent=1))
        else:
            Console().print(show(document))
    return 0 if document["state"] == "serving" else 1


def show(document: dict[str, Any]) -> Group:
    """Lay the status document out as two sentences and a table."""
    model, requests, speed = document["model"], document["requests"], document["speed"]
    reason = f": {document['reason']}" if document["reason"] else ""
    sentences = (
        f"[bold]{model['name']}[/] ({model['quantization']}, context {model['max_length']}) is "
        f"{document['state']}{reason}",
        f"{requests['running']} running, {requests['queued']} queued, "
        f"{speed['decode_tokens_s']} tokens/s out, {speed['prefill_tokens_s']} tokens/s in",
    )
    rings = document["plan"]["rings"]
    is_one = len(rings) == 1
    table = Table("stage" if is_one else "ring/stage", *COLUMNS)
    for index, ring in enumerate(rings):
        for stage in ring["stages"]:
            number = str(stage["stage"])
            table.add_row(number if is_one else f"{index}/{number}", *_row(stage))
        table.add_section()
    return Group(*sentences, table)


def _row(stage: dict[str, Any]) -> list[str]:
    ends = ("embed + " if stage["has_embed"] else "", " + lm_head" if stage["has_lm_head"] else "")
    has_shard = stage["start"] is not None
    layers = f"{ends[0]}{stage['start']}–{stage['stop'] - 1}{ends[1]}" if has_shard else "–"
    board = [f"{stage['temperature_c']:.0f} °C"] if stage["temperature_c"] is not None else []
    board += [stage["throttled"]] if stage["throttled"] else []
    return [
        stage["node"],
        layers,
        stage["state"],
        f"{stage['busy']:.0%}",
        "–" if stage["compute_ms"] is None else f"{stage['compute_ms']:.2f} ms",
        _mebibytes(stage["resident_bytes"]),
        _mebibytes(stage["kv_used_bytes"]),
        ", ".join(board) or "–",
    ]


def _mebibytes(number: int | None) -> str:
    return "–" if number is None else f"{number / MIB:.0f} MiB"
