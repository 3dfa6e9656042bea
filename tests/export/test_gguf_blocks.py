"""Block formats: every weight is what the format's description makes of its bits, exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from bramble.export.gguf_blocks import BLOCKS, Format
from bramble.export.quantize import dequantize

FORMATS = {format.name: format for format in BLOCKS.values()}
IQ4_NL = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)

F = np.float32
Block = bytes


def half(block: Block, at: int) -> np.float32:
    return F(np.frombuffer(block[at : at + 2], np.float16)[0])


def nibble(part: bytes, i: int, half_size: int = 16) -> int:
    """Weight i of a run whose first half are the low nibbles of its bytes."""
    return part[i % half_size] >> (4 * (i // half_size)) & 15


def bit(part: bytes, i: int) -> int:
    return part[i // 8] >> (i % 8) & 1


def q4_0(block: Block) -> Iterator[np.float32]:
    return (half(block, 0) * F(nibble(block[2:], i) - 8) for i in range(32))


def q4_1(block: Block) -> Iterator[np.float32]:
    return (half(block, 0) * F(nibble(block[4:], i)) + half(block, 2) for i in range(32))


def q5_0(block: Block) -> Iterator[np.float32]:
    levels = (nibble(block[6:], i) + 16 * bit(block[2:], i) - 16 for i in range(32))
    return (half(block, 0) * F(level) for level in levels)


def q5_1(block: Block) -> Iterator[np.float32]:
    levels = (nibble(block[8:], i) + 16 * bit(block[4:], i) for i in range(32))
    return (half(block, 0) * F(level) + half(block, 2) for level in levels)


def q8_0(block: Block) -> Iterator[np.float32]:
    return (half(block, 0) * F(level) for level in np.frombuffer(block[2:], np.int8))


def iq4_nl(block: Block) -> Iterator[np.float32]:
    return (half(block, 0) * F(IQ4_NL[nibble(block[2:], i)]) for i in range(32))


def mxfp4(block: Block) -> Iterator[np.float32]:
    for i in range(32):
        code = nibble(block[1:], i)
        sign = -1 if code & 8 else 1
        yield F(sign * E2M1[code & 7] * 2.0 ** (block[0] - 127))


def six_bits(scales: bytes, j: int) -> tuple[int, int]:
    """Scale and minimum of group j of a K block."""
    if j < 4:
        return scales[j] & 63, scales[j + 4] & 63
    low, high = scales[j + 4] & 15, scales[j + 4] >> 4
    return low | scales[j - 4] >> 6 << 4, high | scales[j] >> 6 << 4


def with_minima(block: Block, level: Callable[[int, int], int]) -> Iterator[np.float32]:
    for j in range(8):
        scale, minimum = six_bits(block[4:16], j)
        step, offset = half(block, 0) * F(scale), half(block, 2) * F(minimum)
        for i in range(32):
            yield step * F(level(j, i)) - offset


def q4_k(block: Block) -> Iterator[np.float32]:
    return with_minima(block, lambda j, i: block[16 + j // 2 * 32 + i] >> 4 * (j % 2) & 15)


def q5_k(block: Block) -> Iterator[np.float32]:
    def level(j: int, i: int) -> int:
        return (block[48 + j // 2 * 32 + i] >> 4 * (j % 2) & 15) + 16 * (block[16 + i] >> j & 1)

    return with_minima(block, level)


def q6_k(block: Block) -> Iterator[np.float32]:
    for i in range(256):
        part, quarter, at = i // 128, i % 128 // 32, i % 32
        low = block[64 * part + 32 * (quarter % 2) + at] >> 4 * (quarter // 2) & 15
        high = block[128 + 32 * part + at] >> 2 * quarter & 3
        scale = np.frombuffer(block[192 + i // 16 : 193 + i // 16], np.int8)[0]
        yield half(block, 208) * F(scale) * F(low + 16 * high - 32)


READERS: dict[str, Callable[[Block], Iterator[np.float32]]] = {
    "Q4_0": q4_0,
    "Q4_1": q4_1,
    "Q5_0": q5_0,
    "Q5_1": q5_1,
    "Q8_0": q8_0,
    "IQ4_NL": iq4_nl,
    "MXFP4": mxfp4,
    "Q4_K": q4_k,
    "Q5_K": q5_k,
    "Q6_K": q6_k,
}
HALVES = {"Q4_1": (0, 2), "Q5_1": (0, 2), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}


def random_blocks(format: Format, count: int) -> np.ndarray:
    """Any bits, but float16 numbers that are finite; scales of MXFP4 that float32 has."""
    rng = np.random.default_rng(17)
    raw = rng.integers(0, 256, (count, format.block_bytes), dtype=np.uint8)
    if format.name == "BF16":
        return rng.standard_normal(count, np.float32).view(np.uint8).reshape(-1, 4)[:, 2:]
    if format.name == "MXFP4":
        raw[:, 0] = rng.integers(2, 250, count)
    else:
        for at in HALVES.get(format.name, (0,)):
            raw[:, at : at + 2] = (
                rng.standard_normal(count).astype("<f2").view(np.uint8).reshape(-1, 2)
            )
    return raw


@pytest.mark.parametrize("name", READERS)
def test_weights_are_what_their_bits_say(name: str) -> None:
    raw = random_blocks(FORMATS[name], 6)
    expected = [list(READERS[name](block.tobytes())) for block in raw]
    found = FORMATS[name].dequantize(raw.reshape(-1))
    np.testing.assert_array_equal(found.reshape(6, -1), np.array(expected, np.float32))


@pytest.mark.parametrize(
    ("name", "kind"), [(f.name, kind) for f in FORMATS.values() for kind in f.kinds]
)
def test_blocks_of_ours_hold_the_same_weights(name: str, kind: str) -> None:
    raw = random_blocks(FORMATS[name], 12).reshape(-1)
    made = FORMATS[name].quantized(raw, 3, kind)
    assert made.scales.shape == (3, 4) and made.zeros is None
    expected = FORMATS[name].dequantize(raw).reshape(3, -1)
    np.testing.assert_array_equal(dequantize(made, kind), expected)


def test_formats_that_ours_hold_unchanged_are_those_of_integers_times_a_scale() -> None:
    kept = {name: format.kinds for name, format in FORMATS.items() if format.kinds}
    assert kept == {
        "Q4_0": ("int4", "int8"),
        "Q5_0": ("int8",),
        "Q8_0": ("int8",),
        "IQ4_NL": ("int8",),
        "MXFP4": ("int8",),
    }


def test_plain_numbers_are_widened() -> None:
    values = np.array([1.5, -0.0078125, 3e4, 0], np.float32)
    assert (FORMATS["F32"].dequantize(values.view(np.uint8)) == values).all()
    halves = values.astype(np.float16)
    np.testing.assert_array_equal(FORMATS["F16"].dequantize(halves.view(np.uint8)), halves)
    upper = (values.view(np.uint32) >> 16).astype(np.uint16)
    found = FORMATS["BF16"].dequantize(upper.view(np.uint8))
    np.testing.assert_array_equal(found.view(np.uint32), upper.astype(np.uint32) << 16)
