"""`bramble chat`: a conversation in the terminal, or one question from the command line."""

from __future__ import annotations

import argparse
import io
import re
import secrets
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any

from rich.console import Console

from bramble.commands.door import add_door, open_door
from bramble.errors import BadInput, BrambleError
from bramble.head.client import Client
from bramble.model.sampling import effective
from bramble.wire.messages import Delta, Done, Generate, Progress, Sampling

Messages = list[dict[str, Any]]

THOUGHT = re.compile(r"\A\s*<think>.*?(</think>\s*|\Z)", re.DOTALL)  # is not sent back

EXAMPLE = """examples:
  bramble chat                             talk; Ctrl-C stops an answer, an empty line ends
  bramble chat "How do I add a Pi?"        one question
  echo "Summarise: …" | bramble chat -     a prompt from a pipe
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "chat",
        help="talk to the ring in the terminal",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("question", nargs="?", help="ask this and end; - reads standard input")
    parser.add_argument("--system", help="system prompt")
    parser.add_argument("--temperature", type=float, help="0 = greedy (default: the model's)")
    parser.add_argument("--max-tokens", type=int, help="most tokens of an answer")
    parser.add_argument("--seed", type=int, help="same seed, same answer")
    add_door(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    console = Console(stderr=True, highlight=False)
    if args.temperature is not None and not 0 <= args.temperature <= 2:
        raise BadInput(f"--temperature {args.temperature}: need 0 to 2")
    messages = [message("system", args.system)] if args.system else []
    with open_door(args) as client:
        model = client.status()["model"]
        if args.question is not None:
            question = _read_all() if args.question == "-" else args.question
            _ask(client, _request([*messages, message("user", question)], args, model), console, [])
            return 0
        console.print(f"{model['name']}; an empty line ends", style="dim", markup=False)
        talk(client, lambda said: _request(said, args, model), messages, console, _read_lines())
    return 0


def talk(
    client: Client,
    make_request: Callable[[Messages], Generate],
    messages: Messages,
    console: Console,
    questions: Iterable[str],
) -> None:
    """Hold a conversation, which `messages` grows to. Ctrl-C stops an answer; its text stays."""
    for question in questions:
        answer: list[str] = []
        try:
            turn = message("user", question)
            _ask(client, make_request([*messages, turn]), console, answer)
        except KeyboardInterrupt:
            print()
            console.print("stopped", style="dim")
        except BrambleError as error:
            if answer:
                print()
            console.print(str(error), style="red", markup=False)
        if said := THOUGHT.sub("", "".join(answer)):
            messages += [turn, message("assistant", said)]


def _ask(client: Client, request: Generate, console: Console, answer: list[str]) -> None:
    """Stream one answer to standard output and its speed to standard error.

    answer    gets its pieces, so that they are known where it ends early
    """
    with console.status("") as waiting, closing(client.generate(request)) as events:
        for event in events:
            match event:
                case Progress(queue_position=place) if place:
                    waiting.update(f"{place} requests are before yours")
                case Progress(prefilled_tokens=done, prompt_tokens=total) if not answer:
                    waiting.update(f"reading: {done} of {total} tokens")
                case Delta(text=new) if new:
                    waiting.stop()
                    answer.append(new)
                    print(new, end="", flush=True)
                case Done():
                    print()
                    console.print(speed(event), style="dim")


def _request(messages: Messages, args: argparse.Namespace, model: dict[str, Any]) -> Generate:
    defaults = effective(model["defaults"])
    temperature = defaults.get("temperature", 1.0) if args.temperature is None else args.temperature
    sampling = Sampling(
        temperature=float(temperature),
        top_k=int(defaults.get("top_k", 0)),
        top_p=float(defaults.get("top_p", 1.0)),
        min_p=float(defaults.get("min_p", 0.0)),
        repetition_penalty=float(defaults.get("repetition_penalty", 1.0)),
        seed=secrets.randbits(63) if args.seed is None else args.seed,
    )
    return Generate(
        uuid.uuid4().hex,
        sampling,
        messages=messages,
        max_tokens=args.max_tokens,
        is_seeded=args.seed is not None,
    )


def speed(done: Done) -> str:
    """What is said below an answer."""
    count, seconds = done.completion_tokens, done.total_s - done.first_token_s
    rate = f"{(count - 1) / seconds:.1f}/s, " if count > 1 and seconds > 0 else ""
    tokens = "token" if count == 1 else "tokens"
    return f"{count} {tokens}, {rate}first after {done.first_token_s:.2f} s"


def message(role: str, text: str) -> dict[str, Any]:
    """Raises BadInput for what is not UTF-8; Python hands its bytes on as halves of pairs."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadInput(f"the text is not UTF-8 at character {error.start}") from error
    return {"role": role, "content": text}


def _read_all() -> str:
    _keep_bad_bytes()
    return sys.stdin.read()


def _read_lines() -> Iterator[str]:
    """Yield what is typed or piped in, up to an empty line or the end."""
    _keep_bad_bytes()
    prompt = "> " if sys.stdin.isatty() else ""
    try:
        while line := input(prompt).strip():
            yield line
    except EOFError:
        if prompt:
            print()


def _keep_bad_bytes() -> None:
    """Have `message` refuse them, whatever the locale says."""
    assert isinstance(sys.stdin, io.TextIOWrapper)
    sys.stdin.reconfigure(errors="surrogateescape")
