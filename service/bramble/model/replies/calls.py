"""Calls amid what is said, by the marker that a format puts before them."""

from __future__ import annotations

from dataclasses import dataclass

from bramble.model.replies.call_text import CallText, NamedCall, ObjectCall
from bramble.model.replies.json_text import NotJson
from bramble.model.replies.pieces import Arguments, Call, Piece, Said


@dataclass(frozen=True, slots=True)
class CallFormat:
    """marker        stands before a call, or before a list of them
    closer         stands behind, if anything does
    is_bare        a reply that begins with an object is a call, without a marker
    is_named       the marker may be followed by a name instead of an object
    separator      may stand between two calls that are no list
    """

    marker: str
    closer: str = ""
    is_bare: bool = False
    is_named: bool = False
    separator: str = ""


HERMES = CallFormat("<tool_call>", "</tool_call>")
LLAMA = CallFormat("<|python_tag|>", is_bare=True, separator=";")
MISTRAL = CallFormat("[TOOL_CALLS]", is_named=True)


class CallReader:
    """Text between calls is said; whitespace beside a call belongs to neither."""

    def __init__(self, call_format: CallFormat) -> None:
        self._format = call_format
        self._mode = self._read_text
        self._pending = ""  # not looked at, or not decided
        self._is_start = True
        self._follows_call = False
        self._held = ""  # from before the marker on, until the call is certain: said if it is none
        self._num_marked = 0  # characters of `held` that are not looked at again
        self._is_list = False
        self._call: CallText | None = None
        self._is_certain = False
        self._num_calls = 0
        self._pieces: list[Piece] = []

    def push(self, text: str) -> list[Piece]:
        self._pending += text
        while self._pending and self._mode():
            pass
        return self._take()

    def end(self) -> list[Piece]:
        if self._mode == self._read_behind:
            rest = self._pending.strip()
            if not self._format.closer.startswith(rest) and rest != self._format.separator:
                self._say(self._pending)
        elif self._mode == self._read_text:
            self._say(self._pending)
        elif not self._is_certain:
            self._say(self._held)
        self._pending = ""
        return self._take()

    def _take(self) -> list[Piece]:
        pieces, self._pieces = self._pieces, []
        return pieces

    def _say(self, text: str) -> None:
        if text and self._pieces and isinstance(last := self._pieces[-1], Said):
            self._pieces[-1] = Said(last.text + text)
        elif text:
            self._pieces.append(Said(text))

    # Each mode consumes some of what is pending; False if that has to wait for more.

    def _read_text(self) -> bool:
        if self._follows_call:
            self._pending = self._pending.lstrip()
            if not self._pending:
                return False
            self._follows_call = False
        if self._is_start and self._format.is_bare:
            if not (text := self._pending.lstrip()):
                return False
            if text.startswith("{"):
                self._is_start = False
                self._open(len(self._pending) - len(text))
                return True
        marker = self._format.marker
        found = self._pending.find(marker)
        if found >= 0:
            said = self._pending[:found].rstrip()
            self._say(said)
            self._pending = self._pending[len(said) :]
            self._is_start = False
            self._open(found - len(said) + len(marker))
            return True
        said = self._pending[: len(self._pending) - num_undecided(self._pending, marker)]
        self._is_start = self._is_start and not said
        self._say(said)
        self._pending = self._pending[len(said) :]
        return False

    def _open(self, num_marked: int, *, is_list: bool = False) -> None:
        """What follows these characters may be a call."""
        self._held, self._pending = self._pending[:num_marked], self._pending[num_marked:]
        self._num_marked = num_marked
        self._is_list = is_list
        self._is_certain = False
        self._call = None
        self._mode = self._read_opening

    def _read_opening(self) -> bool:
        character, self._pending = self._pending[0], self._pending[1:]
        self._held += character
        is_marked = self._held.lstrip().startswith(self._format.marker)
        if character.isspace():
            return True
        if character == "[" and not self._is_list and is_marked:
            self._is_list = True
        elif character == "{":
            self._begin(ObjectCall(is_strict=self._format.is_bare), character)
        elif self._format.is_named and not self._is_list:
            self._begin(NamedCall(), character)
        else:
            self._give_up()
        return True

    def _begin(self, call: CallText, character: str) -> None:
        self._call = call
        self._mode = self._read_call
        call.feed(character)

    def _read_call(self) -> bool:
        assert self._call is not None
        call, text = self._call, self._pending
        self._pending = ""
        for number, character in enumerate(text, 1):
            try:
                certain = call.feed(character)
            except NotJson:
                self._pending = text[number - 1 :]
                if self._is_certain:
                    self._mode = self._read_text
                else:
                    self._held += text[: number - 1]
                    self._give_up()
                return True
            self._tell(call.name, certain)
            if call.is_done:
                self._pending = text[number:]
                self._mode = self._read_behind
                return True
        if not self._is_certain:
            self._held += text
        return False

    def _tell(self, name: str, arguments: str) -> None:
        if name and not self._is_certain:
            self._is_certain = True
            self._pieces.append(Call(self._num_calls, name))
            self._num_calls += 1
        if not arguments:
            return
        index = self._num_calls - 1
        if self._pieces and isinstance(last := self._pieces[-1], Arguments):
            self._pieces[-1] = Arguments(index, last.text + arguments)
        else:
            self._pieces.append(Arguments(index, arguments))

    def _give_up(self) -> None:
        """It is no call: its marker is said, and the rest is read as text."""
        self._say(self._held[: self._num_marked])
        self._pending = self._held[self._num_marked :] + self._pending
        self._mode = self._read_text

    def _read_behind(self) -> bool:
        text = self._pending.lstrip()
        if not text:
            return False
        num_space = len(self._pending) - len(text)
        if self._is_list:
            if text[0] == ",":
                self._open(num_space + 1, is_list=True)
                return True
            if text[0] == "]":
                self._is_list = False
                self._pending = text[1:]
                return True
        closer, separator = self._format.closer, self._format.separator
        if closer and text.startswith(closer):
            self._pending = text[len(closer) :]
        elif closer and closer.startswith(text):
            return False
        elif separator and text[0] == separator:
            behind = text[1:].lstrip()
            if not behind:
                return False
            if behind[0] == "{":
                self._open(len(self._pending) - len(behind))
                return True
        elif text[0] == "{" and not self._format.is_named:
            self._open(num_space)
            return True
        self._follows_call = True
        self._mode = self._read_text
        return True


def num_undecided(text: str, marker: str) -> int:
    """How many characters at the end may belong to a marker, or to the space before one."""
    for length in range(min(len(marker) - 1, len(text)), 0, -1):
        if text.endswith(marker[:length]):
            break
    else:
        length = 0
    head = text[: len(text) - length]
    return len(text) - len(head.rstrip())
