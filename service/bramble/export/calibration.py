"""What a model's matrices multiply: their inputs while the float32 original reads a text."""

from __future__ import annotations

from bramble.errors import BadInput
from bramble.export.calibration_text import CONVERSATION, TEXT
from bramble.export.compensate import Inputs, inputs
from bramble.export.original import Original
from bramble.export.verify import check_finite
from bramble.model.tokenizer import Tokenizer

NUM_TOKENS = 1024
# Of a layer's graph: value → the matrices that it is multiplied with
TAPS = {
    "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attn": ("self_attn.o_proj",),
    "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
    "mlp.gated": ("mlp.down_proj",),
}
# What every later token attends to, with inputs a thousand times as large as theirs
NUM_SINKS = 1


class Calibration:
    """Goes through the layers once, in their order; holds one layer's float32 weights."""

    def __init__(self, original: Original, token_ids: tuple[int, ...]) -> None:
        self._original = original
        self._layers = original.layers(token_ids, tuple(TAPS))

    def layer(self) -> dict[str, Inputs]:
        """The inputs of the next layer's matrices, by their names behind `model.layers.N.`."""
        self._hidden, seen = next(self._layers)
        check_finite("layers", self._hidden, *seen)
        known = (inputs(each[NUM_SINKS:]) for each in seen)
        return {
            f"{matrix}.weight": found
            for matrices, found in zip(TAPS.values(), known, strict=True)
            for matrix in matrices
        }

    def lm_head(self) -> Inputs:
        """Those of the last projection, behind all layers, whose memory is then given back."""
        self._layers.close()
        return inputs(self._original.normed(self._hidden)[NUM_SINKS:])


def calibration_ids(tokenizer: Tokenizer, vocab_size: int, max_length: int) -> tuple[int, ...]:
    """The text as the model's users would put it, in its chat template if it has one."""
    roles = ("user", "assistant")
    messages = [
        {"role": roles[i % 2], "content": content} for i, content in enumerate(CONVERSATION)
    ]
    try:
        ids = tokenizer.encode_chat(messages)
    except BadInput:  # no template, or one that wants something else
        ids = tokenizer.encode("\n".join(CONVERSATION))
    ids = [index for index in ids + tokenizer.encode(TEXT) if index < vocab_size] or [0]
    # Two at least: one is the sink
    return tuple((ids * 2)[: max(2, min(len(ids), NUM_TOKENS, max_length))])
