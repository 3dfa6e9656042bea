"""The settings of each process: a YAML file or the CLI's flags become one of these dataclasses.

Nothing below the CLI reads a file of settings or the environment.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml

from bramble.errors import BadInput

Config = TypeVar("Config")
MEMBER_SIGN = "+"  # between the nodes that serve a stage together
MAX_SHOWN = 80  # characters of a refused value
Z85_KEY = re.compile(r"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
LISTS: dict[Any, str] = {
    tuple[str, ...]: "list of texts",
    tuple[tuple[str, ...], ...]: "list of lists of texts",
    dict[str, str]: "text for each name (NAME: TEXT)",
}


@dataclass(frozen=True, slots=True)
class StageConfig:
    node: str  # this stage's name in the head's list
    head: str  # the head's control endpoint, tcp://HOST:PORT
    head_node: str = ""  # the head's name among the keys
    # Further nodes whose head this stage may obey: node: tcp://HOST:PORT
    other_heads: dict[str, str] = field(default_factory=dict)
    term: Path | None = None  # file that keeps which head it obeys; None = until the process ends
    listen: str = "tcp://127.0.0.1:7101"  # where the predecessor's steps arrive
    exchange: str = ""  # where members of its group reach it, tcp://HOST:PORT; "" = it joins none
    models: Path = Path("/var/lib/bramble/models")  # holds one folder per model
    files: str = ""  # http://HEAD:8080/files: where what is lacking there is fetched
    last_step: Path | None = None  # file on a tmpfs that outlives the process: what it died over
    packed: Path | None = None  # keeps weights as the kernels want them: half the memory
    threads: int = 0  # 0 = as measured at the first start and kept beside what is packed
    keys: Path | None = None  # YAML, node: public key; needed to be reached from the network
    memory_bytes: int = 0  # ceiling of weights and KV cache; 0 = see observe/sensors.py
    lone_core: int = -1  # a core for replies that are alone, of all stages of a machine; -1 = none


@dataclass(frozen=True, slots=True)
class HeadConfig:
    model: Path  # the model folder
    # The nodes of the one ring, in its order; NODE+NODE where several serve a stage together. Or
    stages: tuple[str, ...] = ()
    rings: tuple[tuple[str, ...], ...] = ()  # those of several, each with the whole model
    node: str = ""  # this head's name among the keys
    # All nodes whose head may lead these stages, first choice first; () = this one alone
    heads: tuple[str, ...] = ()
    term: Path | None = None  # file that keeps the highest term that this node's head has had
    control: str = "tcp://127.0.0.1:7100"  # stages report here
    sampled: str = "tcp://127.0.0.1:7099"  # the last stage's tokens arrive here
    client: str = "ipc:///run/bramble/head.sock"  # web and CLI ask here
    keys: Path | None = None  # YAML, node: public key; needed to be reached from the network
    max_length: int = 0  # tokens of context per request; 0 = the model's own, 8192 at most
    max_rows: int = 16  # sequences in the KV cache of a ring at once
    max_queue: int = 64  # requests that may wait; one more gets a 429
    prefill_tokens: int = 128  # tokens of a prompt that go round in one step
    # Numbers that the members of a group send each other: q8 (8 bits, and a scale for each 32),
    # float16, or float32, which is exact
    exchange: str = "q8"
    # float32, float16 or int8; auto = float16 where all stages are on Arm and the model allows it
    kv_cache: str = "auto"
    # What the rings were chosen for. capacity = layers go by memory, so that the tightest node's
    # KV cache holds the most tokens; else they go by time.
    objective: str = ""
    # auto = where a reply repeats what it or its prompt has said, several tokens are guessed and
    # checked in one step if that is measured to pay; the reply is the same. off = never.
    speculation: str = "auto"

    @property
    def groups_of_rings(self) -> tuple[tuple[tuple[str, ...], ...], ...]:
        """For each ring its stages, and for each stage its nodes by rank."""
        rings = self.rings or (self.stages,)
        return tuple(tuple(tuple(stage.split(MEMBER_SIGN)) for stage in ring) for ring in rings)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes of all rings."""
        return tuple(node for ring in self.groups_of_rings for group in ring for node in group)


