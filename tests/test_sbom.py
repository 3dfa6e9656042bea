"""The list of components: complete, valid, and the same for the same commit."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

SERVICE = Path(__file__).resolve().parents[1] / "service"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("sbom") / "made" / "bramble.cdx.json"
    subprocess.run([sys.executable, SERVICE / "sbom.py", file], check=True, capture_output=True)
    return file.read_text(encoding="utf-8")


def test_it_names_every_package_of_the_lock_with_its_hashes(text: str) -> None:
    lock = (SERVICE / "requirements.lock").read_text(encoding="utf-8")
    packages = set(re.findall(r"(?m)^([\w.-]+)==(\S+)", lock))
    components = [c for c in json.loads(text)["components"] if c["purl"].startswith("pkg:pypi/")]
    assert {(each["name"], each["version"]) for each in components} == packages
    files = [file for each in components for file in each["externalReferences"]]
    hashes = {each["content"] for file in files for each in file["hashes"]}
    assert hashes == set(re.findall(r"sha256:([0-9a-f]{64})", lock))


def test_it_names_every_file_of_others_in_the_pages(text: str) -> None:
    table = (SERVICE / "bramble/web/static/vendor/README.md").read_text(encoding="utf-8")
    hashes = [h["content"] for c in json.loads(text)["components"] for h in c.get("hashes", ())]
    assert sorted(hashes) == sorted(re.findall(r"[0-9a-f]{64}", table))


def test_scanners_can_read_it_and_it_says_what_bramble_asks_for(text: str) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document = json.loads(text)
    asked = {each["ref"]: each.get("dependsOn", []) for each in document["dependencies"]}
    names = {each["bom-ref"]: each["name"] for each in document["components"]}
    direct = {names[ref] for ref in asked[document["metadata"]["component"]["bom-ref"]]}
    assert {"onnxruntime", "pyzmq", "huggingface-hub"} <= direct and "click" not in direct
