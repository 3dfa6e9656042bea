"""Judges a history against what the service promises. Pure: it reads lines, and asks nobody.

The model of a request: asked, then accepted or refused; once accepted its text arrives piece by
piece, and it ends exactly once, with the text, finish and usage of the undisturbed run. Only a
client that leaves may end it otherwise. Nothing else is an excuse, whatever was broken meanwhile;
a fault excuses one thing alone, that a request is refused *before* it is accepted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.chaos.history import ENDS, Line
from tests.chaos.pieces import piece_at, repeated
from tests.chaos.stalls import STALL_S, held, stalls

GRACE_S = 2.0  # after a fault's end in which requests may still be refused: they were asked before
SILENCE_S = 30.0  # a stream says something at least every second; web and client may be held up
FAILED = 500
FINISHES = ("stop", "length")

RULES = {
    "no end": "an accepted request ended neither way, or one that was asked",
    "ends twice": "something was said of a request after its end",
    "out of order": "text or an end before acceptance, or a request that was never asked",
    "refused after acceptance": "an accepted request got an error",
    "cut": "an accepted request's stream ended without a finish",
    "failed": "the service says of itself that it failed (500)",
    "refused in peace": "a request was refused while nothing was broken",
    "text": "the text is another than the undisturbed one",
    "doubled": "a piece of the text came twice",
    "lost": "a piece of the text is missing",
    "finish": "the finish reason is not the undisturbed one, or not what the usage says",
    "usage": "the usage is not the undisturbed one, or not what was streamed",
    "position": "the numbers of a stream's events do not rise, or not with its tokens",
    "another's reply": "chunks of another request",
    "after leaving": "something was said to, or is still computed for, one who left",
    "silent": f"nothing was said to a client for over {SILENCE_S:.0f} s",
    "stalled": f"a request came no further for {STALL_S:.0f} s in which nothing was held broken",
    "never whole": "the service did not come back after a fault",
    "reference": "what a request is compared with is missing, or contradicts itself",
    "nothing shown": "the run has no reply that was compared, or no end",
}


@dataclass(frozen=True, slots=True)
class Violation:
    rule: str
    sentence: str
    lines: tuple[Line, ...]  # that show it


@dataclass(slots=True)
class Request:
    """The lines of one request, in their order."""

    name: str
    lines: list[Line] = field(default_factory=list)

    def of(self, *kinds: str) -> list[Line]:
        return [line for line in self.lines if line.kind in kinds]

    @property
    def text(self) -> str:
        return "".join(line["text"] for line in self.of("delta"))


def check(lines: Sequence[Line]) -> list[Violation]:
    """Return everything in which the history breaks the promises, in the history's order."""
    found = [*_references(lines), *_faults(lines), *_rest(lines)]
    troubles, spans = _troubles(lines), held(lines)
    references = {line["case"]: line for line in lines if line.kind == "reference"}
    owners: dict[str, Request] = {}
    num_compared = 0
    for request in requests(lines):
        found += _order(request)
        found += _refusals(request, troubles)
        found += _owner(request, owners)
        found += _positions(request)
        for seconds, *around in stalls(request.lines, spans):
            said = f"{request.name}: nothing for {seconds:.0f} s"
            found.append(Violation("stalled", said, tuple(around)))
        (*_, last) = request.lines
        if last.kind == "ended" and request.lines[0].kind == "asked":
            reference = references.get(request.lines[0]["case"])
            found += _reply(request, last, reference)
            num_compared += reference is not None and reference["text"] is not None
    if not num_compared:
        found.append(Violation("nothing shown", "no reply was compared", (lines[0],)))
    return sorted(found, key=lambda violation: violation.lines[-1].number)


def requests(lines: Sequence[Line]) -> list[Request]:
    found: dict[str, Request] = {}
    for line in lines:
        if (name := line.get("request")) is not None:
            found.setdefault(name, Request(name)).lines.append(line)
    return list(found.values())


# ------------------------------------------------------------------------------- a request's life


