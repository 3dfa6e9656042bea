"""A stand-in for the published image: the same layout, Debian inside, made without mounting.

MBR; a FAT32 partition with kernel, initrd, command line and cloud-init's files as on a Raspberry
Pi; an ext4 root. For amd64, so that it boots fast in software emulation. Kept between runs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

SUITE = "bookworm"
PACKAGES = (
    "systemd-sysv,dbus,udev,libpam-systemd,linux-image-cloud-amd64,initramfs-tools,kmod,procps,"
    "e2fsprogs,cloud-init,cloud-guest-utils,fdisk,locales,netplan.io,iproute2,openssh-server,sudo,"
    "python3,tzdata,avahi-daemon,avahi-utils,ethtool"
)
TOOLS = ("mmdebstrap", "sfdisk", "mkfs.vfat", "mkfs.ext4", "mcopy", "xz", "qemu-system-x86_64")
BOOT_MIB = 128
SECTORS_PER_MIB = 2048
CLOUD_CONFIG = (
    "datasource_list: [NoCloud, None]\ndatasource:\n  NoCloud:\n    fs_label: system-boot\n"
)
FSTAB = """\
LABEL=writable / ext4 defaults,noatime 0 1
LABEL=system-boot /boot/firmware vfat defaults 0 1
"""
# The Pi's kernel names its port eth0; a VM's does with net.ifnames=0.
COMMAND_LINE = "console=ttyS0 root=LABEL=writable rootfstype=ext4 rootwait net.ifnames=0 quiet\n"


def missing_tools() -> list[str]:
    return [tool for tool in TOOLS if which(tool) is None]


def which(tool: str) -> str | None:
    return shutil.which(tool, path=search_path())


def search_path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "bramble" / "tests"


def packed_image() -> Path:
    """Return the stand-in as .img.xz; its name changes with this file."""
    mark = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    kept = cache_folder() / f"card-{mark}.img.xz"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        work = kept.with_suffix(f".{os.getpid()}")
        try:
            _make(work)
            (work / "card.img.xz").replace(kept)
        finally:
            shutil.rmtree(work)
    return kept


def _make(work: Path) -> None:
    root, image = work / "root", work / "card.img"
    work.mkdir()
    bootstrap = ("unshare", "--mount", "mmdebstrap")  # what it mounts goes with it if it is killed
    _run(*bootstrap, "--quiet", "--variant=apt", f"--include={PACKAGES}", SUITE, root)
    _configure(root)
    _partition(root, image)
    _run("xz", "-T0", "-1", image)


def _configure(root: Path) -> None:
    (root / "etc/cloud/cloud.cfg.d/99-card.cfg").write_text(CLOUD_CONFIG)
    (root / "etc/fstab").write_text(FSTAB)
    (root / "etc/machine-id").write_text("")
    (root / "etc/hostname").unlink(missing_ok=True)
    (root / "boot/firmware").mkdir(exist_ok=True)
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    # There is no way out of the test's network; what is needed is in the image.
    for sources in (root / "etc/apt/sources.list.d").glob("*"):
        sources.unlink()
    (root / "etc/apt/sources.list").write_text("")


def _partition(root: Path, image: Path) -> None:
    root_mib = int(_run("du", "-sm", root).split()[0]) * 12 // 10 + 150
    _run("truncate", "-s", f"{1 + BOOT_MIB + root_mib}M", image)
    boot, rest = BOOT_MIB * SECTORS_PER_MIB, root_mib * SECTORS_PER_MIB
    parts = f"start=2048, size={boot}, type=c\nstart={2048 + boot}, size={rest}, type=83\n"
    _run("sfdisk", "--quiet", image, stdin=f"label: dos\n{parts}")
    # -s 1: with an offset mkfs.fat takes 8 sectors a cluster, too few clusters for mtools
    fat = ("mkfs.vfat", "-F", "32", "-s", "1", "-n", "system-boot", "--offset", "2048")
    _run(*fat, image, str(BOOT_MIB * 1024))
    drive = f"{image}@@{1 << 20}"
    kernel, initrd = (
        sorted((root / "boot").glob("vmlinuz-*")),
        sorted((root / "boot").glob("initrd*")),
    )
    _run("mcopy", "-i", drive, kernel[-1], "::vmlinuz")
    _run("mcopy", "-i", drive, initrd[-1], "::initrd.img")
    files = {"cmdline.txt": COMMAND_LINE, "config.txt": "[all]\nkernel=vmlinuz\n"}
    files |= {"user-data": "#cloud-config\n", "meta-data": "", "network-config": "version: 2\n"}
    for name, text in files.items():
        _run("mcopy", "-i", drive, "-", f"::{name}", stdin=text)
    offset = f"offset={(1 + BOOT_MIB) << 20}"
    _run("mkfs.ext4", "-q", "-F", "-L", "writable", "-d", root, "-E", offset, image, f"{root_mib}M")


def _run(*command: str | Path, stdin: str = "") -> str:
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": search_path(), "MTOOLS_SKIP_CHECK": "1"},
    )
    assert done.returncode == 0, f"{command[0]}: {done.stderr}"
    return done.stdout
