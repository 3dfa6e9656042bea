"""One picture of a bench's JSON: speeds, scaling over streams, waiting, and a token's way.

usage: plot.py FIGURES.json OUT.png      (runs in the bench's own environment)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

STREAMS = (1, 2, 4, 8)
WAY = {
    "token compute": "compute",
    "token python": "Python in stages",
    "token travel": "head, wire, waking",
}
MAX_MARGIN = 2.0  # a bar that is longer says no more
WAY_COLOURS = ("#8a8a8a", "#e0a030", "#b3204d")
COLOURS = {"ring": "#b3204d", "ceiling": "#2f6f4f", "llama.cpp": "#4a6fa5"}
SHADES = {"ring": "Reds", "ceiling": "Greens", "llama.cpp": "Blues"}

Document = dict[str, Any]


def kind(contender: str) -> str:
    return contender.split()[0]


def having(document: Document, quantity: str) -> list[str]:
    """Contenders with this quantity, rings first, then the ceiling, then the peers."""
    names = [name for name, found in document["spreads"].items() if quantity in found]
    return sorted(names, key=lambda name: (list(COLOURS).index(kind(name)), name))


def bars(axes: Any, document: Document, quantity: str, title: str) -> None:
    """One bar per contender: its median, a line from the lowest to the highest sample."""
    names = having(document, quantity)[::-1]
    found = [document["spreads"][name][quantity] for name in names]
    medians = [each["median"] for each in found]
    reach = [
        [each["median"] - each["low"] for each in found],
        [each["high"] - each["median"] for each in found],
    ]
    colours = [COLOURS[kind(name)] for name in names]
    axes.barh(names, medians, xerr=reach, color=colours, error_kw={"lw": 1, "capsize": 2})
    for index, median in enumerate(medians):
        axes.text(median * 0.02, index, f"{median:.1f}", va="center", color="white", fontsize=8)
    axes.set_title(title)


def roofline(axes: Any, document: Document) -> None:
    """Where reading the weights takes all of the measured bandwidth."""
    for row in document["roofline"]:
        if row["contender"].startswith("ceiling"):
            limit = row["bandwidth_gb_s"] * 1e9 / row["bytes_per_token"]
            threads = row["contender"].removeprefix("ceiling ")
            axes.axvline(limit, color="grey", linestyle="--", linewidth=1)
            words = {"rotation": 90, "ha": "right", "va": "bottom", "fontsize": 7, "color": "grey"}
            axes.text(limit, -0.3, f"bandwidth, {threads}", **words)


def scaling(axes: Any, document: Document) -> None:
    counts: dict[str, int] = {}
    names = dict.fromkeys(name for n in STREAMS for name in having(document, f"streams {n}"))
    for name in names:
        group = kind(name)
        counts[group] = counts.get(group, 0) + 1
        shade = matplotlib.colormaps[SHADES[group]](1.05 - 0.14 * counts[group])
        found = document["spreads"][name]
        known = [n for n in STREAMS if f"streams {n}" in found]
        medians = [found[f"streams {n}"]["median"] for n in known]
        axes.plot(known, medians, marker="o", color=shade, label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(STREAMS, [str(n) for n in STREAMS])
    axes.set_xlabel("streams at once, 128 tokens in, 64 out")
    axes.set_ylim(bottom=0)
    axes.set_title("all streams together, tokens/s")
    if names:
        axes.legend(fontsize=7)


def turns(axes: Any, document: Document) -> None:
    """The first token of a conversation's next turn, before the wait for a cold one."""
    names = having(document, "turn cold")[::-1]
    for quantity, alpha in (("turn cold", 0.3), ("turn second", 1.0)):
        medians = [document["spreads"][name][quantity]["median"] for name in names]
        axes.barh(names, medians, color=[COLOURS[kind(name)] for name in names], alpha=alpha)
        for index, median in enumerate(medians):
            axes.text(median, index, f" {median:.0f}", va="center", fontsize=8)
    axes.set_title("first token of 1,000 tokens, ms: cold (pale) and in a second turn")


def way(axes: Any, document: Document) -> None:
    """What a token of one stream is made of, per ring."""
    names = having(document, "token")[::-1]
    left = [0.0] * len(names)
    for (quantity, title), colour in zip(WAY.items(), WAY_COLOURS, strict=True):
        values = [document["spreads"][name][quantity]["median"] for name in names]
        axes.barh(names, values, left=left, color=colour, label=title)
        left = [a + b for a, b in zip(left, values, strict=True)]
    axes.set_title("one stream's token, ms")
    if names:
        axes.legend(fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.06))


def promises(axes: Any, document: Document) -> None:
    """Each ratio over its bound: beyond 1 on its good side it holds."""
    ratios = document["ratios"][::-1]
    for index, ratio in enumerate(ratios):
        median, bound = ratio["values"]["median"], ratio["bound"]
        margin = median / bound if ratio["is_floor"] else bound / median
        axes.barh(index, min(margin, MAX_MARGIN), color="#2f6f4f" if ratio["holds"] else "#b3204d")
        label = f"{median:.3g}, bound {ratio['target']}"
        axes.text(max(1.0, min(margin, MAX_MARGIN)) + 0.04, index, label, va="center", fontsize=7)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xlim(0, MAX_MARGIN * 1.45)
    axes.set_yticks(range(len(ratios)), [ratio["name"] for ratio in ratios], fontsize=7)
    axes.set_title("ratios over their bounds (1 = just holds)")


def draw(document: Document, path: Path) -> None:
    figure, axes = pyplot.subplots(3, 2, figsize=(14, 14), layout="constrained")
    bars(axes[0][0], document, "decode", "one stream, tokens/s")
    roofline(axes[0][0], document)
    bars(axes[0][1], document, "prefill 512", "prefill of 512 tokens, tokens/s")
    scaling(axes[1][0], document)
    turns(axes[1][1], document)
    way(axes[2][0], document)
    promises(axes[2][1], document)
    words = ("shape", "processor", "cores", "network", "rounds", "ended")
    figure.suptitle("Bramble bench: " + ", ".join(f"{key} {document[key]}" for key in words))
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
