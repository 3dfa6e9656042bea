"""A Hugging Face config.json, read with types checked; what all supported families share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from bramble.errors import BadInput
from bramble.model.manifest import Rope, Shape
from bramble.model.rope import scaling_type

Kind = TypeVar("Kind", int, float, bool, str)
_REQUIRED: Any = object()


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """config.json's keys. Raises BadInput that names the key, what was got and what is allowed."""

    document: dict[str, Any]

    def value(self, key: str, kind: type[Kind], default: Any = _REQUIRED) -> Any:
        """The value of `key`; absent or null means `default`, if one is given."""
        found = self.document.get(key)
        if found is None and default is not _REQUIRED:
            return default
        if kind is float and type(found) is int:
            return float(found)
        if type(found) is not kind:
            raise BadInput(f"config.json: {key} is {found!r}, need a {kind.__name__}")
        return found

    def size(self, key: str, default: Any = _REQUIRED) -> int:
        """A count of at least one."""
        found = self.value(key, int, default)
        if found < 1:
            raise BadInput(f"config.json: {key} is {found}, need at least 1")
        return int(found)

    def token_ids(self, key: str) -> tuple[int, ...]:
        """None, one id or a list of ids."""
        found = self.document.get(key)
        ids = [] if found is None else found if isinstance(found, list) else [found]
        if not all(type(item) is int for item in ids):
            raise BadInput(f"config.json: {key} is {found!r}, need token ids")
        return tuple(ids)

    def shape(self) -> Shape:
        hidden, heads = self.size("hidden_size"), self.size("num_attention_heads")
        shape = Shape(
            num_layers=self.size("num_hidden_layers"),
            hidden_size=hidden,
            intermediate_size=self.size("intermediate_size"),
            num_heads=heads,
            num_kv_heads=self.size("num_key_value_heads", heads),
            head_dim=self.size("head_dim", max(hidden // heads, 1)),
            vocab_size=self.size("vocab_size"),
            max_length=self.size("max_position_embeddings"),
        )
        _check_shape(shape)
        return shape

    def rope(self, head_dim: int) -> Rope:
        """Both spellings: rope_theta + rope_scaling, and transformers 5's rope_parameters."""
        merged = self.document.get("rope_parameters") or {}
        scaling = self.document.get("rope_scaling") or merged
        if not isinstance(scaling, dict) or not isinstance(merged, dict):
            raise BadInput(f"config.json: rope scaling is {scaling!r}, need an object")
        theta = ConfigFile(merged | self.document).value("rope_theta", float, 10_000.0)
        partial = ConfigFile(merged | self.document).value("partial_rotary_factor", float, 1.0)
        if partial != 1.0:
            raise BadInput(f"config.json: partial_rotary_factor is {partial}, supported is 1")
        kind = scaling_type(scaling)
        kept = {k: v for k, v in scaling.items() if k not in ("rope_theta", "type")}
        return Rope(theta, head_dim, None if kind == "default" else kept | {"rope_type": kind})

    def check_activation(self) -> None:
        name = self.value("hidden_act", str, "silu")
        if name not in ("silu", "swish"):
            raise BadInput(f"config.json: hidden_act is {name!r}, supported is 'silu'")

    def check_unquantized(self) -> None:
        found = self.document.get("quantization_config")
        if found:
            method = found.get("quant_method") if isinstance(found, dict) else found
            raise BadInput(
                f"the model is quantised already ({method}); export its unquantised release"
            )


def _check_shape(shape: Shape) -> None:
    if shape.head_dim % 8:  # GroupQueryAttention's own limit
        raise BadInput(f"config.json: head_dim is {shape.head_dim}, need a multiple of 8")
    if shape.num_heads % shape.num_kv_heads:
        raise BadInput(
            f"config.json: {shape.num_heads} heads over {shape.num_kv_heads} KV heads leave a rest"
        )
