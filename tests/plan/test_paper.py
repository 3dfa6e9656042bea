"""A paper manifest has the sizes that an export of the shape has."""

from math import prod

import pytest
from bramble.errors import BadInput
from bramble.export.synthetic import SHAPES, decoder_of
from bramble.model.manifest import BYTES_PER_WEIGHT
from bramble.plan.paper import paper_manifest

REAL = sorted(set(SHAPES) - {"tiny"})  # of that, norms and padding are a third


@pytest.mark.parametrize("name", REAL)
def test_its_parts_weigh_what_the_exporters_tensors_do(name: str) -> None:
    decoder = decoder_of(name)
    paper = paper_manifest(name, decoder.shape, decoder.is_tied, "int4")
    tensors = {
        key: prod(size) * BYTES_PER_WEIGHT["int4"] for key, size in decoder.tensors().items()
    }
    layer = sum(size for key, size in tensors.items() if key.startswith("model.layers.0."))
    assert paper.part_bytes("layer-000") == pytest.approx(layer, rel=0.01)
    everything = paper.part_bytes(*(part.name for part in paper.parts))
    assert everything == pytest.approx(sum(tensors.values()), rel=0.01)


def test_a_tied_models_lm_head_is_its_embedding() -> None:
    decoder = decoder_of("llama-3.2-1b")
    paper = paper_manifest("tied", decoder.shape, True, "int4")
    assert paper.part_bytes("embed", "lm_head") == paper.part_bytes("embed") > 0


def test_int8_takes_1_8_times_the_room_of_int4() -> None:
    decoder = decoder_of("qwen3-4b")
    small, large = (
        paper_manifest("q", decoder.shape, True, kind).part_bytes("layer-000")
        for kind in ("int4", "int8")
    )
    assert large / small == pytest.approx(1.8)


def test_a_quantisation_that_does_not_exist_is_refused() -> None:
    with pytest.raises(
        BadInput, match="int4, int4-64, int4-128-symmetric, int4-128, int8, float32"
    ):
        paper_manifest("q", decoder_of("qwen3-4b").shape, True, "int3")
