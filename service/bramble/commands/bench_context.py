"""What `bramble bench --contexts` measures: how fast one reply runs behind short and long texts.

A token attends to all before it, so a reply behind a long conversation is slower than one behind
a question.
"""

from __future__ import annotations

import random
import statistics
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bramble.commands.predict_plot import new_axes, save
from bramble.errors import BadInput, Broken
from bramble.head.client import Client
from bramble.wire.messages import Done, Generate, Sampling

DEFAULT = "64,1000,4000,8000"  # those of them that fit the ring's context


def lengths(text: str, tokens: int, max_length: int) -> list[int]:
    """Read the lengths asked for, the shortest first; of the DEFAULT those that fit.

    Raises BadInput for what is no length, and for one that does not fit.
    """
    try:
        asked = sorted({int(word) for word in text.split(",")})
    except ValueError as error:
        raise BadInput(f"--contexts {text}: need numbers with commas, as {DEFAULT}") from error
    most = max_length - tokens
    if text == DEFAULT:
        asked = [length for length in asked if length <= most] or [most]
    if asked[0] < 1 or asked[-1] > most:
        raise BadInput(
            f"--contexts {text}: each has to be 1 to {most}, so that --tokens {tokens} fit behind "
            f"it in the context of {max_length} tokens"
        )
    return asked


def measure(
    client: Client,
    contexts: Sequence[int],
    tokens: int,
    repeat: int,
    vocab: int,
    advance: Callable[[], None] = lambda: None,
) -> list[dict[str, Any]]:
    """Return for each length the median speed of one reply behind it, and its share of the first.

    The lengths take turns, so that a slow minute meets all. From the second round on a beginning
    is in the prefix cache: only the first one is read.
    """
    prompts = {length: _ids(length, vocab) for length in contexts}
    speeds: dict[int, list[float]] = {length: [] for length in contexts}
    waits: dict[int, list[float]] = {length: [] for length in contexts}
    for _ in range(repeat):
        for length, prompt in prompts.items():
            done = _ask(client, prompt, tokens)
            speeds[length].append((tokens - 1) / max(done.total_s - done.first_token_s, 1e-9))
            waits[length].append(done.first_token_s)
            advance()
    first = statistics.median(speeds[contexts[0]])
    return [
        {
            "context_tokens": length,
            "decode_tokens_s": statistics.median(speeds[length]),
            "decode_min": min(speeds[length]),
            "decode_max": max(speeds[length]),
            "of_shortest": statistics.median(speeds[length]) / first,
            "first_token_s": waits[length][0],
            "cached_first_token_s": statistics.median(waits[length][1:] or waits[length]),
        }
        for length in contexts
    ]


def show(document: dict[str, Any]) -> None:
    console = Console()
    console.print(
        f"[bold]{document['model']}[/] {document['quantization']}, a {document['kv_cache']} KV "
        f"cache; one reply of {document['reply_tokens']} tokens"
    )
    table = Table("behind", "tokens/s", "of the first", "first token", "from the cache")
    for line in document["contexts"]:
        table.add_row(
            f"{line['context_tokens']:,} tokens",
            f"{line['decode_tokens_s']:.1f} ({line['decode_min']:.1f}–{line['decode_max']:.1f})",
            f"{line['of_shortest']:.2f}",
            f"{line['first_token_s']:.2f} s",
            f"{line['cached_first_token_s']:.2f} s",
        )
    console.print(table)


def plot(path: Path, document: dict[str, Any]) -> None:
    """Draw tokens per second over the context. Raises Broken without matplotlib."""
    figure, axis = new_axes(f"{document['model']} {document['quantization']}: one reply")
    lines = document["contexts"]
    across = [line["context_tokens"] for line in lines]
    label = f"{document['kv_cache']} KV cache"
    axis.plot(across, [line["decode_tokens_s"] for line in lines], marker="o", label=label)
    axis.set_xlabel("tokens before the reply")
    axis.set_ylabel("tokens/s")
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small")
    save(figure, path)


def _ids(count: int, vocab: int) -> list[int]:
    return [random.randrange(3, vocab) for _ in range(count)]


def _ask(client: Client, prompt: list[int], tokens: int) -> Done:
    seed = time.time_ns() & (1 << 62) - 1
    # Greedy text of random prompts goes in circles, whose guesses would all come true
    sampling = Sampling(temperature=1.0, seed=seed)
    request = Generate(
        uuid.uuid4().hex, sampling, prompt=prompt, max_tokens=tokens, ignore_eos=True
    )
    for event in client.generate(request):
        if isinstance(event, Done):
            return event
    raise Broken("the ring ended a stream without a word")
