"""Writes tests/golden/tokenizers/expected.json: what transformers makes of each layout.

Run it where transformers is installed: `PYTHONPATH=service:. python -m
tests.golden.make_tokenizer_goldens`. With --compare it writes nothing and lists the layouts that
this version of transformers reads differently from the one that wrote the file.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import transformers

from tests.golden.tokenizer_cases import LAYOUTS
from tests.golden.tokenizer_layouts import CHATS, TEXTS, Layout

FILE = Path(__file__).parent / "tokenizers" / "expected.json"


def read(layout: Layout, folder: Path) -> dict[str, Any]:
    """texts: ids with the tokens that the tokenizer adds, and without; chats: ids or None."""
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(layout.write(folder))
    except Exception as error:  # noqa: BLE001  whatever it raises is what it does
        return {"error": f"{type(error).__name__}: {error}"[:200]}
    both = [(tokenizer.encode(t), tokenizer.encode(t, add_special_tokens=False)) for t in TEXTS]
    return {
        "with_special": [ids for ids, _ in both],
        "texts": [ids for _, ids in both],
        "decoded": [tokenizer.decode(ids, skip_special_tokens=True) for _, ids in both],
        "chats": [chat(tokenizer, messages) for messages in CHATS],
    }


def chat(tokenizer: Any, messages: list[dict[str, Any]]) -> list[int] | None:
    """None where transformers raises: no template, or one that refuses the messages."""
    try:
        found = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
    except Exception:  # noqa: BLE001
        return None
    return found if isinstance(found, list) else found["input_ids"]


def main() -> None:
    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as scratch:
        found = {
            name: read(layout, Path(scratch) / str(index))
            for index, (name, layout) in enumerate(LAYOUTS.items())
        }
    if "--compare" in sys.argv:
        before = json.loads(FILE.read_text())["layouts"]
        for name, result in found.items():
            parts = [key for key in before[name] if before[name][key] != result.get(key)]
            if parts:
                print(f"{name}: {', '.join(parts)}", result.get("error", ""))
        return
    versions = {"transformers": transformers.__version__}
    lines = [f" {json.dumps(n)}: {json.dumps(r, ensure_ascii=False)}" for n, r in found.items()]
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(
        f'{{"versions": {json.dumps(versions)},\n"layouts": {{\n' + ",\n".join(lines) + "\n}}\n"
    )


if __name__ == "__main__":
    main()
