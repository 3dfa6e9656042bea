"""What numbers a ring's KV cache is of: as chosen, or as suits its processors and its model."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from bramble.errors import BadInput
from bramble.model.manifest import CACHE_BYTES, Manifest

log = logging.getLogger(__name__)

AUTO = "auto"
KINDS = (AUTO, *CACHE_BYTES)
ARM = "aarch64"  # as platform.machine() says it
# Keys with a bias of 300 give attention that is 28 % off on an emulated Cortex-A76, as its sums are
# of float16; without one it is 0.4 % off
MAX_KEY_BIAS = 32.0
HELP = (
    "numbers of the KV cache: float16 takes half the memory of float32, int8 a quarter (default: "
    "auto, float16 where all boards are Pis, float32 elsewhere)"
)


def check(manifest: Manifest, wanted: str) -> None:
    """Raise BadInput for a kind that does not exist, or that the model cannot have."""
    if wanted not in KINDS:
        raise BadInput(f"kv_cache is {wanted!r}, it has to be one of {', '.join(KINDS)}")
    if wanted != AUTO:
        manifest.check_cache(wanted)


def cache_kind(manifest: Manifest, wanted: str, machines: Iterable[str]) -> str:
    """Return the kind for stages on such machines: `wanted`, unless that is AUTO.

    An Arm processor attends to a float16 cache with a quarter of the instructions that float32
    takes. One of x86-64 has to convert it, and reads prompts half as fast (service/DESIGN.md).
    """
    if wanted != AUTO:
        return wanted
    if set(machines) != {ARM}:
        return "float32"
    if manifest.key_bias > MAX_KEY_BIAS:
        log.info("event=kv_cache kind=float32 reason='a key has a bias of %g'", manifest.key_bias)
        return "float32"
    try:
        manifest.check_cache("float16")
    except BadInput as reason:  # exported before there was one, or its numbers are too large
        log.info("event=kv_cache kind=float32 reason=%r", str(reason))
        return "float32"
    return "float16"
