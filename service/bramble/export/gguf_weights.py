"""A GGUF file's tensors under Hugging Face's names, in Hugging Face's order of rows.

For the architecture llama, llama.cpp's converter reorders the rows of q_proj and k_proj inside of
each head, so that a pair of dimensions that turns together lies side by side; here they lie half a
head apart, and reading undoes it. Rows are whole blocks, so that blocks move unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from bramble.errors import BadInput
from bramble.export.gguf import Container, Tensor
from bramble.export.quantize import Quantized
from bramble.export.safetensors import read_bytes
from bramble.export.weights import Blocks

ROPE_FACTORS = "rope_freqs.weight"  # what gguf_rope.py reads: settings, not weights
NAMES: Mapping[str, str] = MappingProxyType(
    {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "output.weight": "lm_head.weight",
    }
)
LAYER_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "attn_q_norm": "self_attn.q_norm",
        "attn_k_norm": "self_attn.k_norm",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
)
_LAYER = re.compile(r"blk\.(0|[1-9][0-9]*)\.(\w+)\.(weight|bias)", re.ASCII)


@dataclass(frozen=True, slots=True)
class GgufWeights:
    """heads  of matrices whose rows are reordered: q_proj or k_proj → how many"""

    container: Container
    theirs: Mapping[str, str]  # Hugging Face's name → the file's
    heads: Mapping[str, int]

    def names(self) -> Iterable[str]:
        return self.theirs.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensor(name).shape

    def rows(self, name: str, start: int, stop: int) -> NDArray[np.float32]:
        tensor = self._tensor(name)
        rows = tensor.format.dequantize(self._raw(name, start, stop))
        if not np.isfinite(rows).all():
            raise BadInput(
                f"{self.container.path}: tensor {self.theirs[name]!r} has numbers that are not "
                "finite (NaN or infinity): its weights are damaged; download the model again"
            )
        return rows.reshape(stop - start, *tensor.shape[1:])

    def blocks(self, name: str, kind: str) -> Blocks | None:
        tensor = self._tensor(name)
        if kind not in tensor.format.kinds:
            return None

        def rows(start: int, stop: int) -> Quantized:
            return tensor.format.quantized(self._raw(name, start, stop), stop - start, kind)

        return rows

    def _tensor(self, name: str) -> Tensor:
        if name not in self.theirs:
            raise BadInput(f"{self.container.path} has no tensor {name!r}")
        return self.container.tensors[self.theirs[name]]

    def _raw(self, name: str, start: int, stop: int) -> NDArray[np.uint8]:
        """The blocks of rows [start, stop), uint8 (bytes,)."""
        tensor = self._tensor(name)
        assert 0 <= start <= stop <= tensor.shape[0]
        heads = self.heads.get(name.split(".")[-2])
        if heads is None:
            return self._read(tensor, start, stop)
        size = tensor.shape[0] // heads  # rows of a head
        first, last = start // size * size, -(-stop // size) * size
        whole = self._read(tensor, first, last).reshape(last - first, tensor.row_bytes)
        return whole[reordered(np.arange(start, stop), size) - first].reshape(-1)

    def _read(self, tensor: Tensor, start: int, stop: int) -> NDArray[np.uint8]:
        count = (stop - start) * tensor.row_bytes
        raw = read_bytes(self.container.path, tensor.offset + start * tensor.row_bytes, count)
        return np.frombuffer(raw, np.uint8)


def reordered(rows: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Where the file has these rows of q_proj or k_proj, whose heads have `size` rows each."""
    head, row = np.divmod(rows, size)
    half, pair = np.divmod(row, size // 2)
    return np.asarray(head * size + 2 * pair + half, np.int64)


def theirs(names: Iterable[str]) -> dict[str, str]:
    """Hugging Face's name → the file's; a name that is not known stays, and is refused by it."""
    return {_ours(name): name for name in names if name != ROPE_FACTORS}


def _ours(name: str) -> str:
    match = _LAYER.fullmatch(name)
    if match is None or match[2] not in LAYER_NAMES:
        return NAMES.get(name, name)
    return f"model.layers.{match[1]}.{LAYER_NAMES[match[2]]}.{match[3]}"
