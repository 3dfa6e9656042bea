"""The list of what Bramble can export: an architecture's name → the reader of its config.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from bramble.errors import BadInput
from bramble.export.config_file import ConfigFile
from bramble.export.decoder import Decoder
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


def describe(config: ConfigFile) -> Decoder:
    """Read config.json. Raises BadInput by name for an architecture that is not supported."""
    names = config.document.get("architectures")
    name = names[0] if isinstance(names, list) and names else config.document.get("model_type")
    reader = ARCHITECTURES.get(str(name))
    if reader is None:
        raise BadInput(
            f"architecture {name} is not supported; supported are {', '.join(ARCHITECTURES)}"
        )
    config.check_unquantized()
    config.check_activation()
    return reader(config)
