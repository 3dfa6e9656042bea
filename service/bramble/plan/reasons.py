"""Why these rings: plain sentences with the figures that decided, and those of the alternatives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from bramble.plan.ring_speed import Ring
from bramble.plan.rings import CAPACITY, LATENCY, THROUGHPUT, Figures, Rings, Work, keys


def why(
    objective: str, chosen: Rings, found: Sequence[Rings], spare: Sequence[str], work: Work
) -> str:
    """Say what was chosen, what it gives by the objective, and what the other shapes would."""
    say = _sayings(work)[objective]
    sentences = [f"For {objective}: {shape(chosen)}, {say(chosen.figures)}."]
    others = _others(chosen, found, objective)
    if others:
        said = "; ".join(f"{shape(each)}: {say(each.figures)}" for each in others)
        sentences.append(f"Instead of {said}.")
    else:
        sentences.append("Nothing else fits.")
    if objective == LATENCY and (group := next(filter(_is_grouped, [chosen, *others]), None)):
        sentences.append(_token(group, group is chosen, work))
    if spare:
        sentences.append(f"{', '.join(spare)}: left out, as with them it would not be better.")
    return " ".join(sentences)


def shape(rings: Rings) -> str:
    """One ring of 4 nodes; 4 rings of 1 node (replicas); 1 ring of 2 groups of 2 nodes."""
    counts = Counter(tuple(len(stage.members) for stage in plan.stages) for plan in rings.plans)
    words = [
        f"{count} {_plural(count, 'ring')} of {_stages(sizes)}"
        for sizes, count in sorted(counts.items(), key=lambda each: (sum(each[0]), each[0]))
    ]
    said = " and ".join(words)
    return f"{said} (replicas)" if len(rings.plans) > 1 else said


def _stages(sizes: tuple[int, ...]) -> str:
    """4 nodes; a group of 4 nodes; 2 groups of 2 nodes; groups of 3 and 2 nodes."""
    if max(sizes) == 1:
        return _nodes(len(sizes))
    if len(sizes) == 1:
        return f"a group of {_nodes(sizes[0])}"
    if len(set(sizes)) == 1:
        return f"{len(sizes)} groups of {_nodes(sizes[0])}"
    first = ", ".join(map(str, sizes[:-1]))
    return f"groups of {first} and {_nodes(sizes[-1])}"


def _is_grouped(rings: Rings) -> bool:
    return rings.has_groups


def _token(rings: Rings, is_chosen: bool, work: Work) -> str:
    context = work.prompt + work.reply / 2
    slowest = max(rings.speeds, key=lambda ring: ring.token_s(context))
    said = token(slowest, context)
    return said if is_chosen else said.replace("takes", f"would take in {shape(rings)}")


def token(ring: Ring, context: float) -> str:
    """Of what the time of one reply's token consists."""
    terms, whole_ms = ring.terms(context), 1000 * ring.token_s(context)
    parts = {
        "to read weights": terms.weights_s + terms.head_s,
        "for attention": terms.cache_s,
        "for exchanges": terms.exchange_s,
        "for sampling and the stages’ own work": terms.stages_s + terms.hops_s,
    }
    said = ", ".join(f"{1000 * seconds:.1f} ms {what}" for what, seconds in parts.items())
    return f"A token of one reply takes {whole_ms:.1f} ms: {said}."


def _others(chosen: Rings, found: Sequence[Rings], objective: str) -> list[Rings]:
    """Single nodes in one ring and in as many as can be, and the best groups, unless chosen."""
    single = [each for each in found if not each.has_groups]
    groups = [each for each in found if each.has_groups]
    candidates = []
    if single:
        candidates = [
            max(single, key=lambda each: (-len(each.plans), len(each.nodes))),
            max(single, key=lambda each: (len(each.plans), len(each.nodes))),
        ]
    if groups:
        candidates.append(max(groups, key=lambda each: keys(objective)[0](each.figures)))
    said = {shape(chosen)}
    others = []
    for each in candidates:
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
