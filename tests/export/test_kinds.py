"""What export is given that is no model it reads: each refusal says what it is and what would help.

From the command line, as a newcomer meets it: one sentence, exit code 2, nothing left behind.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bramble.cli import main
from bramble.export.api import Options, export
from bramble.export.safetensors import Checkpoint
from safetensors.numpy import save_file

GOLDEN = Path(__file__).parents[1] / "golden" / "llama3"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
Make = Callable[[Path], object]


def model(folder: Path, **changes: object) -> Path:
    """A folder that exports, with other keys in its config.json; `None` removes a key."""
    folder.mkdir(parents=True)
    for path in GOLDEN.iterdir():
        if path.suffix in (".json", ".safetensors"):
            shutil.copyfile(path, folder / path.name)
    config = json.loads((folder / "config.json").read_text()) | changes
    config = {key: value for key, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def files(*names: str) -> Make:
    """A folder of empty files."""

    def make(folder: Path) -> None:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()

    return make


def renamed(*names: str) -> Make:
    """A model whose weights have other names."""

    def make(folder: Path) -> None:
        model(folder)
        for name in names:
            shutil.copyfile(folder / WEIGHTS, folder / name)
        (folder / WEIGHTS).unlink()

    return make


def quantised(method: str) -> Make:
    return lambda folder: model(folder, quantization_config={"quant_method": method, "bits": 4})


def exported(folder: Path) -> None:
    export(str(GOLDEN), folder, Options("float32"))


def pointer(name: str) -> Make:
    def make(folder: Path) -> None:
        (model(folder) / name).write_text("version https://git-lfs.github.com/spec/v1\nsize 5\n")

    return make


KINDS: dict[str, tuple[Make, tuple[str, ...]]] = {
    "LoRA": (
        files("adapter_config.json", "adapter_model.safetensors", "tokenizer.json"),
        ("LoRA adapter", "merge"),
    ),
    "LoRA beside a model": (
        lambda folder: (model(folder) / "adapter_config.json").touch(),
        ("LoRA adapter", "merge"),
    ),
    "LoRA's weights alone": (files("adapter_model.safetensors"), ("LoRA", "merge")),
    "empty GGUF": (files("m-Q4_K_M.gguf", "README.md"), ("m-Q4_K_M.gguf is truncated",)),
    "no GGUF": (renamed("m.gguf"), ("m.gguf is not a GGUF file",)),
    "several GGUF": (
        files("m-Q4_0.gguf", "m-Q8_0.gguf"),
        ("m-Q4_0.gguf, m-Q8_0.gguf, which is GGUF", "give the file itself"),
    ),
    "MLX": (
        lambda folder: model(folder, quantization={"group_size": 64, "bits": 4}),
        ("quantised for MLX", "release"),
    ),
    "GPTQ": (quantised("gptq"), ("quantization_config", "'gptq'", "unquantised release")),
    "AWQ": (quantised("awq"), ("'awq'", "unquantised release")),
    "bitsandbytes": (quantised("bitsandbytes"), ("'bitsandbytes'", "unquantised")),
    "compressed-tensors": (quantised("compressed-tensors"), ("'compressed-tensors'",)),
    "fp8": (quantised("fp8"), ("'fp8'", "unquantised release")),
    "PyTorch": (renamed("pytorch_model.bin"), ("PyTorch", "safetensors", "save_pretrained")),
    "PyTorch shards": (
        renamed("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"),
        ("PyTorch", "save_pretrained"),
    ),
    "Meta": (files("consolidated.00.pth", "params.json"), ("Meta's own format", "-hf")),
    "Mistral": (renamed("consolidated.safetensors"), ("Mistral's own format", INDEX)),
    "TensorFlow": (renamed("tf_model.h5"), ("TensorFlow", "save_pretrained")),
    "Flax": (renamed("flax_model.msgpack"), ("Flax", "save_pretrained")),
    "ONNX": (files("onnx/model.onnx"), ("ONNX", "release")),
    "ONNX beside settings": (renamed("model.onnx"), ("ONNX", "release")),
    "OpenVINO": (renamed("openvino_model.bin", "openvino_model.xml"), ("OpenVINO", "release")),
    "diffusion": (files("model_index.json", "unet/x.safetensors"), ("pictures", "language model")),
    "sentence-transformers": (
        lambda folder: (model(folder) / "modules.json").write_text("[]"),
        ("embedding model", "vectors"),
    ),
    "BERT": (
        lambda folder: model(folder, architectures=["BertModel"], model_type="bert"),
        ("BertModel", "LlamaForCausalLM"),
    ),
    "no last projection": (
        lambda folder: model(folder, architectures=["LlamaModel"]),
        ("LlamaModel", "embeddings", "LlamaForCausalLM"),
    ),
    "pictures": (
        lambda folder: model(
            folder,
            architectures=["LlavaForConditionalGeneration"],
            vision_config={"hidden_size": 8},
            text_config={"hidden_size": 64},
        ),
        ("vision_config", "pictures"),
    ),
    "nested": (lambda folder: model(folder, text_config={"hidden_size": 64}), ("text_config",)),
    "unknown": (
        lambda folder: model(folder, architectures=["FooForCausalLM"], model_type="foo"),
        ("FooForCausalLM", "MistralForCausalLM"),
    ),
    "unknown type": (
        lambda folder: model(folder, architectures=None, model_type="foo"),
        ("model_type 'foo'", "mistral"),
    ),
    "neither": (
        lambda folder: model(folder, architectures=None, model_type=None),
        ("neither architectures nor model_type", "LlamaForCausalLM"),
    ),
    "several": (
        lambda folder: model(folder, architectures=["LlamaForCausalLM", "Qwen2ForCausalLM"]),
        ("architectures", "one name"),
    ),
    "contradiction": (
        lambda folder: model(folder, model_type="qwen2"),
        ("model_type is 'qwen2'", "'LlamaForCausalLM'"),
    ),
    "exported": (exported, ("exported already", "bramble run --model")),
    "settings alone": (renamed(), ("config.json and no weights", WEIGHTS)),
    "tokenizer alone": (
        files("tokenizer.json", "tokenizer_config.json"),
        ("tokenizer", "no model"),
    ),
    "weights alone": (files(WEIGHTS), ("no config.json", "copy it there")),
    "shards without an index": (
        renamed("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
        (INDEX, "download that too"),
    ),
    "empty": (lambda folder: folder.mkdir(), ("empty folder",)),
    "something else": (files("notes.txt"), ("is not a Hugging Face model folder",)),
    "folders": (lambda folder: model(folder / "inner"), ("given/inner",)),
    "a hub's cache": (
        lambda folder: model(folder / "models--a--b" / "snapshots" / "0123"),
        ("given/models--a--b/snapshots/0123",),
    ),
    "Git LFS weights": (pointer(WEIGHTS), (WEIGHTS, "git lfs pull")),
    "Git LFS tokenizer": (pointer("tokenizer.json"), ("tokenizer.json", "git lfs pull")),
    "deep nesting": (
        lambda folder: (model(folder) / "config.json").write_text("[" * 100_000),
        ("config.json cannot be read",),
    ),
    "not UTF-8": (
        lambda folder: (model(folder) / "config.json").write_bytes(b"\xff\xfe{}"),
        ("config.json cannot be read",),
    ),
    "no object": (
        lambda folder: (model(folder) / "config.json").write_text("[]"),
        ("config.json: got a list",),
    ),
}


def refused(capsys: pytest.CaptureFixture[str], source: str, dest: Path) -> str:
    """What one export prints: a sentence on standard error, and nothing else anywhere."""
    capsys.readouterr()
    code = main(["export", source, str(dest), "--quant", "float32"])
    printed = capsys.readouterr()
    assert code == 2, printed.err
    assert printed.out == "" and len(printed.err.splitlines()) == 1, printed.err
    assert not list(dest.parent.glob(f"{dest.name}*"))
    return printed.err


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_of_another_kind_is_told_for_what_it_is(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, words = KINDS[kind]
    make(tmp_path / "given")
    said = refused(capsys, str(tmp_path / "given"), tmp_path / "out")
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", ("SOURCE is empty",)),
        ("llama3.2:1b", ("Ollama", "hub id", "meta-llama/Llama-3.2-1B-Instruct")),
        ("hf.co/a/b:Q4_K_M", ("Ollama", "hub id")),
        ("https://huggingface.co/acme/tiny/tree/main", ("address", "hub id: acme/tiny")),
        ("huggingface.co/acme/tiny", ("hub id: acme/tiny",)),
        ("hf://acme/tiny", ("hub id: acme/tiny",)),
        ("https://example.org/model.zip", ("address", "OWNER/NAME")),
        ("http://[", ("no hub id",)),
        ("./nowhere", ("no such folder",)),
        ("/nowhere/at/all", ("no such folder",)),
        ("models/of/mine", ("no such folder",)),
        ("nowhere.gguf", ("no such file",)),
        ("two words", ("no hub id",)),
        ("C:\\models", ("no hub id",)),
        ("~nobody-is-called-so/m", ("no such user's folder",)),
    ],
)
def test_a_source_that_is_no_folder_and_no_hub_id_is_told_for_what_it_is(
    source: str, words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, source, tmp_path / "out")
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("m.gguf", b"GGUF\3", ("m.gguf is truncated",)),
        ("blob", b"GGUF\3", ("blob is truncated",)),
        ("m.gguf", b"PK\3\4 and more", ("m.gguf is not a GGUF file",)),
        ("model.safetensors", b"", ("one file of a model", "give the folder")),
        ("config.json", b"{}", ("one file of a model", "give the folder")),
        ("model.zip", b"PK", ("is a file", "folder")),
    ],
)
def test_a_file_is_told_for_what_it_is(
    name: str,
    content: bytes,
    words: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / name).write_bytes(content)
    said = refused(capsys, str(tmp_path / name), tmp_path / "out")
    assert all(word in said for word in words), said


def shards(folder: Path, factor: float = 1.0) -> None:
    """Write the folder's weights, times `factor`, once more: in two files and an index."""
    tensors = {name: tensor * np.float32(factor) for name, tensor in weights(folder).items()}
    names = sorted(tensors)
    cut = len(names) // 2
    weight_map = {}
    for file, some in (("a.safetensors", names[:cut]), ("b.safetensors", names[cut:])):
        save_file({name: tensors[name] for name in some}, folder / file)
        weight_map |= dict.fromkeys(some, file)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def weights(folder: Path) -> dict[str, np.ndarray]:
    """Of the folder as float32, whichever file they are in."""
    read = Checkpoint(folder)
    return {name: read.rows(name, 0, read.shape(name)[0]) for name in read.names()}


