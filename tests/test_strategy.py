"""The strategy of the plays: through Mitogen where it is, and as ansible-core does otherwise."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cluster.plays import ROOT, ansible_playbook, environment

PLAY = """
- name: Ask who runs a task
  hosts: localhost
  gather_facts: false
  strategy: bramble
  tasks:
    - name: Show what started the shell
      ansible.builtin.shell: tr '\\0' ' ' < /proc/$PPID/cmdline
      changed_when: false
"""


@pytest.mark.parametrize("has_mitogen", [True, False])
def test_a_task_runs_through_mitogen_if_it_is_there(tmp_path: Path, has_mitogen: bool) -> None:
    (tmp_path / "play.yml").write_text(PLAY)
    if not has_mitogen:
        (tmp_path / "ansible_mitogen.py").write_text("raise ImportError\n")
    done = subprocess.run(
        [ansible_playbook(), "-v", "-i", "localhost,", "-c", "local", tmp_path / "play.yml"],
        cwd=ROOT / "ansible",
        env={**environment(tmp_path), "PYTHONPATH": str(tmp_path)},
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert ("mitogen:" in done.stdout) is has_mitogen
