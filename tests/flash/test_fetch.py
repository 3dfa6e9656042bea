"""Downloads: continued, checked, and never used unchecked."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cards.download import TRIES, download
from cards.errors import Failed, Refused
from cards.fetch import fetch
from cards.published import by_numbers, parse_sums, published

from tests.flash.conftest import PROGRAM_FOLDER  # first: puts the program's folder on the path
from tests.flash.http_server import Files, served

CONTENT = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()

assert PROGRAM_FOLDER.is_dir()


@pytest.fixture
def files() -> Iterator[Files]:
    with served() as files:
        files.content["a.img.xz"] = CONTENT
        yield files


def test_a_download_is_kept_and_not_fetched_again(files: Files, tmp_path: Path) -> None:
    first = fetch(f"{files.url}/a.img.xz", SHA256, tmp_path)
    again = fetch(f"{files.url}/a.img.xz", SHA256, tmp_path)
    assert first.path.read_bytes() == CONTENT
    assert (first.fetched, again.fetched, again.path) == (True, False, first.path)
    assert len(files.requests) == 1


def test_a_cut_download_goes_on_where_it_was_cut(files: Files, tmp_path: Path) -> None:
    files.cuts = [300_000, 300_000]
    part = tmp_path / "part"
    download(f"{files.url}/a.img.xz", part, pause_s=0)
    assert part.read_bytes() == CONTENT
    assert [span for _, span in files.requests] == ["", "bytes=300000-", "bytes=600000-"]


def test_what_came_is_kept_for_the_next_run(files: Files, tmp_path: Path) -> None:
    files.cuts = [1000] * TRIES
    part = tmp_path / "part"
    with pytest.raises(Failed, match=rf"at {1000 * TRIES} of {len(CONTENT)} bytes.*run again"):
        download(f"{files.url}/a.img.xz", part, pause_s=0)
    download(f"{files.url}/a.img.xz", part, pause_s=0)
    assert files.requests[-1][1] == f"bytes={1000 * TRIES}-"
    assert part.read_bytes() == CONTENT


def test_a_server_without_ranges_sends_it_from_the_start(files: Files, tmp_path: Path) -> None:
    files.knows_ranges = False
    files.cuts = [300_000]
    download(f"{files.url}/a.img.xz", tmp_path / "part", pause_s=0)
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_a_partial_file_longer_than_the_image_is_begun_anew(files: Files, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(CONTENT + b"more")
    download(f"{files.url}/a.img.xz", tmp_path / "part", pause_s=0)
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_a_wrong_checksum_is_said_and_the_file_removed(files: Files, tmp_path: Path) -> None:
    with pytest.raises(Failed, match=f"came with sha256 {SHA256}, not {'0' * 64}"):
        fetch(f"{files.url}/a.img.xz", "0" * 64, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_kept_file_that_rotted_is_fetched_again(files: Files, tmp_path: Path) -> None:
    kept = fetch(f"{files.url}/a.img.xz", SHA256, tmp_path).path
    kept.write_bytes(b"rotten")
    assert fetch(f"{files.url}/a.img.xz", SHA256, tmp_path).fetched
    assert kept.read_bytes() == CONTENT


def test_the_checksum_comes_from_the_file_beside_the_image(files: Files, tmp_path: Path) -> None:
    files.content["SHA256SUMS"] = f"{SHA256} *a.img.xz\n".encode()
    assert fetch(f"{files.url}/a.img.xz", "", tmp_path).sha256 == SHA256


def test_without_a_checksum_nothing_is_fetched(files: Files, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="SHA256SUMS: the server says 404"):
        fetch(f"{files.url}/a.img.xz", "", tmp_path)
    assert [path for path, _ in files.requests] == ["/SHA256SUMS", "/a.img.xz.sha256"]


def test_a_star_takes_the_newest_release(files: Files) -> None:
    names = [f"u-24.04{point}-server+raspi.img.xz" for point in ("", ".9", ".10")]
    files.content["SHA256SUMS"] = "".join(f"{SHA256} *{name}\n" for name in names).encode()
    found = published(f"{files.url}/u-24.04*-server+raspi.img.xz")
    assert found.url == f"{files.url}/u-24.04.10-server+raspi.img.xz"
    assert sorted([names[2], names[0], names[1]], key=by_numbers) == names


def test_a_name_that_is_not_published_is_refused_with_those_that_are(files: Files) -> None:
    files.content["SHA256SUMS"] = f"{SHA256} *a.img.xz\n".encode()
    with pytest.raises(Refused, match=r"names no b\.img\.xz; it names a\.img\.xz"):
        published(f"{files.url}/b.img.xz")


def test_lines_that_are_no_checksums_are_passed_over() -> None:
    assert parse_sums(f"# note\n{SHA256}  a.img\nabc *b.img\n") == {"a.img": SHA256}


@pytest.mark.parametrize(
    ("source", "sha256", "reason"),
    [
        ("ftp://host/a.img", SHA256, "a path of this machine or an http"),
        ("/nowhere/a.img", "", "there is no image /nowhere/a.img"),
        ("http://host/*.img", SHA256, "name one image"),
        ("http://host/a.img", "abc", "64 hexadecimal digits"),
    ],
)
def test_a_bad_source_is_refused(source: str, sha256: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=reason):
        fetch(source, sha256, tmp_path)


def test_a_local_image_with_another_checksum_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.img").write_bytes(CONTENT)
    assert fetch(str(tmp_path / "a.img"), SHA256.upper(), tmp_path).sha256 == SHA256
    with pytest.raises(Refused, match="another or a damaged image"):
        fetch(str(tmp_path / "a.img"), "0" * 64, tmp_path)


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with served() as files:
        url = files.url
    with pytest.raises(Failed, match=r"cannot reach .*Connection refused"):
        fetch(f"{url}/a.img", SHA256, tmp_path)


def test_a_full_disk_is_said_before_the_download(files: Files, tmp_path: Path) -> None:
    if os.getuid():
        pytest.skip("root is missing: a small file system is mounted")
    files.content["a.img.xz"] = CONTENT * 4
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", tmp_path], check=True)
    try:
        with pytest.raises(Failed, match=r"1 MiB free and .* needs 4 MiB more"):
            fetch(f"{files.url}/a.img.xz", SHA256, tmp_path)
    finally:
        subprocess.run(["umount", tmp_path], check=True)