def logits(folder: Path, dest: Path) -> tuple[float, ...]:
    found = export(str(folder), dest, Options("float32")).golden
    assert found is not None
    return found.top_logits


def test_of_weights_that_are_there_twice_transformers_choice_is_read_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """transformers takes model.safetensors before an index, and reads no other file."""
    plain, twice = model(tmp_path / "plain"), model(tmp_path / "twice")
    shards(twice, factor=1.5)
    shutil.copyfile(twice / "a.safetensors", twice / "consolidated.safetensors")
    (twice / "pytorch_model.bin").touch()
    assert main(["export", str(twice), str(tmp_path / "m"), "--quant", "float32"]) == 0
    said = capsys.readouterr().err
    assert "weights twice" in said and "model.safetensors was read" in said
    assert logits(plain, tmp_path / "n") == logits(twice, tmp_path / "o")


def test_shards_that_the_index_does_not_name_are_not_read(tmp_path: Path) -> None:
    plain, sharded = model(tmp_path / "plain"), model(tmp_path / "sharded")
    shards(sharded)
    (sharded / WEIGHTS).rename(sharded / "model-00001-of-00009.safetensors")
    assert logits(plain, tmp_path / "m") == logits(sharded, tmp_path / "n")


def no_entry(index: dict[str, object], folder: Path) -> None:
    (folder / "b.safetensors").unlink()


