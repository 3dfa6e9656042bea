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

LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock")
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
        with open(path) as file:  # noqa: PTH123  also a node's oldest Python reads this
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
    return [line.split()[0] for line in said.splitlines() if line.endswith(" installed")]


def has_lists():
    """True if there are lists of packages; a pulled plug can leave them without contents."""
    return any(map(os.path.getsize, glob.glob("/var/lib/apt/lists/*_Packages*")))  # noqa: PTH202, PTH207


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
            "has_package_lists": has_lists(),
            "installed": installed(sys.argv[2:]),
            "is_first_start": is_first_start(),
            "is_apt_locked": is_locked(),
            "firewall": other_firewall(),
            "has_dot_product": "asimddp" in read("/proc/cpuinfo"),
            "release": os.path.basename(os.readlink(CURRENT)) if os.path.islink(CURRENT) else "",  # noqa: PTH114, PTH115, PTH119
        }
    )
)
