"""Shard files against their manifest: what is here must be sound, what is not here is no fault."""

from __future__ import annotations

from pathlib import Path

import pytest
from bramble.doctor import shards
from bramble.model import manifest as manifests
from bramble.model.manifest import File, Manifest, Part, Quantization, Rope, Shape

NAMES = ("embed", "layer-000", "lm_head")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    (folder / "shards").mkdir(parents=True)
    files = {}
    for name in NAMES:
        path = folder / f"shards/{name}.onnx"
        path.write_bytes(name.encode() * 100)
        files[f"shards/{name}.onnx"] = File(manifests.sha256_of(path), path.stat().st_size)
    manifests.write(
        Manifest(
            name="tiny",
            architecture="LlamaForCausalLM",
            num_parameters=1,
            shape=Shape(1, 4, 8, 1, 1, 4, 16, 32),
            rope=Rope(10000.0, 4),
            quantization=Quantization("int4", "int4", "int4"),
            is_tied=False,
            eos_ids=(1,),
            bos_id=None,
            source={},
            defaults={},
            parts=tuple(Part(name, f"shards/{name}.onnx", ()) for name in NAMES),
            files=files,
        ),
        folder,
    )
    return tmp_path


def examine(models: Path) -> list[tuple[str, str]]:
    folders, findings = shards.model_folders(models)
    hashed: list[str] = []
    for folder in folders:
        findings += shards.hashed(folder, lambda name, size: hashed.append(name))
        assert tuple(hashed) == folder.names
    return [(finding.level, finding.sentence) for finding in findings]


def test_sound_files_are_well_and_absent_ones_are_somebody_elses(models: Path) -> None:
    (models / "tiny/shards/lm_head.onnx").unlink()
    assert examine(models) == [("ok", "tiny: 2 of its 3 files are here, all sound")]


def test_each_damaged_file_is_an_error_of_its_own(models: Path) -> None:
    (models / "tiny/shards/embed.onnx").write_bytes(b"short")
    path = models / "tiny/shards/lm_head.onnx"
    path.write_bytes(b"X" + path.read_bytes()[1:])
    findings = examine(models)
    assert [level for level, _ in findings] == ["error", "error"]
    assert "got 5 bytes, expected 500" in findings[0][1]
    assert "lm_head.onnx: got sha256" in findings[1][1]


def test_a_manifest_that_cannot_be_read_is_an_error(models: Path) -> None:
    (models / "tiny/manifest.json").write_text("{")
    [(level, sentence)] = examine(models)
    assert level == "error" and "manifest.json cannot be read" in sentence


def test_a_folder_without_models_gets_a_note(tmp_path: Path) -> None:
    assert examine(tmp_path)[0][0] == "note"
    assert examine(tmp_path / "none")[0][1].startswith("not available here")
