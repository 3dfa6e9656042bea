"""The model's name on every node, and whether the head has another model under it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parent.parent / "ansible/plugins/filter/bramble_model.py"
_spec = importlib.util.spec_from_file_location("bramble_model_filter", PLUGIN)
assert _spec is not None and _spec.loader is not None
filters = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(filters)


def manifest(name: str = "qwen-int8", digest: str = "aa", **source: str) -> str:
    return json.dumps({"name": name, "source": source, "files": {"x": {"sha256": digest}}})


@pytest.mark.parametrize(
    ("model", "quantization", "name"),
    [
        ("embedded", "int4", "bramble-demo"),
        ("Qwen/Qwen2.5-0.5B", "int4", "qwen2.5-0.5b"),
        ("Qwen/Qwen2.5-0.5B", "int8", "qwen2.5-0.5b-int8"),
        ("/nowhere/Model/", "int4-128", "model-int4-128"),
    ],
)
def test_an_export_is_named_by_its_source(model: str, quantization: str, name: str) -> None:
    assert filters.model_name(model, quantization) == name


def test_a_model_folder_has_the_name_of_its_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(manifest())
    assert filters.model_name(str(tmp_path), "int4") == "qwen-int8"
    for bad in ("[]", "{", manifest("../etc"), manifest("a@b"), "{}"):
        (tmp_path / "manifest.json").write_text(bad)
        assert filters.model_name(str(tmp_path), "int4") == tmp_path.name.lower()


def test_another_export_under_the_same_name_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(manifest())
    assert filters.model_source_problem(str(tmp_path), manifest()) == ""
    assert filters.model_source_problem(str(tmp_path), "") == ""
    said = filters.model_source_problem(str(tmp_path), manifest(digest="bb"))
    assert said.startswith("the head has another export under the name qwen-int8 than")


def test_two_models_of_the_hub_with_one_name_are_told_apart() -> None:
    there = manifest("m", kind="hub", id="one/M")
    assert filters.model_source_problem("one/M", there) == ""
    said = filters.model_source_problem("two/M", there)
    assert said.startswith("the head has one/M under the name m, and bramble_model is two/M")
    assert filters.model_source_problem("embedded", there) == ""
