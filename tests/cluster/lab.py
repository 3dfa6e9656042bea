"""Real hosts on one machine: Debian with systemd as PID 1, ssh, and an address of their own.

Each host is a systemd-nspawn container over one read-only base, in a network namespace of its own,
joined by a bridge in the lab's namespace. The lab has no way out but the package proxy. What each
flag is for stands beside it; without it the host boots and silently ignores limits.

    sudo python -m tests.cluster.lab up 3      three hosts at 10.77.0.11 to .13, until Ctrl-C
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", "/var/cache")) / "bramble-lab"
SUITE = "bookworm"
PACKAGES = (
    "systemd,systemd-sysv,dbus,openssh-server,python3,sudo,iproute2,iputils-ping,ca-certificates,"
    "netbase,kmod,procps,libpam-systemd,python3-apt"
)
QUIETLY = "DEBIAN_FRONTEND=noninteractive"
GATEWAY = "10.77.0.1"
BRIDGE_MAC = "02:00:0a:4d:00:01"  # else its ports' lowest, which changes under those who know it
PROXY_PORT = 3128
BOOT_TIMEOUT_S = 180.0  # of a machine that does other things beside
STOP_TIMEOUT_S = 30.0
CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS = "cpu cpuacct memory blkio pids devices freezer"
POWEROFF = signal.SIGRTMIN + 4  # systemd(1): starts poweroff.target
DISK_SIZE = "6G"  # of a file that takes what is written
EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, b"\2\0\0\0"  # linux/fs.h: what is not written is lost
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
MIN_INOTIFY = 1024  # a host takes 9 of the 128 that root has for all labs together


def run(*command: str | Path, **kwargs: object) -> subprocess.CompletedProcess[str]:
    """Run to the end; a failure shows what was said."""
    done = subprocess.run([str(word) for word in command], text=True, capture_output=True, **kwargs)  # type: ignore[call-overload]
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stderr}")
    return done


class Host:
    def __init__(self, lab: Lab, number: int) -> None:
        self.lab, self.number = lab, number
        self.name, self.address = f"pi{number}", f"10.77.0.{10 + number}"
        self.folder = lab.folder / self.name
        self.root = self.folder / "root"
        self.card = self.folder / "card"  # what the host writes: a folder, or a disk of its own
        self.image = self.folder / "card.img"
        self.space = f"{lab.space}-{self.name}"  # network namespace, and name of its cgroups
        self.interface = "eth0"  # before the first start, another name may be given
        self._process: subprocess.Popen[bytes] | None = None

    def start(
        self, *, has_card: bool = False, prepare: Callable[[Host], None] | None = None
    ) -> None:
        """Boot; a new host gets a card, from which `pull_plug` takes what was not written yet.

        prepare  changes a new host's files before its first boot, as `write` and `mask` do
        """
        if is_new := not self.root.exists():
            self._make_card(has_card)
        if self.image.exists():
            run("mount", "-o", "loop", self.image, self.card)
        if is_new:
            self._prepare()
            if prepare is not None:
                prepare(self)
            run("sync", "--file-system", self.card)  # as flashing does
        _mount_overlay(self.lab.lower, self.card, self.root)
        for folder in _hierarchies():
            (folder / self.space).mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (source := CGROUPS / "cpuset" / name).exists():
                (CGROUPS / "cpuset" / self.space / name).write_text(source.read_text())
        mac = f"02:{secrets.token_bytes(5).hex(':')}"  # of this board; a reboot keeps it
        with (self.folder / "console.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["/bin/bash", "-c", LAUNCH, *self._names(), mac],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Put a file onto a host that never ran; "" masks what the base has there."""
        file = self.card / "upper" / path
        _write(file, text)
        file.chmod(mode)

    def wait_for_ssh(self) -> None:
        deadline = time.monotonic() + BOOT_TIMEOUT_S
        knock = ("ssh", *self.lab.ssh_options, f"pi@{self.address}", "true")
        while (done := self.lab.run(*knock)).returncode:
            if time.monotonic() > deadline:
                console = (self.folder / "console.log").read_text()[-2000:]
                raise RuntimeError(f"{self.name} cannot be reached: {done.stderr}\n{console}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Shut down in order; after STOP_TIMEOUT_S, as if the plug were pulled."""
        if self._process is not None:
            self._signal(POWEROFF)
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.pull_plug()
            self._process = None
        self._clean()

    def pull_plug(self) -> None:
        """End it at once; a card keeps what was written by then, as a real one does."""
        assert self._process is not None
        if self.image.exists():
            card = os.open(self.card, os.O_RDONLY)
            fcntl.ioctl(card, EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH)
            os.close(card)
            _copy_away(self.image)
        first = self._first_process()
        os.killpg(self._process.pid, signal.SIGKILL)  # the shell too: it would boot it again
        if first is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(first, signal.SIGKILL)
        self._process.wait()
        self._process = None
        self._clean()

    def wait_until_off(self) -> None:
        """Wait for a host that is shutting itself down."""
        assert self._process is not None
        self._process.wait(BOOT_TIMEOUT_S)
        self._process = None
        self._clean()

    def exchange(self) -> None:
        """Put another board and a blank card in its place: same address, another ssh host key."""
        self.pull_plug()
        shutil.rmtree(self.folder)
        self.start()
        knock = ("timeout", "2", "bash", "-c", f"exec 3<>/dev/tcp/{self.address}/22")
        deadline = time.monotonic() + BOOT_TIMEOUT_S
        while self.lab.run(*knock).returncode and time.monotonic() < deadline:
            time.sleep(0.1)

    def ssh(self, command: str, *, check: bool = True, user: str = "pi") -> str:
        """Run a shell command on the host as its user; return what it printed."""
        done = self.lab.run("ssh", *self.lab.ssh_options, f"{user}@{self.address}", command)
        if check and done.returncode:
            raise RuntimeError(f"{self.name}: {command}: {done.returncode}\n{done.stderr}")
        return done.stdout

    def _names(self) -> tuple[str, ...]:
        return self.lab.space, self.space, str(self.root), self.interface

    def _signal(self, number: int) -> None:
        if (first := self._first_process()) is not None:
            os.kill(first, number)

    def _first_process(self) -> int | None:
        """Return the host's PID 1 as this machine numbers it: the shell's child's child."""
        assert self._process is not None
        pid = self._process.pid
        for _ in range(2):
            try:
                pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
            except (OSError, IndexError):
                return None
        return pid

    def _make_card(self, is_disk: bool) -> None:
        for folder in (self.root, self.card):
            folder.mkdir(parents=True)
        if is_disk:
            run("truncate", f"--size={DISK_SIZE}", self.image)
            run("mkfs.ext4", "-q", self.image)

    def _prepare(self) -> None:
        for name in ("upper", "work"):
            (self.card / name).mkdir()
        etc = self.card / "upper/etc"
        _write(etc / "hostname", "fresh\n")
        _write(etc / "hosts", "127.0.0.1 localhost\n127.0.1.1 fresh\n")
        _write(
            etc / "systemd/network/10-eth0.network",
            f"[Match]\nName=eth0\n[Network]\nAddress={self.address}/24\nLinkLocalAddressing=no\n",
        )
        _write(
            etc / "machine-id", f"{secrets.token_hex(16)}\n"
        )  # its MAC address may follow from it
        key = etc / "ssh/ssh_host_ed25519_key"
        key.parent.mkdir()
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
        if self.address not in self.lab.known_hosts.read_text():
            with self.lab.known_hosts.open("a") as file:
                file.write(f"{self.address} {key.with_suffix('.pub').read_text()}")

    def _clean(self) -> None:
        for folder in (self.root, self.card):
            subprocess.run(["umount", folder], capture_output=True)
        subprocess.run(["ip", "netns", "del", self.space], capture_output=True)
        for hierarchy in _hierarchies():
            _remove_cgroups(hierarchy / self.space)


# The launching shell joins a cgroup of the host's own in every hierarchy. The host's PID 1 gets
# those of v1 writable: without, MemoryMax= and CPUQuota= are ignored. bpf: for IPAddressDeny=.
# Each boot has a fresh network namespace, in which the interface is down and has no address: what
# the host's own files do not bring up is missing. nspawn ends with 133 for a reboot.
LAUNCH = f"""
lab=$0 space=$1 root=$2 interface=$3 mac=$4 link=v-${{1#$0-}}
for c in /sys/fs/cgroup/*/; do [ -d "$c$space" ] && echo $$ > "$c$space/cgroup.procs"; done
plug_in() {{
    {{ ip netns del "$space"; ip -n "$lab" link del "$link"; }} 2>/dev/null
    ip netns add "$space" &&
    ip -n "$lab" link add "$link" type veth peer "$interface" address "$mac" netns "$space" &&
    ip -n "$lab" link set "$link" master lan up
}}
while plug_in; do systemd-nspawn -q -M "$space" -D "$root" --register=no --keep-unit \
    --network-namespace-path=/run/netns/"$space" --capability=CAP_NET_ADMIN,CAP_NET_RAW \
    --system-call-filter=bpf --resolv-conf=off --timezone=off --link-journal=no --console=pipe \
    --kill-signal=SIGRTMIN+3 /bin/sh -c '
        for c in {CONTROLLERS}; do
            [ -d /sys/fs/cgroup/$c ] && mount -n -o remount,rw,bind /sys/fs/cgroup/$c
        done
        exec /lib/systemd/systemd SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1'
    [ $? = 133 ] || exit 0
done
"""


class Lab:
    """Some hosts, started and stopped together; everything it made is gone after `close`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.space = f"lab{secrets.token_hex(3)}"  # namespace, and in all names that labs share
        self.hosts: dict[str, Host] = {}
        self.key = folder / "id"
        self.known_hosts = folder / "known_hosts"
        self.lower = str(base())  # overlayfs's lowerdir: what the hosts share
        self._proxy: subprocess.Popen[bytes] | None = None

    @property
    def ssh_options(self) -> Sequence[str]:
        return (
            *("-i", str(self.key), "-o", f"UserKnownHostsFile={self.known_hosts}"),
            *("-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"),
        )

    def open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.known_hosts.touch()
        shutil.copy(CACHE / "id", self.key)
        self.key.chmod(0o600)
        if int(INOTIFY.read_text()) < MIN_INOTIFY:
            INOTIFY.write_text(f"{MIN_INOTIFY}\n")
        run("ip", "netns", "add", self.space)
        run("ip", "-n", self.space, "link", "set", "lo", "up")
        bridge = ("address", BRIDGE_MAC, "type", "bridge")
        run("ip", "-n", self.space, "link", "add", "lan", *bridge)
        run("ip", "-n", self.space, "addr", "add", f"{GATEWAY}/24", "dev", "lan")
        run("ip", "-n", self.space, "link", "set", "lan", "up")
        with (self.folder / "proxy.log").open("wb") as log:
            self._proxy = subprocess.Popen(
                [
                    sys.executable,
                    HERE / "proxy.py",
                    self.space,
                    GATEWAY,
                    str(PROXY_PORT),
                    CACHE / "apt",
                ],
                stdout=log,
                stderr=log,
            )

    def host(self, number: int) -> Host:
        return self.hosts.setdefault(f"pi{number}", Host(self, number))

    def start(self, *numbers: int, has_card: bool = False) -> list[Host]:
        hosts = [self.host(number) for number in numbers]
        for host in hosts:
            host.start(has_card=has_card)
        for host in hosts:
            host.wait_for_ssh()
        return hosts

    def add_packages(self, name: str, *packages: str) -> None:
        """Give hosts that come further Debian packages, installed once over the base."""
        folder = CACHE / f"{SUITE}+{name}"
        with _locked():
            if not folder.exists():
                self._install(folder, packages)
        self.lower = f"{folder}/upper:{self.lower}"

    def _install(self, folder: Path, packages: Sequence[str]) -> None:
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        root = partial / "root"
        for each in ("upper", "work", "root"):
            (partial / each).mkdir(parents=True)
        _mount_overlay(self.lower, partial, root)
        proxy = f"until (exec 3<>/dev/tcp/{GATEWAY}/{PROXY_PORT}) 2>&-; do sleep 0.1; done"
        self.run("timeout", "10", "bash", "-c", proxy)
        try:
            install = ("apt-get", "install", "--yes", "--quiet", "--no-install-recommends")
            update = ("apt-get", "update", "--quiet", "--error-on=any")
            for words in (update, (*install, *packages)):
                done = self.run("unshare", "--mount", "chroot", root, "env", QUIETLY, *words)
                if done.returncode:
                    raise RuntimeError(f"{' '.join(words)}\n{done.stdout[-2000:]}{done.stderr}")
            shutil.rmtree(root / "var/lib/apt/lists")
        finally:
            run("umount", root)
        partial.rename(folder)

    def close(self) -> None:
        for host in self.hosts.values():
            with contextlib.suppress(AssertionError):
                host._signal(POWEROFF)  # all at once; then wait for each
        for host in self.hosts.values():
            host.stop()
        if self._proxy is not None:
            self._proxy.terminate()
            self._proxy.wait()
        run("ip", "netns", "del", self.space)

    def run(self, *command: str | Path, **kwargs: object) -> subprocess.CompletedProcess[str]:
        """Run on the lab's network, as the user's laptop."""
        words = self.words(*command)
        if "input" not in kwargs:
            kwargs["stdin"] = subprocess.DEVNULL  # Ansible refuses one that does not block
        return subprocess.run(words, text=True, capture_output=True, **kwargs)  # type: ignore[call-overload]

    def words(self, *command: str | Path) -> list[str]:
        """Return the command on the lab's network. Not `ip netns exec`: it holds all mounts."""
        return ["nsenter", f"--net=/run/netns/{self.space}", *map(str, command)]


# ------------------------------------------------------------------------------------------ base


def base() -> Path:
    """Return the folder with the hosts' common root, built on first use (20 s, 270 MB)."""
    folder = CACHE / SUITE
    with _locked():
        if not folder.exists():
            _build(folder)
    return folder


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Hold the cache: another lab may be building what this one needs."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(folder: Path) -> None:
    if not (CACHE / "id").exists():
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", CACHE / "id")
    partial = CACHE / f"{SUITE}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    print(f"building {folder} …", file=sys.stderr, flush=True)
    bootstrap = ("unshare", "--mount", "mmdebstrap")  # what it mounts goes with it if it is killed
    run(*bootstrap, "--variant=apt", f"--include={PACKAGES}", SUITE, partial)
    _furnish(partial)
    partial.rename(folder)


def _furnish(root: Path) -> None:
    """A user with our key and sudo, as a flashed card has it, and the way to the package proxy."""
    run("chroot", root, "useradd", "-m", "-s", "/bin/bash", "pi")
    _write(root / "etc/sudoers.d/pi", "pi ALL=(ALL) NOPASSWD:ALL\n")
    _write(root / "home/pi/.ssh/authorized_keys", (CACHE / "id.pub").read_text())
    run("chroot", root, "chown", "-R", "pi:pi", "/home/pi/.ssh")
    (root / "home/pi/.ssh").chmod(0o700)
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    run("chroot", root, "systemctl", "enable", "systemd-networkd")
    (root / "etc/apt/sources.list").unlink()
    for source in _apt_sources():
        shutil.copy(source, root / "etc/apt/sources.list.d")
    proxy = f"http://{GATEWAY}:{PROXY_PORT}"
    _write(root / "etc/apt/apt.conf.d/99lab", f'Acquire::http::Proxy "{proxy}";\n')
    certificates = "/etc/ssl/certs/ca-certificates.crt"
    shutil.copy(certificates, root / certificates[1:])
    local = Path("/usr/local/share/ca-certificates")
    shutil.copytree(local, root / str(local)[1:], dirs_exist_ok=True)
    index = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
        capture_output=True,
        text=True,
    ).stdout.strip()
    index_line = f"index-url = {index}\n" if index else ""
    _write(root / "etc/pip.conf", f"[global]\nproxy = {proxy}\ncert = {certificates}\n{index_line}")


