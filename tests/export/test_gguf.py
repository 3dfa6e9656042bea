"""GGUF files as a source: what they hold is what the folder that they were made from holds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bramble.cli import main
from bramble.errors import BadInput
from bramble.export.api import Options, export
from bramble.export.architectures import describe
from bramble.export.config_file import ConfigFile
from bramble.export.gguf import read_container
from bramble.export.gguf_blocks import BLOCKS
from bramble.export.gguf_rope import scaling
from bramble.export.gguf_source import open_gguf
from bramble.export.gguf_weights import GgufWeights, theirs
from bramble.export.graph import codes, scales
from bramble.export.quantize import Quantized, dequantize
from bramble.model.manifest import Manifest, sha256_of
from onnx import numpy_helper
from safetensors.numpy import save_file

from tests.export.gguf_files import GgufFile, converted, rope_factors
from tests.export.test_api import CASES, GOLDEN, run_model
from tests.export.test_gguf_blocks import random_blocks

EXACT = Options("float32")


def folder_of(case: str, kept: dict[str, np.ndarray], folder: Path) -> Path:
    """The golden's folder with these weights instead of its own."""
    shutil.copytree(GOLDEN / case, folder, ignore=shutil.ignore_patterns("*.safetensors*"))
    save_file(kept, folder / "model.safetensors")
    return folder


def logits(folder: Path, manifest: Manifest) -> np.ndarray:
    return run_model(folder, manifest, np.arange(3, 40, dtype=np.int32))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["F16", "Q4_0"])
def test_a_file_gives_the_logits_of_its_folder_to_the_bit(
    tmp_path: Path, case: str, kind: str
) -> None:
    file, kept = converted(GOLDEN / case, kind)
    ours = export(str(file.write(tmp_path / "m.gguf")), tmp_path / "ours", EXACT)
    theirs = export(str(folder_of(case, kept, tmp_path / "hf")), tmp_path / "theirs", EXACT)
    assert (ours.shape, ours.rope, ours.is_tied) == (theirs.shape, theirs.rope, theirs.is_tied)
    np.testing.assert_array_equal(
        logits(tmp_path / "ours", ours), logits(tmp_path / "theirs", theirs)
    )


@pytest.mark.parametrize("case", CASES)
def test_metadata_describe_the_decoder_that_config_json_does(tmp_path: Path, case: str) -> None:
    source = open_gguf(converted(GOLDEN / case)[0].write(tmp_path / "m.gguf"))
    document = json.loads((GOLDEN / case / "config.json").read_text())
    assert describe(source.config) == describe(ConfigFile(document))


@pytest.mark.parametrize("kind", ["F32", "Q8_0"])
def test_any_rows_of_a_reordered_matrix_are_read_alone(tmp_path: Path, kind: str) -> None:
    file, kept = converted(GOLDEN / "llama3", kind)
    weights = open_gguf(file.write(tmp_path / "m.gguf")).weights
    for name, values in kept.items():
        for start, stop in ((0, len(values)), (3, 4), (7, 41)):
            found = weights.rows(name, start, min(stop, len(values)))
            np.testing.assert_array_equal(found, values[start:stop])


@pytest.mark.parametrize(("kind", "ours"), [("Q4_0", "int4"), ("Q8_0", "int8")])
@pytest.mark.parametrize("case", ["llama3", "qwen2"])
def test_blocks_are_kept_unchanged_where_nobody_chose_another_kind(
    tmp_path: Path, case: str, kind: str, ours: str
) -> None:
    file, kept = converted(GOLDEN / case, kind)
    options = Options("int4-64", is_default=True)
    manifest = export(str(file.write(tmp_path / "m.gguf")), tmp_path / "m", options)
    assert manifest.quantization.layers == manifest.quantization.embed == ours
    assert manifest.extra["notes"] == [
        f"matrices of the source: 22 in {kind} kept unchanged as {ours}"
    ]
    for matrix in ("self_attn.q_proj", "mlp.down_proj"):
        stored = written(tmp_path / "m", manifest, f"{matrix}.weight", ours)
        np.testing.assert_array_equal(stored, kept[f"model.layers.1.{matrix}.weight"])


def written(folder: Path, manifest: Manifest, name: str, kind: str) -> np.ndarray:
    """A matrix of layer 1 as the model folder has it, in float32."""
    model = onnx.load(folder / manifest.layer_part(1).onnx)
    found = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    return dequantize(Quantized(found[codes(name)], found[scales(name)], None), kind)


