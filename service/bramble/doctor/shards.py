"""The model folders on this node: every file that is here, hashed against its manifest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bramble.doctor.finding import Finding, absent, error, note, ok
from bramble.errors import BadInput, BadShard
from bramble.model import manifest as manifests
from bramble.model.manifest import Manifest

AGAIN = (
    "delete the file and run ansible-playbook site.yml --tags model; if it happens again, the "
    "card or the memory is failing"
)
Advance = Callable[[str, int], None]  # called with a file's name and bytes once it is hashed


@dataclass(frozen=True, slots=True)
class ModelFolder:
    path: Path
    manifest: Manifest
    names: tuple[str, ...]  # the files that are here; a node holds only what its shard needs

    @property
    def bytes(self) -> int:
        return sum(self.manifest.files[name].bytes for name in self.names)


def model_folders(models: Path) -> tuple[list[ModelFolder], list[Finding]]:
    """Return the model folders in `models`, and what is wrong before anything is hashed."""
    try:
        paths = sorted(path for path in models.iterdir() if (path / manifests.FILE_NAME).exists())
    except OSError as problem:
        return [], [absent("shards", f"{models} cannot be read: {problem.strerror}")]
    folders, findings = [], []
    for path in paths:
        try:
            manifest = manifests.read(path)
        except BadInput as problem:
            findings.append(error("shards", str(problem), AGAIN))
            continue
        here = tuple(name for name in manifest.files if (path / name).exists())
        folders.append(ModelFolder(path, manifest, here))
    if not paths:
        findings.append(note("shards", f"{models} holds no model", "run ansible-playbook site.yml"))
    return folders, findings


def hashed(folder: ModelFolder, advance: Advance) -> list[Finding]:
    """Hash what is here of one model; one finding per damaged file."""
    findings = []
    for name in folder.names:
        expected = folder.manifest.files[name]
        try:
            manifests.verify_file(folder.path, name, expected)
        except BadShard as problem:
            findings.append(error("shards", str(problem).removesuffix("; fetch it again"), AGAIN))
        advance(name, expected.bytes)
    total = len(folder.manifest.files)
    sentence = f"{folder.path.name}: {len(folder.names)} of its {total} files are here, all sound"
    return findings or [ok("shards", sentence)]
