"""Writes tests/golden/CASE: small random models and the logits that transformers computes for them.

Run it where torch and transformers are installed: `python tests/golden/make_goldens.py`. The
results are committed, so the tests need neither.

golden.npz of each case:
  prompt_J          int32 (48,), (29,), (17,)     J = 0, 1, 2
  decoded_J         int32 (16,)                   the tokens fed after the prompt, one by one
  prefill_logits_J  float32 (len(prompt), vocab)  at every position of the prompt
  decode_logits_J   float32 (16, vocab)           after each decoded token
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

HERE = Path(__file__).parent
VOCAB = 160
LENGTHS = (48, 29, 17)
NUM_DECODED = 16
SHAPE = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "attn_implementation": "eager",
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,  # so small that 64 positions notice
}


def cases() -> dict[str, tuple[torch.nn.Module, str]]:
    """Name → model and the largest safetensors file."""
    llama2 = LlamaConfig(**SHAPE | {"num_key_value_heads": 4}, tie_word_embeddings=False)
    llama3 = LlamaConfig(**SHAPE, tie_word_embeddings=True, rope_parameters=LLAMA3_ROPE)
    mistral = MistralConfig(**SHAPE, sliding_window=12, tie_word_embeddings=False)
    qwen2 = Qwen2Config(**SHAPE, tie_word_embeddings=True)
    qwen3 = Qwen3Config(**SHAPE, head_dim=32, tie_word_embeddings=True)
    return {
        "llama2": (LlamaForCausalLM(llama2), "1GB"),
        "llama3": (LlamaForCausalLM(llama3), "1GB"),
        "mistral": (MistralForCausalLM(mistral), "1GB"),
        "qwen2": (Qwen2ForCausalLM(qwen2), "1GB"),
        "qwen3": (Qwen3ForCausalLM(qwen3), "150KB"),  # several files
    }


def randomize(model: torch.nn.Module) -> None:
    """Large enough weights that attention is uneven; biases and norms that are not trivial.

    Rounded to bfloat16, as released models are: the files are half as long and lose nothing.
    """
    for name, tensor in model.named_parameters():
        if "norm" in name:
            tensor.data.uniform_(0.5, 1.5)
        elif name.endswith("bias"):
            tensor.data.normal_(0, 0.3)
        else:
            tensor.data.normal_(0, 0.18)
        tensor.data = tensor.data.bfloat16().float()


@torch.no_grad()
def logits(model: torch.nn.Module, ids: np.ndarray) -> np.ndarray:
    return model(torch.tensor(ids[None].astype(np.int64))).logits[0].numpy()


def golden(model: torch.nn.Module, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    arrays = {}
    for index, length in enumerate(LENGTHS):
        ids = random.integers(2, VOCAB, length + NUM_DECODED).astype(np.int32)
        every = logits(model, ids).astype(np.float32)
        arrays[f"prompt_{index}"] = ids[:length]
        arrays[f"decoded_{index}"] = ids[length:]
        arrays[f"prefill_logits_{index}"] = every[:length]
        arrays[f"decode_logits_{index}"] = every[length:]
    return arrays


def write_tokenizer(folder: Path) -> None:
    """One token per printable ASCII character, padded to the vocabulary."""
    vocabulary = {"<s>": 0, "</s>": 1}
    for code in range(32, 127):
        vocabulary["Ġ" if code == 32 else chr(code)] = len(vocabulary)
    while len(vocabulary) < VOCAB:
        vocabulary[f"w{len(vocabulary)}"] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.save(str(folder / "tokenizer.json"))


def main() -> None:
    for seed, name in enumerate(("llama2", "llama3", "mistral", "qwen2", "qwen3")):
        torch.manual_seed(seed)
        model, largest_file = cases()[name]
        randomize(model)
        model.eval()
        folder = HERE / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        np.savez_compressed(folder / "golden.npz", **golden(model, seed))
        model.bfloat16().save_pretrained(folder, max_shard_size=largest_file)
        write_tokenizer(folder)


if __name__ == "__main__":
    main()
