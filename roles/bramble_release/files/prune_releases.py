"""Remove releases that are neither current nor previous, and libraries that none of these uses."""

import pathlib
import shutil

ROOT = pathlib.Path("/opt/bramble")


def main():
    links = [ROOT / name for name in ("current", "previous")]
    kept = {link.resolve() for link in links if link.exists()}
    for release in kept.copy():
        kept.add(pathlib.Path((release / "complete").read_text(encoding="utf-8").strip()))
    for folder in [*(ROOT / "releases").iterdir(), *(ROOT / "libraries").iterdir()]:
        if folder not in kept:
            print(folder)
            shutil.rmtree(folder)


main()
