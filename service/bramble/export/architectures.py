"""The list of what Bramble can export: an architecture's name → the reader of its config.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from bramble.errors import BadInput
from bramble.export.config_file import ConfigFile, plain, shown
from bramble.export.decoder import Decoder
from bramble.export.harmless import check_rest
from bramble.export.llama import llama, mistral
from bramble.export.qwen import qwen2, qwen3

ARCHITECTURES: Mapping[str, Callable[[ConfigFile], Decoder]] = MappingProxyType(
    {
        "LlamaForCausalLM": llama,
        "MistralForCausalLM": mistral,
        "Qwen2ForCausalLM": qwen2,
        "Qwen3ForCausalLM": qwen3,
    }
)
MODEL_TYPES: Mapping[str, str] = MappingProxyType(
    {name.removesuffix("ForCausalLM").lower(): name for name in ARCHITECTURES}
)
# Keys that tell a kind of model that is none of these, whatever its architecture is called
OTHER_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "vision_config": "it reads pictures too; export a release for text alone",
        "audio_config": "it reads sound too; export a release for text alone",
        "text_config": "its language model is nested in another; export a release for text alone",
        "quantization_config": "it is quantised already; export its unquantised release",
        "compression_config": "it is quantised already; export its unquantised release",
        "quantization": "it is quantised for MLX; export the release that it was made from",
        "auto_map": "it brings program code of its own, which Bramble does not run; "
        "remove the key if the model is the same without",
    }
)


def describe(config: ConfigFile) -> Decoder:
    """Read config.json: every key is obeyed, known to change nothing, or refused.

    Raises BadInput by name for an architecture or a key that is not supported.
    """
    for key, sentence in OTHER_KINDS.items():
        found = config.document.get(key)
        config.read.add(key)
        if found is not None:
            raise BadInput(
                f"config.json: {key} is {_method(found)}: the model cannot be exported, {sentence}"
            )
    decoder = ARCHITECTURES[_architecture(config)](config)
    check_rest(config, decoder.architecture)
    return decoder


def _architecture(config: ConfigFile) -> str:
    """The name among ARCHITECTURES that architectures and model_type agree on."""
    config.read.update(("architectures", "model_type"))
    names, model_type = config.document.get("architectures"), config.document.get("model_type")
    if model_type is not None and not isinstance(model_type, str):
        raise config.wrong("model_type", "a text")
    if not (names is None or (isinstance(names, list) and all(isinstance(n, str) for n in names))):
        raise config.wrong("architectures", "a list of one name")
    if not names:
        return _by_type(model_type)
    if len(set(names)) > 1:
        raise config.wrong("architectures", "one name: which model this is, it has to say")
    if names[0] not in ARCHITECTURES:
        raise BadInput(_unsupported(names[0]))
    if model_type is not None and MODEL_TYPES.get(model_type) != names[0]:
        raise BadInput(
            f"config.json: model_type is {model_type!r} and architectures {names[0]!r}, "
            "which are different models; correct the one that is wrong"
        )
    return str(names[0])


def _by_type(model_type: str | None) -> str:
    if model_type is None:
        raise BadInput(
            "config.json has neither architectures nor model_type, so it does not say which model "
            f"this is; supported are {', '.join(ARCHITECTURES)}"
        )
    if model_type not in MODEL_TYPES:
        raise BadInput(
            f"config.json: model_type {model_type!r} is not supported; "
            f"supported are {', '.join(MODEL_TYPES)}"
        )
    return MODEL_TYPES[model_type]


def _unsupported(name: str) -> str:
    family = next((f for f in ARCHITECTURES if name.startswith(f.removesuffix("ForCausalLM"))), "")
    for suffix, what in (
        ("Model", "a model without a last projection, which makes embeddings and no text"),
        ("Classification", "a classifier or reward model, which makes labels and no text"),
        ("QuestionAnswering", "a model that marks answers in a text and writes none"),
    ):
        if family and name.endswith(suffix):
            return (
                f"config.json: architectures: {plain(name)} is {what}; "
                f"export a release whose architecture is {family}"
            )
    known = ", ".join(ARCHITECTURES)
    return f"config.json: architectures: {plain(name)} is not supported; supported are {known}"


def _method(found: object) -> str:
    """Of a quantisation its method, if it says that."""
    method = found.get("quant_method") if isinstance(found, dict) else None
    return shown(method or found)
