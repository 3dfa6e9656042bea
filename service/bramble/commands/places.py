"""Where things lie on this machine for a person's own ring: sockets, models, the head's door."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from bramble.config import StageConfig, read_config
from bramble.errors import Unavailable

SYSTEM_DOOR = Path("/run/bramble/head.sock")
STAGE_CONFIG = Path("/etc/bramble/stage-0.yml")  # of a node that the plays have set up


def runtime_folder(port: int) -> Path:
    """The folder with the sockets of the local ring on this HTTP port, readable by its user."""
    parent = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    return parent / f"bramble-{os.getuid()}-{port}"


def local_door(port: int) -> str:
    return f"ipc://{_local_socket(port)}"


def default_door(port: int) -> str:
    """This node's head if there is one, else the local ring's. Raises Unavailable."""
    is_forbidden = False
    try:
        if SYSTEM_DOOR.exists():
            return f"ipc://{SYSTEM_DOOR}"
    except PermissionError:
        is_forbidden = True
    if _local_socket(port).exists():
        return local_door(port)
    if is_forbidden:
        raise Unavailable("this node's head answers root and the group bramble: use sudo")
    if STAGE_CONFIG.exists():
        stage = read_config(StageConfig, STAGE_CONFIG)
        if stage.node == stage.head_node:
            raise Unavailable(
                "the head of this node does not run: see `systemctl status bramble-head`"
            )
        page = stage.files.removesuffix("/files")
        raise Unavailable(f"no head runs on this node: ask on {stage.head_node}, or open {page}")
    raise Unavailable(
        f"no ring runs here on port {port}: start one with `bramble run`, or name its --port"
    )


def _local_socket(port: int) -> Path:
    return runtime_folder(port) / "head.sock"


def cache_folder() -> Path:
    """Where exports that can be made again are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bramble"
