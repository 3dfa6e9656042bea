"""The exporter's front door: a source becomes a model folder, or an error in one sentence."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import bramble
from bramble.errors import BadInput
from bramble.export import sample
from bramble.export.architectures import describe
from bramble.export.bounds import cache_bound, key_bias
from bramble.export.calibration import Calibration, calibration_ids
from bramble.export.compensate import can_compensate
from bramble.export.decoder import Decoder
from bramble.export.destination import check_free, destination
from bramble.export.fidelity import fidelity
from bramble.export.kept import Kept
from bramble.export.layer import CacheScales
from bramble.export.opening import open_source
from bramble.export.original import Original
from bramble.export.parts import PartWriter
from bramble.export.quantize import BLOCK, KINDS
from bramble.export.safetensors import Headers
from bramble.export.source import Source, read_settings
from bramble.export.speech import Speech, read_speech
from bramble.export.synthetic import open_synthetic
from bramble.export.tensors import check_tensors, fitted
from bramble.export.verify import Range, Sample, golden
from bramble.model import manifest as manifests
from bramble.model.disk import check_space
from bramble.model.manifest import (
    BYTES_PER_WEIGHT,
    Fidelity,
    File,
    Manifest,
    Part,
    Quantization,
    Shape,
    sha256_of,
)
from bramble.model.tokenizer import Tokenizer

# Any text does; this one has common words, digits and punctuation.
GOLDEN_TEXT = (
    "A bramble of small computers shares one large model: each of them holds 2 or 3 layers, "
    "and words travel round the ring."
)
GOLDEN_TOKENS = 24
SAMPLE_TOKENS = 256
CACHE_ROOM = 1.5  # of an int8 cache above the sample's largest keys and values, see DESIGN.md

EMBEDDED = Path(__file__).parent.parent / "embedded"
EMBEDDED_ID = "bramble-demo"
EMBEDDED_QUANTIZATION = "int8"  # small enough to need no less

Progress = Callable[[str, int, int], None]  # phase, done, total; the unit depends on the phase


@dataclass(frozen=True, slots=True)
class Options:
    """quantization is of the layers, and of embed and lm_head where these are None."""

    quantization: str = "int4"
    embed: str | None = None
    lm_head: str | None = None
    revision: str | None = None  # of a hub id: branch, tag or commit
    may_replace: bool = False
    is_calibrated: bool = True  # int4 weights make up for one another's errors, see compensate.py
    source_id: str | None = None  # the manifest's source.id of a folder; None = the folder's name
    is_default: bool = False  # nobody chose `quantization`: int4 if its blocks do not divide it

    def kinds(self) -> Quantization:
        """Raises BadInput for a kind that does not exist."""
        kinds = Quantization(
            layers=self.quantization,
            embed=self.embed or self.quantization,
            lm_head=self.lm_head or self.quantization,
            block_size=BLOCK.get(self.quantization, 32),
        )
        for kind in (kinds.layers, kinds.embed, kinds.lm_head):
            if kind not in KINDS:
                raise BadInput(f"quantisation {kind!r} is unknown; known are {', '.join(KINDS)}")
        return kinds


def fitting(options: Options, decoder: Decoder) -> Options:
    """Options in whose blocks the inputs of all matrices come, if nobody chose another kind."""
    block = BLOCK.get(options.quantization, 1)
    inputs = {size[1] for size in decoder.matrices().values()} | {decoder.shape.hidden_size}
    if options.is_default and any(count % block for count in inputs):
        return replace(options, quantization="int4")
    return options


def keeping(options: Options, kept: Kept) -> Options:
    """Options in which most of the source's own blocks stay as they are, if nobody chose."""
    layers = kept.layers_kind() if options.is_default else None
    if layers is None:
        return options
    return replace(
        options,
        quantization=layers,
        embed=options.embed or kept.embed_kind(),
        lm_head=options.lm_head or kept.lm_head_kind(),
    )


def silent(phase: str, done: int, total: int) -> None:
    """A Progress that nobody watches."""


def export(
    source: str, dest: Path, options: Options | None = None, progress: Progress = silent
) -> Manifest:
    """Write the model folder `dest` from a Hugging Face folder or hub id, or a GGUF file.

    Raises BadInput for a source that cannot be exported, Broken for a disk that is full. `dest`
    is complete on return and untouched otherwise.
    """
    options = options or Options()
    options.kinds()
    check_free(dest, options.may_replace)

    def check(folder: Path, headers: Headers) -> None:
        check_settings(folder, headers, options)

    opened = open_source(source, options.revision, options.source_id, check)
    return write_folder(opened, dest, options, progress)


def export_synthetic(
    shape: str, dest: Path, options: Options | None = None, progress: Progress = silent
) -> Manifest:
    """Write a model folder of a named real shape with random weights; errors as in `export`."""
    options = options or Options()
    options.kinds()
    check_free(dest, options.may_replace)
    return write_folder(open_synthetic(shape), dest, options, progress)


