"""The `options` of Ollama's requests: how tokens are drawn, and when a reply ends.

Three kinds: those that are obeyed, those without effect on the text here, and those that would
change it and are not offered: these pass only at the value that asks for nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from bramble.errors import BadInput
from bramble.model.sampling import RANGES
from bramble.web.fields import INT32_MAX, Fields, refusal, shown
from bramble.wire.messages import Sampling

MAX_STOPS = 16
MAX_STOP_CHARACTERS = 1000
_SEEDS = 2**64

OBEYED = (
    *("temperature", "top_k", "top_p", "min_p", "seed", "num_predict", "stop"),
    *("repeat_penalty", "repeat_last_n", "presence_penalty", "frequency_penalty"),
)
# They fit a model to one machine, where here a plan does, or say what happens at a limit that is
# an error here.
WITHOUT_EFFECT = (
    *("num_ctx", "num_batch", "num_gpu", "num_gqa", "main_gpu", "num_thread", "numa", "low_vram"),
    *("f16_kv", "use_mmap", "use_mlock", "num_keep", "draft_num_predict", "penalize_newline"),
    *("mirostat_tau", "mirostat_eta"),
)
NEUTRAL: Mapping[str, float] = {
    "mirostat": 0,
    "tfs_z": 1,
    "typical_p": 1,
    "logits_all": 0,
    "vocab_only": 0,
    "embedding_only": 0,
}
NAMES = (*OBEYED, *WITHOUT_EFFECT, *NEUTRAL)


@dataclass(frozen=True, slots=True)
class Options:
    """What of a Generate they decide.

    chosen   names of Sampling's members: the rest is the model's own
    ignored  what was sent and has no effect, with its path
    """

    sampling: Sampling
    chosen: tuple[str, ...]
    is_seeded: bool
    max_tokens: int | None
    stop: tuple[str, ...]
    ignored: tuple[str, ...]


def read_options(body: Fields, top_logprobs: int) -> Options:
    """Check them. Raises BadInput with the path of what is wrong.

    top_logprobs  as in Sampling
    """
    values = body.get("options")
    if values is not None and not isinstance(values, dict):
        raise body.refuse("options", "an object")
    options = Fields(values or {}, "options.")
    options.check_names(NAMES)
    _check_neutral(options)
    chosen = {name: value for name, value in _read_shape(options).items() if value is not None}
    seed = options.integer("seed", -(2**63), _SEEDS - 1)
    is_seeded = seed is not None and seed != -1  # Ollama's default: another one each time
    return Options(
        sampling=_sampling(chosen, seed if is_seeded else None, top_logprobs),
        chosen=tuple(chosen),
        is_seeded=is_seeded,
        max_tokens=_read_length(options),
        stop=_read_stop(options),
        ignored=tuple(options.path + name for name in WITHOUT_EFFECT if options.has(name)),
    )


def _sampling(chosen: dict[str, float], seed: int | None, top_logprobs: int) -> Sampling:
    return Sampling(
        temperature=float(chosen.get("temperature", 1.0)),
        top_k=max(0, int(chosen.get("top_k", 0))),
        top_p=float(chosen.get("top_p", 1.0)),
        min_p=float(chosen.get("min_p", 0.0)),
        repetition_penalty=float(chosen.get("repetition_penalty", 1.0)),
        presence_penalty=float(chosen.get("presence_penalty", 0.0)),
        frequency_penalty=float(chosen.get("frequency_penalty", 0.0)),
        seed=secrets.randbits(63) if seed is None else seed % _SEEDS,
        top_logprobs=top_logprobs,
    )


def _read_shape(options: Fields) -> dict[str, float | None]:
    """Return Sampling's members by name; a top_p of 0 leaves the likeliest token alone."""
    shape: dict[str, float | None] = {
        "temperature": options.number("temperature", *RANGES["temperature"]),
        "top_k": options.integer("top_k", -1, INT32_MAX),
        "top_p": options.number("top_p", *RANGES["top_p"]),
        "min_p": options.number("min_p", *RANGES["min_p"]),
        "repetition_penalty": options.number("repeat_penalty", *RANGES["repetition_penalty"]),
        "presence_penalty": options.number("presence_penalty", -2.0, 2.0),
        "frequency_penalty": options.number("frequency_penalty", -2.0, 2.0),
    }
    if shape["top_p"] == 0.0:
        shape |= {"top_p": None, "temperature": 0.0}
    return shape | _read_window(options, shape["repetition_penalty"])


def _read_window(options: Fields, penalty: float | None) -> dict[str, float | None]:
    """Return what repeat_last_n makes of the penalty, which here covers prompt and reply."""
    window = options.integer("repeat_last_n", -1, INT32_MAX)
    if window == 0:
        return {"repetition_penalty": 1.0}
    if window not in (None, -1) and penalty not in (None, 1.0):
        raise BadInput(
            f"options.repeat_last_n: got {window}, but a repeat_penalty covers the whole prompt "
            "and reply here; send -1, or leave it out",
            "options.repeat_last_n",
        )
    return {}


def _check_neutral(options: Fields) -> None:
    for name, neutral in NEUTRAL.items():
        value = options.get(name)
        if value is not None and value != neutral:
            path = options.path + name
            raise BadInput(
                f"{path}: got {shown(value)}, which is not offered here; leave it out",
                path,
                "unsupported_parameter",
            )


def _read_length(options: Fields) -> int | None:
    """Return the most tokens that are wanted; None for -1 (no limit) and -2 (a full context)."""
    length = options.integer("num_predict", -2, INT32_MAX)
    if length == 0:
        raise options.refuse("num_predict", "1 and more, or -1 for no limit")
    return length if length is not None and length > 0 else None


def _read_stop(options: Fields) -> tuple[str, ...]:
    stop = options.get("stop")
    if stop is None:
        return ()
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or len(stops) > MAX_STOPS:
        raise options.refuse("stop", f"a list of at most {MAX_STOPS} strings")
    for i, text in enumerate(stops):
        if not isinstance(text, str) or not 1 <= len(text) <= MAX_STOP_CHARACTERS:
            allowed = f"a string of 1 to {MAX_STOP_CHARACTERS} characters"
            raise refusal(f"options.stop[{i}]", text, allowed)
    return tuple(stops)
