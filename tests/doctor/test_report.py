"""Several nodes' reports as one text: problems first, each with what to do."""

from __future__ import annotations

from typing import Any

import pytest
from bramble.doctor import report
from bramble.doctor.finding import absent, error, note, ok, warning
from bramble.doctor.report import Report, from_documents, is_healthy, lines, to_document
from bramble.errors import BadInput


def document(node: str, *findings: Any, **versions: str) -> dict[str, Any]:
    return to_document(Report(node, versions, findings))


def summed(*documents: dict[str, Any]) -> list[str]:
    return list(lines(from_documents(list(documents))))


def test_a_nodes_problems_come_first_each_with_what_to_do() -> None:
    shown = summed(
        document(
            "pi1",
            ok("swap", "swap is off"),
            absent("EEE", "ethtool is not installed"),
            warning("power", "too hot happened", "fit the cooler"),
            error("card", "I/O errors", "replace it"),
        )
    )
    assert shown == [
        "pi1: 2 problems",
        "  ERROR    card: I/O errors",
        "           → replace it",
        "  WARNING  power: too hot happened",
        "           → fit the cooler",
        "  not available here: EEE (ethtool is not installed)",
        "  well: swap",
        "all together: 1 error, 1 warning",
    ]


def test_a_node_without_a_report_is_named_with_what_to_try() -> None:
    missing = [{"node": "pi2", "missing": "unreachable"}, {"node": "pi3", "missing": "no bramble"}]
    shown = summed(*missing)
    assert shown[0] == "pi2: unreachable" and "ping pi2" in shown[1]
    assert shown[3] == "pi3: no bramble" and "site.yml --limit pi3" in shown[4]
    assert shown[-1].endswith("no report from pi2, pi3")
    assert not is_healthy(from_documents(missing))


def test_measurements_are_shown_even_where_they_are_well() -> None:
    shown = summed(document("pi1", ok("ping", "pi2 answers in 0.2 ms"), ok("disk", "50 GiB")))
    assert "  OK       ping: pi2 answers in 0.2 ms" in shown and "  well: disk" in shown


def test_long_lines_are_wrapped_below_their_beginning() -> None:
    shown = summed(document("pi1", error("card", "word " * 40, "advice " * 30)))
    assert max(map(len, shown)) <= 100
    assert shown[2].startswith("           word") and shown[5].startswith("             advice")


def test_the_probe_of_a_node_joins_its_other_findings() -> None:
    [node] = from_documents(
        [document("pi1", ok("swap", "off"), bramble="1"), document("pi1", ok("bandwidth", "940"))]
    )
    assert [finding.check for finding in node.findings] == ["swap", "bandwidth"]


def test_the_node_with_another_release_is_told_apart() -> None:
    nodes = from_documents(
        [document(name, bramble=version) for name, version in (("a", "2"), ("b", "1"), ("c", "2"))]
    )
    told = {node.name: [finding.sentence for finding in node.findings] for node in nodes}
    assert told == {"a": [], "b": ["bramble 1 here, 2 on other nodes"], "c": []}


def test_warnings_are_healthy_and_errors_are_not() -> None:
    assert is_healthy(from_documents([document("a", warning("x", "y", "z"), note("x", "y"))]))
    assert not is_healthy(from_documents([document("a", error("x", "y", "z"))]))


@pytest.mark.parametrize(
    "documents",
    [{}, [7], [{"findings": []}], [{"node": "a", "findings": [{"check": "x", "level": "bad"}]}]],
)
def test_what_is_no_report_is_bad_input(documents: Any) -> None:
    with pytest.raises(BadInput, match=r"needs? a (list|report)"):
        report.from_documents(documents)
