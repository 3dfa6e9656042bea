"""A model folder's table of contents: what the model is, and each file's sha256 and bytes.

Written by `bramble export`, read by planner, head and stages. It knows files, not tensors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from itertools import chain
from pathlib import Path, PurePosixPath
from sys import float_info
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from bramble.errors import BadInput, BadShard
from bramble.model.disk import write_whole
from bramble.model.sampling import check_defaults

FORMAT = 2  # rises whenever an older reader would misread a newer folder
FILE_NAME = "manifest.json"
DIGEST_SIZE = 8  # norm and seven projections, see model/digest.py
CHUNK_BYTES = 1 << 20  # of a file that is hashed
# Of one weight with its scale, and its share of a zero point, by quantisation
BYTES_PER_WEIGHT = {
    "int4": 0.625,
    "int4-64": 0.5625,
    "int4-128-symmetric": 0.53125,
    "int4-128": 0.535,
    "int8": 1.125,
    "float32": 4.0,
}
# A Pi reads 5 % less of it than of int4, as near to the original as those bits allow: DESIGN.md
DEFAULT_QUANTIZATION = "int4-64"
# Of other machines: kernels of x86-64 round several rows of int4-64 otherwise than one, so that a
# reply might depend on who else asks
EXACT_QUANTIZATION = "int4"
MAX_LENGTH = 1 << 20  # tokens of context: a table of them all is made for the rotary embedding
MAX_LAYERS = 1000  # their names count to 999
CACHE_BYTES = {"float32": 4, "float16": 2, "int8": 1}  # of one number in the KV cache, by kind
LARGEST_HALF = 65504.0  # of float16's finite numbers
HALF_ROOM = 2.0  # of it over what weights can give: quantised ones, and rotation, give some more


@dataclass(frozen=True, slots=True)
class File:
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Cut:
    """A layer's ONNX files, cut around its attention (export/layer.py), over the part's data."""

    before: str
    attention: str
    behind: str
    int8_attention: str = ""  # over an int8 KV cache
    float16_attention: str = ""  # over a float16 KV cache


@dataclass(frozen=True, slots=True)
class Part:
    """One standalone ONNX model and the files of its weights (paths as in Manifest.files)."""

    name: str  # "embed", "layer-000" … or "lm_head"
    onnx: str
    data: tuple[str, ...]  # lm_head of a tied model may name the embedding's file
    int8_cache: str = ""  # a layer's other ONNX file, over the same data: its KV cache is int8
    cut: Cut | None = None  # of a layer: what a stage runs


@dataclass(frozen=True, slots=True)
class Shape:
    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int  # rows of the embedding; the tokenizer may know fewer
    max_length: int  # tokens of context that the model was trained for

    def kv_bytes_per_token(self, num_layers: int, kv_cache: str = "float32") -> int:
        """Bytes of keys and values that one token takes in `num_layers` layers."""
        return num_layers * 2 * self.num_kv_heads * self.head_dim * CACHE_BYTES[kv_cache]


@dataclass(frozen=True, slots=True)
class Rope:
    theta: float
    rotary_dim: int
    scaling: dict[str, Any] | None = None  # config.json's rope_scaling, e.g. rope_type llama3


@dataclass(frozen=True, slots=True)
class Quantization:
    """Each part's kind, one of BYTES_PER_WEIGHT: "int4-64" is int4 in blocks of 64 weights."""

    layers: str
    embed: str
    lm_head: str
    block_size: int = 32  # along the input, of the layers


