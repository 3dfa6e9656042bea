"""Tell the node's clock, package lock, processor features and Bramble release, as JSON.

python3 probe.py SECONDS-TO-WAIT-FOR-THE-LOCK SECONDS-SINCE-1970-AS-THE-ASKER-HAS-IT PACKAGE...
"""

import fcntl
import glob
import json
import os
import shutil
import subprocess
import sys
import time

LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/apt/lists/lock")
CURRENT = "/opt/bramble/current"


def is_locked():
    """True if another process is installing packages, or fetching the list of them."""
    return any(is_held(lock) for lock in LOCKS)


def is_held(lock):
    try:
        with open(lock, "a") as file:  # noqa: PTH123  also a node's oldest Python reads this
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def has(packages):
    """True if every Debian package is installed, and no installation was cut off."""
    words = ["dpkg-query", "--show", "--showformat=${db:Status-Status}\\n", *packages]
    said = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # noqa: PLW1510
    audit = subprocess.run(["dpkg", "--audit"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # noqa: PLW1510
    is_all = said.stdout.split() == ["installed"] * len(packages)
    return bool(packages) and is_all and not audit.stdout


def has_lists():
    """True if there are lists of packages; a pulled plug can leave them without contents."""
    return any(map(os.path.getsize, glob.glob("/var/lib/apt/lists/*_Packages*")))  # noqa: PTH202, PTH207


skew_s = round(time.time() - float(sys.argv[2]))  # before any waiting
deadline = time.monotonic() + float(sys.argv[1])
while is_locked() and time.monotonic() < deadline:
    time.sleep(1)

with open("/proc/cpuinfo") as file:  # noqa: PTH123
    has_dot_product = "asimddp" in file.read()

print(
    json.dumps(
        {
            "skew_s": skew_s,
            "free_mib": shutil.disk_usage("/").free >> 20,
            "has_package_lists": has_lists(),
            "has_packages": has(sys.argv[3:]),
            "is_apt_locked": is_locked(),
            "has_dot_product": has_dot_product,
            "release": os.path.basename(os.readlink(CURRENT)) if os.path.islink(CURRENT) else "",  # noqa: PTH114, PTH115, PTH119
        }
    )
)
