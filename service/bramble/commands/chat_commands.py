"""What a line typed into `bramble chat` means: a question, or a command that begins with a /."""

from __future__ import annotations

from dataclasses import dataclass

from bramble.errors import BadInput

COMMANDS = {
    "help": "this list",
    "new": "begin a new conversation; the system prompt stays",
    "retry": "ask the last question again",
    "system": "show the system prompt; /system TEXT sets it, /system - takes it away",
    "quit": "end, as Ctrl-D does",
}
OTHER_NAMES = {
    "?": "help",
    "h": "help",
    "clear": "new",
    "reset": "new",
    "exit": "quit",
    "bye": "quit",
    "q": "quit",
}
HINT = (
    "Ctrl-C stops an answer. The arrow keys bring earlier lines back, which are kept nowhere else."
)


@dataclass(frozen=True, slots=True)
class Question:
    text: str


@dataclass(frozen=True, slots=True)
class Command:
    name: str  # one of COMMANDS
    rest: str  # what stands behind it


def read(line: str) -> Question | Command:
    """Tell a command from a question; "//" begins a question that begins with a slash.

    Raises BadInput for a command that there is not.
    """
    if not line.startswith("/"):
        return Question(line)
    if line.startswith("//"):
        return Question(line[1:])
    word, _, rest = line[1:].partition(" ")
    name = OTHER_NAMES.get(word.lower(), word.lower())
    if name not in COMMANDS:
        raise BadInput(
            f"there is no command /{word}; /help lists them, and // at its beginning sends a line "
            "that begins with /"
        )
    if rest.strip() and name != "system":
        raise BadInput(f"/{name} takes nothing behind it; got {rest.strip()!r}")
    return Command(name, rest.strip())


def overview() -> str:
    """Return the text of /help."""
    lines = [f"/{name:<8}{meaning}" for name, meaning in COMMANDS.items()]
    return "\n".join([*lines, f"{'//':<9}sends a line that begins with /", HINT])
