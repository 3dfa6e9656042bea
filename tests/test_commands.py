"""fetch, plan and export --embedded as a play calls them: what they print and how they end."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bramble.cli import main
from bramble.errors import BadInput
from bramble.export.api import EMBEDDED_ID, embedded_sha256
from bramble.model import manifest as manifests

from tests.web.file_server import files_below, make_model, serving

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("head")
    make_model(folder / "llama")
    return folder


@pytest.fixture(scope="module")
def url(head: Path) -> Iterator[str]:
    with serving(head) as port:
        yield f"http://127.0.0.1:{port}/files"


def fetch(url: str, head: Path, models: Path, *more: str) -> int:
    sha256 = manifests.sha256(head / "llama")
    flags = [f"--manifest-sha256={sha256}", f"--from={url}", f"--models={models}", *more]
    return main(["fetch", "llama", *flags])


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "file").touch()
    assert main(["export", "--embedded", str(tmp_path / "file" / "model")]) == 2
    sentence = f"{tmp_path}/file/model cannot be made: {tmp_path}/file is a file"
    assert capsys.readouterr().err == f"bramble export: {sentence}; choose another name\n"


def test_an_output_that_takes_nothing_ends_a_command_with_a_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-m", "bramble", "predict", "--model", "qwen3-0.6b", "--nodes"]
        done = subprocess.run([*words, "1x pi5-8gb"], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == b"bramble predict: No space left on device\n"


@pytest.mark.parametrize("listen", ["foo", ":8080", "0.0.0.0:0", "0.0.0.0:http", "0.0.0.0:65536"])
def test_web_refuses_an_address_that_is_none(listen: str, capsys: Capture) -> None:
    assert main(["web", f"--listen={listen}"]) == 2
    assert "it has to be ADDRESS:PORT" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------- fetch


def test_fetch_brings_the_asked_layers_and_the_second_time_nothing(
    head: Path, url: str, tmp_path: Path, capsys: Capture
) -> None:
    flags = ("--layers=0:2", "--embed")
    assert fetch(url, head, tmp_path, *flags) == 0
    assert "complete, 2.1 MB fetched in" in capsys.readouterr().out
    (folder,) = tmp_path.iterdir()
    names = {Path(name).stem for name in files_below(folder)}
    assert names == {"manifest", "embed", "layer-000", "layer-001"}
    assert fetch(url, head, tmp_path, *flags) == 0
    assert capsys.readouterr().out == f"nothing to fetch: {folder} has it all\n"


def test_fetch_without_parts_brings_the_whole_folder(head: Path, url: str, tmp_path: Path) -> None:
    assert fetch(url, head, tmp_path) == 0
    (folder,) = tmp_path.iterdir()
    assert files_below(folder) == files_below(head / "llama")


def test_verify_finds_what_sizes_do_not_show(
    head: Path, url: str, tmp_path: Path, capsys: Capture
) -> None:
    fetch(url, head, tmp_path)
    shard = next(tmp_path.glob("*/shards/layer-001.data"))
    shard.write_bytes(bytes(1_000_000))
    capsys.readouterr()
    assert fetch(url, head, tmp_path, "--verify") == 0
    assert "1.0 MB fetched" in capsys.readouterr().out
    assert shard.read_bytes() == (head / "llama" / "shards" / "layer-001.data").read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fetch", "--models=x"], "NAME is missing"),
        (["fetch", "llama", "--models=x", "--from=http://h/files"], "--manifest-sha256 is missing"),
        (["fetch", "--models=x", "--prune"], "--prune takes --models DIR and --keep NAME"),
        (["fetch", "llama", "--models=x", "--prune", "--keep", "y"], "--prune takes"),
    ],
)
def test_fetch_says_what_is_missing(words: list[str], message: str, capsys: Capture) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("layers", ["2", "2:1", "a:b", "-1:2", "0:0"])
def test_fetch_refuses_layers_that_are_none(
    layers: str, head: Path, url: str, tmp_path: Path, capsys: Capture
) -> None:
    assert fetch(url, head, tmp_path, f"--layers={layers}") == 2
    assert "need A:B" in capsys.readouterr().err


def test_fetch_ends_with_1_where_nobody_answers(
    head: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert fetch("http://127.0.0.1:9/files", head, tmp_path, "--patience=0") == 1
    assert "Connection refused" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------- prune


def prune(models: Path, *keep: str) -> int:
    return main(["fetch", "--prune", f"--models={models}", "--keep", *keep])


def test_prune_removes_what_nobody_keeps_and_nothing_else(
    head: Path, url: str, tmp_path: Path, capsys: Capture
) -> None:
    fetch(url, head, tmp_path)
    make_model(tmp_path / "llama", seed=1)
    make_model(tmp_path / "qwen", seed=2)
    (tmp_path / "notes").mkdir()
    (tmp_path / "elsewhere").symlink_to(head / "llama")
    sha256 = manifests.sha256(head / "llama")
    capsys.readouterr()
    assert prune(tmp_path, f"llama@{sha256}") == 0
    assert {path.name for path in tmp_path.iterdir()} == {f"llama@{sha256[:12]}", "notes"}
    assert capsys.readouterr().out.count("removed ") == 3
    assert (head / "llama" / "manifest.json").exists()
    assert prune(tmp_path, "llama") == 0
    assert capsys.readouterr().out == ""


def test_prune_removes_nothing_for_a_typing_error(tmp_path: Path, capsys: Capture) -> None:
    make_model(tmp_path / "llama")
    assert prune(tmp_path, "lama") == 2
    assert "no 'lama', so nothing was removed; it has llama" in capsys.readouterr().err
    assert (tmp_path / "llama" / "manifest.json").exists()


def test_prune_on_a_fresh_node_has_nothing_to_do(tmp_path: Path) -> None:
    assert prune(tmp_path / "models", "llama") == 0


# ------------------------------------------------------------------------------------------ plan


def test_plan_tells_programs_who_runs_and_fetches_what(head: Path, capsys: Capture) -> None:
    nodes = "--nodes=pi1=8GiB,pi2=4GiB"
    assert main(["plan", f"--model={head / 'llama'}", nodes, "--rows=4", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    manifest = manifests.read(head / "llama")
    assert document["name"] == "llama" and document["rows"] == 4
    assert document["manifest_sha256"] == manifests.sha256(head / "llama")
    first, last = document["stages"]
    assert (first["node"], first["start"], first["has_embed"]) == ("pi1", 0, True)
    assert (last["node"], last["stop"], last["has_lm_head"]) == ("pi2", 3, True)
    assert first["layers"] == f"0:{last['start']}"
    needed = {name for stage in document["stages"] for name in stage["files"]}
    assert needed == set(manifest.files)
    for stage in document["stages"]:
        sizes = [manifest.files[name].bytes for name in stage["files"]]
        assert stage["weight_bytes"] == sum(sizes)


def test_plan_shows_people_a_table_and_why(head: Path, capsys: Capture) -> None:
    words = [f"--model={head / 'llama'}", "--nodes=pi1=2MiB,pi2=8GiB", "--explain"]
    assert main(["plan", *words]) == 0
    shown = capsys.readouterr().out
    assert "pi1" in shown and "KV cache" in shown
    reads = r"pi1 runs layer 0 of 3 and the embedding; it reads [\d.]+ [kM]B for each token"
    assert re.search(reads, shown)  # as this machine's kernels pack weights
    assert "the fewest, which is the ring’s limit; were memory no limit, it would run 2" in shown


def test_plan_makes_the_rings_that_are_named_or_those_that_serve_best(
    head: Path, capsys: Capture
) -> None:
    words = ["plan", f"--model={head / 'llama'}", "--nodes=a=8GiB,b=8GiB,c=8GiB", "--json"]
    assert main([*words, "--rings=c/a,b", "--rows=4"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [ring["nodes"] for ring in document["rings"]] == [["c"], ["a", "b"]]
    parts = {s["node"]: (s["stage"], s["has_embed"], s["has_lm_head"]) for s in document["stages"]}
    assert parts == {"c": (0, True, True), "a": (0, True, False), "b": (1, False, True)}
    assert document["rows"] == 8 and document["plan_id"] is None
    assert main([*words, "--objective=throughput"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [ring["nodes"] for ring in document["rings"]] == [["a"], ["b"], ["c"]]
    assert "replicas" in document["reason"]


def test_plan_divides_layers_among_a_group_and_says_of_what_a_token_consists(
    head: Path, capsys: Capture
) -> None:
    words = ["plan", f"--model={head / 'llama'}", "--nodes=a=8GiB,b=8GiB,c=8GiB", "--rings=c+a,b"]
    assert main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [ring["nodes"] for ring in document["rings"]] == [["c+a", "b"]]
    parts = {each["node"]: (each["stage"], each["rank"]) for each in document["stages"]}
    assert parts == {"c": (0, 0), "a": (0, 1), "b": (1, 0)}
    assert main([*words, "--explain"]) == 0
    said = capsys.readouterr().out
    assert "c+a run together layers 0 to 1 of 3 and the embedding; of each layer's " in said
    assert "A token of one reply takes " in said and " ms for exchanges, " in said


def test_plan_says_why_a_model_cannot_be_divided_among_so_many(head: Path, capsys: Capture) -> None:
    nodes = [f"n{index}" for index in range(9)]
    words = ["plan", f"--model={head / 'llama'}", f"--nodes={','.join(n + '=8GiB' for n in nodes)}"]
    assert main([*words, f"--rings={'+'.join(nodes)}"]) == 2
    assert "a group of 9 members was asked for; the model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rings=a/d"], "--rings a/d: 'd' is not among --nodes a, b"),
        (["--rings=a/a"], "--rings a/a: a is named 2 times, once is allowed"),
        (["--rings=a/b", "--objective=latency"], "exclude each other"),
        (["--rings=a+b+d"], "--rings a+b+d: 'd' is not among --nodes a, b"),
        (["--rings=a+a,b"], "--rings a+a,b: a is named 2 times, once is allowed"),
        (["--rings=a+b/b"], "--rings a+b/b: b is named 2 times, once is allowed"),
        (["--rings=a+"], "--rings a+: a name is missing; need NODE, or NODE+NODE"),
        (["--rings=a//b"], "--rings a//b: a name is missing; need NODE, or NODE+NODE"),
    ],
)
def test_plan_refuses_rings_that_cannot_be(
    words: list[str], message: str, head: Path, capsys: Capture
) -> None:
    assert main(["plan", f"--model={head / 'llama'}", "--nodes=a=8GiB,b=8GiB", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ("pi1=1MiB", "pi1: layers 0–2 of llama need 0.00 GiB"),
        ("a=1GiB,b=1GiB,c=1GiB,d=1GiB", "a ring of it takes 1 to 3 stages, got 4"),
        ("pi1=8GiB,pi1=8GiB", "name each node once"),
        ("pi1=eight", "got 'pi1=eight', need NAME=MEMORY in KiB, MiB, GiB"),
        ("pi1", "need NAME=MEMORY"),
    ],
)
def test_plan_refuses_what_cannot_be(nodes: str, message: str, head: Path, capsys: Capture) -> None:
    assert main(["plan", f"--model={head / 'llama'}", f"--nodes={nodes}"]) == 2
    assert message in capsys.readouterr().err


# ---------------------------------------------------------------------------------------- export


def test_another_chat_template_is_another_embedded_model(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "a"}')
    first = embedded_sha256(tmp_path)
    assert embedded_sha256(tmp_path) == first
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "b"}')
    assert embedded_sha256(tmp_path) != first
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(BadInput, match="holds no model"):
        embedded_sha256(tmp_path)


def test_the_embedded_model_is_exported_as_bramble_run_has_it(
    tmp_path: Path, capsys: Capture
) -> None:
    assert main(["export", "--embedded", str(tmp_path / "demo")]) == 0
    manifest = manifests.read(tmp_path / "demo")
    assert (manifest.name, manifest.quantization.layers) == ("demo", "int8")
    assert manifest.source["id"] == EMBEDDED_ID
    assert re.search(
        r"peak memory .*; against the float32 original: the same most likely token at "
        r"9\d(\.\d)? % of 256 places, 0\.00\d+ nats apart\n$",
        capsys.readouterr().out,
    )
    quick = ["--quant=int4", "--no-calibration"]
    assert main(["export", "--embedded", *quick, str(tmp_path / "small")]) == 0
    assert manifests.read(tmp_path / "small").quantization.layers == "int4"
    assert main(["export", "--embedded", "--synthetic=tiny", str(tmp_path / "both")]) == 2
    assert "give one of: SOURCE DEST, --synthetic SHAPE DEST" in capsys.readouterr().err
