"""The result as Markdown tables that also read as plain text, and as one JSON document. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tests.bench.figures import Samples, Spread, unit
from tests.bench.ratios import Ratio, ratios
from tests.bench.streams import TEXTS

SPEEDS = ("decode", "prefill 512", "prefill 512 whole", *(f"streams {n}" for n in (1, 2, 4, 8, 16)))
GUESSES = tuple(f"{kind} {text}" for text in TEXTS for kind in ("plain", "guessed"))
WAITS = (*(f"first {n}" for n in (1, 2, 4, 8)), "turn cold", "turn second", "restart", "load")
WAY = (
    *("token", "token compute", "token python", "token travel", "token own per stage"),
    *("token waiting", "steps"),
)
MEMORY = ("resident", "shards+kv")
TITLES = {
    "decode": "one stream",
    "prefill 512": "prefill 512",
    "prefill 512 whole": "in one piece",
    **{f"plain {text}": f"{text}, no guesses" for text in TEXTS},
    **{f"guessed {text}": "guesses allowed" for text in TEXTS},
    "first 1": "first token, 1 stream",
    "turn cold": "1,000 tokens, cold",
    "turn second": "second turn",
    "restart": "warm restart",
    "load": "of it loading",
    "token": "a token",
    "token compute": "compute",
    "token python": "Python in stages",
    "token travel": "head, wire, waking",
    "token own per stage": "the ring's own, per stage",
    "token waiting": "a stage waits",
    "steps": "steps per token",  # under 1 where guesses were verified
}


def document(
    about: dict[str, Any],
    samples: Samples,
    token_bytes: dict[str, int],
    failures: dict[str, str],
) -> dict[str, Any]:
    """about        shape, machine, versions, settings
    token_bytes  contender → bytes of weights that a token of one stream reads
    """
    spreads = {
        name: {q: asdict(Spread.of(values)) | {"unit": unit(q)} for q, values in found.items()}
        for name, found in samples.values.items()
    }
    return {
        **about,
        "ratios": [
            asdict(ratio) | {"holds": ratio.holds, "target": ratio.target}
            for ratio in ratios(samples)
        ],
        "roofline": roofline(samples, token_bytes),
        "spreads": spreads,
        "samples": samples.values,
        "failures": failures,
    }


def markdown(about: dict[str, Any], samples: Samples, found: dict[str, Any]) -> str:
    """Everything measured: medians, with (lowest–highest) behind them."""
    described = ", ".join(f"{key} {value}" for key, value in about.items())
    parts = [
        f"# Bramble bench: {described}",
        "Medians (lowest–highest).",
        _section("Tokens per second", samples, SPEEDS),
        _section("Guessing what a reply repeats, tokens per second", samples, GUESSES),
        _section("Waiting, in ms; restart in s", samples, WAITS),
        _section("Where the time of one stream's token goes, in ms", samples, WAY),
        _section("Memory, in MiB", samples, MEMORY),
        _roofline(found["roofline"]),
        _ratios(ratios(samples)),
    ]
    parts += [f"**{name} failed:** {reason}" for name, reason in found["failures"].items()]
    return "\n\n".join(part for part in parts if part) + "\n"


def roofline(samples: Samples, token_bytes: dict[str, int]) -> list[dict[str, Any]]:
    """How much of the measured read bandwidth one stream's decoding takes up."""
    rows = []
    for name, size in token_bytes.items():
        speed = samples.spread(name, "decode")
        reader = "memory 2 threads" if name.endswith("2 threads") else "memory 1 thread"
        bandwidth = samples.spread(reader, "bandwidth")
        if speed and bandwidth:
            read = size * speed.median / 1e9
            rows.append(
                {
                    "contender": name,
                    "bytes_per_token": size,
                    "read_gb_s": read,
                    "bandwidth_gb_s": bandwidth.median,
                    "share": read / bandwidth.median,
                }
            )
    return rows


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with its columns aligned."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [[heads[0].ljust(widths[0]), *_right(heads, widths)], rule]
    lines += [[row[0].ljust(widths[0]), *_right(row, widths)] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float) -> str:
    """Three digits that count: 1234, 123, 12.3, 1.23."""
    size = abs(value)
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def spread(value: Spread | None) -> str:
    if value is None:
        return "–"
    if value.count == 1:
        return number(value.median)
    return f"{number(value.median)} ({number(value.low)}–{number(value.high)})"


def _right(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]


def _section(title: str, samples: Samples, quantities: Sequence[str]) -> str:
    """Only rows and columns in which something was measured."""
    known = [q for q in quantities if any(q in found for found in samples.values.values())]
    rows = [
        [name, *(spread(samples.spread(name, q)) for q in known)]
        for name, found in samples.values.items()
        if any(q in found for q in known)
    ]
    if not rows:
        return ""
    return f"{title}\n\n{table(['', *(TITLES.get(q, q) for q in known)], rows)}"


def _roofline(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    lines = [
        [
            row["contender"],
            f"{row['bytes_per_token'] / 1e6:.0f} MB",
            f"{row['read_gb_s']:.1f} GB/s",
            f"{row['bandwidth_gb_s']:.1f} GB/s",
            f"{100 * row['share']:.0f} %",
        ]
        for row in rows
    ]
    heads = ["", "weights per token", "read while decoding", "memory reads at", "of it"]
    return f"Roofline\n\n{table(heads, lines)}"


def _ratios(found: list[Ratio]) -> str:
    if not found:
        return ""
    lines = [
        [ratio.name, spread(ratio.values), ratio.target, "holds" if ratio.holds else "MISSED"]
        for ratio in found
    ]
    heads = ["", "ratio", "bound", ""]
    return f"Ratios, each of two measurements taken in turn\n\n{table(heads, lines)}"
