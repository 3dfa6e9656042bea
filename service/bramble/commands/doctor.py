"""`bramble doctor`: what is wrong with this node, and what to do about it."""

from __future__ import annotations

import argparse
import ipaddress
import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table

from bramble.doctor import bundle, ping, probe, report, shards, versions
from bramble.doctor.examination import CHECKS
from bramble.doctor.finding import Finding, has_error, worst_first
from bramble.doctor.machine import Machine, ThisMachine
from bramble.doctor.report import Report
from bramble.errors import BadInput

EXAMPLE = """examples:
  sudo bramble doctor                                      a table, problems first
  sudo bramble doctor --neighbours pi2=10.0.0.12,pi3=10.0.0.13
  sudo bramble doctor --quick --json                       without hashing the shards
  sudo bramble doctor --bundle support.tar.gz              for a helper; holds no secret

the bandwidth between two nodes, with the same token on both standard inputs:
  pi1$ echo $TOKEN | bramble doctor --serve-probe 30 --client 10.0.0.12
  pi2$ echo $TOKEN | bramble doctor --probe pi1=10.0.0.11

exit code: 0 no error, 1 an error was found, 2 bad input
"""
MAX_SERVE_S = 600  # a door that somebody forgot closes by itself
STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan", "ok": "green"}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "doctor",
        help="examine this node",
        description="Examine this node: power, heat, network, card, clock, memory, units, shards. "
        "It changes nothing. Some sources need sudo.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--json", action="store_true", help="print the findings as JSON")
    add("--quick", action="store_true", help="do not hash the shard files")
    add("--node", default=socket.gethostname(), help="this node's name (default: its host name)")
    add("--neighbours", default="", metavar="NAME=ADDRESS,…", help="nodes to ping")
    add("--models", type=Path, default=Path("/var/lib/bramble/models"), help="the model folders")
    add("--bundle", type=Path, metavar="FILE.tar.gz", help="write a support bundle, too")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--serve-probe", type=float, metavar="SECONDS", help="serve one probe")
    mode.add_argument("--probe", metavar="NAME=ADDRESS", help="measure the bandwidth with a node")
    mode.add_argument("--summary", action="store_true", help="sum up reports from standard input")
    add("--port", type=int, default=probe.PORT, help=f"of the probe (default: {probe.PORT})")
    add("--client", help="serve the probe to this address alone")
    add("--listen", default="0.0.0.0", help="serve the probe on this address (default: all)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    _check(args)
    if args.serve_probe is not None:
        return _serve(args)
    if args.probe:
        return _show(Report(args.node, {}, (_probe(args),)), args.json)
    if args.summary:
        return _sum_up(sys.stdin.read())
    neighbours = _addresses(args.neighbours)
    machine = ThisMachine()
    found = versions.versions(machine)
    done = Report(args.node, found, tuple(_examine(machine, args, neighbours, found)))
    if args.bundle:
        bundle.write(bundle.collect(machine, done), args.bundle, args.node)
        print(f"{args.bundle} written: look through it before you pass it on", file=sys.stderr)
    return _show(done, args.json)


def _check(args: argparse.Namespace) -> None:
    if not 0 < args.port < 1 << 16:
        raise BadInput(f"--port {args.port}: ports are 1 to 65535")
    if args.serve_probe is not None and not 0 < args.serve_probe <= MAX_SERVE_S:
        raise BadInput(f"--serve-probe {args.serve_probe:g}: 1 to {MAX_SERVE_S} seconds")


# ----------------------------------------------------------------------------------- examination


def _examine(
    machine: Machine, args: argparse.Namespace, neighbours: dict[str, str], found: dict[str, str]
) -> Iterator[Finding]:
    """Run every check, with progress on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, transient=True, console=Console(stderr=True)) as progress:
        task = progress.add_task("looking", total=None)
        for name, check in CHECKS.items():
            progress.update(task, description=name)
            yield from check(machine)
        yield from versions.told(found)
        for name, address in neighbours.items():
            progress.update(task, description=f"ping {name}")
            yield ping.neighbour(name, address)
        if not args.quick:
            yield from _hash(args.models, progress)


def _hash(models: Path, progress: Progress) -> Iterator[Finding]:
    folders, findings = shards.model_folders(models)
    yield from findings
    task = progress.add_task("hashing", total=sum(folder.bytes for folder in folders))

    def advance(name: str, size: int) -> None:
        progress.update(task, description=name, advance=size)

    for folder in folders:
        yield from shards.hashed(folder, advance)


# ----------------------------------------------------------------------------------------- probe


def _serve(args: argparse.Namespace) -> int:
    is_served = probe.serve(_token(), args.serve_probe, args.port, args.listen, args.client)
    if not is_served:
        print(f"nobody with the token came within {args.serve_probe:g} s", file=sys.stderr)
    return 0 if is_served else 1


def _probe(args: argparse.Namespace) -> Finding:
    addresses = _addresses(args.probe)
    if len(addresses) != 1:
        raise BadInput(f"--probe {args.probe}: got {len(addresses)} nodes, need NAME=ADDRESS")
    [(name, address)] = addresses.items()
    return probe.neighbour(name, _token(), address, args.port)


def _token() -> str:
    """One line of standard input: on the command line every user of this machine could read it."""
    if sys.stdin.isatty():
        print("the probe's token, the same as on the other node:", file=sys.stderr)
    return sys.stdin.readline().strip()


# ----------------------------------------------------------------------------------------- words


def _show(done: Report, is_json: bool) -> int:
    if is_json:
        print(json.dumps(report.to_document(done), indent=1, ensure_ascii=False))
    else:
        Console().print(table(done))
    return 1 if has_error(done.findings) else 0


def table(done: Report) -> Table:
    """Lay the findings out, problems first."""
    shown = Table("", "check", "finding", "what to do", title=done.node, title_justify="left")
    for finding in worst_first(done.findings):
        level = "–" if finding.is_absent else finding.level
        style = "dim" if finding.is_absent else STYLES[finding.level]
        cells = (finding.check, finding.sentence, finding.advice)
        shown.add_row(f"[{style}]{level}[/]", *(cell.replace("[", r"\[") for cell in cells))
    return shown


def _sum_up(text: str) -> int:
    try:
        documents = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise BadInput(f"--summary: standard input is no JSON: {problem}") from problem
    nodes = report.from_documents(documents)
    print("\n".join(report.lines(nodes)))
    return 0 if report.is_healthy(nodes) else 1


def _addresses(text: str) -> dict[str, str]:
    """Read NAME=ADDRESS,… Raises BadInput."""
    found: dict[str, str] = {}
    for word in filter(None, text.split(",")):
        name, separator, address = word.partition("=")
        try:
            ipaddress.IPv4Address(address)
        except ValueError:
            separator = ""
        if not name or not separator:
            raise BadInput(f"got {word!r}, need NAME=ADDRESS with an IPv4 address")
        found[name] = address
    return found
