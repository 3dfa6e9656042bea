"""Tell the node's clock, package lock, processor features and Bramble release, as JSON.

python3 probe.py SECONDS-TO-WAIT-FOR-THE-LOCK SECONDS-SINCE-1970-AS-THE-ASKER-HAS-IT
"""

import fcntl
import glob
import json
import os
import shutil
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
            "has_package_lists": bool(glob.glob("/var/lib/apt/lists/*_Packages*")),  # noqa: PTH207
            "is_apt_locked": is_locked(),
            "has_dot_product": has_dot_product,
            "release": os.path.basename(os.readlink(CURRENT)) if os.path.islink(CURRENT) else "",  # noqa: PTH114, PTH115, PTH119
        }
    )
)
