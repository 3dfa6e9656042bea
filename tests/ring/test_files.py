"""Files of a running and of a stopped ring are altered: the tokens are the right ones."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.ring.conftest import Ring, greedy, running

NOTICED_S = 10.0  # a person looks on


def flip(path: Path) -> None:
    """Change one bit, and put the time of writing back."""
    stat = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 8
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def ask(ring: Ring, name: str) -> list[int]:
    return ring.generate(greedy(name, [5, 6, 7], 20))[0]


def wait(ring: Ring, condition: Callable[[], object], seconds: float = NOTICED_S) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "\n".join(ring.lines[-30:])
        ring.supervisor.tend()
        time.sleep(0.05)


def test_a_flipped_bit_in_packed_weights_is_gone_soon_whether_the_ring_runs_or_not(
    models: Path, tmp_path: Path
) -> None:
    model, packed = models / "llama3-float32", tmp_path / "packed"
    with running(model, 2, tmp_path, packed=packed) as ring:
        ring.wait_for("serving")
        wanted = ask(ring, "before")
        (copy,) = packed.rglob("layer-001.behind-*.onnx")
        right = copy.read_bytes()
        flip(copy)
        wait(ring, lambda: copy.exists() and copy.read_bytes() == right)
        ring.wait_for("serving")
        assert ask(ring, "during") == wanted
        assert not any(child.restarts for child in ring.supervisor.children)
        assert any("is made anew" in line for line in ring.lines if line.startswith("head"))
    for path in packed.rglob("layer-*"):
        flip(path)
    with running(model, 2, tmp_path, packed=packed) as ring:
        ring.wait_for("serving")
        assert ask(ring, "after") == wanted
        assert copy.read_bytes() == right
        assert not any("golden check failed" in line for line in ring.lines)


def unlink(path: Path) -> None:
    path.unlink()


def make_a_folder_of(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = (
    ("shards/layer-001.data", flip),
    ("shards/layer-001.data", make_a_folder_of),
    ("manifest.json", unlink),
)


def test_what_a_person_puts_right_is_noticed_within_seconds(models: Path, tmp_path: Path) -> None:
    model = tmp_path / "models" / "llama3-float32"
    shutil.copytree(models / "llama3-float32", model)
    with running(model, 2, tmp_path) as ring:
        ring.wait_for("serving")
        wanted = ask(ring, "before")
        for name, spoil in DAMAGES:
            path = model / name
            content = path.read_bytes()
            spoil(path)
            process = ring.child("stage-0").process
            assert process is not None
            os.kill(process.pid, signal.SIGKILL)
            document = ring.wait_for("failed")
            assert name in str(document["reason"]), document["reason"]
            if path.is_dir():
                path.rmdir()
            path.write_bytes(content)
            ring.wait_for("serving", NOTICED_S)
            assert ask(ring, spoil.__name__) == wanted
    failures = [line for line in ring.lines if "event=ring_failed" in line]
    assert len(failures) <= 6  # each trouble once, and its first words