def test_a_folder_that_holds_one_file_stands_for_it(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    converted(GOLDEN / "qwen3")[0].write(tmp_path / "folder" / "m.gguf")
    (tmp_path / "folder" / "mmproj-m.gguf").touch()
    manifest = export(str(tmp_path / "folder"), tmp_path / "m", EXACT)
    assert manifest.source["id"] == "m.gguf"


def test_the_command_says_what_it_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = converted(GOLDEN / "qwen2", "Q8_0")[0].write(tmp_path / "m.gguf")
    assert main(["export", str(path), str(tmp_path / "m")]) == 0
    printed = capsys.readouterr()
    assert "22 in Q8_0 kept unchanged as int8" in printed.err and ", int8, " in printed.out


def test_blocks_that_a_chosen_kind_cannot_hold_are_rounded_again_and_told(tmp_path: Path) -> None:
    file, _ = converted(GOLDEN / "qwen2", "Q8_0")
    manifest = export(str(file.write(tmp_path / "m.gguf")), tmp_path / "m", Options("int4"))
    assert manifest.extra["notes"] == [
        "matrices of the source: 22 in Q8_0 rounded again to int4; "
        "rounding twice costs quality, least in --quant int8"
    ]


def test_a_table_is_never_coarser_than_the_file_has_it(tmp_path: Path) -> None:
    file, _ = converted(GOLDEN / "qwen2", "Q4_0")
    file.tensors["token_embd.weight"] = converted(GOLDEN / "qwen2", "Q8_0")[0].tensors[
        "token_embd.weight"
    ]
    options = Options("int4-64", is_default=True)
    manifest = export(str(file.write(tmp_path / "m.gguf")), tmp_path / "m", options)
    kinds = manifest.quantization
    assert (kinds.layers, kinds.embed, kinds.lm_head) == ("int4", "int8", "int8")


def test_a_model_folder_says_which_file_it_was_made_from(tmp_path: Path) -> None:
    path = converted(GOLDEN / "qwen3")[0].write(tmp_path / "m.gguf")
    manifest = export(str(path), tmp_path / "m", EXACT)
    expected = {"kind": "gguf", "id": "m.gguf", "revision": sha256_of(path), "license": "mit"}
    assert manifest.source == expected
    assert manifest.eos_ids == (1,) and manifest.bos_id == 0


def edited(changes: dict[str, Any]) -> GgufFile:
    """qwen3's file with other metadata; None removes a key."""
    file, _ = converted(GOLDEN / "qwen3")
    changed = file.metadata | changes
    file.metadata = {key: value for key, value in changed.items() if value is not None}
    return file


HARMLESS: list[dict[str, Any]] = [
    {"general.quantized_by": "somebody", "mradermacher.quantize_version": 2},
    {"quantize.imatrix.file": "imatrix.dat"},
    {"qwen3.expert_count": 0, "qwen3.attention.causal": True},
    {"qwen3.attention.head_count": [4, 4, 4], "qwen3.feed_forward_length": [96, 96, 96]},
    {"qwen3.attention.sliding_window": 0},
    {"qwen3.rope.scaling.type": "none", "qwen3.rope.scaling.factor": 4.0},
    {"general.sampling.xtc_probability": 0.0, "general.sampling.sequence": "tkp"},
]


@pytest.mark.parametrize("changes", HARMLESS)
def test_keys_that_change_nothing_change_nothing(tmp_path: Path, changes: dict[str, Any]) -> None:
    plain = open_gguf(edited({}).write(tmp_path / "plain.gguf"))
    source = open_gguf(edited(changes).write(tmp_path / "m.gguf"))
    assert (source.config, source.texts) == (plain.config, plain.texts)


OBEYED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"qwen3.rope.freq_base": 1e6}, {"rope_theta": 1e6}),
    ({"qwen3.rope.freq_base": None}, {"rope_theta": 1e4}),
    ({"qwen3.context_length": 77}, {"max_position_embeddings": 77}),
    ({"qwen3.attention.layer_norm_rms_epsilon": 1e-5}, {"rms_norm_eps": 1e-5}),
    (
        {"qwen3.rope.scaling.type": "linear", "qwen3.rope.scaling.factor": 2.0},
        {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
    ),
    (
        {
            "qwen3.rope.scaling.type": "yarn",
            "qwen3.rope.scaling.factor": 4.0,
            "qwen3.rope.scaling.original_context_length": 32,
            "qwen3.rope.scaling.yarn_beta_fast": 16.0,
        },
        {
            "rope_scaling": {
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 32,
                "beta_fast": 16.0,
            }
        },
    ),
]


