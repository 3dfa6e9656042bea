"""`bramble chat`: a conversation in the terminal, or one question from the command line."""

from __future__ import annotations

import argparse
import secrets
import sys
import uuid
from typing import Any

from rich.console import Console

from bramble.commands.door import add_door, open_door
from bramble.errors import BadInput, BrambleError
from bramble.head.client import Client
from bramble.wire.messages import Delta, Done, Generate, Progress, Sampling

EXAMPLE = """examples:
  bramble chat                             talk; an empty line or Ctrl-D ends
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
    messages = [{"role": "system", "content": args.system}] if args.system else []
    with open_door(args) as client:
        model = client.status()["model"]
        if args.question is not None:
            question = sys.stdin.read() if args.question == "-" else args.question
            _ask(client, [*messages, _user(question)], args, model, console)
            return 0
        console.print(f"[dim]{model['name']}; an empty line ends[/]")
        while question := _read_line():
            messages.append(_user(question))
            try:
                answer = _ask(client, messages, args, model, console)
                messages.append({"role": "assistant", "content": answer})
            except BrambleError as error:
                messages.pop()
                console.print(f"[red]{error}[/]")
    return 0


def _ask(
    client: Client,
    messages: list[dict[str, Any]],
    args: argparse.Namespace,
    model: dict[str, Any],
    console: Console,
) -> str:
    """Stream one answer to standard output and its speed to standard error."""
    text = ""
    with console.status("") as waiting:
        for event in client.generate(_request(messages, args, model)):
            match event:
                case Progress(queue_position=place) if place:
                    waiting.update(f"{place} requests are before yours")
                case Progress(prefilled_tokens=done, prompt_tokens=total) if not text:
                    waiting.update(f"reading: {done} of {total} tokens")
                case Delta(text=new) if new:
                    waiting.stop()
                    text += new
                    print(new, end="", flush=True)
                case Done():
                    print()
                    console.print(f"[dim]{_speed(event)}[/]")
    return text


def _request(
    messages: list[dict[str, Any]], args: argparse.Namespace, model: dict[str, Any]
) -> Generate:
    defaults = model["defaults"]
    temperature = defaults.get("temperature", 1.0) if args.temperature is None else args.temperature
    sampling = Sampling(
        temperature=float(temperature),
        top_k=int(defaults.get("top_k", 0)),
        top_p=float(defaults.get("top_p", 1.0)),
        seed=secrets.randbits(63) if args.seed is None else args.seed,
    )
    return Generate(
        uuid.uuid4().hex,
        sampling,
        messages=messages,
        max_tokens=args.max_tokens,
        is_seeded=args.seed is not None,
    )


def _speed(done: Done) -> str:
    seconds = max(done.total_s - done.first_token_s, 1e-9)
    rate = max(done.completion_tokens - 1, 0) / seconds
    return f"{done.completion_tokens} tokens, {rate:.1f}/s, first after {done.first_token_s:.2f} s"


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def _read_line() -> str:
    try:
        return input("> ").strip()
    except EOFError:
        return ""
