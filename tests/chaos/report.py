"""A run's history as a page for people who doubt it. Pure."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from tests.chaos.checker import RULES, Violation, requests
from tests.chaos.history import Line
from tests.chaos.slopes import slope

SHOWN = 12  # violations that are shown in full, of each rule
METHOD = """## How it was done

The processes are the real ones, as `bramble run` or a node starts them. Clients ask over HTTP: most
stream, a tenth wait for the whole reply, a tenth leave amid it. A second service of one stage,
without guesses and asked by one client at a time, answered every question first: those answers are
the undisturbed ones. All that clients sent, got and did, and every fault, is a line of the history,
written by one process with one clock. `tests/chaos/checker.py` judged that file alone, and
`tests/chaos/test_checker.py` plants each violation and has it found."""
RECOVERY = """## Faults, and how long until all was well

Seconds since what was broken was let go. *Answered*: the first answer to a request that was asked
since. *Whole*: every ring serves again, and one more answer has come. *Died*: how often a process
was another one afterwards.
"""
HELD = """## What processes held

Sampled every ten seconds; of each process the life that lasted longest. The slopes are fitted to
the samples behind its first minute, with the standard error of the fit; – where a life was too
short.
"""
WIDTH = 400  # characters of a line of the history


def report(lines: Sequence[Line], violations: Sequence[Violation], repeat: str) -> str:
    """Markdown; `repeat` is the command line that does the same again."""
    parts = [
        *_head(lines, violations, repeat),
        *_requests(lines),
        *_faults(lines),
        *_processes(lines),
        *_violations(violations),
        *_method(lines),
    ]
    return "\n".join(parts) + "\n"


def _head(lines: Sequence[Line], violations: Sequence[Violation], repeat: str) -> Iterator[str]:
    run = lines[0]
    num_faults = sum(line.kind == "fault" for line in lines)
    verdict = "no violation" if not violations else f"**{len(violations)} violations**"
    yield f"# {num_faults} faults, {run.get('weights')}: {verdict}"
    yield ""
    yield f"    {repeat}"
    yield ""
    yield "The seed repeats the faults, their order, and what the clients ask; not the moments."
    yield ""
    yield "| | |"
    yield "|---|---|"
    for name, value in run.members.items():
        yield f"| {name} | {value} |"
    yield f"| lasted | {lines[-1].at / 60:.1f} min |"
    loads = sorted(line["load"] for line in lines if line.kind == "load")
    if loads:
        middle = statistics.median(loads)
        yield f"| load meanwhile | {middle:.1f} in the median, {loads[-1]:.1f} at most |"
    yield ""


def _requests(lines: Sequence[Line]) -> Iterator[str]:
    known = {
        line["case"] for line in lines if line.kind == "reference" and line["text"] is not None
    }
    counts: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    resumed = 0
    for request in requests(lines):
        first, last = request.lines[0], request.lines[-1]
        counts["asked"] += 1
        counts["accepted"] += bool(request.of("accepted"))
        counts[last.kind] += 1
        counts["compared"] += last.kind == "ended" and first.get("case") in known
        resumed += bool(last.get("preemptions")) or bool(request.of("resumed"))
        if last.kind in ("refused", "broke") and not request.of("accepted"):
            refused[str(last.get("status", "no connection"))] += 1
    yield "## Requests"
    yield ""
    yield "| | |"
    yield "|---|--:|"
    yield f"| asked | {counts['asked']} |"
    yield f"| accepted | {counts['accepted']} |"
    yield f"| ended, compared with an undisturbed run to the byte | {counts['compared']} |"
    yield f"| ended, without a seed: well-formed | {counts['ended'] - counts['compared']} |"
    yield f"| left by the client | {counts['left']} |"
    yield f"| interrupted and gone on with | {resumed} |"
    for status, count in sorted(refused.items()):
        yield f"| refused before acceptance: {status} | {count} |"
    yield ""


def _faults(lines: Sequence[Line]) -> Iterator[str]:
    yield RECOVERY
    yield "| fault | times | died | answered p50 | p95 | max | whole p50 | p95 | max | not whole |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    whats = {line["fault"]: str(line["what"]) for line in lines if line.kind == "fault"}
    answered, whole = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    died: Counter[str] = Counter()
    for line in lines:
        if line.kind == "whole":
            died[whats[line["fault"]]] += bool(line.get("died"))
            died["all"] += bool(line.get("died"))
            for what in (whats[line["fault"]], "all"):
                answered[what].append(line["answered_s"])
                whole[what].append(line["whole_s"])
    times = Counter(whats.values())
    for what in [*sorted(times), "all"]:
        count = times[what] if what in times else len(whats)
        missing = count - len(whole[what])
        row = f"{_quantiles(answered[what])} | {_quantiles(whole[what])}"
        yield f"| {what} | {count} | {died[what]} | {row} | {missing} |"
    yield ""


def _quantiles(seconds: list[float]) -> str:
    if not seconds:
        return "– | – | –"
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return f"{statistics.median(ordered):.1f} | {p95:.1f} | {ordered[-1]:.1f}"


def _processes(lines: Sequence[Line]) -> Iterator[str]:
    """The longest life of each process: what it held first and last, and whether that grew."""
    lives = defaultdict[str, dict[int, list[Line]]](lambda: defaultdict(list))
    for line in lines:
        if line.kind == "sampled":
            lives[line["process"]][line["pid"]].append(line)
    yield HELD
    yield (
        "| process | lives | longest | MiB first | last | per minute "
        "| descriptors first | last | per minute |"
    )
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    for name, samples in sorted(lives.items()):
        longest = max(samples.values(), key=lambda life: life[-1].at - life[0].at)
        lasted_s = longest[-1].at - longest[0].at
        held = f"{_held(longest, 'resident_mib')} | {_held(longest, 'descriptors')}"
        yield f"| {name} | {len(samples)} | {lasted_s:.0f} s | {held} |"
    yield ""


def _held(life: Sequence[Line], member: str) -> str:
    return f"{life[0][member]} | {life[-1][member]} | {slope(life, member) or '–'}"


def _violations(violations: Sequence[Violation]) -> Iterator[str]:
    yield "## Violations"
    yield ""
    counts = Counter(violation.rule for violation in violations)
    yield "| rule | what breaks it | found |"
    yield "|---|---|--:|"
    for rule, meaning in RULES.items():
        yield f"| {rule} | {meaning} | {counts[rule]} |"
    yield ""
    shown: Counter[str] = Counter()
    for violation in violations:
        shown[violation.rule] += 1
        if shown[violation.rule] > SHOWN:
            continue
        yield f"**{violation.rule}**: {_cut(violation.sentence)}"
        yield ""
        yield "```"
        for line in violation.lines:
            yield f"{line.number}: {_cut(line.text)}"
        yield "```"
        yield ""


def _cut(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[:WIDTH]} …"


def _method(lines: Sequence[Line]) -> Iterator[str]:
    yield METHOD
    yield f"The history has {len(lines)} lines."
