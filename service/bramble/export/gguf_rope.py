"""A GGUF file's rotary scaling as config.json would have it.

Llama 3's scaling is no setting there but a table: by how much each pair of dimensions is slowed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bramble.errors import BadInput
from bramble.export.config_file import ConfigFile
from bramble.export.gguf_weights import ROPE_FACTORS
from bramble.model.manifest import Rope
from bramble.model.rope import frequencies

# Of every published Llama with this scaling; what they were trained with differs in length alone
LOW, HIGH = 1.0, 4.0
TOLERANCE = 1e-5  # relative; the converter computes the table in float32
SCALING = "rope.scaling."
# Settings of YaRN that are computed at these values alone
YARN_ONLY = {
    "attn_factor": (1.0,),
    "yarn_attn_factor": (1.0,),
    "yarn_ext_factor": (-1.0, 1.0),
    "yarn_log_multiplier": (0.0,),
}
YARN_BETAS = {"yarn_beta_fast": "beta_fast", "yarn_beta_slow": "beta_slow"}

Floats = NDArray[np.float32]


def scaling(keys: ConfigFile, theta: float, size: int, factors: Floats | None) -> Any:
    """Return rope_scaling, None for no scaling. Raises BadInput by key or tensor.

    keys     of the architecture
    theta    base of the frequencies; `size` dimensions turn
    factors  the table's numbers, if there is one
    """
    kind = keys.value(f"{SCALING}type", str, "linear")
    old = keys.value("rope.scale_linear", float, 0.0)
    factor = keys.value(f"{SCALING}factor", float, old)
    keys.value(f"{SCALING}finetuned", bool, False)  # whether it was trained so, not what it is
    length = keys.value(f"{SCALING}original_context_length", int, 0)
    _check_yarn(keys)
    is_scaled = kind != "none" and factor not in (0.0, 1.0)
    if kind not in ("none", "linear", "yarn"):
        raise keys.wrong(f"{SCALING}type", "none, linear or yarn")
    if factors is not None:
        if is_scaled:
            raise keys.wrong(f"{SCALING}factor", f"none beside the tensor {ROPE_FACTORS!r}")
        return _llama3(keys, theta, size, factors)
    if not is_scaled:
        return None
    found: dict[str, Any] = {"rope_type": kind, "factor": keys.positive(_factor_key(keys))}
    if kind == "yarn":
        if length < 1:
            raise keys.wrong(f"{SCALING}original_context_length", "a length, which yarn needs")
        found["original_max_position_embeddings"] = length
        found |= {
            ours: keys.positive(f"{SCALING}{name}")
            for name, ours in YARN_BETAS.items()
            if f"{SCALING}{name}" in keys.document
        }
    return found


def _factor_key(keys: ConfigFile) -> str:
    return f"{SCALING}factor" if f"{SCALING}factor" in keys.document else "rope.scale_linear"


def _check_yarn(keys: ConfigFile) -> None:
    for name, allowed in YARN_ONLY.items():
        if keys.value(f"{SCALING}{name}", float, allowed[0]) not in allowed:
            raise keys.wrong(f"{SCALING}{name}", " or ".join(map(str, allowed)))
    keys.read.update(f"{SCALING}{name}" for name in YARN_BETAS)


def _llama3(keys: ConfigFile, theta: float, size: int, factors: Floats) -> Any:
    """The settings that make this table, found by making it again."""
    if factors.shape != (size // 2,) or not (factors >= 1 - TOLERANCE).all():
        raise BadInput(
            f"{keys.file}: tensor {ROPE_FACTORS!r} needs {size // 2} numbers of 1 or more, by "
            "which rotations are slowed"
        )
    largest = float(factors.max())
    if largest <= 1 + TOLERANCE:
        return None
    plain = frequencies(Rope(theta, size, None))
    found = {
        "rope_type": "llama3",
        "factor": rounded(largest),
        "low_freq_factor": LOW,
        "high_freq_factor": HIGH,
        "original_max_position_embeddings": _length(plain, factors, largest),
    }
    made = plain / frequencies(Rope(theta, size, found))
    if not np.allclose(made, factors, rtol=TOLERANCE, atol=0):
        raise BadInput(
            f"{keys.file}: tensor {ROPE_FACTORS!r} is not the table of Llama 3's scaling with "
            f"factors {LOW:g} and {HIGH:g}, which is all that is read; export the Hugging Face "
            "release"
        )
    return found


def _length(plain: Floats, factors: Floats, largest: float) -> int:
    """The context it was trained for before it was stretched, from a pair that is slowed partly."""
    turns = 2 * np.pi / plain.astype(np.float64)  # positions per turn
    wide = factors.astype(np.float64)
    between = (wide > 1 + TOLERANCE) & (wide < largest * (1 - TOLERANCE))
    if not between.any():
        return max(int(turns[wide > 1 + TOLERANCE].min()), 1)
    kept = (1 / wide[between] - 1 / largest) / (1 - 1 / largest)  # 1 = as fast as before
    lengths = turns[between] * (LOW + kept * (HIGH - LOW))
    return max(round(float(np.median(lengths))), 1)


def rounded(number: float) -> float:
    """What was written, of a number that went through float32."""
    return float(str(np.float32(number)))
