"""The progress bar: drawn on the terminal of a parent, as under ansible, or not at all."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

from cards.progress import bar

from tests.flash.conftest import PROGRAM_FOLDER  # first: puts the program's folder on the path

SCRIPT = "from cards.progress import Progress\nwith Progress('writing', 100) as p: p.at(50)"


def test_the_bar_says_how_far_how_fast_and_how_long() -> None:
    assert bar("writing", 500_000_000, 1_000_000_000, 10.0) == (
        "writing  ████████████············  50%  50 MB/s  10 s left"
    )
    assert bar("fetching", 3_000_000, 0, 1.0) == "fetching  3 MB  3 MB/s"
    assert "  0%  " in bar("writing", 0, 100, 0.001)


def test_it_is_drawn_on_the_terminal_of_a_parent_in_another_session() -> None:
    child, terminal = pty.fork()
    if child == 0:
        subprocess.run([sys.executable, "-c", SCRIPT], start_new_session=True, **_captured())
        os._exit(0)
    drawn = b""
    try:
        while piece := os.read(terminal, 4096):
            drawn += piece
    except OSError:
        pass  # Linux says EIO when the other side has closed
    os.close(terminal)
    assert os.waitpid(child, 0)[1] == 0
    assert "writing" in drawn.decode()
    assert " 50%" in drawn.decode()


def test_without_a_terminal_nothing_is_printed() -> None:
    # Two forks: the parent in between has no terminal either.
    done = subprocess.run(
        ["setsid", "--wait", sys.executable, "-c", SCRIPT], start_new_session=True, **_captured()
    )
    assert done.returncode == 0
    assert done.stdout == done.stderr == b""


def _captured() -> dict[str, object]:
    return {"capture_output": True, "env": {**os.environ, "PYTHONPATH": str(PROGRAM_FOLDER)}}
