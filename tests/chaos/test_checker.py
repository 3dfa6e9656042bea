"""Every kind of violation, planted into a history in which all is well, is found; and only it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos import history
from tests.chaos.checker import RULES, Violation, check
from tests.chaos.history import MEMBERS, BadHistory, read

Document = dict[str, Any]
Story = list[Document]
TEXT = "A bramble is a thorny shrub."
USAGE = {"finish": "stop", "prompt_tokens": 9, "completion_tokens": 7}


def asked(at: float, request: str, case: str = "greedy-0") -> Document:
    who = {"client": "c0", "case": case, "max_tokens": 48}
    return {"at": at, "kind": "asked", "request": request, **who}


def reply(at: float, request: str, case: str = "greedy-0") -> Story:
    """A whole life: asked at `at`, ended 0.9 s later."""
    pieces = ["A ", "bra", "mble ", "is a ", "thorny ", "shrub", "."]
    deltas = [
        said(at + 0.2 + i / 10, "delta", request, reply=f"id-{request}", text=text, tokens=1)
        | {"event": i + 2}
        for i, text in enumerate(pieces)
    ]
    end = said(at + 0.9, "ended", request, **USAGE, silence_s=0.2)
    return [asked(at, request, case), said(at + 0.1, "accepted", request), *deltas, end]


def said(at: float, kind: str, request: str, **members: Any) -> Document:
    return {"at": at, "kind": kind, "request": request, **members}


def fault(at: float, number: int = 1) -> Story:
    """A stage was killed, and all was well three seconds later."""
    return [
        {"at": at, "kind": "fault", "fault": number, "what": "kill stage", "targets": ["stage-1"]},
        {"at": at + 0.01, "kind": "healed", "fault": number},
        {"at": at + 3, "kind": "whole", "fault": number, "answered_s": 2.5, "whole_s": 3.0}
        | {"died": ["stage-1"]},
    ]


def story() -> Story:
    """All is well: replies before, during and after a fault, a refusal within it, one who left."""
    common = {"kind": "reference", "body": {}, **USAGE}
    free = {"case": "free-0", "text": None, "finish": None, "completion_tokens": None}
    lines = [
        {"at": 0, "kind": "run", "format": 1, "seed": 7},
        {"at": 0.1, "case": "greedy-0", "text": TEXT, **common},
        {"at": 0.2, **common, **free},
        *reply(1, "r1"),
        *reply(9.7, "r2"),
        *fault(10),
        asked(11, "r3"),
        said(11.2, "refused", "r3", status=503, error="no ring serves"),
        asked(11.3, "r4"),
        said(11.4, "broke", "r4", why="connection refused"),
        *reply(20, "r5", "free-0"),
        asked(21, "r6"),
        said(21.1, "accepted", "r6"),
        said(21.2, "delta", "r6", reply="id-r6", text="A ", tokens=1),
        said(21.3, "left", "r6"),
        {"at": 30, "kind": "rest", "running": 0, "queued": 0},
    ]
    return sorted(lines, key=lambda line: float(line["at"]))


def texts(lines: Story) -> list[str]:
    """The lines of a file that tells this story."""
    return [json.dumps(line) for line in sorted(lines, key=lambda line: float(line["at"]))]


def judged(lines: Story) -> list[Violation]:
    return check(read(texts(lines)))


def of(lines: Story, kind: str, request: str = "r2") -> list[Document]:
    return [line for line in lines if line["kind"] == kind and line.get("request") == request]


def without(lines: Story, *unwanted: Document) -> Story:
    return [line for line in lines if not any(line is each for each in unwanted)]


def changed(kind: str, request: str = "r2", **members: Any) -> Callable[[Story], Story]:
    """Plant other members in the last line of this kind."""

    def plant(lines: Story) -> Story:
        of(lines, kind, request)[-1].update(members)
        return lines

    return plant


def added(*more: Document) -> Callable[[Story], Story]:
    return lambda lines: [*lines, *more]


def of_kind(kind: str, **members: Any) -> Callable[[Story], Story]:
    """Plant members in the lines of this kind that belong to no request."""

    def plant(lines: Story) -> Story:
        for line in lines:
            if line["kind"] == kind:
                line.update(members)
        return lines

    return plant


def test_a_history_in_which_all_is_well_has_no_violation() -> None:
    assert judged(story()) == []


def moved(
    seconds: float, after: float, what: Callable[[Document], bool]
) -> Callable[[Story], Story]:
    """Have what is said after a moment be said later."""

    def plant(lines: Story) -> Story:
        for line in lines:
            if line["at"] > after and what(line):
                line["at"] += seconds
        return lines

    return plant


def is_of_r2_or_rest(line: Document) -> bool:
    return line.get("request") == "r2" or line["kind"] == "rest"


LOST = {"status": 503, "error": "the ring is lost"}
PLANTED: list[tuple[str, str, Callable[[Story], Story]]] = [
    ("no end", "no line ends it", lambda s: without(s, *of(s, "ended"))),
    ("no end", "asked, then nothing", added(asked(12, "r9"))),
    ("ends twice", "a second end", added(said(25, "ended", "r2", **USAGE, silence_s=0))),
    ("ends twice", "an error behind the end", added(said(25, "refused", "r2", **LOST))),
    ("ends twice", "text behind the end", added(said(25, "delta", "r2", reply="id-r2", text="x"))),
    ("out of order", "never asked", lambda s: without(s, *of(s, "asked"))),
    ("out of order", "asked twice", added(asked(10.15, "r2"))),
    ("out of order", "never accepted", lambda s: without(s, *of(s, "accepted"))),
    ("out of order", "accepted after its first text", changed("accepted", at=9.95)),
    ("stalled", "its stream goes on late", moved(31, 9.95, is_of_r2_or_rest)),
    (
        "refused after acceptance",
        "an error in place of the rest, while something is broken",
        lambda s: [*without(s, *of(s, "ended")), said(11, "refused", "r2", **LOST)],
    ),
    (
        "cut",
        "no finish, while something is broken",
        lambda s: [*without(s, *of(s, "ended")), said(11, "broke", "r2", why="end of stream")],
    ),
    ("failed", "a fault of the service's own is no refusal", changed("refused", "r3", status=500)),
    (
        "refused in peace",
        "a full queue without a fault",
        added(asked(2, "r9"), said(2.1, "refused", "r9", status=429, error="queue")),
    ),
    (
        "refused in peace",
        "no connection without a fault",
        added(asked(17, "r9"), said(17.1, "broke", "r9", why="refused")),
    ),
    ("text", "another word", changed("delta", text="?")),
    ("text", "more than there is", changed("delta", text=". And more.")),
    ("text", "half a character", changed("delta", text="\ufffd")),
    ("finish", "length instead of stop", changed("ended", finish="length", completion_tokens=7)),
    ("finish", "an unknown one of a free reply", changed("ended", "r5", finish="cancelled")),
    ("finish", "length before the limit, of a free reply", changed("ended", "r5", finish="length")),
    ("usage", "another number of tokens", changed("ended", completion_tokens=8)),
    ("usage", "another prompt", changed("ended", prompt_tokens=10)),
    (
        "usage",
        "a free reply's tokens were not all streamed",
        changed("ended", "r5", completion_tokens=8),
    ),
    ("usage", "more tokens than asked for", changed("asked", "r5", max_tokens=6)),
    ("position", "a number is left out", changed("delta", event=9)),
    ("position", "an event's number comes again", changed("delta", event=7)),
    ("another's reply", "one chunk of another's", changed("delta", reply="id-r1")),
    (
        "after leaving",
        "text to one who left",
        added(said(22, "delta", "r6", reply="id-r6", text="x")),
    ),
    (
        "after leaving",
        "an end for one who left",
        added(said(22, "ended", "r6", **USAGE, silence_s=0)),
    ),
    ("after leaving", "the head still works for one who left", of_kind("rest", running=1)),
    ("after leaving", "one who left still waits in the queue", of_kind("rest", queued=1)),
    ("silent", "a minute without a word", changed("ended", silence_s=61.0)),
    (
        "never whole",
        "it did not come back",
        lambda s: [line for line in s if line["kind"] != "whole"],
    ),
    ("reference", "none for what was asked", changed("asked", case="greedy-77")),
    (
        "nothing shown",
        "no rest at the end",
        lambda s: [line for line in s if line["kind"] != "rest"],
    ),
]


@pytest.mark.parametrize(
    ("rule", "plant"), [p[::2] for p in PLANTED], ids=[f"{r}: {what}" for r, what, _ in PLANTED]
)
def test_what_is_planted_is_found(rule: str, plant: Callable[[Story], Story]) -> None:
    found = judged(plant(story()))
    assert rule in {violation.rule for violation in found}
    assert all(violation.lines for violation in found)


def test_a_piece_that_came_twice_is_named() -> None:
    lines = story()
    second = of(lines, "delta")[2]
    (violation, *more) = judged([*lines, second | {"at": second["at"] + 0.01}])
    rules = {"doubled", "usage", "position"}
    assert {violation.rule, *(each.rule for each in more)} == rules
    assert violation.lines[0]["text"] == "mble " or more


def test_several_pieces_that_came_again_are_doubled_too() -> None:
    lines = story()
    again = [delta | {"at": 10.21 + i / 100} for i, delta in enumerate(of(lines, "delta")[1:4])]
    assert "doubled" in {violation.rule for violation in judged([*lines, *again])}


@pytest.mark.parametrize("which", [0, 3, 6])
def test_a_piece_that_is_missing_is_named(which: int) -> None:
    lines = story()
    found = judged(without(lines, of(lines, "delta")[which]))
    rules = {violation.rule for violation in found}
    assert {"lost", "usage"} <= rules <= {"lost", "usage", "position"}


def test_two_requests_with_one_reply_are_found() -> None:
    lines = story()
    for delta in of(lines, "delta", "r5"):
        delta["reply"] = "id-r1"
    (violation,) = judged(lines)
    assert violation.rule == "another's reply"
    assert [line["request"] for line in violation.lines] == ["r1", "r5"]


def test_references_that_contradict_each_other_are_found() -> None:
    lines = story()
    lines.append(lines[1] | {"at": 0.3, "text": "Another."})
    assert "reference" in {violation.rule for violation in judged(lines)}


def test_a_run_whose_replies_are_compared_with_nothing_shows_nothing() -> None:
    lines = [line for line in story() if line.get("request") in (None, "r5")]
    assert [violation.rule for violation in judged(lines)] == ["nothing shown"]


def test_a_fault_excuses_refusals_until_all_is_whole_and_no_longer() -> None:
    late = [asked(16, "late"), said(16.1, "refused", "late", status=503, error="no ring")]
    assert [violation.rule for violation in judged([*story(), *late])] == ["refused in peace"]
    lasts = [*story(), *fault(10.5, 2)[:1]]
    assert [violation.rule for violation in judged([*lasts, *late])] == ["never whole"]


def test_a_reply_that_is_sampled_freely_may_hold_bytes_that_are_no_character() -> None:
    assert judged(changed("delta", "r5", text="\ufffd")(story())) == []


def test_time_in_which_something_is_held_broken_is_no_stall() -> None:
    lines = moved(40, 10.005, lambda line: line.get("request") not in ("r1",))(story())
    assert [line["at"] for line in lines if line["kind"] == "healed"] == [pytest.approx(50.01)]
    assert "stalled" not in {violation.rule for violation in judged(lines)}


def test_a_reply_that_is_resumed_may_go_on_and_must_not_repeat() -> None:
    lines = [*story(), said(10.05, "resumed", "r2", after=3)]
    assert judged(lines) == []


def test_every_rule_has_a_planted_violation() -> None:
    elsewhere = {"doubled", "lost"}
    assert {rule for rule, _, _ in PLANTED} | elsewhere == set(RULES)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ([], "it is empty"),
        (["{"], "line 1: not a JSON object"),
        (["[1]"], "line 1: not a JSON object"),
        (['{"at": 0, "kind": "rest", "running": 0, "queued": 0}'], "line 1: the first line"),
        (['{"at": 0, "kind": "run", "format": 2, "seed": 1}'], "format 2, need 1"),
        (['{"at": 0, "kind": "run", "seed": 1}'], "run without format"),
        (['{"at": 0, "kind": "ran"}'], "kind 'ran'; known are run"),
        (
            [
                '{"at": 2, "kind": "run", "format": 1, "seed": 1}',
                '{"at": 1, "kind": "left", "request": "r"}',
            ],
            "line 2: 1.0 s is before line 1",
        ),
    ],
)
def test_what_is_no_history_is_refused_by_line(wrong: list[str], told: str) -> None:
    with pytest.raises(BadHistory, match=told):
        read(wrong)


def test_every_kind_is_described() -> None:
    told = {line.split()[0] for line in str(history.__doc__).splitlines() if line}
    assert set(MEMBERS) <= told
