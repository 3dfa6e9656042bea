"""`make sbom`: every package and file of others' that a node runs, as a CycloneDX document.

The packages come from the lock of the nodes, by cyclonedx-py; the scripts of the pages from the
table beside them. What Debian brings is Debian's to list. The same commit gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from bramble import __version__

SERVICE = Path(__file__).parent
VENDOR = SERVICE / "bramble" / "web" / "static" / "vendor" / "README.md"
ROW = re.compile(  # name | version | licence | npm package, `file` | sha256
    r"\| (?P<name>[^|]+) \| (?P<version>[^|]+) \| (?P<licence>[^|]+) "
    r"\| (?P<package>[^|]+), `(?P<file>[^|]+)` \| (?P<sha256>[0-9a-f]{64}) \|"
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="sbom.py", description=__doc__)
    parser.add_argument("file", type=Path)
    file: Path = parser.parse_args().file
    document = locked()
    add_bramble(document)
    document["components"] += vendored(VENDOR.read_text(encoding="utf-8"))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"{file}: {len(document['components'])} components")


def locked() -> dict[str, Any]:
    """What cyclonedx-py makes of the nodes' lock."""
    command = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements"]
    options = ["--sv", "1.6", "--output-reproducible", "--pyproject", "pyproject.toml"]
    done = subprocess.run(
        [*command, *options, "requirements.lock"], cwd=SERVICE, stdout=subprocess.PIPE, check=True
    )
    document: dict[str, Any] = json.loads(done.stdout)
    for component in document["components"]:
        component.pop("description", None)  # the lines of the lock, again
    return document


def add_bramble(document: dict[str, Any]) -> None:
    """State Bramble's version, and which packages it asks for itself."""
    component = document["metadata"]["component"]
    component["version"] = __version__
    project = tomllib.loads((SERVICE / "pyproject.toml").read_text(encoding="utf-8"))
    asked = {_plain(each.partition("==")[0]) for each in project["project"]["dependencies"]}
    refs = [each["bom-ref"] for each in document["components"] if _plain(each["name"]) in asked]
    for entry in document["dependencies"]:
        if entry["ref"] == component["bom-ref"]:
            entry["dependsOn"] = sorted(refs)


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def vendored(table: str) -> list[dict[str, Any]]:
    """One component for each file of the table."""
    return [
        {
            "bom-ref": f"vendored-{row['sha256'][:12]}",
            "type": "library",
            "name": row["name"],
            "version": row["version"],
            "purl": f"pkg:npm/{row['package'].replace('@', '%40')}@{row['version']}#{row['file']}",
            "licenses": [{"expression": row["licence"].replace(" or ", " OR ")}],
            "hashes": [{"alg": "SHA-256", "content": row["sha256"]}],
        }
        for row in ROW.finditer(table)
    ]


if __name__ == "__main__":
    main()
