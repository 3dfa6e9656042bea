"""What a token reads and weights take is counted as the board's processor packs them."""

from __future__ import annotations

import pytest
from bramble.export.synthetic import decoder_of
from bramble.model.manifest import BYTES_PER_WEIGHT, Manifest
from bramble.model.share import Share
from bramble.plan.cost import AARCH64, PACKED_BITS, X86_64, read_bytes, resident_bytes
from bramble.plan.paper import paper_manifest


def model(name: str, kind: str) -> Manifest:
    decoder = decoder_of(name)
    return paper_manifest(name, decoder.shape, decoder.is_tied, kind)


def whole(manifest: Manifest) -> Share:
    return Share.whole(manifest.shape, 0, manifest.shape.num_layers, True, True)


@pytest.mark.parametrize("machine", PACKED_BITS)
def test_every_quantisation_is_known_of_every_processor(machine: str) -> None:
    assert list(PACKED_BITS[machine]) == list(BYTES_PER_WEIGHT)


def test_zero_points_cost_a_pi_what_wide_blocks_save_it() -> None:
    wide, plain, half, symmetric = (
        read_bytes(made, whole(made), AARCH64)
        for made in (
            model("llama-3.2-1b", kind)
            for kind in ("int4-128", "int4", "int4-64", "int4-128-symmetric")
        )
    )
    assert wide == pytest.approx(plain, rel=0.005)
    assert symmetric < half < 0.95 * plain


def test_of_an_unknown_processor_the_files_bytes_count() -> None:
    made = model("llama-3.1-8b", "int4")
    files = made.part_bytes(*whole(made).part_names)
    assert resident_bytes(made, whole(made), "riscv64") == pytest.approx(files, rel=0.001)


@pytest.mark.parametrize(
    ("name", "kind", "mebibytes"),
    [
        ("llama-3.2-1b", "int4-128", 1027 - 38),
        ("llama-3.2-1b", "int4", 1249 - 38),
        ("llama-3.2-3b", "int4-128", 2189 - 133),
        ("llama-3.1-8b", "int4-128", 4566 - 152),
        ("llama-3.1-8b", "int4", 5837 - 152),
    ],
)
def test_resident_memory_is_enough_and_little_more(name: str, kind: str, mebibytes: int) -> None:
    """Stages with the whole model as measured on x86, without their KV cache: service/DESIGN.md."""
    made = model(name, kind)
    counted = 250 + resident_bytes(made, whole(made), X86_64) / (1 << 20)  # 250: the programs
    assert mebibytes < counted < 1.09 * mebibytes


def test_members_read_what_the_whole_reads_together() -> None:
    made = model("llama-3.2-1b", "int4-64")
    all_of_it = whole(made)
    halves = [
        Share(0, 16, False, (16 * i, 16 * i + 16), (4 * i, 4 * i + 4), (4096 * i, 4096 * i + 4096),
              (64128 * i, 64128 * i + 64128))
        for i in range(2)
    ]  # fmt: skip
    together = sum(read_bytes(made, half, AARCH64) for half in halves)
    assert together == pytest.approx(read_bytes(made, all_of_it, AARCH64))
