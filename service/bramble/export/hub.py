"""Fetches a model from the Hugging Face hub into its cache: resumable, revision pinned.

Endpoint, cache folder and token come from HF_ENDPOINT, HF_HOME and HF_TOKEN, which the hub's own
library reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from fnmatch import fnmatch
from glob import escape
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    SafetensorsParsingError,
)

from bramble.errors import BadInput, Unavailable
from bramble.export.recognise import check_kind
from bramble.export.safetensors import INDEX, SINGLE, Headers, Tensor, read_index
from bramble.export.source import COPIED, Source, open_folder
from bramble.model.disk import check_space

Check = Callable[[Path, Headers], None]  # of the settings in a folder, and of its weights' headers


def open_hub(repository: str, revision: str | None, check: Check) -> Source:
    """Download what an export needs and open it; what is in the cache already is not fetched.

    Settings come first, and then the headers of the weights, so that what cannot be exported costs
    no gigabytes. Raises BadInput for a model or revision that does not exist or may not be read,
    or that `check` refuses; Unavailable when the connection fails: the next attempt resumes.
    """
    try:
        commit, sizes = _resolve(repository, revision)
        check_kind(repository, sizes)
        wanted = [name for name in sizes if any(fnmatch(name, pattern) for pattern in COPIED)]
        folder = _fetch(repository, commit, wanted + ([] if SINGLE in sizes else [INDEX]))
        promised = {} if SINGLE in sizes else read_index(folder)
        weights = sorted(set(promised.values())) or [SINGLE]
        _check_listed(repository, weights, sizes)
        headers = (_header(repository, commit, name) for name in weights)
        check(folder, Headers(headers, promised))
        cache = Path(constants.HF_HUB_CACHE)
        missing = sum(sizes[name] for name in weights) - _cached_bytes(cache, repository)
        check_space(cache, missing)
        _fetch(repository, commit, weights)
    except GatedRepoError as error:
        raise BadInput(
            f"{repository} is gated: accept its licence on its page, then set HF_TOKEN"
        ) from error
    except RevisionNotFoundError as error:
        raise BadInput(f"{repository} has no revision {revision!r}") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise BadInput(
            f"{repository!r} is neither a folder here nor a model on the hub; "
            "a private model needs HF_TOKEN"
        ) from error
    except SafetensorsParsingError as error:
        raise BadInput(f"{repository} has a damaged weight file: {_line(error)}") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, httpx2.HTTPError) as error:
        raise Unavailable(
            f"{repository} is no folder here, and its download failed: {_line(error)}; "
            "run it again, it resumes"
        ) from error
    origin = {"kind": "hub", "id": repository, "revision": commit}
    return replace(open_folder(folder)[0], origin=origin)


def _resolve(repository: str, revision: str | None) -> tuple[str, dict[str, int]]:
    """The commit of branch or tag `revision`, and its files with their bytes."""
    info = HfApi().model_info(repository, revision=revision, files_metadata=True)
    assert info.sha is not None
    return info.sha, {file.rfilename: file.size or 0 for file in info.siblings or []}


def _fetch(repository: str, commit: str, names: list[str]) -> Path:
    """Download exactly these files. Returns the folder they are in."""
    patterns = [escape(name) for name in names]
    return Path(snapshot_download(repository, revision=commit, allow_patterns=patterns))


def _header(repository: str, commit: str, name: str) -> dict[str, Tensor]:
    """What one weight file says of its tensors, by its first bytes alone."""
    found = HfApi().parse_safetensors_file_metadata(repository, name, revision=commit)
    return {
        tensor: Tensor(Path(name), info.dtype, tuple(info.shape), *info.data_offsets)
        for tensor, info in found.tensors.items()
    }


def _check_listed(repository: str, weights: list[str], sizes: Mapping[str, int]) -> None:
    missing = [name for name in weights if name not in sizes]
    if missing:
        raise BadInput(
            f"{repository}: {INDEX} names {missing[0]}, which the repository does not have "
            f"({len(missing)} of {len(weights)} weight files); choose another --revision or release"
        )


def _line(error: Exception) -> str:
    """The first line of an error's text, or its name if it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _cached_bytes(cache: Path, repository: str) -> int:
    """Bytes of this model that need no room any more, of whichever revision."""
    blobs = cache / f"models--{repository.replace('/', '--')}" / "blobs"
    return sum(path.stat().st_size for path in blobs.glob("*")) if blobs.exists() else 0
