"""Text to token ids and back, and the chat template, as the model's author ships them.

The only file of model/ that imports more than numpy and the standard library.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer as _Backend

from bramble.errors import BadInput

BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
DECODERS = ("ByteLevel", "ByteFallback")
THOUGHT = ("<think>", "</think>")  # part of a reply, whatever the tokenizer calls them
TEMPLATE_ERRORS = (  # a template is a program, and what it meets are messages of anybody's
    TemplateError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)


class Tokenizer:
    """A model folder's tokenizer.json and chat template.

    Two schemes turn tokens into text: byte-level (each character of a token stands for a byte) and
    byte fallback (sentencepiece: tokens are text with ▁ for a space, or one byte as <0x0A>).
    """

    def __init__(self, folder: Path) -> None:
        """Raises BadInput if the folder's tokenizer cannot be read or is of another scheme."""
        path = folder / "tokenizer.json"
        document = _read_json(path)
        try:
            for token in document.get("added_tokens", []):
                token["special"] = token["special"] and token["content"] not in THOUGHT
            self._backend = _Backend.from_str(json.dumps(document))
        except Exception as error:  # the library raises nothing narrower
            raise BadInput(f"{path} cannot be read: {error}") from error
        self._backend.no_truncation()
        self._backend.no_padding()
        self.scheme, self.strips_space = _decoder(document.get("decoder") or {}, path)
        added = self._backend.get_added_tokens_decoder()
        self.special_ids = frozenset(index for index, token in added.items() if token.special)
        self._chat = _ChatTemplate(folder)

    @property
    def vocab_size(self) -> int:
        """Number of ids that have a text; a model's embedding may have more rows."""
        return int(self._backend.get_vocab_size(with_added_tokens=True))

    def encode(self, text: str) -> list[int]:
        """Encode a plain prompt, with the special tokens that the tokenizer adds (bos)."""
        return self._encode(text, add_special_tokens=True)

    def encode_chat(self, messages: Sequence[dict[str, Any]]) -> list[int]:
        """Encode a conversation up to the reply's first token."""
        return self.encode_rendered(self.render_chat(messages))

    def encode_rendered(self, text: str) -> list[int]:
        """Encode what `render_chat` returned; the template writes bos itself."""
        return self._encode(text, add_special_tokens=False)

    def _encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """As a batch of one: `encode` keeps Python's lock, and every other thread would wait."""
        (encoding,) = self._backend.encode_batch_fast([text], add_special_tokens=add_special_tokens)
        ids: list[int] = encoding.ids
        return ids

    def render_chat(self, messages: Sequence[dict[str, Any]]) -> str:
        """Lay out messages as transformers does, up to where the reply begins.

        Raises BadInput if there is no template or the template refuses the messages.
        """
        return self._chat.render(list(messages))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, without special tokens; invalid UTF-8 becomes U+FFFD."""
        text: str = self._backend.decode(list(ids), skip_special_tokens=True)
        return text

    def token(self, token_id: int) -> str | None:
        """The token as the vocabulary spells it; None for an id without one."""
        token: str | None = self._backend.id_to_token(token_id)
        return token

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for; of a special token, its name; else empty."""
        token = self.token(token_id)
        if token is None:
            return b""
        if self.scheme == "ByteLevel":
            return _level_bytes(token)
        match = BYTE_TOKEN.fullmatch(token)
        return bytes.fromhex(match[1]) if match else token.replace("▁", " ").encode()


def opened_thought(prompt: str) -> str:
    """The tag of a thought that the template has opened for the reply, as the prompt ends in it."""
    match = re.search(rf"{THOUGHT[0]}\s*\Z", prompt)
    return match[0] if match else ""


