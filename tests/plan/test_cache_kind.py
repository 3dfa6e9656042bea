"""Which numbers a KV cache is of: what was asked for, or what suits the boards and the model."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bramble.errors import BadInput
from bramble.export.synthetic import decoder_of
from bramble.model.manifest import LARGEST_HALF, Cut, Manifest
from bramble.plan.cache_kind import AUTO, KINDS, cache_kind, check
from bramble.plan.paper import paper_manifest


def manifest(bound: float = 100.0, half: str = "half.onnx") -> Manifest:
    decoder = decoder_of("llama-3.2-1b")
    made = paper_manifest("model", decoder.shape, decoder.is_tied, "int4")
    cut = Cut("before.onnx", "attention.onnx", "behind.onnx", "int8.onnx", half)
    parts = tuple(replace(p, cut=cut) if p.name.startswith("layer") else p for p in made.parts)
    return replace(made, parts=parts, cache_bound=bound)


@pytest.mark.parametrize(
    ("machines", "kind"),
    [
        (["aarch64"], "float16"),
        (["aarch64", "aarch64"], "float16"),
        (["x86_64"], "float32"),
        (["aarch64", "x86_64"], "float32"),
        (["riscv64"], "float32"),
    ],
)
def test_float16_where_all_boards_are_on_arm(machines: list[str], kind: str) -> None:
    assert cache_kind(manifest(), AUTO, machines) == kind


@pytest.mark.parametrize("old", [manifest(half=""), manifest(bound=40_000.0)])
def test_float32_for_a_model_that_cannot_have_float16(old: Manifest) -> None:
    assert cache_kind(old, AUTO, ["aarch64"]) == "float32"
    check(old, AUTO)
    with pytest.raises(BadInput, match="use kv_cache: float32"):
        check(old, "float16")


@pytest.mark.parametrize(("bias", "kind"), [(32.0, "float16"), (33.0, "float32")])
def test_float32_for_a_model_whose_keys_have_a_large_bias(bias: float, kind: str) -> None:
    made = replace(manifest(), key_bias=bias)
    assert cache_kind(made, AUTO, ["aarch64"]) == kind
    check(made, "float16")  # who asks for it knows better


@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
def test_what_was_asked_for_is_kept(kind: str) -> None:
    assert cache_kind(manifest(), kind, ["x86_64"]) == kind


def test_an_unknown_kind_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(BadInput, match="kv_cache is 'int2', it has to be one of auto, float32"):
        check(manifest(), "int2")
    assert KINDS == ("auto", "float32", "float16", "int8")


@pytest.mark.parametrize("times", [0.49, 0.51])
def test_half_of_float16s_range_is_kept_as_room(times: float) -> None:
    made = manifest(bound=times * LARGEST_HALF)
    assert cache_kind(made, AUTO, ["aarch64"]) == ("float16" if times < 0.5 else "float32")
