"""Whole exports: exact against transformers, complete or absent, errors in one sentence."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from bramble.errors import BadInput, BadShard, Broken
from bramble.export.api import Options, export, export_synthetic, fitting
from bramble.export.architectures import describe
from bramble.export.command import default_quantization
from bramble.export.config_file import ConfigFile
from bramble.export.synthetic import SHAPES
from bramble.model import manifest as manifests
from bramble.model.digest import error
from bramble.model.manifest import Manifest
from bramble.model.rope import tables
from bramble.model.tokenizer import Tokenizer

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = ("llama2", "llama3", "mistral", "qwen2", "qwen3")
ATOL = 1e-4  # float32 sums in another order; logits are of size 5


def verify(folder: Path, parts: list[str]) -> None:
    manifest = manifests.read(folder)
    for name in manifest.part_files(parts):
        manifests.verify_file(folder, name, manifest.files[name])


def run_model(folder: Path, manifest: Manifest, ids: np.ndarray) -> np.ndarray:
    """Logits (t, vocab) of one prefill from an empty cache."""

    def run(name: str, feed: dict[str, np.ndarray]) -> np.ndarray:
        path = folder / manifest.part(name).onnx
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return session.run(None, feed)[0]

    cos, sin = tables(manifest.rope, 128)
    shape = manifest.shape
    past = np.zeros((1, shape.num_kv_heads, 128, shape.head_dim), np.float32)
    cache = {"past_key": past, "past_value": past, "cos": cos, "sin": sin}
    cache["sequence_lengths"] = np.array([len(ids) - 1], np.int32)
    cache["total_length"] = np.array([len(ids)], np.int32)
    hidden = run("embed", {"token_ids": ids[None]})
    for index in range(shape.num_layers):
        hidden = run(manifests.layer_name(index), {"hidden": hidden, **cache})
    return run("lm_head", {"hidden": hidden[0]})


def edited(tmp_path: Path, **changes: object) -> Path:
    """A copy of the llama3 case with other keys in its config.json."""
    folder = shutil.copytree(GOLDEN / "llama3", tmp_path / "source")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


def left_behind(tmp_path: Path) -> list[str]:
    return [path.name for path in tmp_path.iterdir() if "partial" in path.name]


@pytest.mark.parametrize("case", CASES)
def test_float32_export_gives_transformers_logits(tmp_path: Path, case: str) -> None:
    manifest = export(str(GOLDEN / case), tmp_path / "m", Options("float32"))
    arrays = np.load(GOLDEN / case / "golden.npz")
    got = run_model(tmp_path / "m", manifest, arrays["prompt_0"])
    np.testing.assert_allclose(got, arrays["prefill_logits_0"], atol=ATOL)


@pytest.mark.parametrize("kinds", [("int4", "int8", "int4"), ("int8", "int4", "float32")])
def test_parts_may_differ_in_quantisation(tmp_path: Path, kinds: tuple[str, str, str]) -> None:
    manifest = export(str(GOLDEN / "llama3"), tmp_path / "m", Options(*kinds))
    assert manifest.part("lm_head").data == ("shards/lm_head.data",)
    verify(tmp_path / "m", [part.name for part in manifest.parts])


def test_inputs_that_make_no_whole_blocks_are_refused_with_what_to_do(tmp_path: Path) -> None:
    sentence = "int4-128 needs a multiple of 128 inputs, and self_attn.q_proj has 64"
    with pytest.raises(BadInput, match=sentence):
        export(str(GOLDEN / "llama3"), tmp_path / "m", Options("int4-128"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("sizes", "kind"), [((64, 128), "int4-64"), ((96, 128), "int4")])
def test_what_nobody_chose_is_a_kind_whose_blocks_divide_the_model(
    sizes: tuple[int, int], kind: str
) -> None:
    hidden, inner = sizes
    config = {**SHAPES["tiny"], "hidden_size": hidden, "intermediate_size": inner}
    chosen = Options("int4-64", is_default=True)
    assert fitting(chosen, describe(ConfigFile(config))).quantization == kind
    asked = Options("int4-64")
    assert fitting(asked, describe(ConfigFile(config))).quantization == "int4-64"


@pytest.mark.parametrize("kind", ["int4", "int8", "float32"])
def test_a_tied_table_is_stored_once(tmp_path: Path, kind: str) -> None:
    manifest = export(str(GOLDEN / "llama3"), tmp_path / "m", Options(kind))
    assert manifest.part("lm_head").data == ("shards/lm_head.data", "shards/embed.data")
    assert manifest.files["shards/lm_head.data"].bytes == 64 * 4  # the final norm alone
    both, embed = manifest.part_bytes("embed", "lm_head"), manifest.part_bytes("embed")
    assert both - embed < 4096


def test_tensors_begin_on_page_boundaries(tmp_path: Path) -> None:
    manifest = export(str(GOLDEN / "qwen2"), tmp_path / "m")
    model = onnx.load(tmp_path / "m" / manifest.layer_part(1).onnx, load_external_data=False)
    for tensor in model.graph.initializer:
        where = {entry.key: entry.value for entry in tensor.external_data}
        boundary = 4096 if int(where["length"]) >= 4096 else 64
        assert int(where["offset"]) % boundary == 0, tensor.name


def test_the_manifest_reads_back_and_an_export_repeats_exactly(tmp_path: Path) -> None:
    first = export(str(GOLDEN / "qwen3"), tmp_path / "m")
    second = export(str(GOLDEN / "qwen3"), tmp_path / "n")
    assert manifests.read(tmp_path / "m") == first
    assert replace(second, name="m") == first


def test_a_folder_is_called_what_the_caller_says(tmp_path: Path) -> None:
    options = Options(source_id="bramble-demo")
    named = export(str(GOLDEN / "llama3"), tmp_path / "named", options)
    plain = export(str(GOLDEN / "llama3"), tmp_path / "plain")
    assert (named.source["id"], plain.source["id"]) == ("bramble-demo", "llama3")


def test_golden_digests_find_another_models_layer(tmp_path: Path) -> None:
    ours = export(str(GOLDEN / "llama2"), tmp_path / "m").golden
    other = export(str(GOLDEN / "mistral"), tmp_path / "n").golden
    assert ours is not None and other is not None
    assert len(ours.digests) == 4 and len(ours.token_ids) == 24
    assert error(ours.digests[1], ours.digests[1]) == 0
    assert error(other.digests[1], ours.digests[1]) > ours.tolerance


def test_a_tampered_shard_is_named(tmp_path: Path) -> None:
    export(str(GOLDEN / "llama2"), tmp_path / "m")
    path = tmp_path / "m" / "shards" / "layer-001.data"
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)
    verify(tmp_path / "m", ["embed", "layer-000"])
    with pytest.raises(BadShard, match=r"layer-001\.data: got sha256 \w{64}, expected \w{64}"):
        verify(tmp_path / "m", ["layer-001"])


def test_an_unknown_architecture_is_refused_with_the_list(tmp_path: Path) -> None:
    source = edited(tmp_path, architectures=["GPT2LMHeadModel"])
    with pytest.raises(BadInput, match="GPT2LMHeadModel is not supported; supported are Llama"):
        export(str(source), tmp_path / "m")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 4.0}}, "rope scaling 'dynamic'"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"hidden_size": "64"}, "hidden_size is '64', need an integer"),
        ({"num_hidden_layers": 2}, "tensor 'model.layers.2"),
        ({"num_hidden_layers": 4}, "no tensor 'model.layers.3"),
        ({"intermediate_size": 128}, "config.json makes it"),
        ({"quantization_config": {"quant_method": "gptq"}}, "'gptq'.* quantised already"),
    ],
)
def test_a_config_that_cannot_be_exported_says_why(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        export(str(edited(tmp_path, **changes)), tmp_path / "m")
    assert not left_behind(tmp_path)


def test_a_missing_tokenizer_is_named_with_what_is_there_instead(tmp_path: Path) -> None:
    source = edited(tmp_path)
    (source / "tokenizer.json").rename(source / "tokenizer.model")
    with pytest.raises(BadInput, match=r"has no tokenizer\.json, only tokenizer\.model; save"):
        export(str(source), tmp_path / "m")


def test_a_generation_config_that_no_request_could_use_is_refused(tmp_path: Path) -> None:
    source = edited(tmp_path)
    (source / "generation_config.json").write_text('{"do_sample": true, "temperature": 5.0}')
    with pytest.raises(BadInput, match=r"generation_config\.json: temperature is 5\.0"):
        export(str(source), tmp_path / "m")
    assert not left_behind(tmp_path)


def test_what_the_tokenizers_files_say_reaches_the_model_folder(tmp_path: Path) -> None:
    """Named templates, an end of the tokenizer's own, and a token outside the embedding."""
    source = edited(tmp_path)
    (source / "generation_config.json").write_text('{"eos_token_id": 1, "top_k": 5}')
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "w100", "pad_token": "<p>"}
    (source / "tokenizer_config.json").write_text(json.dumps(config))
    more = source / "additional_chat_templates" / "tool_use.jinja"
    more.parent.mkdir()
    more.write_text("x")
    (source / "chat_template.jinja").write_text("{{ messages[0].content }}")
    manifest = export(str(source), tmp_path / "m", Options("float32"))
    assert (manifest.eos_ids, manifest.defaults) == ((1, 100), {"top_k": 5})
    assert "'<p>' (160)" in manifest.extra["warnings"][0]
    assert "additional_chat_templates/tool_use.jinja" in manifest.files
    assert Tokenizer(tmp_path / "m").encode_chat([{"role": "user", "content": "a"}])


