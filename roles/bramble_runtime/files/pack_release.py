"""Pack a folder into a tar file whose bytes depend on its contents alone, and name it by them.

Prints JSON: name (VERSION-DIGEST) and path. Python's standard library only: it runs on the
machine with Ansible.
"""

import hashlib
import io
import json
import pathlib
import re
import sys
import tarfile

SKIPPED = {"__pycache__", "build", "training", ".mypy_cache", ".ruff_cache", ".pytest_cache"}


def is_wanted(path):
    parts = path.parts
    return not (SKIPPED & set(parts) or any(part.endswith(".egg-info") for part in parts))


def main():
    source, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]).expanduser()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(source.rglob("*")):
            name = path.relative_to(source)
            if not path.is_file() or not is_wanted(name):
                continue
            entry = tarfile.TarInfo(str(name))
            entry.size, entry.mode = path.stat().st_size, 0o644
            with path.open("rb") as file:
                archive.addfile(entry, file)
    data = buffer.getvalue()
    text = (source / "bramble/__init__.py").read_text(encoding="utf-8")
    version = re.search(r'__version__ = "([^"]+)"', text)
    digest = hashlib.sha256(data).hexdigest()[:10]
    name = f"{version[1] if version else '0'}-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.tar"
    if not target.exists() or target.read_bytes() != data:
        partial = target.with_suffix(".partial")
        partial.write_bytes(data)
        partial.rename(target)
    print(json.dumps({"name": name, "path": str(target)}))


main()
