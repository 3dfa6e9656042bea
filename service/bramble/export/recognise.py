"""Tells by its files' names what a folder, or a hub repository, is that export does not read.

Every sentence says what it is and what would help. It opens no file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatch
from types import MappingProxyType

from bramble.errors import BadInput
from bramble.export.safetensors import INDEX, SINGLE

CONFIG = "config.json"
_RELEASE = "export the Hugging Face release that it was made from"
_SAVE = (
    "save it as safetensors with transformers "
    "(AutoModelForCausalLM.from_pretrained(…).save_pretrained(…)) and export that"
)

# Files that tell another kind of thing, whatever lies beside them
OTHER_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "adapter_config.json": "a LoRA adapter, a change to another model: merge it into its base "
        "model (peft: merge_and_unload(), then save_pretrained(…)) and export the result",
        "model_index.json": "a diffusion pipeline, which makes pictures and no text: export a "
        "language model",
        "modules.json": "an embedding model (sentence-transformers), which makes vectors and no "
        "text: export a model that writes",
        "config_sentence_transformers.json": "an embedding model (sentence-transformers), which "
        "makes vectors and no text: export a model that writes",
    }
)
# Weights in other formats, first match first; what tells them apart comes before what is general
OTHER_WEIGHTS: Mapping[str, str] = MappingProxyType(
    {
        "*.gguf": f"GGUF: give the file itself, downloaded if it is not here, or {_RELEASE}",
        "*ggml*.bin": f"GGML, the older form of GGUF: {_RELEASE}",
        "openvino_model*": f"OpenVINO: {_RELEASE}",
        "*.onnx": f"ONNX: {_RELEASE}, as Bramble makes ONNX files of its own",
        "*.engine": f"TensorRT: {_RELEASE}",
        "consolidated*.pth": "Meta's own format: export the release whose name ends in -hf, or "
        "which has model.safetensors",
        "consolidated*.safetensors": "Mistral's own format, with other tensor names: download "
        f"{SINGLE}, or {INDEX} and its files, from the same release",
        "adapter_model.*": "those of a LoRA adapter alone: merge it into its base model (peft: "
        "merge_and_unload(), then save_pretrained(…)) and export the result",
        "weights*.npz": f"MLX: {_RELEASE}",
        "*.bin": f"PyTorch, whose files may run code as they are read: {_SAVE}",
        "*.pt": f"PyTorch, whose files may run code as they are read: {_SAVE}",
        "*.pth": f"PyTorch, whose files may run code as they are read: {_SAVE}",
        "*.ckpt": f"a trainer's checkpoint: {_SAVE}",
        "*.h5": f"TensorFlow: {_SAVE}",
        "*.msgpack": f"Flax: {_SAVE}",
        "*.nemo": f"NeMo: {_SAVE}",
        "*.tflite": f"TensorFlow Lite: {_RELEASE}",
        "*.task": f"TensorFlow Lite: {_RELEASE}",
        "*.litertlm": f"LiteRT: {_RELEASE}",
        "*.mlpackage/*": f"Core ML: {_RELEASE}",
    }
)
_MOST_NAMED = 3


def check_kind(where: str, names: Collection[str]) -> None:
    """Raise BadInput unless the files are those of a Hugging Face model in safetensors.

    where  the folder or hub id, for the sentence
    names  of its files, those in folders of its own as FOLDER/NAME
    """
    top = {name for name in names if "/" not in name}
    if "manifest.json" in top and any(name.startswith("shards/") for name in names):
        raise BadInput(
            f"{where} is a model folder that Bramble exported already: serve it as it is "
            f"(bramble run --model {where}), or export again from the model it was made from"
        )
    for name, what in OTHER_KINDS.items():
        if name in top:
            raise BadInput(f"{where} has {name}: it is {what}")
    if not top & {SINGLE, INDEX}:
        raise BadInput(f"{where} {_without_weights(where, names, top)}")
    if CONFIG not in top:
        raise BadInput(
            f"{where} has weights and no {CONFIG}, which says what model they are: copy it there "
            "from the same release"
        )


def _without_weights(where: str, names: Collection[str], top: set[str]) -> str:
    if not names:
        return "is an empty folder; give one that holds a Hugging Face model"
    holders = _holders(names)
    if holders and CONFIG not in top:
        paths = [f"{where}/{name}" for name in holders]
        return f"holds no model itself, but folders that do: give {_listed(paths, ' or ')}"
    for pattern, what in OTHER_WEIGHTS.items():
        found = sorted(name for name in names if fnmatch(name.rsplit("/")[-1], pattern))
        found = found or sorted(name for name in names if fnmatch(name, pattern))
        if found:
            return f"has its weights only in {_listed(found)}, which is {what}"
    found = sorted(name for name in top if name.endswith(".safetensors"))
    if found:
        return (
            f"has {_listed(found)}, and neither {SINGLE} nor {INDEX}, which says what is in which "
            "file; download that too, or call a file that holds all weights " + SINGLE
        )
    if CONFIG in top:
        return f"has {CONFIG} and no weights: download {SINGLE}, or {INDEX} and its files, too"
    if any(name.startswith("tokenizer") for name in top):
        return f"holds a tokenizer and no model: it has neither {CONFIG} nor {SINGLE}"
    return f"is not a Hugging Face model folder: it has neither {CONFIG} nor {SINGLE}"


def _holders(names: Collection[str]) -> list[str]:
    """The folders inside that hold a model, as after a download beside others."""
    found = {name.rpartition("/")[0] for name in names if name.endswith(f"/{CONFIG}")}
    weights = {name.rpartition("/")[0] for name in names if name.rpartition("/")[2] in _WEIGHTS}
    return sorted(found & weights)


_WEIGHTS = (SINGLE, INDEX)


def _listed(names: list[str], between: str = ", ") -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return between.join(names[:_MOST_NAMED]) + more
