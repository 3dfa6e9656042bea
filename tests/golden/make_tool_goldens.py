"""Writes tests/golden/tools/expected.json: how transformers lays out conversations with tools.

Run it where transformers is installed: `PYTHONPATH=service:. python -m
tests.golden.make_tool_goldens`. As its documentation says, calls have their arguments as objects.
"""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import transformers

from tests.golden.tool_cases import CONVERSATIONS, TEMPLATES, layout

FILE = Path(__file__).parent / "tools" / "expected.json"


def lay_out(tokenizer: Any, name: str) -> str | None:
    """None where the template refuses."""
    messages, tools, options = copy.deepcopy(CONVERSATIONS[name])
    for message in messages:
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    try:
        text: str = tokenizer.apply_chat_template(
            messages, tools=tools, tokenize=False, add_generation_prompt=True, **options
        )
    except Exception:  # noqa: BLE001  whatever it raises, it refuses
        return None
    return text


def main() -> None:
    transformers.logging.set_verbosity_error()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in TEMPLATES:
            folder = layout(name).write(Path(scratch) / name)
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            found[name] = {case: lay_out(tokenizer, case) for case in CONVERSATIONS}
    document = {"versions": {"transformers": transformers.__version__}, "templates": found}
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