@dataclass(frozen=True, slots=True)
class Golden:
    """One process's result for `token_ids` from an empty cache, to be met by every ring.

    top_ids, top_logits  the ten largest logits after the last token
    digests              [num_layers + 1][DIGEST_SIZE]: of the last token's hidden state behind the
                         embedding and behind each layer
    tolerance            largest relative difference that is not a fault
    """

    token_ids: tuple[int, ...]
    top_ids: tuple[int, ...]
    top_logits: tuple[float, ...]
    digests: tuple[tuple[float, ...], ...]
    tolerance: float


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How near the quantised model is to its float32 original on a text of several languages.

    tokens        positions at which their next tokens were compared
    divergence    mean of KL(original || quantised) over them, in nats
    same_first    share of them at which both have the same most likely token
    """

    tokens: int
    divergence: float
    same_first: float


@dataclass(frozen=True, slots=True)
class Manifest:
    name: str
    architecture: str  # e.g. LlamaForCausalLM
    num_parameters: int
    shape: Shape
    rope: Rope
    quantization: Quantization
    is_tied: bool
    eos_ids: tuple[int, ...]  # each of them ends a reply
    bos_id: int | None
    source: dict[str, Any]  # kind, id, revision
    defaults: dict[str, Any]  # generation_config's do_sample and numbers: model/sampling.py
    parts: tuple[Part, ...]
    files: dict[str, File]  # every file but the manifest, by relative path
    golden: Golden | None = None
    fidelity: Fidelity | None = None  # of float32 and of random weights there is none
    # No text gives larger keys, values or scaled queries (export/bounds.py); 0 = not known
    cache_bound: float = 0.0
    key_bias: float = 0.0  # the largest that is added to a key
    exporter: str = ""
    format: int = FORMAT
    extra: dict[str, Any] = field(default_factory=dict)  # e.g. warnings: what export told
    # sha256 of the file itself without these 64 digits; of one that was edited by hand, empty it
    seal: str = ""

    def part(self, name: str) -> Part:
        """The part of that name. Raises BadInput that lists the names there are."""
        for part in self.parts:
            if part.name == name:
                return part
        names = ", ".join(part.name for part in self.parts)
        raise BadInput(f"{self.name} has no part {name!r}; it has {names}")

    def layer_part(self, index: int) -> Part:
        """The part of decoder layer `index`, 0-based."""
        return self.part(layer_name(index))

    def graph(self, name: str, kv_cache: str = "float32") -> str:
        """The ONNX file of a whole part; a layer has one for float32 and one for int8.

        Raises BadInput.
        """
        part = self.part(name)
        if kv_cache != "int8" or name in ("embed", "lm_head"):
            return part.onnx
        self._check_exported(kv_cache, part.int8_cache)
        return part.int8_cache

    def graphs(self, name: str, kv_cache: str = "float32") -> tuple[str, ...]:
        """The ONNX files of a part that a stage runs, in their order. Raises BadInput."""
        whole, cut = self.graph(name, kv_cache), self.part(name).cut
        if cut is None:
            return (whole,)
        return (cut.before, self._attention(cut, kv_cache), cut.behind)

    def check_cache(self, kv_cache: str) -> None:
        """Raise BadInput where the model cannot have that kind of KV cache, and say which does."""
        if kv_cache not in CACHE_BYTES:
            allowed = ", ".join(CACHE_BYTES)
            raise BadInput(f"kv_cache is {kv_cache!r}, it has to be one of {allowed}")
        self.graphs(layer_name(0), kv_cache)
        if kv_cache == "float16" and self.cache_bound * HALF_ROOM > LARGEST_HALF:
            raise BadInput(
                f"{self.name} can give keys, values or queries of {self.cache_bound:,.0f}, and a "
                f"float16 KV cache holds {LARGEST_HALF / HALF_ROOM:,.0f} with the room it needs; "
                "use kv_cache: float32"
            )

    def _attention(self, cut: Cut, kv_cache: str) -> str:
        kinds = {"float16": cut.float16_attention, "int8": cut.int8_attention}
        attention = kinds.get(kv_cache, cut.attention)
        self._check_exported(kv_cache, attention)
        return attention

    def _check_exported(self, kv_cache: str, graph: str) -> None:
        if not graph:
            kind = "an int8" if kv_cache == "int8" else f"a {kv_cache}"
            raise BadInput(
                f"{self.name} was exported without {kind} KV cache; "
                "export the model again, or use kv_cache: float32"
            )

    def part_files(self, names: Iterable[str]) -> tuple[str, ...]:
        """The files that these parts need, each once, in the parts' order."""
        parts = [self.part(name) for name in names]
        return tuple(dict.fromkeys(file for part in parts for file in _files(part)))

    def text_files(self) -> tuple[str, ...]:
        """The files that no part needs: tokenizer, chat template, licence."""
        parts = set(self.part_files(part.name for part in self.parts))
        return tuple(sorted(set(self.files) - parts))

    def part_bytes(self, *names: str) -> int:
        """Bytes on disk of these parts together; a file that two of them share counts once."""
        return sum(self.files[file].bytes for file in self.part_files(names))


def _files(part: Part) -> Iterator[str]:
    cut = part.cut or Cut("", "", "")
    cuts = (cut.before, cut.attention, cut.behind, cut.int8_attention, cut.float16_attention)
    yield from filter(None, (part.onnx, *cuts, part.int8_cache, *part.data))


def layer_name(index: int) -> str:
    """The part name of decoder layer `index`: layer-000 …"""
    return f"layer-{index:03d}"


def write(manifest: Manifest, folder: Path) -> str:
    """Write manifest.json, with its seal, into `folder` and return its sha256."""
    document = asdict(manifest) | {"seal": ""}
    blank = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    document["seal"] = hashlib.sha256(blank.encode()).hexdigest()
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    write_whole(folder / FILE_NAME, text)
    return hashlib.sha256(text.encode()).hexdigest()


def read(folder: Path) -> Manifest:
    """Read and check `folder`'s manifest. Raises BadInput that says what to do."""
    path = folder / FILE_NAME
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text)
    except FileNotFoundError:
        raise BadInput(f"{folder} is not a model folder: it has no {FILE_NAME}") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} cannot be read: {error}; export the model again") from error
    found = document.get("format") if isinstance(document, dict) else None
    if found != FORMAT:
        raise BadInput(
            f"{path}: manifest is format {found}, this Bramble reads {FORMAT}; "
            "export the model again or upgrade"
        )
    manifest: Manifest = _value(Manifest, document, str(path))
    check_defaults(manifest.defaults, f"{path}: defaults")
    _check_shape(manifest.shape, path)
    _check_quantization(manifest, path)
    _check_names(manifest, path)
    if manifest.seal and hashlib.sha256(_blank(text, manifest.seal)).hexdigest() != manifest.seal:
        raise BadInput(
            f"{path} is damaged, or was edited: it is not what its seal says; copy it anew or "
            'export the model again (who edits it on purpose sets "seal" to "")'
        )
    return replace(manifest, seal="")  # of the file, not of what it says


