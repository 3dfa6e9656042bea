"""Where things lie on this machine for a person's own ring: sockets, models, the head's door."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

SYSTEM_DOOR = Path("/run/bramble/head.sock")


def runtime_folder(port: int) -> Path:
    """The folder with the sockets of the local ring on this HTTP port, readable by its user."""
    parent = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    return parent / f"bramble-{os.getuid()}-{port}"


def local_door(port: int) -> str:
    return f"ipc://{runtime_folder(port)}/head.sock"


def default_door(port: int) -> str:
    """This node's head if there is one, else the local ring's."""
    return f"ipc://{SYSTEM_DOOR}" if SYSTEM_DOOR.exists() else local_door(port)


def cache_folder() -> Path:
    """Where exports that can be made again are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bramble"
