"""The name of the model that an inventory names, as its manifest has it or will have it."""

from __future__ import annotations

import json
import re
from pathlib import Path

NAME = re.compile(r"[^/\\@.\0][^/\\@\0]*")  # as service/bramble/model/store.py takes it


def model_name(model, quantization="int4"):
    """Return the name under which every node has the model.

    A folder that is a model folder already has its name in its manifest, whatever the folder is called; every
    other source is exported under a name made of its own and the quantization.
    """
    if model == "embedded":
        return "bramble-demo"
    return _manifest(model).get("name") or _exported(model, quantization)


def model_source_problem(model, head_manifest):
    """Return a sentence if the head has another model under the same name, else "".

    head_manifest  text of the manifest.json that the head has; "" if it has none
    """
    if not head_manifest or model == "embedded":
        return ""
    here, there = _manifest(model), json.loads(head_manifest)
    if here and _content(here) != _content(there):
        return (
            f"the head has another export under the name {there.get('name')} than {model}: give yours another `name` "
            "by exporting it into a folder of another name"
        )
    source = there.get("source") or {}
    if not here and not Path(model).is_dir() and source.get("kind") == "hub":
        if source.get("id") != model:
            return (
                f"the head has {source.get('id')} under the name {there.get('name')}, and bramble_model is {model}: "
                "export yours by hand into a folder of another name, and write that folder into bramble_model"
            )
    return ""


def _manifest(model):
    path = Path(str(model)) / "manifest.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and NAME.fullmatch(str(found.get("name"))) else {}


def _content(manifest):
    return {name: file.get("sha256") for name, file in (manifest.get("files") or {}).items()}


def _exported(model, quantization):
    name = str(model).rstrip("/").rpartition("/")[2].lower()
    return name if quantization == "int4" else f"{name}-{quantization}"


class FilterModule:
    def filters(self):
        return {"bramble_model_name": model_name, "bramble_source_problem": model_source_problem}
