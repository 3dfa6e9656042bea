"""One call as a model writes it: an object with name and arguments, or a name and its arguments."""

from __future__ import annotations

import json
import re
from typing import Protocol

from bramble.model.replies.json_text import WHITESPACE, JsonText, NotJson

NAME, ARGUMENTS = "name", ("arguments", "parameters")
MAX_HEAD = 200  # characters of a name and what stands around it
_HEAD = re.compile(r"\s*([\w.:/-]+)\s*(?:\[CALL_ID\]\s*[\w-]*)?\s*(?:\[ARGS\])?\s*")


class CallText(Protocol):
    """name   known once the call is certain, and a call of it may begin; else ""
    is_done  nothing of it can follow
    """

    name: str

    @property
    def is_done(self) -> bool: ...

    def feed(self, character: str) -> str:
        """Take the next character; return the arguments' text that is certain by it.

        Raises NotJson for what makes no call.
        """
        ...


class ObjectCall:
    """{"name": …, "arguments": {…}}, members in any order; "parameters" is read as arguments.

    Certain once its name is there and its arguments begin; where the name comes last, at its end.
    """

    def __init__(self, *, is_strict: bool) -> None:
        """is_strict: it has nothing but what calls have, and its arguments: else it is an answer"""
        self.name = ""
        self._is_strict = is_strict
        self._json = JsonText()
        self._members: dict[str, str] = {}  # of the object itself, as they are written
        self._key = ""
        self._text: list[str] = []  # of the member's key or value that is under way
        self._is_streaming = False

    @property
    def is_done(self) -> bool:
        return self._json.is_done

    def feed(self, character: str) -> str:
        before, depth = self._json.expects, self._json.depth
        written = self._json.feed(character)
        if self.is_done:
            return self._end(before)
        was_inside, is_inside = depth > 1, self._json.depth > 1
        begins = depth == 1 and self._json.expects in ("string", "word")
        if was_inside or is_inside or begins or (depth == 1 and before == "string"):
            self._text.append(written)
        if depth and not is_inside:
            self._note(before, was_inside)
        return self._certain(written, was_inside, is_inside)

    def _note(self, before: str, was_inside: bool) -> None:
        """Keep a key, or a member's value, that has just ended."""
        now = self._json.expects
        if now == "colon" and before == "string":
            self._key = json.loads("".join(self._text))
            self._text.clear()
            if self._is_strict and self._key not in (NAME, *ARGUMENTS, "type", "id"):
                raise NotJson
        elif was_inside or (before in ("string", "word") and now in ("comma", "next key")):
            self._keep()

    def _keep(self) -> None:
        self._members.setdefault(self._key, "".join(self._text))
        self._text.clear()

    def _certain(self, written: str, was_inside: bool, is_inside: bool) -> str:
        if self._is_streaming:
            self._is_streaming = is_inside
            return written
        may_begin = is_inside and not was_inside and written == "{" and not self.name
        if may_begin and self._key in ARGUMENTS and NAME in self._members:
            self.name = self._read_name()
            self._is_streaming = True
            return written
        return ""

    def _end(self, before: str) -> str:
        if before == "word":
            self._keep()
        if self.name:
            return ""
        name, arguments = self._read_name(), self._read_arguments()
        self.name = name
        return arguments

    def _read_name(self) -> str:
        name = json.loads(self._members.get(NAME, "null"))
        if not isinstance(name, str) or not name:
            raise NotJson
        return name

    def _read_arguments(self) -> str:
        """Also as a text that holds them, or none."""
        found = [self._members[key] for key in ARGUMENTS if key in self._members]
        if not found and self._is_strict:
            raise NotJson
        text = found[0] if found else "null"
        if text.startswith('"'):
            text = json.loads(text).strip(WHITESPACE)
            _check_object(text)
        if text in ("null", ""):
            return "{}"
        if not text.startswith("{"):
            raise NotJson
        return text


class NamedCall:
    """name[ARGS]{…}, as newer models of Mistral write it; the arguments alone are JSON."""

    def __init__(self) -> None:
        self.name = ""
        self._head = ""
        self._json = JsonText()

    @property
    def is_done(self) -> bool:
        return self._json.is_done

    def feed(self, character: str) -> str:
        if not self.name:
            self._read_head(character)
        return self._json.feed(character) if self.name else ""

    def _read_head(self, character: str) -> None:
        if character == "{":
            match = _HEAD.fullmatch(self._head)
            if match is None:
                raise NotJson
            self.name = match[1]
            return
        self._head += character
        if len(self._head) > MAX_HEAD:
            raise NotJson


def _check_object(text: str) -> None:
    """Raises NotJson for a text that is something and no object."""
    if text in ("", "null"):
        return
    reader = JsonText()
    for character in text:
        if reader.feed(character) != character:
            raise NotJson
    if not reader.is_done or not text.startswith("{"):
        raise NotJson
