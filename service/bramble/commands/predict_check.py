"""`bramble predict --check`: the predictor against what others measured, row by row."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from bramble.plan.check import Checked, check, median_error, num_fitted
from bramble.plan.peers import PREFILL_BAND
from bramble.plan.published import DECODE, PREFILL

WIDTH = 170


def show_check(as_json: bool) -> int:
    checked = check()
    if as_json:
        rows = [_row(each) for each in checked]
        print(json.dumps({"rows": rows, "summary": summary(checked)}, indent=1))
        return 0
    wide = Console(highlight=False, width=max(WIDTH, Console().width))  # a row stays a line
    wide.print(_table(checked))
    for line in summary(checked):
        print(line)
    return 0


def summary(checked: list[Checked]) -> list[str]:
    """Per kind: the medians with the row and without it, and the worst by name."""
    lines = []
    for kind in (DECODE, PREFILL):
        fitted = [each for each in checked if each.row.kind == kind and each.row.is_fitted]
        held = [each for each in checked if each.row.kind == kind and not each.row.is_fitted]
        worst = max(fitted + held, key=lambda each: abs(each.error))
        without = [each.error_without for each in fitted if each.error_without is not None]
        lines.append(
            f"{kind}: {num_fitted(kind)} constants on {len(fitted)} rows, median error "
            f"{median_error([each.error for each in fitted]):.1%}; each row left out in turn "
            f"{median_error(without):.1%}; {len(held)} set aside "
            f"{median_error([each.error for each in held]):.1%}; worst {worst.row.paper.name} "
            f"{worst.row.quantization} by {worst.row.source}, {worst.error:+.0%}"
        )
    low, high = PREFILL_BAND
    lines.append(
        f"prefill without a word of build and kernels: {low:.2f} to {high:.2f} of what is predicted"
    )
    return lines


def _table(checked: list[Checked]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("engine", "model", "bits", "nodes", "measured", "predicted", "error", "unseen"):
        is_word = column in ("engine", "model", "bits")
        table.add_column(column, justify="left" if is_word else "right", no_wrap=True)
    table.add_column("source", no_wrap=True)
    for each in checked:
        row = each.row
        unseen = each.error_without if row.is_fitted else each.error
        unseen_text = "" if unseen is None else f"{unseen:+.1%}"
        threads = "" if row.threads == 4 else f", {row.threads} threads"
        table.add_row(
            f"{row.engine}{', prefill' if row.kind == PREFILL else ''}{threads}",
            row.paper.name,
            row.quantization,
            str(row.num_nodes),
            f"{row.tokens_s:.2f}",
            f"{each.predicted:.2f}",
            f"{each.error:+.1%}",
            unseen_text,
            f"{row.source}{'' if row.is_fitted else ' (set aside)'}",
        )
    return table


def _row(each: Checked) -> dict[str, Any]:
    row = each.row
    return {
        "engine": row.engine,
        "kind": row.kind,
        "model": row.paper.name,
        "quantization": row.quantization,
        "nodes": row.num_nodes,
        "threads": row.threads,
        "measured": row.tokens_s,
        "predicted": each.predicted,
        "error": each.error,
        "error_without": each.error_without,
        "source": row.source,
    }