def export_embedded(
    dest: Path, options: Options | None = None, progress: Progress = silent
) -> Manifest:
    """Write a model folder of the demonstration model that ships with Bramble; errors as above."""
    options = options or Options(quantization=EMBEDDED_QUANTIZATION)
    embedded_sha256()
    return export(str(EMBEDDED), dest, replace(options, source_id=EMBEDDED_ID), progress)


def embedded_sha256(folder: Path = EMBEDDED) -> str:
    """Which demonstration model ships with Bramble: of all its files, as any may change alone.

    Raises BadInput if none does.
    """
    files = sorted(path for path in folder.glob("*") if path.is_file())
    if "model.safetensors" not in [path.name for path in files]:
        raise BadInput(f"{folder} holds no model: this installation lacks its package data")
    digests = "".join(f"{path.name} {sha256_of(path)}\n" for path in files)
    return hashlib.sha256(digests.encode()).hexdigest()


def check_settings(folder: Path, headers: Headers, options: Options) -> None:
    """Raise BadInput, as `export` would, for what settings and headers of weights tell already."""
    config, generation = read_settings(folder)
    decoder = describe(config)
    _check_blocks(decoder, fitting(options, decoder).kinds())
    check_tensors(decoder, headers)
    read_speech(config, generation, Tokenizer(folder), decoder.shape.vocab_size)


def write_folder(source: Source, dest: Path, options: Options, progress: Progress) -> Manifest:
    """Write `dest` from an opened source; errors as in `export`."""
    decoder = describe(source.config)
    source = replace(source, weights=fitted(decoder, source.weights))
    kept = Kept(decoder, source.weights, source.formats)
    options = fitting(keeping(options, kept), decoder)
    kinds = options.kinds()
    _check_blocks(decoder, kinds)
    check_space(dest, _estimate_bytes(decoder, kinds))
    # What overflows is told by the tensor's or the part's name, not by numpy
    silenced = np.errstate(over="ignore", invalid="ignore", divide="ignore")
    with destination(dest, options.may_replace) as folder, silenced:
        files = _copy(source, folder)
        tokenizer = Tokenizer(folder)
        vocab_size = decoder.shape.vocab_size
        speech = read_speech(source.config, source.generation, tokenizer, vocab_size)
        total = sum(prod(size) for size in decoder.tensors().values())
        advance = _Counter(progress, "weights", total)
        calibration = None
        if not kept.is_all(kinds):
            calibration = _calibration(source, decoder, tokenizer, options)
        writer = PartWriter(folder, decoder, kinds, source.weights, advance, calibration)
        parts = writer.write()
        manifest = _manifest(source, decoder, kinds, parts, files | writer.files)
        manifest = _with_speech(manifest, speech, source.warnings)
        if notes := kept.told(kinds):
            manifest = replace(manifest, extra=manifest.extra | {"notes": notes})
        manifest = replace(manifest, name=dest.name)
        advance = _Counter(progress, "golden check", len(parts))
        golden_ids = _golden_ids(tokenizer, decoder.shape.vocab_size)
        sample_ids = _sample_ids(tokenizer, decoder.shape)
        check, ran = golden(folder, manifest, golden_ids, sample_ids, advance)
        found = _fidelity(source, decoder, folder, manifest, ran, progress)
        parts = _with_int8_cache(writer, parts, ran.ranges)
        files |= writer.files
        manifest = replace(manifest, golden=check, fidelity=found, parts=parts, files=files)
        manifest = replace(manifest, key_bias=key_bias(decoder, source.weights))
        manifest = _with_cache_bound(manifest, cache_bound(decoder, source.weights))
        manifests.write(manifest, folder)
    return manifest


class _Counter:
    """Adds up what was done, for a Progress that wants the sum."""

    def __init__(self, progress: Progress, phase: str, total: int) -> None:
        self._progress, self._phase, self._total = progress, phase, total
        self._done = 0
        progress(phase, 0, total)

    def __call__(self, count: int) -> None:
        self._done += count
        self._progress(self._phase, min(self._done, self._total), self._total)


def _manifest(
    source: Source,
    decoder: Decoder,
    kinds: Quantization,
    parts: tuple[Part, ...],
    files: dict[str, File],
) -> Manifest:
    return Manifest(
        name=source.name,
        architecture=decoder.architecture,
        num_parameters=sum(prod(size) for size in decoder.tensors().values()),
        shape=decoder.shape,
        rope=decoder.rope,
        quantization=kinds,
        is_tied=decoder.is_tied,
        eos_ids=(),
        bos_id=None,
        source=source.origin,
        defaults={},
        parts=parts,
        files=files,
        exporter=f"bramble {bramble.__version__}",
    )


def _with_speech(manifest: Manifest, speech: Speech, warnings: list[str]) -> Manifest:
    return replace(
        manifest,
        defaults=speech.defaults,
        eos_ids=speech.eos_ids,
        bos_id=speech.bos_id,
        extra={"warnings": [*warnings, *speech.warnings]},
    )


