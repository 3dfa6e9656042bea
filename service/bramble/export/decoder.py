"""What the exporter knows of a decoder-only transformer: shapes, options and tensor names."""

from __future__ import annotations

from dataclasses import dataclass

from bramble.model.manifest import Rope, Shape


@dataclass(frozen=True, slots=True)
class Decoder:
    """A pre-norm decoder with RMSNorm, rotary grouped-query attention and a gated SiLU MLP.

    windows    per layer: tokens of sliding-window attention, -1 = all of them
    """

    architecture: str
    shape: Shape
    rope: Rope
    norm_epsilon: float
    is_tied: bool
    windows: tuple[int, ...]
    has_qkv_bias: bool = False
    has_output_bias: bool = False
    has_mlp_bias: bool = False
    has_qk_norm: bool = False

    def matrices(self) -> dict[str, tuple[int, int]]:
        """A layer's projections: name behind `model.layers.N.` → (outputs, inputs)."""
        shape = self.shape
        queries = shape.num_heads * shape.head_dim
        keys = shape.num_kv_heads * shape.head_dim
        hidden, inner = shape.hidden_size, shape.intermediate_size
        return {
            "self_attn.q_proj": (queries, hidden),
            "self_attn.k_proj": (keys, hidden),
            "self_attn.v_proj": (keys, hidden),
            "self_attn.o_proj": (hidden, queries),
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
        }

    def has_bias(self, matrix: str) -> bool:
        if matrix.startswith("mlp."):
            return self.has_mlp_bias
        return self.has_output_bias if matrix.endswith("o_proj") else self.has_qkv_bias

    def layer_tensors(self) -> dict[str, tuple[int, ...]]:
        """Every tensor of one layer: name behind `model.layers.N.` → shape."""
        hidden, head_dim = (self.shape.hidden_size,), (self.shape.head_dim,)
        tensors: dict[str, tuple[int, ...]] = {"input_layernorm.weight": hidden}
        for name, size in self.matrices().items():
            tensors[f"{name}.weight"] = size
            if self.has_bias(name):
                tensors[f"{name}.bias"] = size[:1]
        tensors["post_attention_layernorm.weight"] = hidden
        if self.has_qk_norm:
            tensors |= {"self_attn.q_norm.weight": head_dim, "self_attn.k_norm.weight": head_dim}
        return tensors

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Every tensor of the model: full name → shape."""
        table = (self.shape.vocab_size, self.shape.hidden_size)
        tensors: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": table}
        for index in range(self.shape.num_layers):
            for name, size in self.layer_tensors().items():
                tensors[f"model.layers.{index}.{name}"] = size
        tensors["model.norm.weight"] = (self.shape.hidden_size,)
        if not self.is_tied:
            tensors["lm_head.weight"] = table
        return tensors
