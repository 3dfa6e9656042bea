"""Real replies and what was asked for: some repeat much of it, others little."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def tokens_of(text: str) -> list[int]:
    """Tokens about as long as a real tokenizer's, numbered as they come."""
    known: dict[str, int] = {}
    pieces = re.findall(r" ?[^\W\d]{1,7}|\d| ?[^\w\s]+|\s+", text)
    return [known.setdefault(piece, len(known)) for piece in pieces]


def an_edit() -> tuple[str, str]:
    """Two names changed in a module. Like the others: what was asked, and the reply."""
    code = (ROOT / "service/bramble/head/draft.py").read_text()
    return code, re.sub(r"\bplace\b", "end", code).replace("newest", "latest")


def a_table_as_json() -> tuple[str, str]:
    rows = re.findall(
        r"^\| `(bramble \w+)` \| (.+) \|$", (ROOT / "docs/commands.md").read_text(), re.M
    )
    assert len(rows) > 9
    table = "\n".join(f"| {name} | {text} |" for name, text in rows)
    return table, json.dumps([{"command": name, "what": text} for name, text in rows], indent=2)


def a_summary_with_quotes() -> tuple[str, str]:
    """Paragraphs' first sentences quoted, each behind as many words of the summary's own."""
    said = (ROOT / "tests/golden/quoted.txt").read_text()
    paragraphs = said.split("\n\n")
    own = (
        "Nobody takes part by just being there. A node has to make itself known first, and has to "
        "go on doing so for as long as it lives",
        "Once all that were asked for are in place, they begin together, and whoever had begun "
        "before forgets what it knew",
        "There may also be more than a single circle, which is how copies of a small model work "
        "side by side without hindering each other",
        "The work itself comes in portions. Three kinds of them exist, depending on how many "
        "people wait and how much there is to read",
        "Numbers in front of every portion keep order. What is out of order is not an accident to "
        "be repaired, it is simply passed over",
    )
    quoted = [re.sub(r"^\*\*\w+\.\*\* ", "", each).split(". ")[0] for each in paragraphs]
    parts = [f'{ours}: "{theirs}."' for ours, theirs in zip(own, quoted, strict=True)]
    return "\n\n".join(paragraphs), "\n\n".join(parts)


def an_essay() -> tuple[str, str]:
    return "Write about the wire.", (ROOT / "service/WIRE.md").read_text()


REPEATING = {
    "an edit of code": an_edit,
    "a table as JSON": a_table_as_json,
    "a summary with quotes": a_summary_with_quotes,
}
REPLIES = REPEATING | {"an essay": an_essay}