def _copy(source: Source, folder: Path) -> dict[str, File]:
    for name, path in source.copied.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / name)
    for name, text in source.texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    names = sorted({*source.copied, *source.texts})
    return {n: File(sha256_of(folder / n), (folder / n).stat().st_size) for n in names}


def _golden_ids(tokenizer: Tokenizer, vocab_size: int) -> tuple[int, ...]:
    """The text's first tokens, repeated if a small vocabulary makes few; ids the model has."""
    ids = [i for i in tokenizer.encode(GOLDEN_TEXT) if i < vocab_size] or [0]
    return tuple((ids * GOLDEN_TOKENS)[:GOLDEN_TOKENS])


def _sample_ids(tokenizer: Tokenizer, shape: Shape) -> tuple[int, ...]:
    """Text that ranges of keys and values, and fidelity, are measured on: ids the model has."""
    ids = [i for i in tokenizer.encode(sample.TEXT) if i < shape.vocab_size] or [0]
    return tuple(ids[: min(SAMPLE_TOKENS, shape.max_length)])


def _calibration(
    source: Source, decoder: Decoder, tokenizer: Tokenizer, options: Options
) -> Calibration | None:
    """None where nothing is rounded so coarsely, or weights are random."""
    kinds = options.kinds()
    is_coarse = any(map(can_compensate, (kinds.layers, kinds.embed, kinds.lm_head)))
    if not (is_coarse and options.is_calibrated) or _is_random(source):
        return None
    shape = decoder.shape
    ids = calibration_ids(tokenizer, shape.vocab_size, shape.max_length)
    return Calibration(Original(decoder, source.weights), ids)


def _fidelity(
    source: Source,
    decoder: Decoder,
    folder: Path,
    manifest: Manifest,
    ran: Sample,
    progress: Progress,
) -> Fidelity | None:
    """None where it would say nothing: nothing is quantised, or weights are random."""
    kinds = manifest.quantization
    is_quantised = {kinds.layers, kinds.embed, kinds.lm_head} != {"float32"}
    if not is_quantised or _is_random(source):
        return None
    advance = _Counter(progress, "comparison", len(manifest.parts))
    lm_head = folder / manifest.part("lm_head").onnx
    return fidelity(Original(decoder, source.weights), ran, lm_head, advance)


def _is_random(source: Source) -> bool:
    return bool(source.origin["kind"] == "synthetic")


def _with_int8_cache(
    writer: PartWriter, parts: tuple[Part, ...], ranges: list[Range]
) -> tuple[Part, ...]:
    embed, *layers, lm_head = parts
    written = [
        writer.add_int8_cache(part, index, CacheScales(_step(found.keys), _step(found.values)))
        for index, (part, found) in enumerate(zip(layers, ranges, strict=True))
    ]
    return (embed, *written, lm_head)


def _with_cache_bound(manifest: Manifest, bound: float) -> Manifest:
    """Add it, and a warning where a float16 KV cache is refused for it."""
    manifest = replace(manifest, cache_bound=bound)
    try:
        manifest.check_cache("float16")
    except BadInput as refusal:
        warnings = [*manifest.extra["warnings"], str(refusal)]
        manifest = replace(manifest, extra=manifest.extra | {"warnings": warnings})
    return manifest


def _step(largest: NDArray[np.float32]) -> NDArray[np.float32]:
    """One step of int8 for a channel; one that the sample never moved gets some room."""
    floor = np.float32(largest.mean() / 100 or 1)
    return np.asarray(np.maximum(largest, floor) * CACHE_ROOM / 127, np.float32)


def _check_blocks(decoder: Decoder, kinds: Quantization) -> None:
    """Every matrix's inputs must come in whole blocks."""
    hidden = decoder.shape.hidden_size
    inputs = [(kinds.layers, name, size[1]) for name, size in decoder.matrices().items()]
    inputs += [(kinds.embed, "embed_tokens", hidden), (kinds.lm_head, "lm_head", hidden)]
    for kind, name, count in inputs:
        block = BLOCK.get(kind, 1)
        if count % block:
            raise BadInput(
                f"{kind} needs a multiple of {block} inputs, and {name} has {count}; "
                f"choose --quant {'int4' if block > 32 and count % 32 == 0 else 'float32'}"
            )


def _estimate_bytes(decoder: Decoder, kinds: Quantization) -> int:
    shape = decoder.shape
    table = shape.vocab_size * shape.hidden_size
    per_layer = sum(prod(size) for size in decoder.layer_tensors().values())
    is_shared = decoder.is_tied and kinds.embed == kinds.lm_head
    total = shape.num_layers * per_layer * BYTES_PER_WEIGHT[kinds.layers]
    total += table * BYTES_PER_WEIGHT[kinds.embed]
    total += 0 if is_shared else table * BYTES_PER_WEIGHT[kinds.lm_head]
    return int(total * 1.01) + (64 << 20)  # tokenizer, norms, page boundaries
