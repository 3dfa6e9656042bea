"""What is altered while it serves is found within the stated time, and nothing else is."""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from bramble.model import kept
from bramble.model.manifest import File
from bramble.stage import proof
from bramble.stage.memory import resident
from bramble.stage.proof import Proofs
from bramble.stage.scrub import PIECE_BYTES, Pace, Scrub

FAST = Pace(bytes_s=1e9, pass_s=60, rest_s=0.02, look_s=0.02, others_s=3600)
SIZE = 2 * PIECE_BYTES + 12_345


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "layer.data"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def scrub(tmp_path: Path) -> Iterator[Scrub]:
    """One that is told of no change by a file's times, as where a card rots."""
    made = Scrub(Proofs(tmp_path / "kept"), FAST, stamp=lambda path: [0, 0, 0, 0, 0])
    yield made
    made.stop()


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[Scrub]:
    """One that never reads what was not written."""
    pace = replace(FAST, rest_s=3600)
    made = Scrub(Proofs(tmp_path / "kept"), pace)
    yield made
    made.stop()


def entry(path: Path) -> dict[Path, File]:
    content = path.read_bytes()
    return {path: File(hashlib.sha256(content).hexdigest(), len(content))}


def flip(path: Path, at: int) -> None:
    """Change one bit in the file's own pages, as they are mapped."""
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def wait(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def has_passed(caplog: pytest.LogCaptureFixture) -> bool:
    return "event=scrubbed" in caplog.text


@pytest.mark.parametrize("at", [0, PIECE_BYTES - 1, PIECE_BYTES, SIZE - 1])
def test_a_bit_that_changes_under_the_same_times_is_found(
    at: int, scrub: Scrub, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    scrub.begin(entry(weights), {})
    wait(lambda: has_passed(caplog))
    assert not scrub.wrong(serving=True)
    flip(weights, at)
    wait(lambda: scrub.wrong(serving=True))
    assert scrub.wrong(serving=True)[weights].startswith("has sha256 ")
    assert not scrub.wrong(serving=False)


def test_a_file_that_was_wrong_before_its_first_pass_is_found(scrub: Scrub, weights: Path) -> None:
    right = entry(weights)
    flip(weights, 7)
    scrub.begin(right, {})
    wait(lambda: scrub.wrong(serving=True))


@pytest.mark.parametrize("change", ["flip", "cut", "longer", "replaced", "a pipe"])
def test_a_file_that_is_written_is_looked_at_at_once(
    change: str, watching: Scrub, weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    watching.begin(entry(weights), {})
    wait(lambda: has_passed(caplog))
    content = weights.read_bytes()
    if change == "flip":
        flip(weights, 5)
    elif change == "cut":
        os.truncate(weights, SIZE - 1)
    elif change == "longer":
        weights.write_bytes(content + b"x")
    elif change == "a pipe":
        os.mkfifo(tmp_path / "other")
        (tmp_path / "other").replace(weights)
    else:
        (tmp_path / "other").write_bytes(os.urandom(SIZE))
        (tmp_path / "other").replace(weights)
    wait(lambda: watching.wrong(serving=True))
    weights.unlink()
    weights.write_bytes(content)
    wait(lambda: not watching.wrong(serving=True))


def test_a_file_that_is_gone_stops_nobody_who_has_it_mapped(
    watching: Scrub, weights: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"other")
    watching.begin(entry(weights), entry(other))
    weights.unlink()
    other.unlink()
    wait(lambda: watching.wrong(serving=False) == {other: "is missing"})
    assert not watching.wrong(serving=True)


def test_a_file_that_goes_amid_a_pass_does_not_end_the_watch_over_the_others(
    tmp_path: Path,
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for path in (first, second):
        path.write_bytes(os.urandom(6 * PIECE_BYTES))
    watch = Scrub(Proofs(None), replace(FAST, bytes_s=60e6))  # a pass takes 0.2 s
    watch.begin(entry(first) | entry(second), {})
    try:
        wait(lambda: all(sheet.pieces for sheet in watch._sheets))
        first.unlink()
        wait(lambda: not watch._sheets[0].pieces)
        flip(second, 5)
        wait(lambda: second in watch.wrong(serving=True))
    finally:
        watch.stop()


def test_what_only_lies_there_is_told_apart_from_what_serves(
    watching: Scrub, weights: Path, tmp_path: Path
) -> None:
    other = tmp_path / "original.data"
    other.write_bytes(os.urandom(SIZE))
    watching.begin(entry(weights), entry(other))
    flip(other, 3)
    wait(lambda: watching.wrong(serving=False))
    assert not watching.wrong(serving=True)


def test_what_only_lies_there_is_hashed_now_and_then(tmp_path: Path, weights: Path) -> None:
    pace = replace(FAST, others_s=0.05)
    scrub = Scrub(Proofs(None), pace, stamp=lambda path: [0, 0, 0, 0, 0])
    scrub.begin({}, entry(weights))
    flip(weights, 9)
    wait(lambda: scrub.wrong(serving=False))
    scrub.stop()


def test_a_pass_takes_no_more_than_its_share_of_the_time(weights: Path) -> None:
    scrub = Scrub(Proofs(None), replace(FAST, bytes_s=SIZE / 0.4))
    started = time.monotonic()
    scrub.begin(entry(weights), {})
    wait(lambda: scrub._sheets[0].pieces)
    assert time.monotonic() - started > 0.25
    scrub.stop()


def test_many_bytes_are_read_faster_so_that_the_stated_time_holds(weights: Path) -> None:
    scrub = Scrub(Proofs(None), replace(FAST, bytes_s=1.0, pass_s=0.2))
    scrub.begin(entry(weights), {})
    wait(lambda: scrub._sheets[0].pieces, 5)
    scrub.stop()


def test_it_ends_at_once(weights: Path) -> None:
    scrub = Scrub(Proofs(None), replace(FAST, bytes_s=1.0, pass_s=3600))
    scrub.begin(entry(weights), {})
    started = time.monotonic()
    scrub.stop()
    assert time.monotonic() - started < 2


def test_a_whole_pass_vouches_for_the_next_start(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(proof, "SETTLED_S", -3600.0)
    scrub = Scrub(Proofs(tmp_path / "kept"), FAST)
    scrub.begin(entry(weights), {})
    wait(lambda: has_passed(caplog))
    scrub.stop()
    assert str(weights) in kept.read(tmp_path / "kept" / proof.FILE_NAME)


def test_pages_that_are_not_in_memory_are_told(weights: Path) -> None:
    with weights.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert not any(page & 1 for page in resident(file.fileno(), SIZE))
        file.read()
        pages = resident(file.fileno(), SIZE)
    assert len(pages) == -(-SIZE // os.sysconf("SC_PAGE_SIZE")) and all(page & 1 for page in pages)


def test_after_the_first_pass_only_what_is_mapped_stays_in_memory(
    weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    scrub = Scrub(Proofs(None), replace(FAST, rest_s=3600))
    with weights.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            assert mapped[0] is not None
            scrub.begin(entry(weights), {})
            wait(lambda: has_passed(caplog))
            pages = resident(file.fileno(), SIZE)
    scrub.stop()
    assert pages[0] & 1
    assert sum(page & 1 for page in pages) < len(pages) / 2
