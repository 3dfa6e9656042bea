"""Writes tests/golden/variants.npz: what transformers makes of each variant, see variant.py.

Run it where torch and transformers are installed: `python tests/golden/make_variants.py`.

variants.npz:
  about          JSON as bytes: transformers' version; by variant its context, its layers' windows,
                 or the error with which transformers refuses it
  NAME logits    float32 (len(PLACES), VOCAB): at some places of the prompt, the first VOCAB tokens
  NAME tokens    int16 (NUM_DECODED,): what follows the prompt, greedily
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from variant import NUM_DECODED, PLACES, VOCAB, Variant
from variants import variants

HERE = Path(__file__).parent
CLOSEST = 0.002  # logits: what decides a greedy token must not be rounding


def load(variant: Variant, folder: Path) -> tuple[Any, str]:
    """Load a variant: its model, or None; and what transformers did not find or use."""
    variant.write(folder)
    try:
        model, told = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
    except Exception as error:  # noqa: BLE001 - whatever it raises is recorded
        return None, f"{type(error).__name__}: {error}".splitlines()[0][:200]
    left = {key: sorted(map(str, found)) for key, found in told.items() if found}
    return model.eval(), json.dumps(left) if left else ""


def window(layer: Any, config: Any) -> int:
    """Tokens that a layer attends to; -1 = all."""
    found = getattr(layer.self_attn, "sliding_window", None)
    if config.model_type == "mistral":
        found = config.sliding_window
    return -1 if found is None else found


@torch.no_grad()
def compute(variant: Variant, folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    model, trouble = load(variant, folder)
    if model is None:
        return {"error": trouble}, {}
    try:
        ids = variant.prompt().tolist()
        logits = model(torch.tensor([ids])).logits[0, list(PLACES)]
        for _ in range(0 if variant.refused else NUM_DECODED):
            after = model(torch.tensor([ids])).logits[0, -1, :VOCAB]
            first, second = after.topk(2).values.tolist()
            assert first - second > CLOSEST, f"{variant.name}: a tie"
            ids.append(int(after.argmax()))
    except AssertionError:
        raise
    except Exception as error:  # noqa: BLE001 - as in load
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}, {}
    about = {
        "max_length": model.config.max_position_embeddings,
        "windows": [window(layer, model.config) for layer in model.model.layers],
    }
    if trouble:
        about["trouble"] = trouble
    arrays = {
        "logits": logits[:, :VOCAB].numpy(),
        "tokens": np.array(ids[-NUM_DECODED:], np.int16),
    }
    return about, arrays


def main() -> None:
    about: dict[str, Any] = {"transformers": transformers.__version__, "variants": {}}
    arrays: dict[str, np.ndarray] = {}
    for variant in variants():
        with tempfile.TemporaryDirectory() as folder:
            told, found = compute(variant, Path(folder) / "m")
        about["variants"][variant.name] = told
        if not variant.refused:
            if "error" in told or "trouble" in told:
                raise SystemExit(f"{variant.name}: transformers says {told}")
            arrays |= {f"{variant.name} {key}": each for key, each in found.items()}
    text = json.dumps(about, indent=1).encode()
    np.savez_compressed(HERE / "variants.npz", about=np.frombuffer(text, np.uint8), **arrays)


if __name__ == "__main__":
    main()
