"""What quantisation costs: the float32 original is exact, and its distance tells kinds apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from bramble.export import sample
from bramble.export.api import EMBEDDED, Options, export, export_embedded, export_synthetic
from bramble.export.architectures import describe
from bramble.export.fidelity import compare, fidelity
from bramble.export.original import Original
from bramble.export.source import open_folder
from bramble.export.verify import Sample, golden
from bramble.model import manifest as manifests
from bramble.model.manifest import Fidelity
from bramble.model.tokenizer import Tokenizer

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = ("llama2", "llama3", "mistral", "qwen2", "qwen3")
ATOL = 1e-4  # float32 sums in another order; logits are of size 5


def original(source: Path) -> Original:
    opened, _ = open_folder(source)
    return Original(describe(opened.config), opened.weights)


def unwatched(count: int) -> None:
    pass


def read_by(folder: Path, token_ids: tuple[int, ...]) -> Sample:
    """Run a written model."""
    return golden(folder, manifests.read(folder), token_ids[:1], token_ids, unwatched)[1]


def measure(folder: Path, num_tokens: int) -> Fidelity:
    """Compare a written demonstration model, as it lies there now, with its original."""
    token_ids = tuple(Tokenizer(folder).encode(sample.TEXT)[:num_tokens])
    lm_head = folder / manifests.read(folder).part("lm_head").onnx
    return fidelity(original(EMBEDDED), read_by(folder, token_ids), lm_head, unwatched)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The demonstration model's folder by quantisation."""
    kinds = ("int8", "int4", "int4-64", "int4-128-symmetric")
    folders = {kind: tmp_path_factory.mktemp("m") / kind for kind in kinds}
    for kind, folder in folders.items():
        export_embedded(folder, Options(kind))
    return folders


@pytest.mark.parametrize("case", CASES)
def test_the_original_gives_transformers_logits(case: str) -> None:
    arrays, model, ran = np.load(GOLDEN / case / "golden.npz"), original(GOLDEN / case), []
    got = model.logits(model.hidden(tuple(arrays["prompt_0"].tolist()), ran.append))
    np.testing.assert_allclose(got, arrays["prefill_logits_0"], rtol=0, atol=ATOL)
    assert ran == [1] * 4  # the embedding and three layers


def test_layers_of_different_windows_each_have_their_own(tmp_path: Path) -> None:
    source = shutil.copytree(GOLDEN / "qwen2", tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    config |= {"use_sliding_window": True, "sliding_window": 12, "max_window_layers": 1}
    config["layer_types"] = None
    (source / "config.json").write_text(json.dumps(config))
    export(str(source), tmp_path / "m", Options("float32"))
    ids = tuple(np.load(source / "golden.npz")["prompt_0"].tolist())
    assert original(source).decoder.windows == (-1, 12, 12)
    got, want = original(source).hidden(ids, unwatched), read_by(tmp_path / "m", ids).hidden
    np.testing.assert_allclose(got, want, rtol=0, atol=ATOL)
    without = original(GOLDEN / "qwen2").hidden(ids, unwatched)
    assert np.abs(got - without).max() > 100 * ATOL


def test_fewer_bits_and_wider_blocks_are_farther_from_the_original(
    exported: dict[str, Path],
) -> None:
    found = [manifests.read(folder).fidelity for folder in exported.values()]
    divergences = [each.divergence for each in found]
    assert divergences == sorted(divergences)
    assert [each.tokens for each in found] == [256] * 4
    assert found[0].same_first > 0.95 and found[0].divergence < 0.01
    assert found[1].divergence > 10 * found[0].divergence


def test_a_row_that_came_out_as_zeros_is_seen(exported: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(exported["int8"], tmp_path / "m")
    sound = measure(folder, 64)
    path = folder / manifests.read(folder).layer_part(0).onnx
    tensors = onnx.load(path, load_external_data=False).graph.initializer
    scales = next(one for one in tensors if one.name == "mlp.down_proj.weight.scales")
    where = {entry.key: entry.value for entry in scales.external_data}
    with (path.parent / where["location"]).open("r+b") as file:
        file.seek(int(where["offset"]))
        file.write(bytes(4 * scales.dims[1]))  # of 256 rows the first one's
    assert measure(folder, 64).divergence > 4 * sound.divergence


@pytest.mark.parametrize("kinds", [("float32", "int4"), ("int4", "float32", "float32")])
def test_a_model_of_which_a_part_is_quantised_is_compared(
    kinds: tuple[str, ...], tmp_path: Path
) -> None:
    found = export(str(GOLDEN / "llama2"), tmp_path / "m", Options(*kinds)).fidelity
    assert found is not None and found.divergence > 1e-4


def test_float32_and_random_weights_are_not_compared(tmp_path: Path) -> None:
    plain = export(str(GOLDEN / "llama2"), tmp_path / "float32", Options("float32"))
    random = export_synthetic("tiny", tmp_path / "synthetic")
    assert plain.fidelity is None and random.fidelity is None


def test_a_comparison_has_a_phase_that_counts_parts(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    export(str(GOLDEN / "llama2"), tmp_path / "m", progress=lambda *step: told.append(step))
    assert [step for step in told if step[0] == "comparison"] == [
        ("comparison", done, 5) for done in range(6)
    ]


def test_divergence_is_that_of_distributions() -> None:
    random = np.random.default_rng(0)
    ours, theirs = random.normal(0, 3, (2, 5, 100)).astype(np.float32)
    theirs[0] = ours[0] + 7  # the same distribution
    p, q = (
        np.exp(x.astype(float)) / np.exp(x.astype(float)).sum(-1)[:, None] for x in (ours, theirs)
    )
    divergence, same_first = compare(ours, theirs)
    assert divergence == pytest.approx(np.sum(p * np.log(p / q)), rel=1e-5)
    assert same_first == np.sum(p.argmax(-1) == q.argmax(-1)) >= 1
