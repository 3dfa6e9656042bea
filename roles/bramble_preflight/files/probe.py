"""Tell what a node is at and what it has, as JSON: clock, package lock, packages, processor, release.

python3 probe.py SECONDS-SINCE-1970-AS-THE-ASKER-HAS-IT PACKAGE...
"""

import fcntl
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.parse

LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock")
LISTS = "/var/lib/apt/lists"
TIME_CLIENTS = ("systemd-timesyncd", "chrony", "chronyd", "ntpsec", "ntp")
NOTHING_MD5 = "d41d8cd98f00b204e9800998ecf8427e"  # of a file without contents
CURRENT = "/opt/bramble/current"
CLOUD_INIT_ENDED = "/run/cloud-init/result.json"


def output(*words):
    """Return what a program prints; nothing where it is not there."""
    try:
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # noqa: PLW1510
    except OSError:
        return ""
    return done.stdout


def read(path):
    try:
        with open(path, errors="replace") as file:  # noqa: PTH123  also a node's oldest Python reads this
            return file.read()
    except OSError:
        return ""


def is_first_start():
    """True while cloud-init still sets the node up."""
    return not os.path.exists(CLOUD_INIT_ENDED) and "cloud-" in output("systemctl", "list-jobs", "--no-legend")  # noqa: PTH110


def is_locked():
    """True if another process is installing packages, or fetching the list of them."""
    return any(is_held(lock) for lock in LOCKS)


def is_held(lock):
    try:
        with open(lock, "a") as file:  # noqa: PTH123
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def installed(packages):
    """Return those of the Debian packages that are installed; none where an installation was cut off."""
    if not packages or output("dpkg", "--audit"):
        return []
    said = output("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\\n", *packages)
    names = [line.split()[0] for line in said.splitlines() if line.endswith(" installed")]
    return [name for name in names if not has_emptied_settings(name)]


def has_emptied_settings(package):
    """True if a pulled plug left settings that the package brought without contents.

    dpkg does not write them through to the disk, and finds nothing wrong with them later.
    """
    for line in output("dpkg-query", "--show", "--showformat=${Conffiles}\\n", package).splitlines():
        path, digest = [*line.split(), "", ""][:2]
        if digest != NOTHING_MD5 and os.path.isfile(path) and not os.path.getsize(path):  # noqa: PTH113, PTH202
            return True
    return False


def package_lists():
    """Return whether the lists of packages are "whole", "missing" or "cut off" by a pulled plug.

    `apt update` does not notice the last: the server has nothing newer.
    """
    lists, releases = glob.glob(LISTS + "/*_Packages*"), glob.glob(LISTS + "/*_InRelease")  # noqa: PTH207
    sizes = {path: size for release in releases for path, size in sizes_of(release)}
    # None is empty that no release says is
    is_cut_off = any(os.path.getsize(path) != sizes.get(path, os.path.getsize(path) or 1) for path in lists)  # noqa: PTH202
    if is_cut_off or not all(map(os.path.getsize, releases)):  # noqa: PTH202
        return "cut off"
    return "whole" if lists else "missing"


def sizes_of(release):
    """Give path and bytes of each list that a release names; compressed ones lie under other names."""
    for size, path in re.findall(r"^ [0-9a-f]{32,} +([0-9]+) +(\S+/Packages|Packages)$", read(release), re.MULTILINE):
        name = urllib.parse.quote(path.replace("_", "%5f"), safe="/%-.+").replace("/", "_")
        yield release[: -len("InRelease")] + name, int(size)


def has_time_client():
    units = [name + ".service" for name in TIME_CLIENTS]
    return bool(output("systemctl", "list-unit-files", "--no-legend", *units))


def other_firewall():
    """Return the name of another firewall that filters here, or nothing."""
    if re.search(r"^ENABLED=yes", read("/etc/ufw/ufw.conf"), re.MULTILINE):
        return "ufw"
    return "firewalld" if output("systemctl", "is-active", "firewalld").strip() == "active" else ""


print(
    json.dumps(
        {
            "skew_s": round(time.time() - float(sys.argv[1])),
            "free_mib": shutil.disk_usage("/").free >> 20,
            "package_lists": package_lists(),
            "installed": installed(sys.argv[2:]),
            "has_time_client": has_time_client(),
            "is_first_start": is_first_start(),
            "is_apt_locked": is_locked(),
            "firewall": other_firewall(),
            "has_dot_product": "asimddp" in read("/proc/cpuinfo"),
            "release": os.path.basename(os.readlink(CURRENT)) if os.path.islink(CURRENT) else "",  # noqa: PTH114, PTH115, PTH119
        }
    )
)
