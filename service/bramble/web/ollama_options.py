"""The `options` of Ollama's requests: how tokens are drawn, and when a reply ends.

Three kinds: those that are obeyed, those without effect on the text here, and those that would
change it and are not offered: these pass only at the value that asks for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from bramble.errors import BadInput
from bramble.model.sampling import RANGES
from bramble.web.faults import Faults
from bramble.web.fields import INT32_MAX, Fields, shown, whole
from bramble.web.sampling_parameters import read_length, read_sampling, read_stop

OBEYED = (
    *("temperature", "top_k", "top_p", "min_p", "seed", "num_predict", "stop"),
    *("repeat_penalty", "repeat_last_n", "presence_penalty", "frequency_penalty"),
)
# They fit a model to one machine, where here a plan does, or say what happens at a limit that is
# an error here, or belong to a sampler that is off.
WITHOUT_EFFECT = (
    *("num_ctx", "num_batch", "num_gpu", "num_gqa", "main_gpu", "num_thread", "numa", "low_vram"),
    *("f16_kv", "use_mmap", "use_mlock", "num_keep", "draft_num_predict", "penalize_newline"),
    *("mirostat_tau", "mirostat_eta"),
)
NEUTRAL: Mapping[str, float] = {
    "mirostat": 0,
    "tfs_z": 1,
    "typical_p": 1,
    "logits_all": False,
    "vocab_only": False,
    "embedding_only": False,
}
NAMES = (*OBEYED, *WITHOUT_EFFECT, *NEUTRAL)


def open_options(body: Fields) -> Fields:
    """Return the options, none if there are none. Unknown names are refused."""
    options = body.object("options") or Fields({}, body.path + "options.", body.faults)
    options.check_names(NAMES)
    return options


def read_options(options: Fields, top_logprobs: int, faults: Faults) -> dict[str, Any]:
    """Return the members of Generate that they decide; faults are kept.

    top_logprobs  as in Sampling
    """
    for name, neutral in NEUTRAL.items():
        faults.attempt(partial(_check_neutral, options, name, neutral), None)
    values = dict(options.values)
    values["repetition_penalty"] = faults.attempt(partial(_read_penalty, options), None)
    if whole(values.get("seed")) == -1:  # Ollama's default: another one each time
        del values["seed"]
    return {
        **read_sampling(Fields(values, options.path, faults), top_logprobs),
        "max_tokens": faults.attempt(partial(read_length, options, "num_predict"), None),
        "stop": faults.attempt(partial(read_stop, options), ()),
    }


def ignored(options: Fields) -> tuple[str, ...]:
    """Return the paths of what was sent and has no effect."""
    return tuple(options.path + name for name in WITHOUT_EFFECT if options.has(name))


def _read_penalty(options: Fields) -> float | None:
    """Return the penalty on repetitions, which here covers prompt and reply in all."""
    penalty = options.number("repeat_penalty", *RANGES["repetition_penalty"])
    window = options.integer("repeat_last_n", -1, INT32_MAX)
    if window == 0:
        return 1.0
    if window not in (None, -1) and penalty not in (None, 1.0):
        path = options.path + "repeat_last_n"
        raise BadInput(
            f"{path}: got {window}, but a repeat_penalty covers the whole prompt and reply here; "
            "send -1, or leave it out",
            path,
        )
    return penalty


def _check_neutral(options: Fields, name: str, neutral: float) -> None:
    value = options.get(name)
    if value is not None and value != neutral:
        path = options.path + name
        raise BadInput(
            f"{path}: got {shown(value)}; it would change the reply and is not offered here; "
            "leave it out",
            path,
            "unsupported_parameter",
        )
