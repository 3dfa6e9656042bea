"""What SOURCE on the command line names: a folder, a GGUF file, a hub id, or no source at all."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from bramble.errors import BadInput
from bramble.export.gguf import MAGIC
from bramble.export.gguf_source import open_gguf
from bramble.export.safetensors import INDEX, SINGLE, Headers
from bramble.export.source import Source, open_folder

Check = Callable[[Path, Headers], None]  # of the settings in a folder, and of its weights' headers
_WORD = r"[A-Za-z0-9_][\w.-]{0,95}"
_HUB_ID = re.compile(rf"{_WORD}(/{_WORD})?", re.ASCII)
_HUB_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_EXAMPLE = "meta-llama/Llama-3.2-1B-Instruct"
_ENDINGS = (".gguf", ".safetensors", ".bin", ".onnx", ".json", ".pth", ".pt")


def open_source(source: str, revision: str | None, source_id: str | None, check: Check) -> Source:
    """Open a folder or GGUF file that exists, or else a hub id: NAME or OWNER/NAME.

    A folder that holds one GGUF file and nothing in safetensors stands for that file.

    Raises BadInput for anything else, saying what it is and what to give instead, and what `check`
    raises, before weights are read or downloaded.
    """
    folder = _path(source)
    folder = _only_gguf(folder) or folder
    if folder.is_dir():
        opened, headers = open_folder(folder, source_id)
        check(folder, headers)
        return opened
    if folder.exists():
        if folder.is_file() and (folder.suffix == ".gguf" or _begins(folder) == MAGIC):
            return open_gguf(folder, source_id)
        raise BadInput(_file(folder))
    if not _HUB_ID.fullmatch(source) or source.endswith(_ENDINGS):
        raise BadInput(_neither(source))
    from bramble.export.hub import open_hub  # its library takes half a second to import

    return open_hub(source, revision, check)


def _path(source: str) -> Path:
    if not source.strip():
        raise BadInput("SOURCE is empty; give a Hugging Face folder, a GGUF file or a hub id")
    try:
        return Path(source).expanduser()
    except RuntimeError as error:  # ~somebody
        raise BadInput(f"{source}: no such user's folder") from error


def _only_gguf(folder: Path) -> Path | None:
    """The GGUF file of a folder that holds one, beside none in safetensors."""
    if not folder.is_dir() or any((folder / name).is_file() for name in (SINGLE, INDEX)):
        return None
    found = [path for path in folder.glob("*.gguf") if not path.name.startswith("mmproj")]
    return found[0] if len(found) == 1 else None


def _file(path: Path) -> str:
    if path.suffix in (".safetensors", ".json") and path.parent.is_dir():
        return f"{path} is one file of a model; give the folder that holds it: {path.parent}"
    return (
        f"{path} is a file; give a Hugging Face model folder, a GGUF file, or a hub id (OWNER/NAME)"
    )


def _begins(path: Path) -> bytes:
    if not path.is_file():
        return b""
    try:
        with path.open("rb") as file:
            return file.read(4)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error


def _neither(source: str) -> str:
    address = source if "://" in source else f"https://{source}"
    try:
        parts = urlsplit(address)
    except ValueError:  # a bracket that opens an IPv6 address
        return f"{source} is no folder here and no hub id (OWNER/NAME), e.g. {_EXAMPLE}"
    words = [word for word in parts.path.split("/") if word]
    if re.fullmatch(r"[\w./-]+:[\w.-]+", source):
        return (
            f"{source} looks like a name of Ollama's; give the model's GGUF file, or the hub id of "
            f"the original release, e.g. {_EXAMPLE}"
        )
    if parts.netloc in _HUB_HOSTS or parts.scheme == "hf":
        found = words if parts.netloc in _HUB_HOSTS else [parts.netloc, *words]
        if len(found) >= 2:
            return f"{source} is an address; give its hub id: {'/'.join(found[:2])}"
    if "://" in source:
        return f"{source} is an address; give a folder, or a hub id (OWNER/NAME), e.g. {_EXAMPLE}"
    if source.endswith(_ENDINGS):
        return f"{source}: no such file, and SOURCE is a folder or a hub id (OWNER/NAME)"
    if source.startswith((".", "/", "~")) or source.count("/") > 1:
        return f"{source}: no such folder"
    return f"{source!r} is no folder here and no hub id (OWNER/NAME), e.g. {_EXAMPLE}"