def _order(request: Request) -> Iterator[Violation]:
    name, lines = request.name, request.lines
    if lines[0].kind != "asked" or len(request.of("asked")) > 1:
        yield Violation("out of order", f"{name} was not asked first, and once", tuple(lines[:2]))
    ends = [i for i, line in enumerate(lines) if line.kind in ENDS]
    if not ends:
        yield Violation("no end", f"{name} never ended", (lines[0], lines[-1]))
        return
    if ends[0] != len(lines) - 1:
        rule = "after leaving" if lines[ends[0]].kind == "left" else "ends twice"
        after = lines[ends[0] + 1]
        said = f"{name}: {after.kind} after {lines[ends[0]].kind}"
        yield Violation(rule, said, (lines[ends[0]], after))
    accepted = next((i for i, line in enumerate(lines) if line.kind == "accepted"), len(lines))
    for line in lines[:accepted]:
        if line.kind in ("delta", "ended", "resumed"):
            yield Violation("out of order", f"{name}: {line.kind} before acceptance", (line,))
            break


def _refusals(request: Request, troubles: list[tuple[float, float]]) -> Iterator[Violation]:
    accepted, asked = request.of("accepted"), request.lines[0]
    for line in request.of("refused", "broke"):
        what = line.get("error") or line.get("why")
        said = f"{request.name}: {what}"
        if accepted:
            rule = "cut" if line.kind == "broke" else "refused after acceptance"
            yield Violation(rule, said, (asked, accepted[0], line))
        elif line.get("status") == FAILED:
            yield Violation("failed", said, (asked, line))
        elif not any(start <= line.at and asked.at <= stop for start, stop in troubles):
            yield Violation("refused in peace", said, (asked, line))


def _troubles(lines: Sequence[Line]) -> list[tuple[float, float]]:
    """From when to when something was broken: from each fault until the service was whole."""
    started = {line["fault"]: line.at for line in lines if line.kind == "fault"}
    ended = {
        line["fault"]: line.at + GRACE_S for line in lines if line.kind in ("whole", "lasting")
    }
    return [(at, ended.get(fault, float("inf"))) for fault, at in started.items()]


def _owner(request: Request, owners: dict[str, Request]) -> Iterator[Violation]:
    """A reply's identity is on every chunk of one request, and on no other's."""
    first: Line | None = None
    for line in request.of("delta"):
        first = first or line
        if line["reply"] != first["reply"]:
            said = f"{request.name} got chunks of {first['reply']} and of {line['reply']}"
            yield Violation("another's reply", said, (first, line))
            return
    if first is None:
        return
    other = owners.setdefault(first["reply"], request)
    if other is not request:
        said = f"{request.name} and {other.name} got chunks of {first['reply']}"
        yield Violation("another's reply", said, (other.of("delta")[0], first))


def _positions(request: Request) -> Iterator[Violation]:
    """An event's number rises, and where tokens are told it stands behind as many, and one."""
    before, tokens = None, 1
    for line in request.of("delta"):
        number, told = line.get("event"), line.get("tokens")
        if number is None:
            return
        tokens += told or 0
        if (before is not None and number <= before["event"]) or (told and number != tokens):
            last = before or request.lines[0]
            said = f"{request.name}: event {number} after {last.get('event')}, {tokens - 1} tokens"
            yield Violation("position", said, (last, line))
            return
        before = line


# ------------------------------------------------------------------------------------- the reply


def _reply(request: Request, end: Line, reference: Line | None) -> Iterator[Violation]:
    asked = request.lines[0]
    if reference is None:
        yield Violation("reference", f"{request.name}: {asked['case']} has none", (asked,))
        return
    if reference["text"] is not None:
        yield from _text(request, end, reference)
        if end["finish"] != reference["finish"]:
            said = f"{request.name}: {end['finish']}, undisturbed {reference['finish']}"
            yield Violation("finish", said, (reference, end))
        if end["completion_tokens"] != reference["completion_tokens"]:
            said = (
                f"{request.name}: {end['completion_tokens']} tokens, "
                f"undisturbed {reference['completion_tokens']}"
            )
            yield Violation("usage", said, (reference, end))
    if end["prompt_tokens"] != reference["prompt_tokens"]:
        said = (
            f"{request.name}: a prompt of {end['prompt_tokens']} tokens, "
            f"undisturbed {reference['prompt_tokens']}"
        )
        yield Violation("usage", said, (reference, end))
    yield from _form(request, end)


