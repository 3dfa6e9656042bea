"""llm, the command-line tool, with its file of further models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from calls import RING, SCRIPTED, Calls

calls = Calls("llm", "llm")
MODELS = """
- model_id: ring
  model_name: {ring.model}
  api_base: {ring.v1}
- model_id: scripted
  model_name: {scripted.model}
  api_base: {scripted.v1}
  supports_tools: true
  supports_schema: true
"""


def llm(*arguments: str) -> str:
    """Run `llm` in a folder of its own; return what it prints."""
    with tempfile.TemporaryDirectory() as folder:
        models = MODELS.format(ring=RING, scripted=SCRIPTED)
        Path(folder, "extra-openai-models.yaml").write_text(models, encoding="utf-8")
        command = [str(Path(sys.executable).with_name("llm")), *arguments, "--key", "none"]
        environment = os.environ | {"LLM_USER_PATH": folder}
        done = subprocess.run(command, env=environment, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@calls.add("`llm -m MODEL Hello`", "a reply in pieces, printed")
def chat() -> None:
    assert llm("-m", "ring", "Hello").strip()


@calls.add("`llm -m MODEL --no-stream Hello`", "a whole reply, printed")
def whole_chat() -> None:
    assert llm("-m", "ring", "--no-stream", "Hello").strip()


@calls.add("`llm -m MODEL -T llm_version QUESTION`", "a tool is called, and the answer follows")
def tools() -> None:
    answer = llm("-m", "scripted", "-T", "llm_version", "Which version is this?")
    assert answer.strip().endswith(f"The result is {version('llm')}.")


@calls.add("`llm -m MODEL --schema SCHEMA QUESTION`", "a document that fits the schema")
def schema() -> None:
    answer = llm("-m", "scripted", "--schema", "city, degrees int", "The weather in Paris?")
    assert json.loads(answer) == {"city": "Paris", "degrees": 7}


if __name__ == "__main__":
    calls.run()
