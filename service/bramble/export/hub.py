"""Fetches a model from the Hugging Face hub into its cache: resumable, revision pinned.

Endpoint, cache folder and token come from HF_ENDPOINT, HF_HOME and HF_TOKEN, which the hub's own
library reads.
"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatch
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
)

from bramble.errors import BadInput, Unavailable
from bramble.export.source import COPIED, Source, open_folder
from bramble.model.disk import check_space

WEIGHTS = ("model*.safetensors", "model.safetensors.index.json")


def open_hub(repository: str, revision: str | None) -> Source:
    """Download what an export needs and open it; what is in the cache already is not fetched.

    Raises BadInput for a model or revision that does not exist or may not be read, Unavailable
    when the connection fails: the next attempt resumes.
    """
    try:
        commit = _resolve(repository, revision)
        folder = snapshot_download(repository, revision=commit, allow_patterns=[*COPIED, *WEIGHTS])
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
    except (HfHubHTTPError, LocalEntryNotFoundError, httpx2.HTTPError) as error:
        reason = str(error).strip().splitlines()[0]
        raise Unavailable(
            f"download of {repository} failed: {reason}; run it again, it resumes"
        ) from error
    origin = {"kind": "hub", "id": repository, "revision": commit}
    return replace(open_folder(Path(folder)), origin=origin)


def _resolve(repository: str, revision: str | None) -> str:
    """The commit of branch or tag `revision`, once it is sure that its files fit the disk."""
    info = HfApi().model_info(repository, revision=revision, files_metadata=True)
    wanted = [
        file
        for file in info.siblings or []
        if any(fnmatch(file.rfilename, pattern) for pattern in (*COPIED, *WEIGHTS))
    ]
    if not any(file.rfilename.endswith(".safetensors") for file in wanted):
        raise BadInput(f"{repository} has no safetensors weights; only these are read")
    cache = Path(constants.HF_HUB_CACHE)
    check_space(cache, sum(file.size or 0 for file in wanted) - _cached_bytes(cache, repository))
    assert info.sha is not None
    return info.sha


def _cached_bytes(cache: Path, repository: str) -> int:
    """Bytes of this model that need no room any more, of whichever revision."""
    blobs = cache / f"models--{repository.replace('/', '--')}" / "blobs"
    return sum(path.stat().st_size for path in blobs.glob("*")) if blobs.exists() else 0
