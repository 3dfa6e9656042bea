"""`bramble bench`: what a running ring gives, alone and with several streams at once."""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bramble.commands import bench_context as over_context
from bramble.commands import bench_conversation as conversation
from bramble.commands.door import add_door, open_door
from bramble.errors import BadInput, Broken
from bramble.head.client import Client
from bramble.wire.messages import Delta, Done, Generate, Sampling

EXAMPLE = """examples:
  bramble bench                                  512 tokens in, 64 out, 1 2 4 8 streams
  bramble bench --prompt 128 --tokens 128 --streams 1,4 --repeat 5
  bramble bench --json > ring.json
  bramble bench --turns --prompt 1000            what the cache saves a second turn
  bramble bench --pace --prompt 1000 --streams 4 what running streams feel of a long prompt
  bramble bench --contexts                       a reply behind 64, 1,000, 4,000, 8,000 tokens
  bramble bench --contexts 64,2000 --plot speed.png
"""
MIB = 1 << 20
SMALL_PROMPT = 16  # tokens before a decode measurement, so that prefill is no part of it


@dataclass(frozen=True, slots=True)
class Run:
    """One round of `streams` requests at once; times in seconds, speeds in tokens per second."""

    streams: int
    first_token_s: float  # median over the streams
    decode_tokens_s: float  # of one stream, median
    aggregate_tokens_s: float


@dataclass(frozen=True, slots=True)
class StageCost:
    """What a stage takes for one token of one stream, in ms."""

    node: str
    stage: int
    compute_ms: float  # onnxruntime and sampler
    python_ms: float  # unpacking, bookkeeping, packing


