"""A virtual machine that boots a card, in a network namespace of its own, as a Pi would.

Kernel, initrd and command line come from the card's FAT partition, as the Pi's firmware takes them.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.flash.stand_in import search_path

SSH_OPTIONS = (
    *(
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
    ),
    *("-o", "LogLevel=ERROR", "-o", "ConnectTimeout=20", "-o", "IdentitiesOnly=yes", "-F", "none"),
)
BOOT_S = 600  # software emulation: 27 s on an idle machine, minutes on a busy one


@dataclass(frozen=True)
class Machine:
    namespace: str
    address: str
    log: Path

    def ssh(self, user: str, key: Path, *command: str, options: tuple[str, ...] = ()) -> Done:
        login = ("ssh", "-i", str(key), *SSH_OPTIONS, *options, f"{user}@{self.address}")
        return inside(self.namespace, *login, *command)

    def answers(self) -> bool:
        probe = (
            f"exec 3<>/dev/tcp/{self.address}/22 && read -t 2 -u3 banner && [[ $banner == SSH* ]]"
        )
        return inside(self.namespace, "timeout", "3", "bash", "-c", probe).returncode == 0


Done = subprocess.CompletedProcess[str]


@contextmanager
def booted(card: Path, address: str, gateway: str, work: Path) -> Iterator[Machine]:
    """Boot `card` and wait for ssh at `address`; all is gone afterwards."""
    namespace = f"flash-{os.getpid()}"
    machine = Machine(namespace, address, work / "console.log")
    for name in ("vmlinuz", "initrd.img", "cmdline.txt"):
        run("mcopy", "-n", "-o", "-i", f"{card}@@{1 << 20}", f"::{name}", str(work / name))
    run("ip", "netns", "add", namespace)
    try:
        for command in (
            "link set lo up",
            "tuntap add tap0 mode tap",
            f"addr add {gateway}/24 dev tap0",
            "link set tap0 up",
        ):
            run("ip", "-n", namespace, *command.split())
        qemu = subprocess.Popen(_command(machine, card, work), env=_environment())
        try:
            _wait(machine, qemu)
            yield machine
        finally:
            qemu.kill()
            qemu.wait()
    finally:
        run("ip", "netns", "del", namespace)


def inside(namespace: str, *command: str) -> Done:
    return subprocess.run(
        ("ip", "netns", "exec", namespace, *command),
        capture_output=True,
        text=True,
        env=_environment(),
        timeout=BOOT_S,
        stdin=subprocess.DEVNULL,
    )


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=_environment())
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def _command(machine: Machine, card: Path, work: Path) -> list[str]:
    return [
        # Ends with the test even where the test is killed.
        *("setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", machine.namespace),
        *("qemu-system-x86_64", "-accel", "tcg"),
        *("-smp", "2", "-m", "1024", "-display", "none", "-no-reboot"),
        *("-kernel", str(work / "vmlinuz"), "-initrd", str(work / "initrd.img")),
        *("-append", (work / "cmdline.txt").read_text().strip() + " panic=-1"),
        *("-drive", f"if=virtio,file={card},format=raw,cache=unsafe"),
        *("-netdev", "tap,id=lan,ifname=tap0,script=no,downscript=no"),
        *("-device", "virtio-net-pci,netdev=lan,romfile=", "-device", "virtio-rng-pci"),
        *("-serial", f"file:{machine.log}", "-monitor", "none"),
    ]


def _wait(machine: Machine, qemu: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + BOOT_S
    while not machine.answers():
        tail = machine.log.read_text(errors="replace")[-3000:] if machine.log.exists() else ""
        assert qemu.poll() is None, f"qemu ended with {qemu.returncode}: {tail}"
        assert time.monotonic() < deadline, f"no ssh at {machine.address} in {BOOT_S} s: {tail}"
        time.sleep(1)


def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": search_path(), "MTOOLS_SKIP_CHECK": "1"}
