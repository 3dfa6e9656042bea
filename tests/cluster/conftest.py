"""Booted hosts, the plays as a user runs them, and a client on their network."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import yaml

from tests.cluster.lab import Host, Lab, running
from tests.cluster.plays import ROOT, ansible_playbook

SITES = Path(__file__).parent / "sites"
PLAY_TIMEOUT_S = 900
READY_TIMEOUT_S = 180


class Cluster:
    """A site's inventory, copied so that a test may change it, over a lab's hosts."""

    def __init__(self, lab: Lab, site: str, folder: Path) -> None:
        self.lab = lab
        self.inventory = folder / "inventory"
        shutil.copytree(SITES / site, self.inventory)

    def host(self, name: str) -> Host:
        return self.lab.hosts[name]

    def edit(self, **hosts: dict[str, object] | None) -> None:
        """Add, change or (None) remove hosts of the inventory."""
        path = self.inventory / "hosts.yml"
        document = yaml.safe_load(path.read_text())
        for name, line in hosts.items():
            document["bramble"]["hosts"].pop(name, None)
            if line is not None:
                document["bramble"]["hosts"][name] = line
        path.write_text(yaml.safe_dump(document))

    def play(self, name: str, *options: str, is_good: bool = True) -> str:
        """Run ansible/NAME.yml as a user does; return what it printed."""
        done = self.lab.run(
            *self._command(name, *options),
            cwd=ROOT / "ansible",
            env=self._environment(),
            timeout=PLAY_TIMEOUT_S,
        )
        with (self.lab.folder / "plays.log").open("a") as file:
            file.write(
                f"\n$ ansible-playbook {name}.yml {' '.join(options)}\n{done.stdout}{done.stderr}"
            )
        if is_good != (done.returncode == 0):
            said = done.stdout[-6000:] + done.stderr[-2000:]
            pytest.fail(f"{name}.yml ended with {done.returncode}:\n{said}")
        return done.stdout + done.stderr

    @contextmanager
    def playing(self, name: str, *options: str) -> Iterator[None]:
        """Run a play during the block; at its end the play is killed, wherever it is."""
        process = subprocess.Popen(
            # In a PID namespace: Ansible's workers are in sessions of their own and would live on
            ["unshare", "--pid", "--kill-child", *self.lab.words(*self._command(name, *options))],
            cwd=ROOT / "ansible",
            env=self._environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield
        finally:
            process.kill()
            process.wait()
            shutil.rmtree(self._connections, ignore_errors=True)  # they lead nowhere

    def _command(self, name: str, *options: str) -> list[str | Path]:
        return [ansible_playbook(), "-i", self.inventory, f"{name}.yml", *options]

    def _environment(self) -> dict[str, str]:
        return os.environ | {
            "ANSIBLE_PRIVATE_KEY_FILE": str(self.lab.key),
            "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=10m -o IdentitiesOnly=yes "
            "-o StrictHostKeyChecking=accept-new "  # as ansible.cfg has them
            "-o ServerAliveInterval=10 -o ServerAliveCountMax=3 "
            f"-o UserKnownHostsFile={self.lab.known_hosts}",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self._connections),  # labs share addresses
            "ANSIBLE_NOCOLOR": "1",
        }

    @property
    def _connections(self) -> Path:
        return self.lab.folder / "cp"

    def get(
        self, path: str, body: object = None, *, at: str = "", timeout_s: float = 120
    ) -> tuple[int, str]:
        """Ask over HTTP from the lab's LAN, as a laptop does; return status and text.

        at  the address to ask; "" = the first head's
        """
        program = (
            "import sys, urllib.request as u, urllib.error as e\n"
            "kind = {'Content-Type': 'application/json'}\n"
            "r = u.Request(sys.argv[1], sys.argv[2].encode() or None, kind)\n"
            "try: a = u.urlopen(r, timeout=float(sys.argv[3]))\n"
            "except e.HTTPError as error: a = error\n"
            "print(a.status); print(a.read().decode())"
        )
        text = "" if body is None else json.dumps(body)
        url = f"http://{at or self.host('pi1').address}:8080{path}"
        done = self.lab.run(sys.executable, "-c", program, url, text, str(timeout_s))
        assert done.returncode == 0, done.stderr
        status, _, answer = done.stdout.partition("\n")
        return int(status), answer

    def ask(self, question: str, *, at: str = "", timeout_s: float = 120) -> str:
        status, text = self.get(
            "/v1/chat/completions",
            {
                "messages": [{"role": "user", "content": question}],
                "temperature": 0,
                "max_tokens": 64,
            },
            at=at,
            timeout_s=timeout_s,
        )
        assert status == 200, text
        return str(json.loads(text)["choices"][0]["message"]["content"])

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while True:
            with suppress(AssertionError):  # nobody listens yet
                if self.get("/readyz")[0] == 200:
                    return
            assert time.monotonic() < deadline, "the ring does not serve"
            time.sleep(0.5)

    @contextmanager
    def asking(
        self, model: str = "bramble-demo", *, at: str = ""
    ) -> Iterator[list[dict[str, object]]]:
        """Keep a real client asking meanwhile; its answers are in the list after the block.

        It has had the first one when the block begins.
        """
        answers: list[dict[str, object]] = []
        script = Path(__file__).parent / "asker.py"
        url = f"http://{at or self.host('pi1').address}:8080"
        process = subprocess.Popen(
            self.lab.words(sys.executable, script, url, model),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        first = process.stdout.readline()
        try:
            yield answers
        finally:
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=180)
            answers += [json.loads(line) for line in (first + output).splitlines()]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three fresh hosts, pi1 to pi3; the tests of a module share them in their order."""
    folder = tmp_path_factory.mktemp("cluster")
    with running(folder / "lab", 3) as lab:
        yield Cluster(lab, "three", folder)
