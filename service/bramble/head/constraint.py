"""What a reply has to be, checked before it is accepted: a grammar that every stage can compile.

It is tried in a process of its own, which is ended if it takes too long or too much memory.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from bramble.errors import BadInput
from bramble.model.manifest import Manifest
from bramble.model.tokenizer import Tokenizer
from bramble.wire.messages import Constraint

log = logging.getLogger(__name__)

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
LOOK_S = 0.02
CHECKED = 64  # constraints whose result is remembered: a client sends the same ones every time


@dataclass(frozen=True, slots=True)
class Bounds:
    """What trying a grammar may take.

    compile_s       of processor time, for the compilation itself. 1,000 schemas of all kinds took
                    0.1 s at most, a Pi 5 three times that. The ring stands still for as long when
                    the last stage does it again
    check_s         for the whole process, which may have to wait for the processor
    resident_bytes  of that process
    """

    compile_s: float = 1.0
    check_s: float = 20.0
    resident_bytes: int = 384 << 20


BOUNDS = Bounds()


def grammar_of(
    constraint: Constraint, tokenizer: Tokenizer, manifest: Manifest, bounds: Bounds = BOUNDS
) -> str:
    """Return a constraint as a grammar for the last stage. Raises BadInput that says where and why.

    Takes the time of a Python's start, where the constraint is new.
    """
    from bramble.model.grammar import grammar_text  # 10 MB and 50 ms, once somebody asks

    param = constraint.param
    if not manifest.eos_ids:
        raise BadInput(f"{param}: {manifest.name} has no token that ends a reply", param)
    grammar = grammar_text(constraint.kind, constraint.text, param)
    names = {index: tokenizer.added.get(index, "") for index in tokenizer.special_ids}
    document: dict[str, Any] = {
        "grammar": grammar,
        "special": {i: name for i, name in names.items() if i < manifest.shape.vocab_size},
        "end_ids": manifest.eos_ids,
        "schema": json.loads(constraint.text) if constraint.kind == "json_schema" else None,
        "param": param,
    }
    problem, where = _try(json.dumps(document), param, bounds)
    if problem:
        raise BadInput(f"{where}: {problem}", where)
    return grammar


@lru_cache(CHECKED)
def _try(document: str, param: str, bounds: Bounds) -> tuple[str, str]:
    """Return what is wrong with a grammar and where; empty if nothing is.

    Raises BadInput where it took too much: a machine that had more to do may do it another time.
    """
    command = [sys.executable, "-m", "bramble.model.grammar_check"]
    with TemporaryFile() as given:
        given.write(document.encode())
        given.seek(0)
        with subprocess.Popen(
            command, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as child:
            output, excess = _watch(child, bounds)
    if not excess and child.returncode != 0:
        log.error("event=grammar_check_failed code=%d", child.returncode)
        raise BadInput(
            f"{param}: compiling it made the compiler fail (exit code {child.returncode}); "
            "simplify it, and report it if it is simple",
            param,
        )
    if not excess:
        found = json.loads(output)
        if found["compile_s"] <= bounds.compile_s:
            return found["problem"], found["where"]
        excess = f"{found['compile_s']:.1f} s of {bounds.compile_s:.0f} s"
    raise BadInput(f"{param}: compiling it takes {excess}; simplify it", param)


def _watch(child: subprocess.Popen[bytes], bounds: Bounds) -> tuple[bytes, str]:
    """Return what the process says, or what it took too much of, for which it was ended."""
    started = time.monotonic()
    while True:
        try:
            output, _ = child.communicate(timeout=LOOK_S)
            return output, ""
        except subprocess.TimeoutExpired:
            pass
        excess = ""
        if time.monotonic() - started > bounds.check_s:
            excess = f"more than {bounds.check_s:.0f} s"
        elif _resident_bytes(child.pid) > bounds.resident_bytes:
            excess = f"more than {bounds.resident_bytes >> 20} MiB"
        if excess:
            child.kill()
            return b"", excess


def _resident_bytes(pid: int) -> int:
    with suppress(OSError, IndexError):  # it has ended
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES
    return 0
