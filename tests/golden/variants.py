"""The configurations that are compared with transformers, or have to be refused: see variant.py."""

from __future__ import annotations

from typing import Any

from variant import ABSENT, Variant

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
SHORT = {"original_max_position_embeddings": 16}
THREE = ["sliding_attention", "full_attention", "sliding_attention"]


def _llama() -> list[Variant]:
    def one(name: str, refused: str = "", sizes: Any = None, tensors: str = "", **changes: Any):
        return Variant(f"llama {name}", "Llama", changes, sizes or {}, tensors, refused)

    return [
        one("plain"),
        one("tied", tie_word_embeddings=True),
        one("tie absent is untied", tensors="no lm_head", refused="no tensor 'lm_head.weight'"),
        one("tie null", tie_word_embeddings=None, refused="tie_word_embeddings is null"),
        one("as many kv heads", num_key_value_heads=4),
        one("kv heads absent", num_key_value_heads=ABSENT),
        one("kv heads null", num_key_value_heads=None),
        one("one kv head", num_key_value_heads=1),
        one("kv heads leave a rest", num_key_value_heads=3, refused="num_key_value_heads is 3"),
        one("wide heads", head_dim=32),
        one("narrow heads", head_dim=8, refused="head_dim is 8"),
        one("head_dim null", head_dim=None),
        one("odd heads", head_dim=12, refused="head_dim is 12"),
        one("heads that leave a rest", num_attention_heads=6, refused="hidden_size is 64"),
        one("attention bias", attention_bias=True),
        one("mlp bias", mlp_bias=True),
        one("both biases", attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
        one("eps large", rms_norm_eps=0.1),
        one("eps zero", rms_norm_eps=0.0),
        one("eps 1e-5", rms_norm_eps=1e-5),
        one("eps is text", rms_norm_eps="1e-6", refused="rms_norm_eps is '1e-6'"),
        one("vocab absent", vocab_size=ABSENT, sizes={"vocab_size": 32000}),
        one("mlp absent", intermediate_size=ABSENT, sizes={"intermediate_size": 11008}),
        one("count of layers absent", num_hidden_layers=ABSENT, sizes={"num_hidden_layers": 32}),
        one(
            "heads absent",
            num_attention_heads=ABSENT,
            head_dim=16,
            sizes={"num_attention_heads": 32},
        ),
        one("hidden absent", hidden_size=ABSENT, head_dim=16, sizes={"hidden_size": 4096}),
        one("length absent", max_position_embeddings=ABSENT),
        one("swish", hidden_act="swish"),
        one("gelu", hidden_act="gelu", refused="hidden_act is 'gelu'"),
        one("pretraining_tp", pretraining_tp=2),
        one("architectures null", architectures=None),
        one("architectures absent", architectures=ABSENT),
        one("full layers", layer_types=["full_attention"] * 2),
        one(
            "sliding layers",
            layer_types=["sliding_attention"] * 2,
            refused="layer_types is .'sliding",
        ),
        one("window", sliding_window=12, refused="sliding_window is 12"),
        one("window null", sliding_window=None),
        one("same lm_head", tie_word_embeddings=True, tensors="same lm_head"),
        one(
            "other lm_head",
            tie_word_embeddings=True,
            tensors="other lm_head",
            refused="lm_head.weight",
        ),
        one("only lm_head", tie_word_embeddings=True, tensors="only lm_head"),
        one("no prefix", tie_word_embeddings=True, tensors="no prefix"),
        one("no prefix, untied", tensors="no prefix"),
        one("rotary buffers", tensors="rotary buffers"),
        one("one more", tensors="one more", refused="q_norm.weight"),
        one(
            "one less", tensors="one less", refused="no tensor 'model.layers.1.mlp.up_proj.weight'"
        ),
    ]


def _ropes() -> list[Variant]:
    def one(name: str, refused: str = "", family: str = "Llama", **changes: Any):
        return Variant(f"rope {name}", family, changes, refused=refused)

    linear = {"rope_type": "linear", "factor": 4.0}
    return [
        one("old theta", rope_theta=500000.0),
        one("theta an integer", rope_theta=500000),
        one("theta null", rope_theta=None, refused="rope_theta is null"),
        one("new theta", rope_parameters={"rope_type": "default", "rope_theta": 500000.0}),
        one("null beside new", rope_theta=None, rope_parameters={"rope_theta": 500000.0}),
        one("two thetas", rope_theta=100.0, rope_parameters={"rope_theta": 500000.0}),
        one("theta beside new", rope_theta=500000.0, rope_parameters={"rope_type": "default"}),
        one("new theta null", rope_parameters={"rope_theta": None}, refused="rope_theta is null"),
        one("old linear", rope_scaling={"type": "linear", "factor": 4.0}, rope_theta=500000.0),
        one("old linear, integer", rope_scaling={"type": "linear", "factor": 2}),
        one("new linear", rope_parameters=linear | {"rope_theta": 500000.0}),
        one("both types", rope_scaling={"type": "linear", "rope_type": "default"}),
        one("old wins over new", rope_scaling=linear, rope_parameters={"rope_theta": 500000.0}),
        one("old null beside new", rope_scaling=None, rope_parameters=linear),
        one("linear without factor", rope_scaling={"type": "linear"}, refused="factor is missing"),
        one(
            "factor is text",
            rope_scaling={"type": "linear", "factor": "4"},
            refused="factor is '4'",
        ),
        one("factor zero", rope_scaling={"type": "linear", "factor": 0}, refused="factor is 0"),
        one("llama3 old", rope_scaling=LLAMA3 | SHORT, rope_theta=500000.0),
        one("llama3 new", rope_parameters=LLAMA3 | SHORT | {"rope_theta": 500000.0}),
        one("llama3 without its length", rope_scaling=LLAMA3),
        one("llama3, length outside", rope_scaling=LLAMA3, **SHORT),
        one(
            "llama3, both lengths",
            rope_scaling=LLAMA3 | {"original_max_position_embeddings": 64},
            **SHORT,
        ),
        one(
            "llama3 without low",
            rope_scaling={"rope_type": "llama3", "factor": 8.0},
            refused="low_freq_factor is missing",
        ),
        one(
            "yarn old",
            rope_scaling={"type": "yarn", "factor": 4.0} | {"original_max_position_embeddings": 32},
        ),
        one("yarn new", rope_parameters=YARN | {"rope_theta": 1e6}),
        one("yarn without its length", rope_scaling={"type": "yarn", "factor": 2.0}),
        one("yarn, attention factor", rope_scaling=YARN | {"attention_factor": 1.5}),
        one("yarn, betas", rope_scaling=YARN | {"beta_fast": 8.0, "beta_slow": 2.0}),
        one("yarn, mscale", rope_scaling=YARN | {"mscale": 1.0, "mscale_all_dim": 0.5}),
        one("yarn, one mscale", rope_scaling=YARN | {"mscale": 2.0}),
        one("yarn, truncate", rope_scaling=YARN | {"truncate": False}),
        one("yarn of Qwen2", family="Qwen2", rope_scaling=YARN, rope_theta=1e6),
        one("yarn of Qwen3", family="Qwen3", rope_scaling=YARN, head_dim=16, rope_theta=1e6),
        one("yarn of Mistral", family="Mistral", rope_scaling=YARN, sliding_window=12),
        one("dynamic", rope_scaling={"type": "dynamic", "factor": 2.0}, refused="'dynamic'"),
        one(
            "longrope",
            rope_scaling={"type": "longrope", "short_factor": [1.0] * 8}
            | {"long_factor": [2.0] * 8},
            refused="'longrope'",
        ),
        one("proportional", rope_scaling={"rope_type": "proportional"}, refused="'proportional'"),
        one("mrope", rope_scaling={"type": "mrope", "mrope_section": [2, 3, 3]}, refused="'mrope'"),
        one("partial", partial_rotary_factor=0.5, refused="partial_rotary_factor is 0.5"),
        one(
            "partial, new",
            rope_parameters={"partial_rotary_factor": 0.5},
            refused="partial_rotary_factor is 0.5",
        ),
        one("partial 1", partial_rotary_factor=1.0),
        one(
            "nested",
            rope_parameters={"full_attention": {"rope_theta": 1e6}},
            refused="rope_parameters.full_attention",
        ),
        one(
            "nested of Qwen3",
            family="Qwen3",
            head_dim=16,
            rope_parameters={"full_attention": {"rope_theta": 1e6}},
            refused="full_attention",
        ),
        one(
            "unknown key",
            rope_scaling=linear | {"alpha": 1000.0},
            refused="rope_scaling.alpha is 1000.0",
        ),
    ]


def _windows() -> list[Variant]:
    def one(name: str, refused: str = "", sizes: Any = None, **changes: Any):
        family = name.split()[0].capitalize()
        return Variant(name, family, changes, sizes or {}, refused=refused)

    slides = {"use_sliding_window": True, "sliding_window": 12, "num_hidden_layers": 3}
    return [
        one("mistral window", sliding_window=12),
        one("mistral window absent"),
        one("mistral window null", sliding_window=None),
        one("mistral window of one", sliding_window=1),
        one("mistral window zero", sliding_window=0, refused="sliding_window is 0"),
        one("mistral window is true", sliding_window=True, refused="sliding_window is true"),
        one(
            "mistral switched off",
            sliding_window=12,
            use_sliding_window=False,
            refused="use_sliding_window is false",
        ),
        one(
            "mistral layer types",
            sliding_window=12,
            layer_types=["sliding_attention"] * 2,
            refused="layer_types is",
        ),
        one(
            "mistral mixed layers", sliding_window=12, layer_types=THREE[:2], refused="layer_types"
        ),
        one(
            "mistral kv absent",
            num_key_value_heads=ABSENT,
            num_attention_heads=8,
            head_dim=16,
            sizes={"num_key_value_heads": 8},
        ),
        one("mistral kv null", num_key_value_heads=None, refused="num_key_value_heads is null"),
        one("mistral mlp absent", intermediate_size=ABSENT, sizes={"intermediate_size": 14336}),
        one("mistral length absent", max_position_embeddings=ABSENT),
        one("mistral wide heads", head_dim=32, sliding_window=12, tie_word_embeddings=True),
        one("mistral bias", attention_bias=True, refused="attention_bias is true"),
        one("mistral mlp bias", mlp_bias=True, refused="mlp_bias is true"),
        one("mistral heads that leave a rest", num_attention_heads=6, head_dim=16),
        one("qwen2 plain"),
        one(
            "qwen2 window not used",
            use_sliding_window=False,
            sliding_window=12,
            max_window_layers=0,
        ),
        one("qwen2 window from one layer on", max_window_layers=1, **slides),
        one("qwen2 window from a late layer on", **slides),
        one("qwen2 window null", use_sliding_window=True, sliding_window=None, max_window_layers=0),
        one("qwen2 window absent", use_sliding_window=True, max_window_layers=0),
        one("qwen2 layer types", layer_types=THREE, **slides),
        one("qwen2 layer types null", layer_types=None, max_window_layers=2, **slides),
        one(
            "qwen2 layer types not used",
            layer_types=THREE,
            num_hidden_layers=3,
            sliding_window=12,
            refused="layer_types has sliding_attention",
        ),
        one(
            "qwen2 too few layer types",
            layer_types=THREE[:2],
            **slides,
            refused="layer_types has 2 entries",
        ),
        one(
            "qwen2 other layer types",
            layer_types=["linear_attention"] * 2,
            refused="layer_types is \\['linear",
        ),
        one(
            "qwen2 first window null",
            max_window_layers=None,
            **slides,
            refused="max_window_layers is null",
        ),
        one("qwen2 wide heads", head_dim=32),
        one("qwen2 head_dim null", head_dim=None, refused="head_dim is null"),
        one(
            "qwen2 kv absent",
            num_key_value_heads=ABSENT,
            num_attention_heads=32,
            head_dim=16,
            sizes={"num_key_value_heads": 32},
        ),
        one("qwen2 bias false", attention_bias=False),
        one("qwen2 tied", tie_word_embeddings=True),
        one("qwen2 mlp absent", intermediate_size=ABSENT, sizes={"intermediate_size": 22016}),
        one(
            "qwen2 vocab absent",
            vocab_size=ABSENT,
            hidden_size=32,
            num_attention_heads=2,
            sizes={"vocab_size": 151936},
            tie_word_embeddings=True,
        ),
        one("qwen2 length absent", max_position_embeddings=ABSENT),
        one("qwen2 mrope", use_mrope=True, refused="use_mrope is true"),
        one("qwen3 head_dim absent", sizes={"head_dim": 128}),
        one("qwen3 head_dim null", head_dim=None, refused="head_dim is null"),
        one("qwen3 head_dim", head_dim=32, tie_word_embeddings=True),
        one("qwen3 bias", head_dim=16, attention_bias=True),
        one("qwen3 window from one layer on", head_dim=16, max_window_layers=1, **slides),
        one("qwen3 layer types", head_dim=16, layer_types=THREE, **slides),
        one(
            "qwen3 kv absent",
            num_key_value_heads=ABSENT,
            num_attention_heads=32,
            head_dim=16,
            sizes={"num_key_value_heads": 32},
        ),
        one("qwen3 length absent", head_dim=16, max_position_embeddings=ABSENT),
        one("qwen3 eps absent", head_dim=16),
        one("qwen3 eps", head_dim=16, rms_norm_eps=0.01),
    ]


def variants() -> list[Variant]:
    """All of them, by distinct names."""
    return [*_llama(), *_ropes(), *_windows()]
