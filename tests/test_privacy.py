"""Nothing leaves this machine unasked: onnxruntime's report to its makers stays off."""

import subprocess
import sys
from pathlib import Path


def test_onnxruntime_leaves_no_trace_and_reports_nothing(tmp_path: Path) -> None:
    program = "import bramble, onnxruntime, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {"HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"
    assert list(tmp_path.iterdir()) == []  # with telemetry it keeps a device id in ~/.cache
