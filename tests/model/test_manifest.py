"""The manifest: writes and reads back, and refuses what it would misread."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bramble.errors import BadInput, BadShard
from bramble.model import manifest as manifests
from bramble.model.manifest import (
    Fidelity,
    File,
    Golden,
    Manifest,
    Part,
    Quantization,
    Rope,
    Shape,
)


def example() -> Manifest:
    names = ("embed", "layer-000", "layer-001", "lm_head")
    parts = [Part(n, f"shards/{n}.onnx", (f"shards/{n}.data",)) for n in names[:-1]]
    tied = ("shards/lm_head.data", "shards/embed.data")
    files = {f"shards/{n}.{end}": File("00", 10) for n in names for end in ("onnx", "data")}
    return Manifest(
        name="m",
        architecture="LlamaForCausalLM",
        num_parameters=7,
        shape=Shape(2, 64, 96, 4, 2, 16, 160, 128),
        rope=Rope(10000.0, 16, {"rope_type": "llama3", "factor": 8.0}),
        quantization=Quantization("int4", "int8", "int8"),
        is_tied=True,
        eos_ids=(1, 2),
        bos_id=None,
        source={"kind": "folder", "id": "m", "revision": None},
        defaults={"temperature": 0.6},
        parts=(*parts, Part("lm_head", "shards/lm_head.onnx", tied)),
        files=files,
        golden=Golden((1, 2), (3,), (0.5,), ((1.0, 2.0),), 1e-3),
        fidelity=Fidelity(256, 0.02, 0.93),
    )


def test_it_reads_back_as_written(tmp_path: Path) -> None:
    written = manifests.write(example(), tmp_path)
    assert manifests.read(tmp_path) == example()
    assert manifests.sha256(tmp_path) == written


def test_a_folder_of_before_comparisons_reads(tmp_path: Path) -> None:
    manifests.write(example(), tmp_path)
    path = tmp_path / manifests.FILE_NAME
    document = json.loads(path.read_text())
    del document["fidelity"], document["seal"]
    path.write_text(json.dumps(document))
    assert manifests.read(tmp_path) == replace(example(), fidelity=None)


def test_a_shared_file_counts_once() -> None:
    assert example().part_bytes("embed") == 20
    assert example().part_bytes("embed", "lm_head") == 40
    assert example().layer_part(1).name == "layer-001"


def test_an_unknown_part_lists_the_known() -> None:
    with pytest.raises(BadInput, match=r"no part 'layer-002'; it has embed, layer-000"):
        example().layer_part(2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format=7), "format 7, this Bramble reads 2; export the model again"),
        (lambda d: d.pop("rope"), "key 'rope' is missing"),
        (lambda d: d.update(colour="red"), "unknown key 'colour'"),
        (lambda d: d["shape"].update(num_layers="two"), "num_layers: got 'two', need a int"),
        (lambda d: d["shape"].update(num_layers=3), "no part 'layer-002'"),
        (lambda d: d["shape"].update(num_kv_heads=0), "num_kv_heads is 0, need 1 or more"),
        (lambda d: d["shape"].update(num_kv_heads=3), "4 query heads do not divide among 3"),
        (lambda d: d["quantization"].update(lm_head=""), "of lm_head is '', this Bramble knows"),
        (lambda d: d["files"].pop("shards/embed.data"), "not among the files"),
        (lambda d: d["files"].update({"../x": {"sha256": "", "bytes": 0}}), "leaves the model"),
        (lambda d: d["files"].update({"/x": {"sha256": "", "bytes": 0}}), "leaves the model"),
        (lambda d: d["defaults"].update(temperature=5.0), "defaults: temperature is 5.0, need a"),
        (lambda d: d["defaults"].update(top_k="5"), "defaults: top_k is '5', need an integer"),
        (lambda d: d["defaults"].update(num_beams=4), "num_beams is no sampling default"),
    ],
)
def test_a_document_that_cannot_be_used_says_why(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    manifests.write(example(), tmp_path)
    path = tmp_path / manifests.FILE_NAME
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(BadInput, match=message):
        manifests.read(tmp_path)


def test_a_manifest_of_which_one_bit_has_changed_is_refused(tmp_path: Path) -> None:
    manifests.write(example(), tmp_path)
    path = tmp_path / manifests.FILE_NAME
    whole = path.read_bytes()
    for at in range(0, len(whole), 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 7]) + whole[at + 1 :])
        with pytest.raises(BadInput):
            manifests.read(tmp_path)
    path.write_bytes(whole)
    assert manifests.read(tmp_path) == example()


def test_a_tokenizer_of_which_one_bit_has_changed_is_refused(tmp_path: Path) -> None:
    content = b'{"model": 1}'
    file = File(hashlib.sha256(content).hexdigest(), len(content))
    manifest = replace(example(), files=example().files | {"tokenizer.json": file})
    (tmp_path / "tokenizer.json").write_bytes(content)
    manifests.verify_texts(tmp_path, manifest)
    (tmp_path / "tokenizer.json").write_bytes(content.replace(b"1", b"2"))
    with pytest.raises(BadShard, match=r"tokenizer\.json: got sha256"):
        manifests.verify_texts(tmp_path, manifest)


def test_a_folder_without_manifest_is_no_model_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is not a model folder"):
        manifests.read(tmp_path)


@pytest.mark.parametrize("content", [None, b"short", b"ten bytes!"])
def test_a_missing_short_or_altered_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    name = "shards/embed.onnx"
    (tmp_path / "shards").mkdir()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BadShard, match=r"embed\.onnx"):
        manifests.verify_file(tmp_path, name, example().files[name])