def _blank(text: str, seal: str) -> bytes:
    before, _, after = text.rpartition(seal)
    return (before + after).encode()


def sha256(folder: Path) -> str:
    """The sha256 of the manifest file itself: it stands for the whole folder."""
    return sha256_of(folder / FILE_NAME)


def sha256_of(path: Path) -> str:
    """Hash a file in pieces, so that its size costs no memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def verify_file(folder: Path, name: str, expected: File) -> None:
    """Compare one file with its entry: first its length, which is quick, then its sha256.

    Raises BadShard that names the file, got and expected.
    """
    path = folder / name
    try:
        size = path.stat().st_size
        if size != expected.bytes:
            raise BadShard(f"{path}: got {size} bytes, expected {expected.bytes}; fetch it again")
        got = sha256_of(path)
    except OSError as error:
        raise BadShard(f"{path}: cannot be read: {error.strerror}; fetch it again") from error
    if got != expected.sha256:
        raise BadShard(f"{path}: got sha256 {got}, expected {expected.sha256}; fetch it again")


def verify_texts(folder: Path, manifest: Manifest) -> None:
    """Hash what is no part of the graphs: tokenizer and chat template. Raises BadShard."""
    for name in manifest.text_files():
        verify_file(folder, name, manifest.files[name])


def _check_shape(shape: Shape, path: Path) -> None:
    for name, size in asdict(shape).items():
        if size < 1:
            raise BadInput(f"{path}: {name} is {size}, need 1 or more; export the model again")
    if shape.num_heads % shape.num_kv_heads:
        raise BadInput(
            f"{path}: {shape.num_heads} query heads do not divide among {shape.num_kv_heads} KV "
            "heads; export the model again"
        )


def _check_quantization(manifest: Manifest, path: Path) -> None:
    kinds = manifest.quantization
    for part in ("layers", "embed", "lm_head"):
        if (kind := getattr(kinds, part)) not in BYTES_PER_WEIGHT:
            raise BadInput(
                f"{path}: the quantization of {part} is {kind[:80]!r}, this Bramble knows "
                f"{', '.join(BYTES_PER_WEIGHT)}; export the model again or upgrade"
            )


def _check_names(manifest: Manifest, path: Path) -> None:
    for name in manifest.files:
        pure = PurePosixPath(name)
        is_odd = "\\" in name or "\0" in name or name == FILE_NAME
        if pure.is_absolute() or ".." in pure.parts or is_odd:
            raise BadInput(f"{path}: file name {name!r} leaves the model folder, or can be none")
    layers = map(layer_name, range(manifest.shape.num_layers))  # one by one: any number may be said
    for part in chain(["embed"], layers, ["lm_head"]):
        for name in manifest.part_files([part]):
            if name not in manifest.files:
                raise BadInput(f"{path}: {name!r} belongs to a part but is not among the files")


def _value(hint: Any, value: Any, origin: str) -> Any:
    """Turn parsed JSON into the annotated type, checking every level."""
    if hint is Any:
        return value
    if is_dataclass(hint):
        return _record(hint, value, origin)
    kind, arguments = get_origin(hint), get_args(hint)
    if kind is UnionType and NoneType in arguments:
        return None if value is None else _value(arguments[0], value, origin)
    if kind is tuple and isinstance(value, list):
        return tuple(_value(arguments[0], item, origin) for item in value)
    if kind is dict and isinstance(value, dict):
        return {key: _value(arguments[1], item, f"{origin}: {key}") for key, item in value.items()}
    if hint is float and type(value) is int and abs(value) <= float_info.max:
        return float(value)
    if type(value) is not hint:
        wanted = getattr(kind or hint, "__name__", str(hint))
        raise BadInput(f"{origin}: got {str(value)[:80]!r}, need a {wanted}")
    return value


def _record(kind: Any, document: Any, origin: str) -> Any:
    if not isinstance(document, dict):
        raise BadInput(f"{origin}: got a {type(document).__name__}, need an object")
    hints = get_type_hints(kind)
    unknown = sorted(set(document) - set(hints))
    if unknown:
        raise BadInput(f"{origin}: unknown key {unknown[0]!r}; export the model again or upgrade")
    required = (f.name for f in fields(kind) if f.default is f.default_factory is MISSING)
    for name in required:
        if name not in document:
            raise BadInput(f"{origin}: key {name!r} is missing; export the model again")
    return kind(**{k: _value(hints[k], v, f"{origin}: {k}") for k, v in document.items()})
