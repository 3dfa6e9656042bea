"""How many threads this node computes with, measured once per kind of shard and kept.

More cores than the memory can feed only slow decoding down: two threads of a Raspberry Pi 5 may
beat four. Each setting is timed in a process of its own, as onnxruntime sizes its pool once.
"""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from bramble.model import kept as kept_document
from bramble.model.manifest import Manifest, layer_name
from bramble.stage.cpu import num_threads
from bramble.stage.packed import machine_key
from bramble.stage.session import Threads

log = logging.getLogger(__name__)

FILE_NAME = "threads.json"
SMALL_BYTES = 8 << 20  # of a layer: below, a node's caches hold it and the choice hardly matters
REPLY_TOKENS = 128  # decoded for each chunk of a prompt, in the request that the choice is for
GAIN = 0.97  # a setting with more threads must be this much faster
TIMEOUT_S = 60.0  # of one measurement: loading two layers of the 8B shape takes a Pi about ten
FEED_S = 5.0  # between words to the watchdog


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of the layers that were timed: one token, and a chunk of a prompt."""

    decode_s: float
    prefill_s: float

    @property
    def request_s(self) -> float:
        return self.prefill_s + REPLY_TOKENS * self.decode_s


Measure = Callable[[Threads], Timing | None]


def choose(
    folder: Path,
    manifest: Manifest,
    layers: range,
    place: Path | None,
    alive: Callable[[], None],
) -> Threads:
    """Return what was chosen for such a shard on this node; measured and kept if it is new.

    place    a folder where the choice is kept; None = one thread per core, as nothing is measured
    alive    called every few seconds
    """
    usual = Threads(num_threads(0))
    if place is None or not layers or usual.count == 1:
        return usual
    if manifest.part_bytes(layer_name(layers.start)) < SMALL_BYTES:
        return usual
    key, kept = _key(manifest, usual.count), _read(place)
    if key in kept:
        return kept[key]

    def measure(threads: Threads) -> Timing | None:
        return _measure(folder, layers[:2], threads, alive)

    chosen, timings = search(measure, usual.count)
    if not timings:
        return usual
    log.info("event=tuned chosen=%r %s", chosen.sentence, _words(timings))
    _write(place, kept | {key: chosen})
    return chosen


def search(measure: Measure, cores: int) -> tuple[Threads, dict[Threads, Timing]]:
    """Time thread counts, spinning or not."""
    counts = sorted({2, 3, 4, cores} & set(range(2, cores + 1)))
    candidates = [Threads(1), *(Threads(n, spin) for n in counts for spin in (False, True))]
    timings: dict[Threads, Timing] = {}
    _time(measure, candidates, timings)
    return (pick(timings) if timings else Threads(cores)), timings


def pick(timings: dict[Threads, Timing]) -> Threads:
    """The setting that answers a request soonest; of nearly equal ones the earliest measured."""
    best, *others = timings
    for other in others:
        if timings[other].request_s < GAIN * timings[best].request_s:
            best = other
    return best


def _time(measure: Measure, candidates: Iterable[Threads], timings: dict[Threads, Timing]) -> None:
    for threads in candidates:
        timing = measure(threads)
        if timing is not None:
            timings[threads] = timing


def _measure(
    folder: Path, layers: range, threads: Threads, alive: Callable[[], None]
) -> Timing | None:
    command = [sys.executable, "-m", "bramble.stage.timing", str(folder)]
    command += [str(layers.start), str(layers.stop), json.dumps(asdict(threads))]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        for _ in range(int(TIMEOUT_S / FEED_S)):
            alive()
            try:
                output, errors = child.communicate(timeout=FEED_S)
                break
            except subprocess.TimeoutExpired:
                continue
        else:
            child.kill()
            output, errors = "", f"no answer within {TIMEOUT_S:.0f} s"
    try:
        return Timing(**json.loads(output))
    except (ValueError, TypeError):
        reason = (errors.strip().splitlines() or ["no reason given"])[-1]
        log.warning("event=not_timed threads=%r reason=%r", threads.sentence, reason)
        return None


def _key(manifest: Manifest, cores: int) -> str:
    """What the choice depends on: processor, cores, onnxruntime, size and kind of the layers."""
    shape = manifest.shape
    sizes = (shape.hidden_size, shape.intermediate_size, shape.num_heads, shape.num_kv_heads)
    text = f"{machine_key()} {cores} {manifest.quantization.layers} {sizes}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _read(place: Path) -> dict[str, Threads]:
    try:
        kept = kept_document.read(place / FILE_NAME)
        return {key: Threads(**entry) for key, entry in kept.items()}
    except TypeError:  # of another release
        return {}


def _write(place: Path, kept: dict[str, Threads]) -> None:
    document = {key: asdict(threads) for key, threads in kept.items()}
    kept_document.write(place / FILE_NAME, document)


def _words(timings: dict[Threads, Timing]) -> str:
    """decode/prefill in ms of the layers that were timed, by setting."""
    return " ".join(
        f"{threads.sentence!r}={timing.decode_s * 1e3:.1f}/{timing.prefill_s * 1e3:.0f}ms"
        for threads, timing in timings.items()
    )