@dataclass(frozen=True, slots=True)
class WebConfig:
    head: str = "ipc:///run/bramble/head.sock"
    listen: str = "0.0.0.0:8080"
    socket: int = -1  # descriptor of a socket that listens there already; -1 = none
    threads: int = 160  # one per open HTTP request; more wait in the accept queue
    max_body_bytes: int = 1_000_000
    models: Path | None = None  # holds one folder per model, served to stages below /files
    names: tuple[str, ...] = ()  # that browsers may use beside the host name and our addresses
    header_timeout_s: int = 10  # from a request's first byte to the end of its header
    client_timeout_s: int = 30  # who sends or reads below 10 kB/s may fall behind it by so much
    connections_per_address: int = 128  # that wait, and as many that are answered; not of loopback
    inline_thoughts: bool = False  # in OpenAI's chat API: within content, in <think>…</think>;
    # false = beside it, as reasoning_content


def read_config(kind: type[Config], path: Path) -> Config:
    """Read YAML into `kind`. Raises BadInput that names the key, got and allowed."""
    return from_dict(kind, _read(path, "`key: value` lines"), str(path))


def read_keys(path: Path) -> dict[str, str]:
    """Read `node: public key` lines. Raises BadInput."""
    document = _read(path, "`node: public key` lines")
    for node, key in document.items():
        if not isinstance(node, str) or not isinstance(key, str) or not Z85_KEY.fullmatch(key):
            raise BadInput(
                f"{path}: {_shown(node)} needs a public key of 40 characters of Z85, "
                f"got {_shown(key)}"
            )
    return document


def _read(path: Path, wanted: str) -> dict[Any, Any]:
    """Return the YAML mapping in a file; an empty file is an empty one. Raises BadInput."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except RecursionError as error:
        raise BadInput(f"{path}: cannot be read: nested too deeply; need {wanted}") from error
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: a date of month 13
        raise BadInput(f"{path}: cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise BadInput(f"{path}: got a {type(document).__name__}, need {wanted}")
    return document


def from_dict(kind: type[Config], document: dict[str, Any], origin: str) -> Config:
    """Check keys and types against the dataclass `kind`; a list becomes a tuple, a str a Path."""
    hints = get_type_hints(kind)
    unknown = [key for key in document if key not in hints]
    if unknown:
        raise BadInput(f"{origin}: unknown key {_shown(unknown[0])}; known are {', '.join(hints)}")
    missing = [
        f.name
        for f in fields(kind)  # type: ignore[arg-type]
        if f.default is MISSING and f.default_factory is MISSING and f.name not in document
    ]
    if missing:
        raise BadInput(f"{origin}: key {missing[0]!r} is missing")
    return kind(**{key: _value(hints[key], document[key], f"{origin}: {key}") for key in document})


def _value(hint: Any, value: Any, origin: str) -> Any:
    if hint in (Path, Path | None) and isinstance(value, str) and "\0" not in value:
        return Path(value)
    if hint == tuple[str, ...] and isinstance(value, list):
        if all(isinstance(item, str) for item in value):
            return tuple(value)
    elif hint == tuple[tuple[str, ...], ...] and isinstance(value, list):
        if all(isinstance(item, list) for item in value):
            return tuple(_value(tuple[str, ...], item, origin) for item in value)
    elif hint == dict[str, str] and isinstance(value, dict):
        if all(isinstance(item, str) for item in (*value, *value.values())):
            return value
    elif isinstance(hint, type) and type(value) is hint:
        return value
    wanted = LISTS.get(hint) or getattr(hint, "__name__", str(hint))
    raise BadInput(f"{origin}: got {_shown(value)}, need a {wanted}")


def _shown(value: Any) -> str:
    """Name a refused value briefly: a list of YAML's aliases may be longer than any memory."""
    if isinstance(value, dict | list | set | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, int) and abs(value) >= 1 << 64:
        return "a number of more than 64 bits"
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