class Detokenizer:
    """One reply's tokens to text, piece by piece; a piece never ends inside a character.

    All pieces and the flush together equal `tokenizer.decode` of all ids.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._run = bytearray()  # byte-fallback tokens whose end has not been seen
        self._is_at_start = tokenizer.strips_space

    def push(self, token_id: int) -> str:
        """The text that this token completes, maybe none."""
        token = self._tokenizer.token(token_id)
        if token is None or token_id in self._tokenizer.special_ids:
            return ""
        if self._tokenizer.scheme == "ByteLevel":
            return self._utf8.decode(_level_bytes(token))
        match = BYTE_TOKEN.fullmatch(token)
        if match:
            self._run += bytes.fromhex(match[1])
            return ""
        return self._strip(self._end_run() + token.replace("▁", " "))

    def flush(self) -> str:
        """What was held back, at the end of the reply."""
        return self._strip(self._utf8.decode(b"", final=True) + self._end_run())

    def _end_run(self) -> str:
        """A run of byte tokens is valid as a whole or, as in `tokenizers`, not at all."""
        run = bytes(self._run)
        self._run.clear()
        try:
            return run.decode()
        except UnicodeDecodeError:
            return "\ufffd" * len(run)

    def _strip(self, text: str) -> str:
        """Sentencepiece puts a space before a text's first word: take it off again."""
        if not self._is_at_start or not text:
            return text
        self._is_at_start = False
        return text.removeprefix(" ")


class _ChatTemplate:
    """The folder's Jinja template in the environment that transformers gives it."""

    def __init__(self, folder: Path) -> None:
        path = folder / "tokenizer_config.json"
        config = _read_json(path) if path.exists() else {}
        self._tokens = {
            key: value["content"] if isinstance(value, dict) else value
            for key, value in config.items()
            if key.endswith("_token") and isinstance(value, str | dict)
        }
        source = _template_source(folder, config)
        self._folder = folder
        try:
            self._template = None if source is None else _environment().from_string(source)
        except TemplateError as error:
            raise BadInput(f"{folder}: the chat template cannot be read: {error}") from error

    def render(self, messages: list[dict[str, Any]]) -> str:
        if self._template is None:
            raise BadInput(
                "the model has no chat template; send a plain prompt to /v1/completions",
                param="messages",
            )
        values = {"messages": messages, "add_generation_prompt": True}
        try:
            return self._template.render(tools=None, documents=None, **self._tokens, **values)
        except TEMPLATE_ERRORS as error:
            raise BadInput(
                f"the model's chat template refuses the messages: {error}", param="messages"
            ) from error


class _GenerationTag(Extension):
    """{% generation %} marks the assistant's words for training; rendering shows its contents."""

    tags = {"generation"}  # noqa: RUF012  jinja2's own interface

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_GenerationTag, "jinja2.ext.loopcontrols"],
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _to_json(value: Any, **options: Any) -> str:
    """Jinja's own filter escapes for HTML, which a prompt is not."""
    return json.dumps(value, **{"ensure_ascii": False} | options)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(layout: str) -> str:
    return datetime.now().strftime(layout)


def _template_source(folder: Path, config: dict[str, Any]) -> str | None:
    """The template's own file comes before the one inside tokenizer_config.json."""
    own, legacy = folder / "chat_template.jinja", folder / "chat_template.json"
    if own.exists():
        try:
            return own.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"{own} cannot be read: {error}") from error
    found = (_read_json(legacy) if legacy.exists() else config).get("chat_template")
    if isinstance(found, list):  # several by name
        found = {entry.get("name"): entry.get("template") for entry in found}.get("default")
    return found if isinstance(found, str) else None


def _decoder(document: dict[str, Any], path: Path) -> tuple[str, bool]:
    """The scheme, and whether a text's first space is taken off."""
    steps = document.get("decoders") or [document]
    kinds = [str(step.get("type")) for step in steps]
    for kind in DECODERS:
        if kind in kinds:
            return kind, "Strip" in kinds
    raise BadInput(f"{path}: decoder {kinds} is not supported; need one of {', '.join(DECODERS)}")


def _level_bytes(token: str) -> bytes:
    """Undo GPT-2's byte-to-character table; a token outside it is plain text."""
    try:
        return bytes(_BYTE_OF[character] for character in token)
    except KeyError:
        return token.encode()


def byte_characters() -> dict[int, str]:
    """GPT-2's table: printable Latin-1 stands for itself, the other bytes follow from U+0100."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {byte: chr(byte) for byte in printable}
    return table | {byte: chr(256 + index) for index, byte in enumerate(others)}


_BYTE_OF = {character: byte for byte, character in byte_characters().items()}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BadInput(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise BadInput(f"{path}: got a {type(document).__name__}, need an object")
    return document