@pytest.mark.parametrize(("changes", "config"), OBEYED)
def test_keys_that_change_the_model_are_obeyed(
    tmp_path: Path, changes: dict[str, Any], config: dict[str, Any]
) -> None:
    found = open_gguf(edited(changes).write(tmp_path / "m.gguf")).config.document
    assert {key: found[key] for key in config} == config


def test_sampling_defaults_become_the_models(tmp_path: Path) -> None:
    changes = {"general.sampling.temp": 0.6, "general.sampling.top_k": 20}
    found = open_gguf(edited(changes).write(tmp_path / "m.gguf")).generation.document
    assert (found["temperature"], found["top_k"], found["do_sample"]) == (0.6, 20, True)


LONG = "x" * 100_000
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"general.architecture": "qwen3moe"}, "general.architecture 'qwen3moe' is not supported"),
    ({"general.architecture": None}, "general.architecture is missing"),
    ({"general.type": "mmproj"}, "general.type is 'mmproj'"),
    ({"general.type": "adapter"}, "general.type is 'adapter'"),
    ({"split.count": 3}, "is one of 3 files"),
    ({"general.quantization_version": 1}, "general.quantization_version is 1, need 2"),
    ({"qwen3.block_count": None}, r"qwen3\.block_count is missing"),
    ({"qwen3.block_count": 0}, r"qwen3\.block_count is 0, need 1 to"),
    ({"qwen3.block_count": "3"}, r"qwen3\.block_count is '3', need an integer"),
    ({"qwen3.block_count": 4}, r"no tensor 'model\.layers\.3\.input_layernorm\.weight'"),
    ({"qwen3.block_count": 2}, r"tensor 'model\.layers\.2\..* does not belong to"),
    ({"qwen3.embedding_length": 128}, "config.json makes it"),
    ({"qwen3.expert_count": 8}, r"qwen3\.expert_count is 8, need 0"),
    ({"qwen3.attention.causal": False}, r"qwen3\.attention\.causal is false, need true"),
    ({"qwen3.attention.sliding_window": 16}, r"sliding_window is 16, need 0"),
    ({"qwen3.attention.value_length": 16}, r"attention\.value_length is 16, need 32"),
    ({"qwen3.rope.dimension_count": 16}, r"rope\.dimension_count is 16, need 32"),
    ({"qwen3.feed_forward_length": [96, 96, 64]}, "one count for all layers"),
    ({"qwen3.vocab_size": 99}, r"vocab_size is 99, need 160"),
    ({"qwen3.rope.scaling.type": "longrope"}, r"type is 'longrope', need none, linear or yarn"),
    ({"qwen3.rope.scaling.yarn_log_multiplier": 0.1}, r"yarn_log_multiplier is 0\.1"),
    ({"qwen3.attention.softcap": 3.0}, r"qwen3\.attention\.softcap is 3\.0, a setting that"),
    ({"general.sampling.temp": "hot"}, r"general\.sampling\.temp is 'hot', need a number"),
    ({"general.sampling.mirostat": 2}, r"general\.sampling\.mirostat is 2, which is not"),
    ({"tokenizer.ggml.pre": "qwen9"}, r"pre 'qwen9' is not known"),
    ({"tokenizer.ggml.pre": None}, r"has no tokenizer\.ggml\.pre"),
    ({"tokenizer.ggml.model": "t5"}, r"model 't5' is not supported"),
    ({"tokenizer.ggml.add_eos_token": True}, r"add_eos_token is true, need false"),
    ({"tokenizer.ggml.eos_token_id": 160}, r"eos_token_id is 160, need the id of a token in use"),
    ({"tokenizer.ggml.eos_token_id": -1}, r"eos_token_id is -1, need the id of a token in use"),
    ({"tokenizer.ggml.precompiled_charsmap": "x"}, r"precompiled_charsmap is 'x', a setting"),
    ({"tokenizer.ggml.tokens": ["a", "b"]}, "tokens has 2 entries and .* 160"),
    ({"tokenizer.ggml.tokens": ["a"] * 160}, "'a' is token 0 and 1"),
    ({"tokenizer.ggml.token_type": [9] * 160}, "token 0 is of type 9"),
    ({"tokenizer.ggml.merges": ["ab"]}, "merges has 'ab', need two tokens"),
    ({"general.architecture": LONG}, "general.architecture 'xxx"),
    ({"general.type": LONG}, "general.type is 'xxx"),
    ({"tokenizer.ggml.pre": LONG}, "pre 'xxx"),
    ({"tokenizer.ggml.model": LONG}, "model 'xxx"),
    ({"tokenizer.ggml.merges": [LONG]}, "merges has 'xxx"),
    ({"tokenizer.ggml.tokens": [LONG] * 160}, "'xxx.* is token 0 and 1"),
    ({LONG: "y"}, "a key takes 100000 bytes, need 1024 at most"),
    ({"tokenizer.rwkv.world": "y"}, r"tokenizer\.rwkv\.world is a setting that is not known"),
    ({"tokenizer.chat_template.a.b": "y"}, "is no chat template"),
    ({"tokenizer.chat_template.../x": "y"}, "is no chat template"),
]


