"""Reads config.json's rotary settings, in either spelling, as transformers does.

The old one is rope_theta and rope_scaling, the new one (transformers 5) is rope_parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from bramble.errors import BadInput
from bramble.export.config_file import ConfigFile, plain, shown
from bramble.model.manifest import Rope, Shape
from bramble.model.rope import scaling_type

THETA = 10_000.0  # transformers' default, of every family
NESTED = ("full_attention", "sliding_attention")
# What each kind of scaling is computed from
REQUIRED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "default": (),
        "linear": ("factor",),
        "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
        "yarn": ("factor",),
    }
)
OPTIONAL: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"yarn": ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim")}
)
# Kinds that are computed from the length that the model was trained for before it was stretched
FROM_LENGTH = ("llama3", "yarn")


def read_rope(config: ConfigFile, shape: Shape) -> Rope:
    """Read the settings. Raises BadInput by key for what changes angles in another way."""
    inner = _object(config)
    for key in NESTED:
        if key in inner.document:
            raise inner.wrong(key, "one rope setting for all layers")
    inner.read.update(("rope_type", "type"))
    kind = scaling_type(inner.document)
    theta = _theta(config, inner)
    _check_partial(config, inner)
    kept: dict[str, Any] = {key: inner.positive(key) for key in REQUIRED[kind]}
    kept |= _optional(inner, kind)
    length = _original_length(config, inner, kind, shape)
    if kind in FROM_LENGTH:
        kept["original_max_position_embeddings"] = length
    _check_range(inner, kind)
    _check_rest(inner, kind)
    scaling = None if kind == "default" else kept | {"rope_type": kind}
    return Rope(theta, shape.head_dim, scaling)


def _object(config: ConfigFile) -> ConfigFile:
    """rope_scaling, and rope_parameters only if that says nothing: they are not merged."""
    names = ("rope_scaling", "rope_parameters")
    config.read.update(names)
    for name in names:
        found = config.document.get(name)
        if found is not None and not isinstance(found, dict):
            raise config.wrong(name, "an object or null")
    for name in names:
        if config.document.get(name):
            return ConfigFile(config.document[name], f"{name}.")
    return ConfigFile({}, "rope_parameters.")


def _theta(config: ConfigFile, inner: ConfigFile) -> float:
    """The object's own comes first; a null beside it means nothing."""
    config.read.add("rope_theta")
    if "rope_theta" in inner.document:
        return inner.positive("rope_theta")
    return config.positive("rope_theta", THETA)


def _check_partial(config: ConfigFile, inner: ConfigFile) -> None:
    for where in (config, inner):
        if where.value("partial_rotary_factor", float, 1.0, null=1.0) != 1.0:
            raise where.wrong("partial_rotary_factor", "1: rotation of whole heads")


def _original_length(config: ConfigFile, inner: ConfigFile, kind: str, shape: Shape) -> int:
    """Beside the object it comes first, as Phi3 writes it; without one it is the model's length."""
    key = "original_max_position_embeddings"
    length = inner.size(key, shape.max_length)  # what kinds without a use for it pass over
    if key in config.document and kind in FROM_LENGTH:
        return config.size(key)
    config.read.add(key)
    return length


def _optional(inner: ConfigFile, kind: str) -> dict[str, Any]:
    """Numbers that may be left out, and YaRN's one switch."""
    names = OPTIONAL.get(kind, ())
    found = {name: inner.positive(name) for name in names if inner.document.get(name) is not None}
    inner.read.update(names)
    if kind == "yarn" and not inner.value("truncate", bool, True):
        found["truncate"] = False
    return found


def _check_range(inner: ConfigFile, kind: str) -> None:
    if kind != "llama3":
        return
    low, high = inner.document["low_freq_factor"], inner.document["high_freq_factor"]
    if high <= low:
        raise inner.wrong("high_freq_factor", f"more than low_freq_factor, which is {low}")


def _check_rest(inner: ConfigFile, kind: str) -> None:
    """Whatever else stands there would be passed over."""
    for key in sorted(set(inner.document) - inner.read):
        raise BadInput(
            f"config.json: {inner.prefix}{plain(key)} is {shown(inner.document[key])}, "
            f"which rope type {kind!r} has no use for; remove it if it changes nothing"
        )
