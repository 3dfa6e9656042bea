"""What a node lacks comes once, whole and proven, over a bad network and onto a bad disk."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from bramble.errors import BadInput, BadShard, Broken, Unavailable
from bramble.model import manifest as manifests
from bramble.model import store
from bramble.model.download import Server
from bramble.model.fetch import fetch
from bramble.model.share import Share
from bramble.model.store import Wanted

from tests.web.file_server import Link, files_below, linked, make_model, serving

HEADERS = 1_000  # bytes of HTTP per answer, at most


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("head")
    make_model(folder / "llama")
    return folder


@pytest.fixture(scope="module")
def port(head: Path) -> Iterator[int]:
    with serving(head) as port:
        yield port


@pytest.fixture
def link(port: int) -> Iterator[Link]:
    with linked(Link(port)) as link:
        yield link


def silent(done: int, total: int) -> None:
    """A Progress that nobody watches."""


def wanted(head: Path, *parts: str, name: str = "llama") -> Wanted:
    return Wanted(name, manifests.sha256(head / name), parts or None)


def get(models: Path, link: Link, what: Wanted, is_suspect: bool = False) -> Path:
    return fetch(models, Server(link.url, patience_s=5), what, silent, is_suspect)


def assert_whole(folder: Path, original: Path, names: set[str]) -> None:
    assert files_below(folder) == {"manifest.json", *names}
    for name in files_below(folder):
        assert (folder / name).read_bytes() == (original / name).read_bytes()


def total_bytes(folder: Path) -> int:
    return sum((folder / name).stat().st_size for name in files_below(folder))


def test_the_files_of_the_parts_come_and_no_others(head: Path, link: Link, tmp_path: Path) -> None:
    parts = Share.uncut(1, 3, has_embed=False, has_lm_head=True).part_names
    folder = get(tmp_path, link, wanted(head, *parts))
    assert folder.name == f"llama@{manifests.sha256(head / 'llama')[:12]}"
    names = {f"shards/{n}.{e}" for n in parts for e in ("onnx", "data")}
    assert_whole(folder, head / "llama", names | {"shards/embed.data"})  # the tied embedding


def test_a_cut_connection_is_gone_on_with_and_no_byte_comes_twice(
    head: Path, link: Link, tmp_path: Path
) -> None:
    link.cuts = [300_000, 1_200_000, 1_500_000]
    folder = get(tmp_path, link, wanted(head))
    assert_whole(folder, head / "llama", set(manifests.read(folder).files))
    assert not link.cuts
    lost = 3 * 2 * HEADERS + 3 * (1 << 18)  # what a cut swallows on its way through the sockets
    assert link.passed <= total_bytes(folder) + link.answers * HEADERS + lost
    assert link.passed < 1.3 * total_bytes(folder)


def test_a_connection_that_brings_nothing_more_is_given_up_and_gone_on_with(
    head: Path, link: Link, tmp_path: Path
) -> None:
    link.stalls = [1_200_000]
    folder = fetch(tmp_path, Server(link.url), wanted(head), silent)
    assert_whole(folder, head / "llama", set(manifests.read(folder).files))
    assert link.passed < 1.2 * total_bytes(folder)


def test_an_aborted_fetch_goes_on_where_it_was(head: Path, link: Link, tmp_path: Path) -> None:
    class Abort(Exception):
        pass

    def abort(done: int, total: int) -> None:
        if done > 1_500_000:
            raise Abort

    what = wanted(head)
    with pytest.raises(Abort):
        fetch(tmp_path, Server(link.url), what, abort)
    kept = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert kept > 1_500_000 and store.find(tmp_path, what) is None
    assert any(path.suffix == ".partial" for path in tmp_path.rglob("*"))
    with linked(Link(link.port)) as again:  # the first one may still be sending
        folder = get(tmp_path, again, what)
    assert again.passed <= total_bytes(folder) - kept + again.answers * HEADERS
    assert_whole(folder, head / "llama", set(manifests.read(folder).files))


def test_what_is_here_is_not_asked_for(head: Path, link: Link, tmp_path: Path) -> None:
    folder = get(tmp_path, link, wanted(head))
    link.passed = 0
    assert get(tmp_path, link, wanted(head, "layer-001")) == folder
    assert link.passed == 0


def test_a_damaged_file_here_alone_comes_again(head: Path, link: Link, tmp_path: Path) -> None:
    folder = get(tmp_path, link, wanted(head))
    shard = folder / "shards" / "layer-001.data"
    shard.write_bytes(bytes(shard.stat().st_size))
    link.passed = 0
    assert get(tmp_path, link, wanted(head), is_suspect=True) == folder
    assert_whole(folder, head / "llama", set(manifests.read(folder).files))
    assert link.passed < shard.stat().st_size + 2 * HEADERS


def test_a_beginning_that_power_loss_spoilt_is_thrown_away(
    head: Path, link: Link, tmp_path: Path
) -> None:
    partial = tmp_path / wanted(head).folder / "shards" / "layer-001.data.partial"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(bytes(400_000))
    too_long = partial.with_name("layer-002.data.partial")
    too_long.write_bytes(bytes(2_000_000))
    folder = get(tmp_path, link, wanted(head))
    assert_whole(folder, head / "llama", set(manifests.read(folder).files))


def test_a_file_that_is_damaged_on_the_head_is_refused(tmp_path: Path) -> None:
    sha256 = make_model(tmp_path / "head" / "llama")
    shard = tmp_path / "head" / "llama" / "shards" / "layer-001.data"
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    with serving(tmp_path / "head") as port, linked(Link(port)) as link:
        with pytest.raises(BadShard, match="damaged there; export the model again"):
            get(tmp_path / "node", link, Wanted("llama", sha256))
        found = files_below(tmp_path / "node")
        assert not any("layer-001.data" in name for name in found)
        shard.write_bytes(b"short")
        with pytest.raises(BadShard, match=r"has no file .*put the model's folder there"):
            get(tmp_path / "node", link, Wanted("llama", sha256))


def test_another_export_comes_beside_the_old_one_and_shares_what_is_the_same(
    head: Path, link: Link, tmp_path: Path
) -> None:
    old = tmp_path / "node" / "llama"
    make_model(old, seed=1)
    before = {name: (old / name).read_bytes() for name in files_below(old)}
    folder = get(tmp_path / "node", link, wanted(head))
    assert {name: (old / name).read_bytes() for name in files_below(old)} == before
    assert_whole(folder, head / "llama", set(manifests.read(folder).files))
    shared = [n for n in files_below(folder) if (folder / n).stat().st_nlink == 2]
    assert sorted(shared) == ["shards/embed.data", "shards/embed.onnx"]
    assert link.passed < total_bytes(folder) - 40_000


def test_a_folder_put_there_by_hand_serves_as_it_is(head: Path, tmp_path: Path) -> None:
    sha256 = make_model(tmp_path / "llama")
    before = files_below(tmp_path)
    nowhere = Server("http://127.0.0.1:9/files", patience_s=0)
    found = fetch(tmp_path, nowhere, Wanted("llama", sha256), silent)
    assert found == tmp_path / "llama" and files_below(tmp_path) == before
    assert not list(tmp_path.glob("llama/.lock"))


def test_two_at_once_fetch_each_byte_once(head: Path, link: Link, tmp_path: Path) -> None:
    link.bytes_s = 4e6
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: get(tmp_path, link, wanted(head)), range(2)))
    assert found[0] == found[1]
    assert link.passed <= total_bytes(found[0]) + link.answers * HEADERS


def test_a_server_that_knows_no_range_is_read_from_the_beginning(
    head: Path, tmp_path: Path
) -> None:
    files = {manifests.sha256(head / "llama"): head / "llama" / "manifest.json"}
    for name, file in manifests.read(head / "llama").files.items():
        files[file.sha256] = head / "llama" / name

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = files[self.path.rpartition("/")[2]].read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    partial = tmp_path / wanted(head).folder / "shards" / "layer-001.data.partial"
    partial.parent.mkdir(parents=True)
    partial.write_bytes((head / "llama" / "shards" / "layer-001.data").read_bytes()[:400_000])
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/any/where/"
        folder = fetch(tmp_path, Server(url), wanted(head), silent)
        server.shutdown()
    assert_whole(folder, head / "llama", set(manifests.read(folder).files))


def test_a_server_that_is_not_there_is_named_after_a_while(head: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/files"
        with pytest.raises(Unavailable, match=rf"{url}: Connection refused, for 1 s; is bramble-w"):
            fetch(tmp_path, Server(url, patience_s=1), wanted(head), silent)


def test_too_little_disk_is_said_with_numbers_before_anything_comes(tmp_path: Path) -> None:
    folder = tmp_path / "head" / "llama"
    make_model(folder)
    manifest = manifests.read(folder)
    manifest.files["shards/layer-001.data"] = manifests.File("0" * 64, 1 << 60)
    sha256 = manifests.write(manifest, folder)
    message = r"need 115292\d+\.\d GB of disk, .* are free; make room"
    with (
        serving(tmp_path / "head") as port,
        linked(Link(port)) as link,
        pytest.raises(Broken, match=message),
    ):
        get(tmp_path / "node", link, Wanted("llama", sha256))
    assert [name.rpartition("/")[2] for name in files_below(tmp_path / "node")] == ["manifest.json"]


def test_a_disk_that_gets_full_leaves_no_half_file_and_the_next_call_goes_on(
    head: Path, link: Link, tmp_path: Path
) -> None:
    """The kernel refuses bytes behind 600,000 of any file, as a full disk does."""
    flags = (f"--from={link.url}", f"--models={tmp_path}")
    sha256 = manifests.sha256(head / "llama")
    result = subprocess.run(
        [sys.executable, "-m", "bramble", "fetch", "llama", f"--manifest-sha256={sha256}", *flags],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000)),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert "the disk is full; make room" in result.stderr
    folder = tmp_path / wanted(head).folder
    for name in files_below(folder):
        if not name.endswith(".partial"):
            assert (folder / name).read_bytes() == (head / "llama" / name).read_bytes()
    half = [path for path in folder.rglob("*.partial") if path.stat().st_size == 600_000]
    assert len(half) == 1
    get(tmp_path, link, wanted(head))
    assert_whole(folder, head / "llama", set(manifests.read(folder).files))


@pytest.mark.parametrize(
    ("url", "name", "sha256", "message"),
    [
        ("ftp://head/files", "llama", "0" * 64, "'ftp://head/files' is no address of files"),
        ("http://head:port/files", "llama", "0" * 64, "no address of files"),
        ("http://127.0.0.1:9/files", "../llama", "0" * 64, "'../llama' is no model's name"),
        ("http://127.0.0.1:9/files", ".", "0" * 64, "no model's name"),
        ("http://127.0.0.1:9/files", "llama", "../" * 22, "is no sha256"),
    ],
)
def test_what_cannot_be_fetched_is_said_before_anything_is_made(
    url: str, name: str, sha256: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=message):
        fetch(tmp_path, Server(url, patience_s=0), Wanted(name, sha256), silent)
    assert not list(tmp_path.iterdir())


def test_a_part_or_a_model_that_is_not_that_is_bad_input(
    head: Path, link: Link, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=r"has no part 'layer-003'; it has embed, layer-000"):
        get(tmp_path, link, wanted(head, "layer-003"))
    with pytest.raises(BadInput, match="is of model 'llama', 'qwen' was asked for"):
        get(tmp_path, link, Wanted("qwen", manifests.sha256(head / "llama")))
