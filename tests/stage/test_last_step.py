"""What a stage notes of the step that it computes, and what its next life reads."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from bramble.stage.last_step import IN_NONE, LastStep

LIFE = """
import os, signal, sys
from pathlib import Path
from bramble.stage.last_step import LastStep
last = LastStep(Path(sys.argv[1]))
{notes}
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("notes", "expected"),
    [
        ("", None),
        ("last.begin(65537, 0)", (65537, 0)),
        ("last.begin(4294967295, 7); last.end()", IN_NONE),
        ("last.begin(3, 7); last.end(); last.begin(3, 8)", (3, 8)),
        ("last.begin(3, 7); last.end(); last.begin_ahead()", None),
        ("last.begin(1 << 32, 7)", None),
        ("last.begin(3, 1 << 32)", None),
    ],
)
def test_the_next_life_knows_what_the_last_one_died_over(
    tmp_path: Path, notes: str, expected: tuple[int, int] | None
) -> None:
    path = tmp_path / "step"
    died = subprocess.run([sys.executable, "-c", LIFE.format(notes=notes), path], check=False)
    assert died.returncode == -signal.SIGKILL
    if notes:
        assert LastStep(path).died_in == expected
        assert LastStep(path).died_in == expected  # that one ended before it said so
    else:
        assert LastStep(path).died_in in (None, IN_NONE)


def test_a_file_of_another_kind_tells_nothing(tmp_path: Path) -> None:
    path = tmp_path / "step"
    for content in (b"", b"1234", b"123456789"):
        path.write_bytes(content)
        assert LastStep(path).died_in is None
        assert path.stat().st_size == 8


def test_where_nothing_can_be_noted_nothing_is_known(tmp_path: Path) -> None:
    for path in (None, tmp_path / "missing" / "step", tmp_path):
        last = LastStep(path)
        last.begin(1, 2)
        last.end()
        assert last.died_in is None
    assert not list(tmp_path.iterdir())


STOPPED = """
import os, signal, sys
from pathlib import Path
from bramble.config import StageConfig
from bramble.stage.service import Service
from bramble.wire.transport import Transport
config = StageConfig(node="a", listen="ipc://" + sys.argv[1] + ".ipc",
                     head="ipc://" + sys.argv[1] + ".head", last_step=Path(sys.argv[1]))
with Transport(None) as transport:
    service = Service(config, transport)
    signal.signal(signal.SIGTERM, service.be_stopped)
    service._last.begin(3, 7)
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()
"""


def test_a_stage_that_is_stopped_amid_a_step_does_not_blame_it(tmp_path: Path) -> None:
    path = tmp_path / "step"
    died = subprocess.run([sys.executable, "-c", STOPPED, path], check=False, timeout=60)
    assert died.returncode == -signal.SIGTERM
    assert LastStep(path).died_in == IN_NONE
