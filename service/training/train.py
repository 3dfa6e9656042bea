"""Train the embedded model from nothing: corpus, tokenizer, weights, Hugging Face folder.

One seed and a fixed number of steps: the same versions on the same machine write the same file.
"""

import argparse
import json
import math
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from corpus import Conversation, Corpus, flatten
from corpus_tools import ToolCorpus, pieces_of
from network import Llama, Shape
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor
from vocabulary import (
    ASSISTANT,
    BEGIN,
    END,
    SYSTEM,
    TOOLS_CLOSE,
    USER,
    save_tokenizer,
    train_tokenizer,
)

EXAMPLE = "example:\n  nice -n 5 python train.py --out first"
RESULT_WEIGHT = 4.0  # of a sum's digits: few tokens, and all that is hard about it


def encode(
    conversation: Conversation, tokenizer: Tokenizer, prompt_weight: float = 0.1
) -> tuple[list[int], list[float]]:
    """Return token ids and the weight of each in the loss: replies count fully."""
    ids, weights = [tokenizer.token_to_id(BEGIN)], [0.0]
    for question, answer in conversation:
        asked = (
            0.0 if question.endswith(TOOLS_CLOSE) else prompt_weight
        )  # tools are drawn, not said
        parts = [(USER if answer else SYSTEM, 0.0), (question, asked), (END, 0.0)]
        if answer:
            said, equals, result = answer.partition(" = ")
            parts += [(ASSISTANT, 0.0), (said + equals, 1.0), (result, RESULT_WEIGHT), (END, 1.0)]
        for text, weight in parts:
            tokens = tokenizer.encode(text).ids
            ids += tokens
            weights += [weight] * len(tokens)
    return ids, weights


def batches(
    tools: ToolCorpus, tokenizer: Tokenizer, options: argparse.Namespace
) -> list[tuple[Tensor, Tensor]]:
    """Return a few hundred batches of options.batch tokens or less, each of like lengths."""
    drawn = tools.conversations(12000, options.tools, options.copies)
    samples = [encode(turns, tokenizer, options.prompts) for turns in drawn]
    samples.sort(key=lambda sample: len(sample[0]))
    result, group = [], []
    for sample in samples:
        if group and (len(group) + 1) * padded(len(sample[0])) > options.batch:
            result.append(pad(group))
            group = []
        group.append(sample)
    result.append(pad(group))
    tools.random.shuffle(result)
    return result


