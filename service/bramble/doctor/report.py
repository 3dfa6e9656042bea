"""One node's findings as a document, and several nodes' documents as one text for a person."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

from bramble.doctor.finding import ABSENT, Finding, Level, warning, worst_first
from bramble.errors import BadInput

RELEASE = "bramble"  # the version that must be equal on all nodes
COMPARED = (RELEASE, "onnxruntime")
MEASURED = ("ping", "bandwidth")  # worth seeing even where they are well
WIDTH = 100  # of a line in a terminal, behind what Ansible puts before it
UNREACHABLE = (
    "see that its power and network lights are on and that it answers: ping {node}; then ssh to "
    "it with the inventory's user; if its address changed, correct the inventory"
)
FAILED = "run ansible-playbook site.yml --limit {node}; then look at what it says here again"


@dataclass(frozen=True, slots=True)
class Report:
    node: str
    versions: dict[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """What is known of a node after all of its examinations."""

    name: str
    versions: dict[str, str]
    findings: tuple[Finding, ...]
    missing: str = ""  # why there is no report; empty if there is one

    @property
    def problems(self) -> int:
        return sum(finding.level in ("error", "warning") for finding in self.findings)


def to_document(report: Report) -> dict[str, Any]:
    return asdict(report)


def from_documents(documents: Any) -> list[Node]:
    """Read a list of `{node, versions, findings}` or `{node, missing}`; a node may come twice.

    Raises BadInput.
    """
    if not isinstance(documents, list):
        raise BadInput(f"the summary needs a list of reports, got a {type(documents).__name__}")
    nodes: dict[str, Node] = {}
    for document in documents:
        node = _node(document)
        before = nodes.get(node.name)
        nodes[node.name] = node if before is None else _joined(before, node)
    return _compared(list(nodes.values()))


def lines(nodes: list[Node]) -> Iterator[str]:
    """Yield the summary node by node, problems first; plain text, as plays print it."""
    for node in nodes:
        yield from _node_lines(node)
    levels = [finding.level for node in nodes for finding in node.findings]
    counts = f"{_count(levels, 'error')}, {_count(levels, 'warning')}"
    missing = [node.name for node in nodes if node.missing]
    silent = f"; no report from {', '.join(missing)}" if missing else ""
    yield f"all together: {counts}{silent}"


def _count(levels: list[Level], level: Level) -> str:
    number = levels.count(level)
    return f"{number} {level}{'' if number == 1 else 's'}"


def is_healthy(nodes: list[Node]) -> bool:
    """Whether every node reported, and none an error."""
    return not any(
        node.missing or any(finding.level == "error" for finding in node.findings) for node in nodes
    )


def _node_lines(node: Node) -> Iterator[str]:
    if node.missing:
        template = UNREACHABLE if node.missing.startswith("unreachable") else FAILED
        yield f"{node.name}: {node.missing}"
        yield from _wrapped("           → ", template.format(node=node.name))
    elif not node.problems:
        yield f"{node.name}: no problem"
    else:
        yield f"{node.name}: {node.problems} problem{'s' * (node.problems > 1)}"
    absent = [finding for finding in node.findings if finding.is_absent]
    for finding in worst_first(node.findings):
        is_measured = finding.check in MEASURED
        if finding.is_absent or (finding.level == "ok" and not is_measured):
            continue
        text = f"{finding.check}: {finding.sentence}"
        yield from _wrapped(f"  {finding.level.upper():<8} ", text)
        if finding.advice:
            yield from _wrapped("           → ", finding.advice)
    if absent:
        reasons = "; ".join(f"{f.check} ({f.sentence.removeprefix(ABSENT)})" for f in absent)
        yield from _wrapped(f"  {ABSENT}", reasons)
    good = [f.check for f in node.findings if f.level == "ok" and f.check not in MEASURED]
    if good:
        yield from _wrapped("  well: ", ", ".join(dict.fromkeys(good)))


def _wrapped(head: str, text: str) -> list[str]:
    """Wrap `text` behind `head`, and below its end."""
    below = " " * min(len(head), 13)
    return textwrap.wrap(
        text, WIDTH, initial_indent=head, subsequent_indent=below, break_on_hyphens=False
    )


def _node(document: Any) -> Node:
    try:
        return Node(
            str(document["node"]),
            dict(document.get("versions", {})),
            tuple(_finding(each) for each in document.get("findings", [])),
            str(document.get("missing", "")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise BadInput(
            f"got {str(document)[:80]!r}, need a report as bramble doctor --json writes it"
        ) from problem


def _finding(document: Any) -> Finding:
    if document["level"] not in get_args(Level):
        raise ValueError(document["level"])
    texts = (str(document[key]) for key in ("sentence", "advice"))
    return Finding(str(document["check"]), document["level"], *texts)


def _joined(one: Node, other: Node) -> Node:
    findings = one.findings + other.findings
    missing = one.missing and other.missing
    return Node(one.name, one.versions | other.versions, findings, missing)


def _compared(nodes: list[Node]) -> list[Node]:
    """Add a warning to every node whose release or onnxruntime is not that of the most."""
    extra: dict[str, list[Finding]] = {node.name: [] for node in nodes}
    for name in COMPARED:
        have = {node.name: node.versions[name] for node in nodes if name in node.versions}
        counts = sorted(set(have.values()), key=list(have.values()).count, reverse=True)
        for node, version in have.items():
            if version != counts[0]:
                sentence = f"{name} {version} here, {counts[0]} on other nodes"
                extra[node].append(
                    warning("versions", sentence, "run ansible-playbook upgrade.yml")
                )
    return [
        Node(node.name, node.versions, node.findings + tuple(extra[node.name]), node.missing)
        for node in nodes
    ]
