"""The Llama decoder in plain torch, small enough to train on two cores.

Its parameters carry Hugging Face's names, so that `state_dict()` is the checkpoint. It knows
nothing of tokens, text or training.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes that make a Llama; the defaults are those of the embedded model."""

    vocab_size: int = 2560
    hidden_size: int = 256
    num_layers: int = 6
    num_heads: int = 4
    num_kv_heads: int = 2
    head_dim: int = 64
    intermediate_size: int = 768
    max_positions: int = 2048
    rope_theta: float = 10000.0
    norm_epsilon: float = 1e-5


def rope_tables(shape: Shape) -> tuple[Tensor, Tensor]:
    """Return cos and sin, float32 (max_positions, head_dim), in the half-split convention."""
    exponents = torch.arange(0, shape.head_dim, 2, dtype=torch.float32) / shape.head_dim
    angles = torch.outer(torch.arange(shape.max_positions).float(), shape.rope_theta**-exponents)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary positions to (batch, heads, t, head_dim)."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Norm(nn.Module):
    """RMSNorm."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.epsilon)


class Attention(nn.Module):
    """Causal grouped-query attention over a whole sequence."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        num_q, num_kv = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
        self.q_proj = nn.Linear(shape.hidden_size, num_q, bias=False)
        self.k_proj = nn.Linear(shape.hidden_size, num_kv, bias=False)
        self.v_proj = nn.Linear(shape.hidden_size, num_kv, bias=False)
        self.o_proj = nn.Linear(num_q, shape.hidden_size, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, t, _ = x.shape
        split = (batch, t, -1, self.shape.head_dim)
        query = rotate(self.q_proj(x).view(split).transpose(1, 2), cos, sin)
        key = rotate(self.k_proj(x).view(split).transpose(1, 2), cos, sin)
        value = self.v_proj(x).view(split).transpose(1, 2)
        mixed = attend(query, key, value)
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, t, -1))


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Mix values (batch, kv_heads, t, head_dim) causally for queries (batch, heads, t, head_dim).

    Written out: with torch's fused kernel a step in bfloat16 takes 1.2 to 1.5 times as long.
    """
    batch, heads, t, size = query.shape
    groups = heads // key.shape[1]
    rows = (batch, key.shape[1], groups * t, size)
    scores = (query * size**-0.5).reshape(rows) @ key.transpose(-1, -2)
    scores = scores.view(batch, key.shape[1], groups, t, t)
    future = torch.full((t, t), -torch.inf, dtype=scores.dtype).triu(1)
    shares = torch.softmax(scores + future, dim=-1, dtype=torch.float32).to(value.dtype)
    return (shares.view(*rows[:3], t) @ value).view(batch, heads, t, size)


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.up_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.down_proj = nn.Linear(shape.intermediate_size, shape.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """One pre-norm decoder layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = FeedForward(shape)
        self.input_layernorm = Norm(shape.hidden_size, shape.norm_epsilon)
        self.post_attention_layernorm = Norm(shape.hidden_size, shape.norm_epsilon)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """Embedding, layers and final norm: what Hugging Face calls `model`."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.num_layers))
        self.norm = Norm(shape.hidden_size, shape.norm_epsilon)
        cos, sin = rope_tables(shape)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        t = tokens.shape[1]
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x, self.cos[:t], self.sin[:t])
        return self.norm(x)


class Llama(nn.Module):
    """The language model, its lm_head tied to the embedding."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.model = Decoder(shape)
        self._initialise()

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the hidden states (batch, t, hidden_size) of int64 tokens (batch, t)."""
        return self.model(tokens)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return float32 (…, vocab_size) for any rows of hidden states."""
        return F.linear(hidden, self.model.embed_tokens.weight).float()

    def _initialise(self) -> None:
        depth_scale = (2 * self.shape.num_layers) ** -0.5  # GPT-2's residual scaling
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                is_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(weight, std=0.04 * (depth_scale if is_residual else 1.0))
