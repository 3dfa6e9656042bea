"""Whatever stands in config.json: a sentence that names it, or its value as transformers means it.

Never a traceback, and never the model that would be without it.
"""

from __future__ import annotations

from typing import Any

import pytest
from bramble.errors import BadInput
from bramble.export.architectures import OTHER_KINDS, describe
from bramble.export.config_file import ConfigFile, plain
from bramble.export.harmless import ANY, ONLY
from hypothesis import given
from hypothesis import strategies as st

BASE: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "vocab_size": 160,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "head_dim": 16,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "attention_bias": True,
    "use_sliding_window": True,
    "sliding_window": 12,
    "max_window_layers": 1,
    "layer_types": None,
    "rope_theta": 10000.0,
    "rope_scaling": {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 32,
        "attention_factor": 1.1,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "mscale": 1.0,
        "mscale_all_dim": 0.5,
        "truncate": True,
    },
    "partial_rotary_factor": 1.0,
    "original_max_position_embeddings": 32,
}
FAMILIES = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}
WRONG: list[Any] = [
    *(None, "", "7", "true", True, False, 0, 1, -1, 0.5, -0.5, 1e-40, 1e39),
    *(float("nan"), float("inf"), -float("inf"), 2**31, 2**63, 10**400, 1.0, 16.0),
    *([], [1], [None], {}, {"a": 1}, [[]], ["full_attention"]),
]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=3,
)
KNOWN = {*BASE, *ANY, *ONLY, *OTHER_KINDS, "rope_parameters", "mlp_bias", "type", "rope_type"}
unknown = st.text(min_size=1, max_size=12).filter(lambda key: key not in KNOWN)


def families() -> list[dict[str, Any]]:
    found = []
    for model_type, family in FAMILIES.items():
        own = BASE | {"model_type": model_type, "architectures": [f"{family}ForCausalLM"]}
        for key in ("max_window_layers", "sliding_window", "use_sliding_window"):
            if family in ("Llama", "Mistral"):
                del own[key]
        if family == "Mistral":
            del own["attention_bias"], own["layer_types"]
        found.append(own)
    return found


@pytest.mark.parametrize("base", families(), ids=list(FAMILIES))
@given(key=unknown, value=values)
def test_an_unknown_key_is_refused_by_its_name(base: dict[str, Any], key: str, value: Any) -> None:
    describe(ConfigFile(base))
    with pytest.raises(BadInput) as refusal:
        describe(ConfigFile(base | {key: value}))
    said = str(refusal.value)
    assert f"{plain(key)} is" in said
    assert len(said.splitlines()) == 1 and len(said) < 400


@pytest.mark.parametrize("name", ["rope_scaling", "rope_parameters"])
@given(key=unknown, value=values)
def test_an_unknown_key_of_rope_is_refused_by_its_name(name: str, key: str, value: Any) -> None:
    if key in ("full_attention", "sliding_attention", *BASE["rope_scaling"]):
        return
    document = BASE | {"rope_scaling": None} | {name: BASE["rope_scaling"] | {key: value}}
    with pytest.raises(BadInput) as refusal:
        describe(ConfigFile(document))
    assert f"{name}.{plain(key)} is" in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize("base", families(), ids=list(FAMILIES))
def test_any_value_of_a_known_key_is_obeyed_or_refused_by_name(base: dict[str, Any]) -> None:
    expected = describe(ConfigFile(base))
    for key in [*base, "mlp_bias", "rope_parameters", "quantization_config", "use_mrope"]:
        for value in WRONG:
            try:
                found = describe(ConfigFile(base | {key: value}))
            except BadInput as error:
                named = key if key not in ("hidden_size", "num_attention_heads") else ""
                assert named in str(error), (key, value)
                assert len(str(error).splitlines()) == 1
            else:
                assert found != expected or _may_be_the_same(base, key, value), (key, value, found)


@pytest.mark.parametrize("key", BASE["rope_scaling"])
def test_any_value_of_a_known_key_of_rope_is_obeyed_or_refused_by_name(key: str) -> None:
    expected = describe(ConfigFile(BASE))
    for value in WRONG:
        rope = BASE["rope_scaling"] | {key: value}
        try:
            found = describe(ConfigFile(BASE | {"rope_scaling": rope}))
        except BadInput as error:
            assert key in str(error) or "rope scaling" in str(error), (key, value)
        else:
            # The length beside the object comes first, as in transformers
            is_outside = key == "original_max_position_embeddings"
            is_same = is_outside or _equals(BASE["rope_scaling"][key], value)
            assert found != expected or is_same, (key, value)


def _may_be_the_same(base: dict[str, Any], key: str, value: Any) -> bool:
    """An equal value, or one that means the same: what the families' readers say beside it."""
    if key in base and _equals(base[key], value):
        return True
    means_nothing: dict[str, tuple[Any, ...]] = {
        "architectures": (None, []),  # model_type says it
        "model_type": (None,),  # architectures say it
        "head_dim": (None,),
        "layer_types": (None,),
        "attention_bias": (True, False) if base["model_type"] == "qwen2" else (),
        "mlp_bias": (False,),
        "rope_parameters": (None, {}, {"a": 1}),  # rope_scaling comes first
        "quantization_config": (None,),
        "use_mrope": (False,),
        "partial_rotary_factor": (None,),
    }
    return any(_equals(one, value) for one in means_nothing.get(key, ()))


def _equals(one: Any, other: Any) -> bool:
    """1 is 1.0, and neither is true."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)
