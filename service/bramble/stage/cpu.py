"""Whether this processor can run onnxruntime's kernels; it knows nothing of models."""

from __future__ import annotations

import os
from pathlib import Path

from bramble.errors import BadInput

CPUINFO = Path("/proc/cpuinfo")
ARM_FEATURE = "asimddp"  # dot products: without them int4 kernels stop the process (ort #23957)


def check(machine: str, cpuinfo: str) -> None:
    """Raise BadInput if a 64-bit ARM `cpuinfo` (the file's text) lacks the dot product."""
    if machine != "aarch64":
        return
    lines = [line for line in cpuinfo.splitlines() if line.startswith("Features")]
    if not lines:
        raise BadInput(
            f"{CPUINFO} lists no CPU features, so this node cannot be judged fit; "
            "the systemd unit must not hide it (no ProcSubset=pid)"
        )
    if any(ARM_FEATURE not in line.split() for line in lines):
        raise BadInput(
            f"this node's CPU lacks {ARM_FEATURE}, which onnxruntime's int4 kernels need; "
            "use a Raspberry Pi 5 (a Pi 4 or older cannot serve)"
        )


def num_threads(configured: int) -> int:
    """Return `configured`, or for 0 one per core that this process may use."""
    return configured or len(os.sched_getaffinity(0))
