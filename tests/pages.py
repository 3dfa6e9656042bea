"""What the pages of documentation show: code and the commands in it, links, anchors, tables."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md")))
# Where a command begins: behind a prompt, sudo, variables, a pipe or the folder of the programs
_BEFORE = r"(?:\$ )?(?:\S.*[|;&] *)?(?:\w+=\S+ )*(?:sudo )?(?:\.venv/bin/)?"


def code_of(text: str) -> Iterator[str]:
    """Yield each line of each block of code, continued lines joined, and each piece between `…`."""
    blocks = re.findall(r"(?ms)^ *```\w*\n(.*?)^ *```", text)
    for block in blocks:
        yield from block.replace("\\\n", " ").splitlines()
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^ *```.*?^ *```", "", text))


def commands_of(text: str, program: str) -> Iterator[list[str]]:
    """Yield the words behind each call of `program`, as a shell would read them."""
    for line in code_of(text):
        for part in re.split(r" && ", line):
            found = re.match(rf"{_BEFORE}{program}(?: (.*))?$", part.strip())
            if found:
                yield _words(found[1] or "")


def _words(text: str) -> list[str]:
    before_comment = re.split(r"\s#\s", text)[0].split(" | ")[0].split(" > ")[0]
    return shlex.split(before_comment.strip(), comments=True)


def links_of(text: str) -> Iterator[str]:
    """Yield the targets of links and images."""
    plain = re.sub(r"(?ms)^ *```.*?^ *```", "", text)
    yield from re.findall(r"\]\(([^)\s]+)\)", plain)


def anchors_of(text: str) -> set[str]:
    """The anchors that GitHub gives to headings."""
    headings = re.findall(r"(?m)^#+ (.+)$", re.sub(r"(?ms)^ *```.*?^ *```", "", text))
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def rows_of(text: str, heading: str) -> list[list[str]]:
    """Return the cells of the rows of the first table below a heading, without its own heads."""
    section = re.split(rf"(?m)^#+ {re.escape(heading)}$", text)[1]
    table = re.search(r"(?m)^\|.*\n\|[-:| ]+\|\n((?:\|.*\n)+)", section)
    assert table, f"no table below {heading}"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].splitlines()]