def padded(length: int) -> int:
    """Round up, so that few shapes occur: each new one costs the kernels' set-up."""
    return -(-length // 16) * 16


def pad(group: list[tuple[list[int], list[float]]]) -> tuple[Tensor, Tensor]:
    """Return (rows, length) token ids and loss weights; padding weighs nothing."""
    length = padded(max(len(ids) for ids, _ in group))
    tokens = torch.tensor([ids + [0] * (length - len(ids)) for ids, _ in group])
    weights = torch.tensor([w + [0.0] * (length - len(w)) for _, w in group])
    return tokens, weights


def loss_of(model: Llama, tokens: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean cross entropy, logits computed only where they count."""
    counts = weights[:, 1:] > 0
    hidden = model(tokens[:, :-1])[counts]
    each = F.cross_entropy(model.logits(hidden), tokens[:, 1:][counts], reduction="none")
    return (each * weights[:, 1:][counts]).sum() / weights[:, 1:].sum()


def learning_rate(step: int, steps: int, peak: float, is_level: bool) -> float:
    """Warm up over 60 steps, then fall along a cosine to a fiftieth, or stay level."""
    if step < 60 or is_level:
        return peak * min(1.0, (step + 1) / 60)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def train(
    model: Llama, tokenizer: Tokenizer, tools: ToolCorpus, options: argparse.Namespace
) -> None:
    """Run the steps, printing progress."""
    matrices = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim != 2]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=options.rate, betas=(0.9, 0.98))
    started, mean, waiting = time.monotonic(), 0.0, []
    for step in range(options.steps):
        waiting = waiting or batches(tools, tokenizer, options)
        tokens, weights = waiting.pop()
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, options.steps, options.rate, options.level)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16):
            loss = loss_of(model, tokens, weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        mean = loss.item() if step == 0 else 0.96 * mean + 0.04 * loss.item()
        if step % 50 == 0 or step == options.steps - 1:
            seconds = time.monotonic() - started
            left = seconds / (step + 1) * (options.steps - step - 1)
            save(model, tokenizer, options.out)
            if options.keep:
                save(model, tokenizer, options.out.with_name(f"{options.out.name}-{step + 1}"))
            print(f"step {step + 1}/{options.steps} loss {mean:.3f} {seconds:.0f} s, "
                  f"{left:.0f} s left", flush=True)  # fmt: skip


def config_of(shape: Shape, tokenizer: Tokenizer) -> dict:
    """Return config.json."""
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "vocab_size": shape.vocab_size, "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size, "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads, "num_key_value_heads": shape.num_kv_heads,
        "head_dim": shape.head_dim, "max_position_embeddings": shape.max_positions,
        "rope_theta": shape.rope_theta, "rope_scaling": None, "rms_norm_eps": shape.norm_epsilon,
        "attention_bias": False, "mlp_bias": False, "attention_dropout": 0.0,
        "initializer_range": 0.04, "tie_word_embeddings": True, "use_cache": True,
        "bos_token_id": tokenizer.token_to_id(BEGIN), "eos_token_id": tokenizer.token_to_id(END),
        "torch_dtype": "float16",
    }  # fmt: skip


def save(model: Llama, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the Hugging Face folder."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: w.detach().to(torch.float16).contiguous() for name, w in model.state_dict().items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    save_tokenizer(tokenizer, folder, model.shape.max_positions)
    generation = {
        "bos_token_id": tokenizer.token_to_id(BEGIN), "eos_token_id": tokenizer.token_to_id(END),
        "pad_token_id": tokenizer.token_to_id(END), "do_sample": True, "temperature": 0.3,
        "top_p": 0.9,
    }  # fmt: skip
    for name, data in (
        ("config", config_of(model.shape, tokenizer)),
        ("generation_config", generation),
    ):
        (folder / f"{name}.json").write_text(json.dumps(data, indent=2) + "\n")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--init", type=Path, help="go on from the folder of an earlier run")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--batch", type=int, default=6144, help="tokens in a step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sums", type=float, default=0.22, help="share of sums among questions")
    parser.add_argument("--operators", default="+-×", help="of sums; twice = twice as often")
    parser.add_argument("--all-sums", action="store_true", help="also those of held_out.yml")
    parser.add_argument("--tools", type=float, default=0.0, help="share of talks with tools")
    parser.add_argument("--copies", type=float, default=0.0, help="share of exercises in copying")
    parser.add_argument(
        "--prompts", type=float, default=0.1, help="weight of questions in the loss"
    )
    parser.add_argument("--level", action="store_true", help="do not lower the rate: see mean.py")
    parser.add_argument("--keep", action="store_true", help="keep each checkpoint, as OUT-STEP")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bfloat16", action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args()


def main() -> None:
    """Train and write."""
    options = parse()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    random.seed(options.seed)
    shape = Shape()
    if options.init:
        tokenizer, model = load(options.init)
    else:
        tokenizer, model = fresh(shape, options.seed)
    print(f"{sum(p.numel() for p in model.parameters())} parameters")
    held_sums = set() if options.all_sums else None
    corpus = Corpus(options.seed + 1, options.sums, options.operators, held_sums)
    tools = ToolCorpus(corpus, pieces_of(list(tokenizer.get_vocab())))
    train(model, tokenizer, tools, options)
    save(model, tokenizer, options.out)


def fresh(shape: Shape, seed: int) -> tuple[Tokenizer, Llama]:
    """Return a tokenizer of the corpus, and a network that knows nothing."""
    texts = flatten(list(Corpus(seed).conversations(12000)))
    tokenizer = train_tokenizer(texts, shape.vocab_size)
    return tokenizer, Llama(Shape(vocab_size=tokenizer.get_vocab_size()))


def load(folder: Path) -> tuple[Tokenizer, Llama]:
    """Return what an earlier run wrote."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model = Llama(Shape(vocab_size=tokenizer.get_vocab_size()))
    weights = load_file(folder / "model.safetensors")
    model.load_state_dict({name: weight.float() for name, weight in weights.items()})
    return tokenizer, model


if __name__ == "__main__":
    main()
