"""JSON read character by character, as a model writes it: valid so far, or not."""

from __future__ import annotations

import json
import re

WHITESPACE = " \t\n\r"
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_NUMBER_SO_FAR = re.compile(r"-?(0|[1-9][0-9]*)?(\.[0-9]*)?([eE][+-]?[0-9]*)?")
_WORDS = ("true", "false", "null")
_ESCAPES = '"\\/bfnrt'
MAX_DEPTH = 200  # what a client's own JSON reader takes with ease


class NotJson(ValueError):
    """The text cannot be the beginning of a JSON value."""


class JsonText:
    """One JSON value. A string may hold control characters, which `feed` escapes.

    depth     how many objects and arrays are open
    expects   what comes next: value, first (value or the array's end), key, next key, colon, comma,
              string, word (a number, true, false, null), or end
    """

    def __init__(self) -> None:
        self.expects = "value"
        self._open: list[str] = []
        self._is_key = False
        self._escape = 0  # characters of an escape that are still to come; -1 = its letter
        self._word = ""

    @property
    def depth(self) -> int:
        return len(self._open)

    @property
    def is_done(self) -> bool:
        return self.expects == "end"

    def feed(self, character: str) -> str:
        """Take the next character; return it as it stands in valid JSON. Raises NotJson."""
        if self.expects == "string":
            return self._feed_string(character)
        if self.expects == "word":
            if character not in WHITESPACE + ",]}":
                self._feed_word(character)
                return character
            self._end_word()
        if character not in WHITESPACE:
            self._feed_mark(character)
        return character

    def _feed_string(self, character: str) -> str:
        if self._escape:
            self._feed_escape(character)
        elif character == "\\":
            self._escape = -1
        elif character == '"':
            self.expects = "colon" if self._is_key else self._after_value()
        elif character < " ":
            return json.dumps(character)[1:-1]
        return character

    def _feed_escape(self, character: str) -> None:
        if self._escape > 0:
            if character not in "0123456789abcdefABCDEF":
                raise NotJson
            self._escape -= 1
        elif character == "u":
            self._escape = 4
        elif character in _ESCAPES:
            self._escape = 0
        else:
            raise NotJson

    def _feed_word(self, character: str) -> None:
        self._word += character
        is_word = any(word.startswith(self._word) for word in _WORDS)
        if not is_word and not _NUMBER_SO_FAR.fullmatch(self._word):
            raise NotJson

    def _end_word(self) -> None:
        if self._word not in _WORDS and not _NUMBER.fullmatch(self._word):
            raise NotJson
        self._word = ""
        self.expects = self._after_value()

    def _feed_mark(self, character: str) -> None:
        expects = self.expects
        if character == '"' and expects in ("value", "first", "key", "next key"):
            self._is_key = expects.endswith("key")
            self.expects = "string"
        elif character in "{[" and expects in ("value", "first"):
            if self.depth == MAX_DEPTH:
                raise NotJson
            self._open.append(character)
            self.expects = "key" if character == "{" else "first"
        elif character in "}]" and self._may_close(character):
            self._open.pop()
            self.expects = self._after_value()
        elif character == ":" and expects == "colon":
            self.expects = "value"
        elif character == "," and expects == "comma":
            self.expects = "next key" if self._open[-1] == "{" else "value"
        elif expects in ("value", "first"):
            self.expects = "word"
            self._feed_word(character)
        else:
            raise NotJson

    def _may_close(self, character: str) -> bool:
        """An object may close where its first key or a comma could stand, an array likewise."""
        if character == "}":
            return self._open[-1:] == ["{"] and self.expects in ("key", "comma")
        return self._open[-1:] == ["["] and self.expects in ("first", "comma")

    def _after_value(self) -> str:
        return "comma" if self._open else "end"


def is_whole(text: str) -> bool:
    """Return whether a text is one JSON value to its end."""
    reader = JsonText()
    try:
        for character in text:
            reader.feed(character)
    except NotJson:
        return False
    return reader.is_done