@pytest.mark.parametrize(("changes", "sentence"), REFUSED)
def test_what_is_not_computed_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    path = edited(changes).write(tmp_path / "m.gguf")
    with pytest.raises(BadInput, match=sentence) as caught:
        export(str(path), tmp_path / "out", EXACT)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert not (tmp_path / "out").exists()


def test_a_tensor_that_is_none_of_the_decoders_is_refused_by_name(tmp_path: Path) -> None:
    file = edited({})
    file.tensors["blk.0.ffn_gate_exps.weight"] = ("F32", (2, 2, 2), bytes(32))
    with pytest.raises(BadInput, match=r"tensor 'blk\.0\.ffn_gate_exps\.weight' does not belong"):
        open_gguf(file.write(tmp_path / "m.gguf"))


def test_rope_factors_that_are_no_scaling_of_llama3_are_refused(tmp_path: Path) -> None:
    file, _ = converted(GOLDEN / "llama3")
    factors = np.array([1, 1, 2, 3, 4, 5, 6, 7], np.float32)
    file.tensors["rope_freqs.weight"] = ("F32", (8,), factors.tobytes())
    with pytest.raises(BadInput, match=r"'rope_freqs\.weight' is not the table of Llama 3"):
        open_gguf(file.write(tmp_path / "m.gguf"))


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_published_llamas_scaling_is_found_from_its_table(factor: float) -> None:
    published = {"rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0}
    published |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    size = 64 if factor == 32 else 128
    factors = rope_factors({"head_dim": size, "rope_parameters": published | {"rope_theta": 5e5}})
    found = scaling(ConfigFile({}, "llama."), 5e5, size, factors)
    assert found == published


def test_weights_that_are_not_finite_are_refused_by_the_files_name_of_them(tmp_path: Path) -> None:
    file, _ = converted(GOLDEN / "qwen3", "F32")
    kind, shape, raw = file.tensors["blk.1.ffn_up.weight"]
    file.tensors["blk.1.ffn_up.weight"] = (kind, shape, b"\0\0\xc0\x7f" + raw[4:])
    with pytest.raises(BadInput, match=r"tensor 'blk\.1\.ffn_up\.weight' has numbers that are not"):
        export(str(file.write(tmp_path / "m.gguf")), tmp_path / "out", EXACT)


@pytest.mark.parametrize("kind", ["Q4_K", "Q5_K", "Q6_K", "Q4_1", "Q5_1", "MXFP4", "BF16"])
def test_rows_of_any_format_are_put_back_in_order(tmp_path: Path, kind: str) -> None:
    file = converted(GOLDEN / "llama3")[0]
    used = next(each for each in BLOCKS.values() if each.name == kind)
    raw = random_blocks(used, 64 * 256 // used.block)
    whole = used.dequantize(raw.reshape(-1)).reshape(4, 8, 2, 256)  # heads of 16 rows, in pairs
    file.tensors["blk.0.attn_q.weight"] = (kind, (64, 256), raw.tobytes())
    weights = gguf_weights(file.write(tmp_path / "m.gguf"))
    found = weights.rows("model.layers.0.self_attn.q_proj.weight", 5, 62)
    np.testing.assert_array_equal(found, whole.swapaxes(1, 2).reshape(64, 256)[5:62])


def gguf_weights(path: Path) -> GgufWeights:
    container = read_container(path)
    return GgufWeights(container, theirs(container.tensors), {"q_proj": 4, "k_proj": 2})
