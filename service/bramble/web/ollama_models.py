"""The served model as Ollama lists and describes one. Pure: from the status document's `model`."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

TAG = ":latest"
# Clients look at it before they ask for tools or thoughts: the release whose protocol this is.
VERSION = "0.13.5"
FOR_EVER = "2318-01-01T00:00:00Z"  # nothing is unloaded here; what Ollama says of such a model
_OPTION_NAMES = {"repetition_penalty": "repeat_penalty"}
_UNITS = ((1e12, 1, "T"), (1e9, 1, "B"), (1e6, 2, "M"), (1e3, 2, "K"))


def tagged(name: str) -> str:
    """Return the name under which a model is listed."""
    return name + TAG


def untagged(name: str) -> str:
    """Return a model's own name: without a tag, Ollama means `latest`."""
    return name.removesuffix(TAG)


def listed(model: dict[str, Any]) -> dict[str, Any]:
    """Describe the model as an entry of /api/tags."""
    return {
        **_identity(model),
        "modified_at": _created(model),
        "capabilities": capabilities(model),
    }


def running(model: dict[str, Any]) -> dict[str, Any]:
    """Describe the model as an entry of /api/ps: no part of it is in a graphics card."""
    return {
        **_identity(model),
        "expires_at": FOR_EVER,
        "size_vram": 0,
        "context_length": int(model.get("max_length") or 0),
    }


def shown(model: dict[str, Any]) -> dict[str, Any]:
    """Describe the model as /api/show does."""
    options = _options(model)
    family = _family(model)
    lines = [f"FROM {tagged(model['name'])}"]
    lines += [f"PARAMETER {name} {value}" for name, value in options.items()]
    info = {
        "general.architecture": family,
        "general.basename": model["name"],
        "general.parameter_count": model.get("num_parameters"),
        f"{family}.block_count": model.get("num_layers"),
        f"{family}.context_length": model.get("max_length"),
        f"{family}.vocab_size": model.get("vocab_size"),
    }
    return {
        "modelfile": "\n".join(lines),
        "parameters": "\n".join(f"{name:<30} {value}" for name, value in options.items()),
        "template": "",  # the model's own, which is no template of Ollama's
        "details": _details(model),
        "model_info": {name: value for name, value in info.items() if value is not None},
        "capabilities": capabilities(model),
        "modified_at": _created(model),
    }


def capabilities(model: dict[str, Any]) -> list[str]:
    """Return what the model can do in Ollama's words: completion, tools, thinking."""
    can = model.get("capabilities") or {}
    return ["completion", *(word for word in ("tools", "thinking") if can.get(word))]


def _identity(model: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": tagged(model["name"]),
        "model": tagged(model["name"]),
        "size": int(model.get("bytes") or 0),
        "digest": model.get("export") or hashlib.sha256(model["name"].encode()).hexdigest(),
        "details": _details(model),
    }


def _details(model: dict[str, Any]) -> dict[str, Any]:
    family = _family(model)
    return {
        "parent_model": "",
        "format": "onnx",
        "family": family,
        "families": [family],
        "parameter_size": _human(int(model.get("num_parameters") or 0)),
        "quantization_level": str(model.get("quantization") or ""),
    }


def _family(model: dict[str, Any]) -> str:
    """LlamaForCausalLM is of the family llama."""
    return str(model.get("architecture") or "unknown").partition("For")[0].lower()


def _options(model: dict[str, Any]) -> dict[str, Any]:
    defaults = model.get("defaults") or {}
    return {_OPTION_NAMES.get(n, n): v for n, v in defaults.items() if n != "do_sample"}


def _created(model: dict[str, Any]) -> str:
    return moment(int(model.get("created") or 0) * 1_000_000)


def moment(since_1970_us: int) -> str:
    """Write a moment as RFC 3339 does, in UTC."""
    seconds, microseconds = divmod(since_1970_us, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{microseconds:06d}Z"


def _human(count: int) -> str:
    for size, digits, letter in _UNITS:
        if count >= size:
            return f"{count / size:.{digits}f}{letter}"
    return str(count)
