"""Groups of every kind of weights and cache: as near to one process as the kind's rounding allows.

In float32 sums are taken in another order: logits of up to 6 differ by some 1e-6. Quantised kernels
round what they multiply to 8 bits, a float16 or int8 cache its keys and values: where a value lies
amid two steps, a difference of 1e-7 decides, and a position's logits move by up to 0.08 (0.001 in
float16). A slice from a wrong place, a wrong zero point or a bias that is added twice: by about 1.
"""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from bramble.export.api import Options, export
from bramble.export.quantize import KINDS
from bramble.model.manifest import CACHE_BYTES
from groups import GroupLogits
from ring import GOLDENS, Logits
from variant import Variant

ATOL = {kind: 2e-5 if kind == "float32" else 0.2 for kind in KINDS}
CACHE_ATOL = {"float32": 0, "float16": 5e-3, "int8": 0.2}
TOKENS = [7, 9, 30, 4, 11, 50, 51, 3, 99, 8, 7, 64, 120, 5, 33, 2, 76]

AS_IT_IS = '{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>"}'
BIASES = {"attention_bias": True, "mlp_bias": True}
WIDE = {  # a KV head with its queries is one block of 128, and the columns are five
    "hidden_size": 256,
    "intermediate_size": 640,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
}


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("packed")


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Return a function quantisation → a model folder with biases, in sizes that 128 divides."""
    place = tmp_path_factory.mktemp("wide")
    variant = Variant("wide", "Llama", WIDE | BIASES)
    variant.write(place / "source")
    shutil.copy(GOLDENS / "llama2" / "tokenizer.json", place / "source")
    (place / "source" / "tokenizer_config.json").write_text(AS_IT_IS)

    def make(quantization):
        folder = place / quantization
        if not folder.exists():
            export(str(place / "source"), folder, Options(quantization, is_calibrated=False))
        return folder

    return make


HALF_ATOL = 0.005  # of float32 weights with a float16 cache


def compare(folder, parts, root, quantization, kv_cache="float32"):
    one = Logits(folder, kv_cache=kv_cache)
    group = GroupLogits(folder, kv_cache=kv_cache, parts=parts, root=root)
    found = []
    for ring in (one, group):
        rows = [ring.prefill_logits(TOKENS[:9]), ring.prefill_logits(TOKENS[9:16], 9)]
        rows.append(ring.decode_logits([TOKENS[16]], [16]))
        found.append(np.concatenate(rows))
    difference = np.abs(found[0] - found[1])
    assert difference.max() < max(ATOL[quantization], CACHE_ATOL[kv_cache])
    assert difference.max(axis=1).min() < ATOL["float32"]  # where no rounding was a near-tie


@pytest.mark.parametrize("kv_cache", sorted(CACHE_BYTES))
@pytest.mark.parametrize("quantization", ["float32", "int4", "int8"])
def test_every_kind_of_weights_and_cache(quantization, kv_cache, model, root):
    """Of two KV heads one is shared by two of the three members."""
    compare(model("qwen3", quantization), (1, 1, 1), root, quantization, kv_cache)


@pytest.mark.parametrize("case", ["llama2", "llama3", "mistral", "qwen2"])
def test_every_family_in_int4(case, model, root):
    compare(model(case, "int4"), (1, 1), root, "int4")


@pytest.mark.parametrize("quantization", ["float32", "int4", "int8"])
def test_a_member_may_have_next_to_nothing(quantization, model, root):
    """One token of the vocabulary, one block of columns (in float32 one column)."""
    compare(model("llama3", quantization), (1, 170), root, quantization)


@pytest.mark.parametrize(
    ("quantization", "parts"),
    [
        ("float32", (1, 2, 1)),
        ("int4", (1, 2, 1)),
        ("int8", (1, 2, 1)),
        ("int4-64", (1, 2, 1)),
        ("int4-128-symmetric", (1, 2, 1)),
        ("int4-128", (1, 2, 1)),
        ("int4-128", (1, 1, 1, 1)),
    ],
)
def test_biases_are_added_once_and_odd_blocks_keep_their_zero_points(
    quantization, parts, wide, root
):
    """Of five blocks of columns members have 1 to 3, from odd ones on too: halves of a byte."""
    compare(wide(quantization), parts, root, quantization)