def _form(request: Request, end: Line) -> Iterator[Violation]:
    """What holds for every reply, also of one that has nothing to be compared with.

    Its text may hold U+FFFD: a model that is sampled may say bytes that are no character. One that
    was cut apart on its way differs from the undisturbed one, where there is one.
    """
    asked, name, deltas = request.lines[0], request.name, request.of("delta")
    tokens = end["completion_tokens"]
    if end["finish"] not in FINISHES:
        yield Violation("finish", f"{name}: {end['finish']!r}", (end,))
    if (end["finish"] == "length") and tokens != asked["max_tokens"]:
        said = f"{name}: length at {tokens} of {asked['max_tokens']} tokens"
        yield Violation("finish", said, (asked, end))
    if not 1 <= tokens <= asked["max_tokens"]:
        yield Violation("usage", f"{name}: {tokens} tokens", (asked, end))
    told = [line.get("tokens") for line in deltas]
    if deltas and None not in told and sum(told) != tokens:
        said = f"{name}: {sum(told)} tokens were streamed, the usage says {tokens}"
        yield Violation("usage", said, (deltas[-1], end))
    if end["silence_s"] > SILENCE_S:
        yield Violation("silent", f"{name}: silent for {end['silence_s']} s", (asked, end))


def _text(request: Request, end: Line, reference: Line) -> Iterator[Violation]:
    got, wanted = request.text, reference["text"]
    if got == wanted:
        return
    deltas = request.of("delta")
    if (again := repeated(deltas, wanted)) is not None:
        yield Violation("doubled", f"{request.name}: {again['text']!r} twice", (again, end))
        return
    same = next(
        (i for i, (a, b) in enumerate(zip(got, wanted, strict=False)) if a != b),
        min(len(got), len(wanted)),
    )
    said = f"{request.name}: {got[same : same + 30]!r}, undisturbed {wanted[same : same + 30]!r}"
    missing = len(wanted) - len(got)
    is_lost = missing > 0 and wanted[same + missing :] == got[same:]
    rule = "lost" if is_lost else "text"
    yield Violation(rule, f"{said} from character {same} on", (piece_at(deltas, same) or end, end))


# ----------------------------------------------------------------------------------- the whole run


def _references(lines: Sequence[Line]) -> Iterator[Violation]:
    seen: dict[str, Line] = {}
    for line in lines:
        if line.kind == "reference":
            first = seen.setdefault(line["case"], line)
            if first.members != line.members:
                yield Violation("reference", f"{line['case']} has two that differ", (first, line))


def _faults(lines: Sequence[Line]) -> Iterator[Violation]:
    opened = {line["fault"]: line for line in lines if line.kind == "fault"}
    ended: dict[int, list[Line]] = defaultdict(list)
    for line in lines:
        if line.kind in ("whole", "lasting"):
            ended[line["fault"]].append(line)
    for fault, line in opened.items():
        (*_, last) = ended[fault] or [line]
        if last.kind != "whole":
            why = last.get("why", "the history does not say that it ended")
            yield Violation("never whole", f"fault {fault}, {line['what']}: {why}", (line, last))


def _rest(lines: Sequence[Line]) -> Iterator[Violation]:
    last = lines[-1]
    if last.kind != "rest":
        yield Violation("nothing shown", "the history does not end with all at rest", (last,))
    elif last["running"] or last["queued"]:
        said = f"{last['running']} requests run and {last['queued']} wait, and nobody asks"
        yield Violation("after leaving", said, (last,))
