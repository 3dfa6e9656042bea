"""NaN and infinity: wherever one stands, in a file or in what a model gives, export refuses it.

By the tensor's or the part's name, for every quantisation; a distance of nan can never be printed.
"""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from bramble.errors import BadInput
from bramble.export.api import Options, export
from bramble.export.fidelity import fidelity
from bramble.export.original import Original
from bramble.export.quantize import BLOCK, KINDS
from bramble.export.safetensors import Checkpoint
from bramble.export.verify import Sample, check_finite
from safetensors.numpy import save_file

GOLDEN = Path(__file__).parents[1] / "golden"
LAYER = "model.layers.1."
TENSORS = (
    "model.embed_tokens.weight",
    "model.norm.weight",
    "lm_head.weight",
    LAYER + "input_layernorm.weight",
    LAYER + "self_attn.q_proj.weight",
    LAYER + "self_attn.q_proj.bias",
    LAYER + "mlp.down_proj.weight",
)
# Bits of NaN and infinity in the formats that checkpoints have
BITS = {"F32": (0x7FC00000, 0x7F800000), "F16": (0x7E00, 0xFC00), "BF16": (0x7FC0, 0xFF80)}
TYPES = {"F32": np.dtype("<u4"), "F16": np.dtype("<u2"), "BF16": np.dtype("<u2")}
FITTING = [kind for kind in KINDS if 32 % BLOCK.get(kind, 1) == 0]  # inputs: 64 and 96


def model(folder: Path, name: str, value: float, place: int = -1) -> Path:
    """A case of that tensor with one number of one tensor replaced."""
    source = copied(folder, "llama2" if name == "lm_head.weight" else "qwen2")
    path = source / "model.safetensors"
    tensors = tensors_of(source)
    changed = tensors[name].astype(np.float32)
    changed.reshape(-1)[place] = value
    save_file(tensors | {name: changed}, path)
    return source


def copied(folder: Path, case: str) -> Path:
    return Path(shutil.copytree(GOLDEN / case, folder))


def tensors_of(folder: Path) -> dict[str, np.ndarray]:
    """All tensors of a folder as float32, whatever the file has."""
    read = Checkpoint(folder)
    return {name: read.rows(name, 0, read.shape(name)[0]) for name in read.names()}


def test_the_cases_have_every_tensor_that_is_tried() -> None:
    found = {*Checkpoint(GOLDEN / "qwen2").names(), *Checkpoint(GOLDEN / "llama2").names()}
    assert set(TENSORS) <= found


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("kind", FITTING)
def test_a_number_that_is_none_is_refused_by_its_tensors_name(
    name: str, kind: str, tmp_path: Path
) -> None:
    source = model(tmp_path / "source", name, float("nan"))
    with pytest.raises(BadInput, match=f"tensor '{name}' has numbers that are not finite"):
        export(str(source), tmp_path / "m", Options(kind))
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("dtype", BITS)
@pytest.mark.parametrize("which", [0, 1])
def test_it_is_found_in_every_format_of_weights(dtype: str, which: int, tmp_path: Path) -> None:
    """float16 overflows to infinity as a checkpoint is converted to it."""
    source = copied(tmp_path / "source", "qwen2")
    name = LAYER + "mlp.up_proj.weight"
    path = source / "model.safetensors"
    tensors = tensors_of(source)
    bits = np.zeros(tensors[name].shape, TYPES[dtype])
    bits.reshape(-1)[7] = BITS[dtype][which]
    del tensors[name]
    save_file(tensors, path)
    _append(path, name, dtype, bits)
    with pytest.raises(BadInput, match=f"tensor '{name}' has numbers that are not finite"):
        export(str(source), tmp_path / "m", Options("int8"))


def _append(path: Path, name: str, dtype: str, bits: np.ndarray) -> None:
    """Add a tensor behind the others, in a format that numpy has no name for."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header, body = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    where = [len(body), len(body) + bits.nbytes]
    header[name] = {"dtype": dtype, "shape": list(bits.shape), "data_offsets": where}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body + bits.tobytes())


@pytest.mark.parametrize("kind", FITTING)
@pytest.mark.parametrize("is_calibrated", [True, False])
def test_weights_that_overflow_are_refused_in_one_sentence(
    kind: str, is_calibrated: bool, tmp_path: Path
) -> None:
    """Every number is finite, and what the model makes of them is not: no part may be served so."""
    source = model(tmp_path / "source", LAYER + "mlp.down_proj.weight", 3e38)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BadInput, match=r"not finite|too large for"):
            options = Options(kind, is_calibrated=is_calibrated)
            export(str(_with(source, LAYER + "mlp.up_proj.weight", 3e38)), tmp_path / "m", options)
    assert not (tmp_path / "m").exists()


def _with(source: Path, name: str, value: float) -> Path:
    path = source / "model.safetensors"
    tensors = tensors_of(source)
    save_file(tensors | {name: np.full_like(tensors[name], value)}, path)
    return source


@pytest.mark.parametrize("found", [float("nan"), float("inf"), -float("inf")])
def test_a_part_that_gives_no_numbers_is_named(found: float) -> None:
    good = np.ones(3, np.float32)
    check_finite("layer-003", good, good)
    with pytest.raises(BadInput, match="the model's layer-003 gives numbers that are not finite"):
        check_finite("layer-003", good, np.array([1, found], np.float32))


def test_a_distance_that_is_none_is_not_told(tmp_path: Path) -> None:
    """Of a written model whose hidden state is broken: nan nats are no distance."""
    from bramble.export.architectures import describe
    from bramble.export.source import open_folder
    from bramble.export.tensors import fitted

    manifest = export(str(GOLDEN / "qwen2"), tmp_path / "m", Options("int8"))
    opened, _ = open_folder(GOLDEN / "qwen2")
    decoder = describe(opened.config)
    original = Original(decoder, fitted(decoder, opened.weights))
    hidden = np.full((4, decoder.shape.hidden_size), np.nan, np.float32)
    lm_head = tmp_path / "m" / manifest.part("lm_head").onnx
    with pytest.raises(BadInput, match="not finite"):
        fidelity(original, Sample((1, 2, 3, 4), [], hidden), lm_head, lambda _: None)
