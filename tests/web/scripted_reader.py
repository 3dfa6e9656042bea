"""A reader by hand: `?thought?` is thought, `!name(arguments)` a call, all else is said.

It gives a piece per character, and holds back a mark until it knows what comes.
"""

from __future__ import annotations

from bramble.model.replies import Arguments, Call, Piece, Said, Thought


class ScriptedReader:
    def __init__(self) -> None:
        self._is_thinking = False
        self._name: str | None = None  # of a call that is being read
        self._calls = 0
        self._in_arguments = False

    def push(self, text: str) -> list[Piece]:
        return [piece for character in text for piece in self._read(character)]

    def end(self) -> list[Piece]:
        """Say what began as a call and is none."""
        held, self._name = self._name, None
        return [] if held is None else [Said("!" + held)]

    def _read(self, character: str) -> list[Piece]:
        if character == "?":
            self._is_thinking = not self._is_thinking
            return []
        if self._is_thinking:
            return [Thought(character)]
        if self._in_arguments:
            self._in_arguments = character != ")"
            return [Arguments(self._calls - 1, character)] if self._in_arguments else []
        if self._name is not None:
            return self._read_name(self._name, character)
        if character == "!":
            self._name = ""
            return []
        return [Said(character)]

    def _read_name(self, name: str, character: str) -> list[Piece]:
        if character != "(":
            self._name = name + character
            return []
        self._name, self._in_arguments = None, True
        self._calls += 1
        return [Call(self._calls - 1, name)]
