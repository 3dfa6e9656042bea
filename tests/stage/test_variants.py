"""Configurations of every family: export gives what transformers gives, or refuses by name.

See tests/golden/variants.py and make_variants.py.
"""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from bramble.errors import BadInput
from bramble.export.api import Options, export
from bramble.export.architectures import describe
from bramble.export.config_file import ConfigFile
from ring import GOLDENS, Logits
from variant import NUM_DECODED, PLACES, VOCAB
from variants import variants

AS_IT_IS = '{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>"}'
ATOL = 1e-4  # float32 sums in another order
EVERY = {variant.name: variant for variant in variants()}
COMPUTED = [name for name, variant in EVERY.items() if not variant.refused]
REFUSED = [name for name, variant in EVERY.items() if variant.refused]


@pytest.fixture(scope="module")
def goldens():
    return dict(np.load(GOLDENS / "variants.npz"))


def write(variant, tmp_path):
    variant.write(tmp_path / "source")
    shutil.copy(GOLDENS / "llama2" / "tokenizer.json", tmp_path / "source")
    (tmp_path / "source" / "tokenizer_config.json").write_text(AS_IT_IS)
    return str(tmp_path / "source")


@pytest.mark.parametrize("name", COMPUTED)
def test_a_variant_gives_transformers_logits_and_tokens(name, goldens, tmp_path):
    variant = EVERY[name]
    export(write(variant, tmp_path), tmp_path / "m", Options("float32"))
    ring, prompt = Logits(tmp_path / "m"), variant.prompt().astype(np.int32)
    logits = ring.prefill_logits(prompt)[list(PLACES), :VOCAB]
    np.testing.assert_allclose(logits, goldens[f"{name} logits"], rtol=0, atol=ATOL)
    tokens = []
    after = ring.prefill_logits(prompt, row=1)[-1]
    for index in range(NUM_DECODED):
        tokens.append(int(after[:VOCAB].argmax()))
        after = ring.decode_logits([0, tokens[-1]], [0, len(prompt) + index])[1]
    assert tokens == goldens[f"{name} tokens"].tolist()


def test_context_and_windows_are_transformers(goldens):
    about = json.loads(goldens["about"].tobytes())
    for name in COMPUTED:
        decoder, told = describe(ConfigFile(EVERY[name].config)), about["variants"][name]
        found = (decoder.shape.max_length, list(decoder.windows))
        assert found == (told["max_length"], told["windows"]), name


@pytest.mark.parametrize("name", REFUSED)
def test_a_variant_that_is_not_computed_is_refused_by_name(name, tmp_path):
    with pytest.raises(BadInput) as refusal:
        export(write(EVERY[name], tmp_path), tmp_path / "m", Options("float32"))
    assert re.search(EVERY[name].refused, str(refusal.value))
    assert not (tmp_path / "m").exists()


def test_every_family_has_variants_of_both_kinds():
    families = {"Llama", "Mistral", "Qwen2", "Qwen3"}
    assert {EVERY[name].family for name in COMPUTED} == families
    assert {EVERY[name].family for name in REFUSED} == families
    assert len(COMPUTED) >= 40 and len(EVERY) == len(variants())