def _apt_sources() -> list[Path]:
    """Return this machine's files that name the suite's own archive."""
    folder = Path("/etc/apt")
    files = [folder / "sources.list", *(folder / "sources.list.d").glob("*")]
    texts = {file: file.read_text() for file in files if file.is_file()}
    return [
        f for f, text in texts.items() if f"{SUITE}-updates" in text or f"{SUITE}-security" in text
    ]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _mount_overlay(lower: str, card: Path, root: Path) -> None:
    options = f"lowerdir={lower},upperdir={card}/upper,workdir={card}/work"
    run("mount", "-t", "overlay", "bramble-lab", "-o", options, root)


def _copy_away(image: Path) -> None:
    """Give a card another file: the kernel may hold on to the one whose plug was pulled."""
    old = image.rename(image.with_suffix(".old"))
    run("cp", "--sparse=always", old, image)
    old.unlink()


def _hierarchies() -> list[Path]:
    """Return where cgroup v1 is mounted, and v2 beside it; none on a machine with v2 alone.

    In a hierarchy that hosts share, systemd of the one removes cgroups that another is starting in.
    """
    folders = [path.parent for path in CGROUPS.glob("*/cgroup.procs")]
    return [path for path in folders if (path / "tasks").exists() or path.name == "unified"]


def _remove_cgroups(folder: Path) -> None:
    """Remove it and all below; the last process of a host that lost power takes a moment to go."""
    deadline = time.monotonic() + 5
    while folder.exists() and time.monotonic() < deadline:
        for path, _, _ in os.walk(folder, topdown=False):
            with contextlib.suppress(OSError):
                Path(path).rmdir()
        time.sleep(0.01)


@contextlib.contextmanager
def running(folder: Path, count: int) -> Iterator[Lab]:
    lab = Lab(folder)
    try:
        lab.open()
        lab.start(*range(1, count + 1))
        yield lab
    finally:
        lab.close()


if __name__ == "__main__":
    where = Path(sys.argv[3] if len(sys.argv) > 3 else "/tmp/bramble-lab")
    with running(where, int(sys.argv[2])) as lab:
        print(
            f"ip netns exec {lab.space} ssh {' '.join(lab.ssh_options)} pi@10.77.0.11", flush=True
        )
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
    shutil.rmtree(where, ignore_errors=True)
