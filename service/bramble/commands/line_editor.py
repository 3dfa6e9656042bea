"""Reads lines from a terminal, where they can be edited and called back, or from a pipe, plainly.

What was typed is kept in memory alone: no history is written.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator

PROMPT = "> "
HOW_TO_END = "Ctrl-D or /quit ends"


def read_lines(completions: Iterable[str]) -> Iterator[str]:
    """Yield the lines that are not blank, up to the end of the input.

    completions  what Tab completes the beginning of a line to
    """
    keep_bad_bytes()
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield from filter(None, map(str.strip, sys.stdin))
        return
    _edit_by_readline(tuple(completions))
    was_interrupted = False
    while True:
        try:
            line = input(PROMPT).strip()
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print(f"\n{HOW_TO_END}", file=sys.stderr)
            if was_interrupted:
                return
            was_interrupted = True
            continue
        was_interrupted = False
        if line:
            yield line


def read_all() -> str:
    """Return standard input whole."""
    keep_bad_bytes()
    return sys.stdin.read()


def keep_bad_bytes() -> None:
    """Hand on bytes that are not UTF-8 for `chat.message` to refuse, whatever the locale says."""
    assert isinstance(sys.stdin, io.TextIOWrapper)
    sys.stdin.reconfigure(errors="surrogateescape")


def _edit_by_readline(completions: tuple[str, ...]) -> None:
    """Give `input` arrow keys, a history of this process, and pasted text as one line."""
    import readline  # it changes `input` for the whole process

    def complete(text: str, number: int) -> str | None:
        found = [one for one in completions if text and one.startswith(text)]
        return found[number] if number < len(found) else None

    readline.set_completer(complete)
    readline.set_completer_delims("")
    readline.parse_and_bind("tab: complete")