@dataclass(frozen=True, slots=True)
class Costs:
    """One token's way round the ring, in ms; all means over the same tokens."""

    token_ms: float
    stages: list[StageCost]

    @property
    def compute_ms(self) -> float:
        return sum(stage.compute_ms for stage in self.stages)

    @property
    def python_ms(self) -> float:
        return sum(stage.python_ms for stage in self.stages)

    @property
    def travel_ms(self) -> float:
        """The head's work, the sockets, and the waking of every process on the way."""
        return self.token_ms - self.compute_ms - self.python_ms

    @property
    def ring_ms_per_stage(self) -> float:
        return (self.token_ms - self.compute_ms) / len(self.stages)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "bench",
        help="measure a running ring",
        description="Measure a running ring: prefill and decode tokens/s, time to first token, "
        "aggregate over several streams, memory, and where a token's time goes.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--prompt", type=int, default=512, help="tokens in (default: 512)")
    parser.add_argument("--tokens", type=int, default=64, help="tokens out (default: 64)")
    parser.add_argument("--streams", default="1,2,4,8", help="at once (default: 1,2,4,8)")
    parser.add_argument("--repeat", type=int, default=3, help="of each; medians (default: 3)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--turns", action="store_true", help="measure second turns instead")
    kind.add_argument("--pace", action="store_true", help="measure gaps between tokens instead")
    kind.add_argument(
        "--contexts",
        nargs="?",
        const=over_context.DEFAULT,
        metavar="N,…",
        help=f"measure one reply behind so many tokens instead ({over_context.DEFAULT})",
    )
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="of --contexts: tokens/s over the context"
    )
    add_door(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.plot is not None and args.contexts is None:
        raise BadInput("--plot goes with --contexts: it draws tokens/s over the context")
    if args.contexts is not None:
        return _run_contexts(args)
    if args.turns or args.pace:
        return _run_conversation(args)
    streams = _streams(args.streams)
    with open_door(args) as client, Progress(transient=True, console=_stderr()) as progress:
        before = client.status()
        if before["state"] != "serving":
            raise Broken(f"the ring does not serve: {before['reason']}")
        _check_length(args, before["model"]["max_length"])
        vocab = before["model"]["vocab_size"]
        task = progress.add_task("measuring", total=args.repeat * (len(streams) + 1))
        _measure(client, 1, SMALL_PROMPT, 8, vocab)  # warm-up
        prefill = []
        for _ in range(args.repeat):
            first = _measure(client, 1, args.prompt, 1, vocab)
            prefill.append(args.prompt / first.first_token_s)
            progress.advance(task)
        runs = []
        costs: Costs | None = None
        for count in streams:
            tries, before = [], client.status()
            for _ in range(args.repeat):
                tries.append(_measure(client, count, SMALL_PROMPT, args.tokens, vocab))
                progress.advance(task)
            runs.append(_median(tries))
            if count == 1:
                costs = _costs(tries, before, client.status())
        document = _document(args, client.status(), prefill, runs, costs)
    if args.json:
        print(json.dumps(document, indent=1))
    else:
        _show(document)
    return 0


def _run_contexts(args: argparse.Namespace) -> int:
    """Measure replies behind short and long texts; see `bench_context`."""
    with open_door(args) as client, Progress(transient=True, console=_stderr()) as progress:
        status = client.status()
        if status["state"] != "serving":
            raise Broken(f"the ring does not serve: {status['reason']}")
        if args.repeat < 1 or args.tokens < 2:
            raise BadInput("--repeat has to be 1 or more, --tokens 2 or more")
        contexts = over_context.lengths(args.contexts, args.tokens, status["model"]["max_length"])
        vocab = status["model"]["vocab_size"]
        _measure(client, 1, SMALL_PROMPT, 8, vocab)  # warm-up
        task = progress.add_task("measuring", total=args.repeat * len(contexts))
        lines = over_context.measure(
            client, contexts, args.tokens, args.repeat, vocab, lambda: progress.advance(task)
        )
    document = {
        "model": status["model"]["name"],
        "quantization": status["model"]["quantization"],
        "kv_cache": ", ".join(sorted({ring["kv_cache"] for ring in status["plan"]["rings"]})),
        "stages": len(_stages(status)),
        "reply_tokens": args.tokens,
        "contexts": lines,
    }
    if args.plot is not None:
        over_context.plot(args.plot, document)
    if args.json:
        print(json.dumps(document, indent=1))
    else:
        over_context.show(document)
    return 0


def _run_conversation(args: argparse.Namespace) -> int:
    """Measure second turns or pace; see `bench_conversation`."""
    streams = _streams(args.streams)
    with open_door(args) as client:
        status = client.status()
        if status["state"] != "serving":
            raise Broken(f"the ring does not serve: {status['reason']}")
        _check_length(args, status["model"]["max_length"])
        vocab = status["model"]["vocab_size"]
        if args.turns:
            document = conversation.measure_turns(client, args.prompt, args.repeat, vocab)
        else:
            document = conversation.measure_pace(client, args.prompt, max(streams), vocab)
    if args.json:
        print(json.dumps(document, indent=1))
    elif args.turns:
        conversation.show_turns(document)
    else:
        conversation.show_pace(document)
    return 0


def _measure(client: Client, streams: int, prompt: int, tokens: int, vocab: int) -> Run:
    with ThreadPoolExecutor(streams) as pool:
        started = time.monotonic()
        finished = list(
            pool.map(lambda i: _stream(client, prompt, tokens, vocab, i), range(streams))
        )
        seconds = time.monotonic() - started
    return Run(
        streams,
        statistics.median(done.first_token_s for done in finished),
        statistics.median(
            (tokens - 1) / max(done.total_s - done.first_token_s, 1e-9) for done in finished
        ),
        streams * tokens / seconds,
    )


def _stream(client: Client, prompt: int, tokens: int, vocab: int, index: int) -> Done:
    """Run one request over random token ids, which no prefix cache has seen."""
    ids = random.Random(time.time_ns() + index)
    request = Generate(
        uuid.uuid4().hex,
        # Greedy text of random prompts goes in circles, whose guesses would all come true
        Sampling(temperature=1.0, seed=ids.getrandbits(63)),
        prompt=[ids.randrange(3, vocab) for _ in range(prompt)],
        max_tokens=tokens,
        ignore_eos=True,
    )
    for event in client.generate(request):
        if isinstance(event, Done):
            return event
        assert not isinstance(event, Delta) or event.token_ids
    raise Broken("the ring ended a stream without a word")


def _median(tries: list[Run]) -> Run:
    return Run(
        tries[0].streams,
        statistics.median(each.first_token_s for each in tries),
        statistics.median(each.decode_tokens_s for each in tries),
        statistics.median(each.aggregate_tokens_s for each in tries),
    )


def _costs(tries: list[Run], before: dict[str, Any], after: dict[str, Any]) -> Costs:
    """Where a token's time went, in the mean over every decode step of `tries`.

    Of several rings the one that did most of them: a lone stream is in one at a time.
    """
    pairs = zip(before["plan"]["rings"], after["plan"]["rings"], strict=True)
    then, now = max(pairs, key=_num_steps)
    steps = _num_steps((then, now))
    if steps < 1:
        raise Broken("the ring changed while it was measured; measure again")
    stages = [
        StageCost(
            new["node"],
            new["stage"],
            (new["compute_total_ms"] - (old["compute_total_ms"] or 0.0)) / steps,
            (new["python_total_ms"] - (old["python_total_ms"] or 0.0)) / steps,
        )
        for old, new in zip(then["stages"], now["stages"], strict=True)
    ]
    return Costs(statistics.mean(1000 / run.decode_tokens_s for run in tries), stages)


def _num_steps(ring: tuple[dict[str, Any], dict[str, Any]]) -> int:
    """Decode steps that a ring did between two status documents."""
    then, now = ring
    return int(now["decode_steps_total"]) - int(then["decode_steps_total"])


def _stages(status: dict[str, Any]) -> list[dict[str, Any]]:
    return [stage for ring in status["plan"]["rings"] for stage in ring["stages"]]


def _document(
    args: argparse.Namespace,
    status: dict[str, Any],
    prefill: list[float],
    runs: list[Run],
    costs: Costs | None,
) -> dict[str, Any]:
    stages = _stages(status)
    return {
        "model": status["model"]["name"],
        "quantization": status["model"]["quantization"],
        "stages": len(stages),
        "rings": [len(ring["stages"]) for ring in status["plan"]["rings"]],
        "prompt_tokens": args.prompt,
        "prefill_tokens_s": statistics.median(prefill),
        "prefill_min": min(prefill),
        "prefill_max": max(prefill),
        "runs": [asdict(run) for run in runs],
        "costs": costs
        and {
            "token_ms": costs.token_ms,
            "compute_ms": costs.compute_ms,
            "python_ms": costs.python_ms,
            "travel_ms": costs.travel_ms,
            "ring_ms_per_stage": costs.ring_ms_per_stage,
            "stages": [asdict(stage) for stage in costs.stages],
        },
        "nodes": [stage["node"] for stage in stages],
        "resident_bytes": [stage["resident_bytes"] for stage in stages],
        "weight_bytes": [stage["weight_bytes"] for stage in stages],
        "kv_used_bytes": [stage["kv_used_bytes"] for stage in stages],
    }


def _show(document: dict[str, Any]) -> None:
    console = Console()
    console.print(
        f"[bold]{document['model']}[/] {document['quantization']}, {_extent(document['rings'])}; "
        f"prefill of {document['prompt_tokens']} tokens: {document['prefill_tokens_s']:.1f} "
        f"tokens/s ({document['prefill_min']:.1f}–{document['prefill_max']:.1f})"
    )
    table = Table("streams", "first token", "tokens/s each", "tokens/s together")
    for run in document["runs"]:
        table.add_row(
            str(run["streams"]),
            f"{run['first_token_s'] * 1000:.0f} ms",
            f"{run['decode_tokens_s']:.1f}",
            f"{run['aggregate_tokens_s']:.1f}",
        )
    console.print(table)
    costs = document["costs"]
    stages = Table("stage", "compute", "Python", "resident", "shard", "KV")
    cost_of = {stage["node"]: stage for stage in costs["stages"]} if costs else {}
    for index, node in enumerate(document["nodes"]):
        cost = cost_of.get(node)
        stages.add_row(
            node,
            *(f"{cost[key]:.2f} ms" if cost else "–" for key in ("compute_ms", "python_ms")),
            *(
                f"{(document[key][index] or 0) / MIB:.0f} MiB"
                for key in ("resident_bytes", "weight_bytes", "kv_used_bytes")
            ),
        )
    console.print(stages)
    if costs:
        console.print(
            f"one token of one stream: {costs['token_ms']:.2f} ms = compute "
            f"{costs['compute_ms']:.2f} + Python in the stages {costs['python_ms']:.2f} + head, "
            f"wire and waking {costs['travel_ms']:.2f}; the ring's own "
            f"{costs['ring_ms_per_stage']:.3f} ms per stage"
        )


def _extent(rings: list[int]) -> str:
    """Say how many rings of how many stages."""
    stages = ", ".join(map(str, rings))
    return f"{stages} stages" if len(rings) == 1 else f"{len(rings)} rings of {stages} stages"


def _streams(text: str) -> list[int]:
    try:
        streams = [int(word) for word in text.split(",")]
    except ValueError as error:
        raise BadInput(f"--streams {text}: need numbers with commas, such as 1,2,4,8") from error
    if not streams or min(streams) < 1:
        raise BadInput(f"--streams {text}: each has to be 1 or more")
    return streams


def _check_length(args: argparse.Namespace, max_length: int) -> None:
    if min(args.prompt, args.tokens, args.repeat) < 1 or args.tokens < 2:
        raise BadInput("--prompt and --repeat have to be 1 or more, --tokens 2 or more")
    least = conversation.QUESTION + 1
    if args.turns and args.prompt < least:
        raise BadInput(f"--prompt {args.prompt} is too short for --turns: take {least} or more")
    beside = conversation.REPLY + conversation.QUESTION + 1 if args.turns else 1
    if args.prompt + beside > max_length:
        raise BadInput(
            f"--prompt {args.prompt} does not fit the context of {max_length} tokens: "
            f"take {max_length - beside} at most"
        )
    if SMALL_PROMPT + args.tokens > max_length:
        raise BadInput(
            f"--tokens {args.tokens} does not fit the context of {max_length} tokens: "
            f"take {max_length - SMALL_PROMPT} at most"
        )


def _stderr() -> Console:
    return Console(stderr=True)