def one_more(index: dict[str, str], folder: Path) -> None:
    index["model.layers.0.more.weight"] = "a.safetensors"


def outside(index: dict[str, str], folder: Path) -> None:
    index["model.norm.weight"] = "../a.safetensors"


def a_number(index: dict[str, object], folder: Path) -> None:
    index["model.norm.weight"] = 5


def nothing(index: dict[str, str], folder: Path) -> None:
    index.clear()


def in_both(index: dict[str, str], folder: Path) -> None:
    """Both files have all of them."""
    tensors = weights(folder)
    for name in ("a.safetensors", "b.safetensors"):
        save_file(tensors, folder / name)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (no_entry, ("b.safetensors is missing (1 of 2 weight files)", "download")),
        (one_more, ("model.layers.0.more.weight", "which no weight file has")),
        (outside, ("'../a.safetensors'", "in this folder")),
        (a_number, ("model.norm.weight", "is to be in 5")),
        (nothing, ("no weight_map",)),
        (in_both, ("is in a.safetensors too",)),
    ],
)
def test_an_index_that_contradicts_its_files_is_refused_by_name(
    edit: Callable[..., None],
    words: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = model(tmp_path / "given")
    shards(folder)
    (folder / WEIGHTS).unlink()
    index = json.loads((folder / INDEX).read_text())
    edit(index["weight_map"], folder)
    (folder / INDEX).write_text(json.dumps(index))
    said = refused(capsys, str(folder), tmp_path / "out")
    assert all(word in said for word in words), said


@pytest.mark.parametrize("changes", [{"architectures": None}, {"architectures": []}])
def test_a_model_that_only_its_model_type_names_is_exported(
    changes: dict[str, object], tmp_path: Path
) -> None:
    folder = model(tmp_path / "given", model_type="llama", **changes)
    assert export(str(folder), tmp_path / "m", Options("float32")).architecture == (
        "LlamaForCausalLM"
    )


def test_a_destination_that_would_take_something_away_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--force replaces model folders alone: no source, no home, no link, no file."""
    source = model(tmp_path / "source")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(source)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for dest, word in {
        str(source): "no model folder",
        str(tmp_path): "no model folder",
        str(tmp_path / "link"): "symbolic link",
        str(tmp_path / "dangling"): "symbolic link",
        str(tmp_path / "file"): "is a file",
        str(tmp_path / "file" / "m"): "is a file",
        ".": "names no new folder",
        "/": "names no new folder",
        "..": "names no new folder",
        "": "names no new folder",
    }.items():
        assert main(["export", str(source), dest, "--quant", "float32", "--force"]) == 2, dest
        said = capsys.readouterr().err
        assert word in said and len(said.splitlines()) == 1, said
    assert sorted(tmp_path.rglob("*")) == before
    assert main(["export", str(source), str(tmp_path / "empty"), "--force"]) == 0
