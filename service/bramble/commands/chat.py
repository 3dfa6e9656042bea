"""`bramble chat`: a conversation in the terminal, or one question from the command line."""

from __future__ import annotations

import argparse
import re
import secrets
import sys
import uuid
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any

from rich.console import Console

from bramble.commands import chat_commands
from bramble.commands.door import add_door, open_door
from bramble.commands.line_editor import read_all, read_lines
from bramble.errors import BadInput, BrambleError
from bramble.head.client import Client
from bramble.model.sampling import effective
from bramble.wire.messages import Delta, Done, Generate, Progress, Sampling

Messages = list[dict[str, Any]]

# Of a model's text, a terminal gets no control characters: they could move its cursor or its title
CONTROLS = dict.fromkeys(code for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t")
THOUGHT = re.compile(r"\A\s*<think>.*?(</think>\s*|\Z)", re.DOTALL)  # is not sent back

EXAMPLE = """examples:
  bramble chat                             talk; /help lists the commands, Ctrl-C stops an answer
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
    if args.max_tokens is not None and args.max_tokens < 1:  # a head takes 0 as: count the prompt
        raise BadInput(f"--max-tokens {args.max_tokens}: need 1 or more")
    messages = [message("system", args.system)] if args.system else []
    with open_door(args) as client:
        model = client.status()["model"]
        if args.question is not None:
            question = read_all() if args.question == "-" else args.question
            _ask(client, _request([*messages, message("user", question)], args, model), console, [])
            return 0
        console.print(f"{model['name']}; /help lists the commands", style="dim", markup=False)
        lines = read_lines(f"/{name}" for name in chat_commands.COMMANDS)
        talk(client, lambda said: _request(said, args, model), messages, console, lines)
    return 0


def talk(
    client: Client,
    make_request: Callable[[Messages], Generate],
    messages: Messages,
    console: Console,
    lines: Iterable[str],
) -> None:
    """Hold a conversation, which `messages` grows to, and obey its commands."""
    last: str | None = None  # question
    for line in lines:
        try:
            match chat_commands.read(line):
                case chat_commands.Command("quit"):
                    return
                case chat_commands.Command("retry"):
                    _take_back(messages, last)
                    _converse(client, make_request, messages, console, last or "")
                case chat_commands.Command(name, rest):
                    console.print(obey(name, rest, messages), style="dim", markup=False)
                case chat_commands.Question(last):
                    _converse(client, make_request, messages, console, last)
        except BrambleError as error:
            console.print(str(error), style="red", markup=False)


def obey(name: str, rest: str, messages: Messages) -> str:
    """Change the conversation as a command says, and return what to say of it."""
    system = [one for one in messages if one["role"] == "system"]
    match name:
        case "new":
            messages[:] = system
            return "a new conversation"
        case "system" if rest:
            new = [] if rest == "-" else [message("system", rest)]
            messages[:] = new + messages[len(system) :]
            return "the system prompt is set" if new else "there is no system prompt now"
        case "system":
            return str(system[0]["content"]) if system else "there is no system prompt"
    return chat_commands.overview()


def _take_back(messages: Messages, last: str | None) -> None:
    """Take the last question out of the conversation if it was answered. Raises BadInput."""
    if last is None:
        raise BadInput("nothing was asked yet that could be asked again")
    if [one["content"] for one in messages[-2:-1]] == [last]:
        del messages[-2:]


def _converse(
    client: Client,
    make_request: Callable[[Messages], Generate],
    messages: Messages,
    console: Console,
    question: str,
) -> None:
    """Ask, and keep what was said. Ctrl-C stops an answer; its text stays."""
    answer: list[str] = []
    turn = message("user", question)
    try:
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
    unwanted = CONTROLS if sys.stdout.isatty() else {}
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
                    print(new.translate(unwanted), end="", flush=True)
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
