"""Why these rings: plain sentences with the figures that decided, and those of the alternatives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from bramble.plan.rings import CAPACITY, LATENCY, THROUGHPUT, Figures, Rings, Work


def why(
    objective: str, chosen: Rings, found: Sequence[Rings], spare: Sequence[str], work: Work
) -> str:
    """Say what was chosen, what it gives by the objective, and what the other shapes would."""
    say = _sayings(work)[objective]
    sentences = [f"For {objective}: {shape(chosen)}, {say(chosen.figures)}."]
    others = _others(chosen, found)
    if others:
        said = "; ".join(f"{shape(each)}: {say(each.figures)}" for each in others)
        sentences.append(f"Instead of {said}.")
    else:
        sentences.append("Nothing else fits.")
    if spare:
        sentences.append(f"{', '.join(spare)}: left out, as with them it would not be better.")
    return " ".join(sentences)


def shape(rings: Rings) -> str:
    """One ring of 4 nodes; 4 rings of 1 node (replicas); 1 ring of 3 nodes and 1 of 1."""
    counts = Counter(len(plan.stages) for plan in rings.plans)
    words = [
        f"{count} {_plural(count, 'ring')} of {_nodes(size)}"
        for size, count in sorted(counts.items())
    ]
    said = " and ".join(words)
    return f"{said} (replicas)" if len(rings.plans) > 1 else said


def _others(chosen: Rings, found: Sequence[Rings]) -> list[Rings]:
    """The single ring of the most nodes and the most rings there can be, unless chosen."""
    extremes = [
        max(found, key=lambda each: (-len(each.plans), len(each.nodes))),
        max(found, key=lambda each: (len(each.plans), len(each.nodes))),
    ]
    said = {shape(chosen)}
    others = []
    for each in extremes:
        if shape(each) not in said:
            said.add(shape(each))
            others.append(each)
    return others


def _sayings(work: Work) -> dict[str, Callable[[Figures], str]]:
    request = f"{work.prompt} tokens in and {work.reply} out"
    return {
        LATENCY: lambda figures: f"a lone request of {request} in {figures.request_s:.1f} s",
        THROUGHPUT: lambda figures: (
            f"{figures.aggregate:.1f} tokens/s with {work.rows} streams together"
        ),
        CAPACITY: lambda figures: f"{figures.cache_tokens:,} tokens of KV cache in a ring",
    }


def _nodes(count: int) -> str:
    return f"{count} {_plural(count, 'node')}"


def _plural(count: int, word: str) -> str:
    return word if count == 1 else f"{word}s"
