"""The project keeps its own rules: imports, the tree of docs/, and the dependency table."""

import ast
import hashlib
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "service" / "bramble"
# Each folder, and what of Bramble it may import besides itself.
COMMON = {"errors", "config", "observe", "wire", "model"}
ALLOWED = {
    "errors": set(),
    "config": {"errors"},
    "observe": {"errors", "config"},
    "model": {"errors"},
    "plan": {"errors", "model"},
    "wire": {"errors", "model"},
    "doctor": {"errors", "config", "observe", "model"},
    "export": {"errors", "config", "model"},
    "stage": COMMON,
    "head": COMMON | {"plan"},
    "web": COMMON | {"head.client", "head.zmq_client"},
    "commands": COMMON
    | {
        "doctor",
        "head.client",
        "head.zmq_client",
        "head.service",
        "stage.service",
        "web.server",
        "export.api",
        "export.synthetic",
        "plan",
    },
    "cli": {"errors"},
    "__main__": {"cli"},
}
SOLE_IMPORTERS = {
    "zmq": {"wire/transport.py"},
    "onnxruntime": {"stage/", "export/verify.py"},
    "onnx": {"export/"},
    "cryptography": {"stage/exchange/seal.py"},
    "flask": {"web/"},
    "gunicorn": {"web/server.py", "web/worker.py", "web/guest.py", "web/connection.py"},
    "tokenizers": {"model/tokenizer.py"},
    "llguidance": {"model/grammar.py"},
    "yaml": {"config.py"},
    "zeroconf": {"commands/lan.py"},
    "ifaddr": {"commands/lan.py"},
    "torch": set(),
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_its_folder_may(path: Path) -> None:
    folder = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if folder == "__init__":
        return
    for name in imports(path):
        if not name.startswith("bramble."):
            continue
        target = name.removeprefix("bramble.")
        if target.split(".")[0] in (folder, "__version__"):
            continue
        allowed = ALLOWED[folder]
        assert any(target == one or target.startswith(f"{one}.") for one in allowed), (
            f"{folder} imports {name}"
        )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_library_has_its_sole_importers(path: Path) -> None:
    place = path.relative_to(PACKAGE).as_posix()
    for library in {name.split(".")[0] for name in imports(path)} & set(SOLE_IMPORTERS):
        assert any(place.startswith(one) for one in SOLE_IMPORTERS[library]), (
            f"{place} imports {library}"
        )


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, check=True)
    return listed.stdout.decode().splitlines()


def told_as(name: str) -> str | None:
    """Return what stands for a file in docs/tree.md: itself, its role, or nothing."""
    path = ROOT / name
    is_empty_init = path.name == "__init__.py" and not path.read_text(encoding="utf-8").strip()
    is_data = re.match(
        r"tests/golden/[^/]+/|tests/fuzz/kept/|service/bramble/web/static/vendor/", name
    )
    if is_empty_init or is_data:
        return None
    return "/".join(name.split("/")[:2]) if name.startswith("roles/") else name


def test_the_tree_has_one_line_per_file() -> None:
    tree = (ROOT / "docs" / "tree.md").read_text(encoding="utf-8")
    lines = tree.split("```")[1].strip().splitlines()
    assert [line.split()[0] for line in lines] == sorted(set(filter(None, map(told_as, tracked()))))
    assert all(len(line.split()) > 1 for line in lines), "a line says nothing"


def test_every_dependency_is_explained() -> None:
    project = tomllib.loads((ROOT / "service" / "pyproject.toml").read_text(encoding="utf-8"))
    table = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    names = project["project"]["dependencies"] + project["project"]["optional-dependencies"]["dev"]
    for requirement in names:
        name, _, version = requirement.partition("==")
        assert version, f"{requirement} is not pinned"
        assert re.search(rf"\b{name}\b", table), f"{name} is not in docs/dependencies.md"


def test_the_locks_hold_what_the_project_pins() -> None:
    project = tomllib.loads((ROOT / "service" / "pyproject.toml").read_text(encoding="utf-8"))
    lock = (ROOT / "service" / "requirements.lock").read_text(encoding="utf-8")
    pinned = {line.split()[0] for line in lock.splitlines() if "==" in line}
    for requirement in project["project"]["dependencies"]:
        assert requirement.replace("_", "-") in pinned


def test_vendored_files_are_what_their_table_says() -> None:
    vendor = PACKAGE / "web" / "static" / "vendor"
    table = (vendor / "README.md").read_text(encoding="utf-8")
    files = {path for path in vendor.glob("*/*") if path.name != "LICENSE"}
    hashes = {hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert hashes == set(re.findall(r"[0-9a-f]{64}", table))
    assert all((path.parent / "LICENSE").exists() for path in files)