def test_an_existing_folder_is_replaced_only_by_force(tmp_path: Path) -> None:
    export_synthetic("tiny", tmp_path / "m")
    (tmp_path / "m" / "old").touch()
    with pytest.raises(BadInput, match="--force"):
        export_synthetic("tiny", tmp_path / "m")
    export_synthetic("tiny", tmp_path / "m", Options(may_replace=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m"]
    assert not (tmp_path / "m" / "old").exists()


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: the same code path, no mount."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(Broken, match="disk full: "):
            export(str(GOLDEN / "llama2"), tmp_path / "m", Options("float32"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


def test_too_small_a_disk_is_told_before_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type(usage)(usage.total, usage.total, 5))
    with pytest.raises(Broken, match=r"need .* of disk, 5 B are free"):
        export_synthetic("tiny", tmp_path / "m")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    words = ["export", "--synthetic", "llama-3.2-1b", str(tmp_path / "m")]
    process = subprocess.Popen([sys.executable, "-m", "bramble.cli", *words])
    wait_for(lambda: list(tmp_path.glob("*/shards/layer-000.data")) != [])
    os.kill(process.pid, number)
    assert process.wait(20) != 0
    assert list(tmp_path.iterdir()) == []


def test_a_synthetic_model_speaks(tmp_path: Path) -> None:
    manifest = export_synthetic("tiny", tmp_path / "m", Options("float32"))
    tokenizer = Tokenizer(tmp_path / "m")
    ids = tokenizer.encode_chat([{"role": "user", "content": "hi é"}])
    assert ids[0] == manifest.bos_id and max(ids) < manifest.shape.vocab_size
    assert all(tokenizer.token_bytes(i) for i in range(manifest.shape.vocab_size))


def wait_for(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_who_names_no_kind_gets_one_that_the_machine_rounds_the_same_way_whoever_else_asks() -> (
    None
):
    """On x86-64, int4-64 of several rows has other bits than of each alone."""
    assert default_quantization("aarch64") == "int4-64"
    assert default_quantization("x86_64") == "int4"
