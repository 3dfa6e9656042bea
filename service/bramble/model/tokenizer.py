"""Text to token ids and back, and the chat template, as the model's author ships them.

The only file of model/ that imports more than numpy and the standard library.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as _Backend

from bramble.errors import BadInput
from bramble.model.chat_template import DEFAULT, ChatTemplate
from bramble.model.late_system import (
    has_late_system,
    takes_late_system,
    without_late_system,
)
from bramble.model.replies import MARKERS
from bramble.model.replies.thoughts import TAGS
from bramble.model.tokenizer_files import TOKENIZER, TokenizerFiles, read_files
from bramble.model.tool_text import lay_out
from bramble.model.tool_use import ToolUse, examine

BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
THOUGHT = tuple(tag for pair in TAGS for tag in pair)  # of a reply, also where they are special


@dataclass(frozen=True, slots=True)
class Chat:
    """What a conversation is laid out with, beside its messages.

    tools    as in OpenAI's chat API
    options  more variables of the template's, such as enable_thinking
    """

    tools: Sequence[dict[str, Any]] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


PLAIN = Chat()


class Tokenizer:
    """A model folder's tokenizer and chat template: ids as transformers' AutoTokenizer gives them.

    Two schemes turn tokens into text: byte-level (each character of a token stands for a byte) and
    byte fallback (sentencepiece: tokens are text with ▁ for a space, or one byte as <0x0A>).
    """

    def __init__(self, folder: Path) -> None:
        """Raises BadInput if the folder's tokenizer cannot be read or is of another scheme."""
        path = folder / TOKENIZER
        self.files = read_files(folder)
        self.scheme, self.strips_space = _decoder(self.files.document.get("decoder"), path)
        self._backend = _open_backend(self.files, path)
        added = self._backend.get_added_tokens_decoder()
        self.added = {index: token.content for index, token in added.items()}
        self.special_ids = frozenset(  # these have no text
            index
            for index, token in added.items()
            if token.special and token.content not in THOUGHT
        )
        self.chat_template = ChatTemplate(folder, self.files.config, self.files.named)

    @property
    def vocab_size(self) -> int:
        """Number of ids that have a text; a model's embedding may have more rows."""
        return int(self._backend.get_vocab_size(with_added_tokens=True))

    def encode(self, text: str) -> list[int]:
        """Encode a plain prompt, with the special tokens that the tokenizer adds (bos)."""
        return self._encode(text, add_special_tokens=True)

    @cached_property
    def marker_ids(self) -> frozenset[int]:
        """Special tokens that mark calls in a reply: shown where tools may be called."""
        return frozenset(i for i in self.special_ids if self.added[i] in MARKERS)

    @cached_property
    def tool_use(self) -> ToolUse:
        """How the model is told of tools, and how it writes calls of them."""
        return examine(self.chat_template)

    @cached_property
    def takes_late_system(self) -> bool:
        """True where the template lays out system messages behind others."""
        return takes_late_system(self.chat_template)

    @property
    def reply_format(self) -> str:
        """How replies write calls, as `replies.open_reader` takes it."""
        return self.tool_use.call_format

    @property
    def thought_tags(self) -> tuple[str, str] | None:
        """The tags of a thought that its template knows: the model may begin a reply with one."""
        source = self.chat_template.source or ""
        return next((tags for tags in TAGS if tags[0] in source), None)

    @property
    def capabilities(self) -> dict[str, Any]:
        """What the model can do beyond plain text, for those who choose among models.

        tools         it can be told of tools: in its template, or in a text of ours
        native_tools  its template lays them out
        format        how it writes calls
        """
        has_template = self.chat_template.source is not None
        return {
            "tools": has_template,
            "native_tools": self.tool_use.is_native,
            "thinking": self.thought_tags is not None,
            "format": self.reply_format if has_template else "",
        }

    def encode_chat(self, messages: Sequence[dict[str, Any]], chat: Chat = PLAIN) -> list[int]:
        """Encode a conversation up to the reply's first token."""
        return self.encode_rendered(self.render_chat(messages, chat))

    def encode_rendered(self, text: str) -> list[int]:
        """Encode what `render_chat` returned; the template writes bos itself."""
        return self._encode(text, add_special_tokens=False)

    def _encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """As a batch of one: `encode` keeps Python's lock, and every other thread would wait."""
        (encoding,) = self._backend.encode_batch_fast([text], add_special_tokens=add_special_tokens)
        ids: list[int] = encoding.ids
        return ids

    def encode_with_starts(self, text: str) -> tuple[list[int], list[int]]:
        """Encode what `render_chat` returned; with each id, where in the text its token begins.

        Starts never fall; tokens that share a character begin at it.
        """
        (encoding,) = self._backend.encode_batch([text], add_special_tokens=False)
        ids: list[int] = encoding.ids
        return ids, list(accumulate((start for start, _ in encoding.offsets), max))

    def render_chat(
        self,
        messages: Sequence[dict[str, Any]],
        chat: Chat = PLAIN,
        *,
        opens_reply: bool = True,
    ) -> str:
        """Lay out messages as transformers does; with opens_reply, up to where the reply begins.

        Calls in messages and tools are as in OpenAI's chat API. What the template knows no place
        for is written into the text. Raises BadInput if there is no template, or it refuses.
        """
        template, use, tools = self.chat_template, self.tool_use, list(chat.tools)
        if has_late_system(messages) and not self.takes_late_system:
            messages = without_late_system(messages)
        # Of two templates, the one for conversations without tools knows no calls
        has_own = use.is_native and (bool(tools) or template.name_for([{}]) == DEFAULT)
        laid_out, offered = lay_out(messages, tools, use, has_own)
        options = template.options(chat.options, offered)
        return template.render(laid_out, tools=offered, options=options, opens_reply=opens_reply)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, without special tokens; invalid UTF-8 becomes U+FFFD."""
        shown = [index for index in ids if index not in self.special_ids]
        text: str = self._backend.decode(shown, skip_special_tokens=False)
        return text

    def token_id(self, token: str) -> int | None:
        """The id of a token as the vocabulary spells it; None if there is no such token."""
        found: int | None = self._backend.token_to_id(token)
        return found

    def vocabulary(self) -> dict[str, int]:
        """Every token with its id, added ones included."""
        found: dict[str, int] = self._backend.get_vocab(with_added_tokens=True)
        return found

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
    for opening, _ in TAGS:
        if match := re.search(rf"{re.escape(opening)}\s*\Z", prompt):
            return match[0]
    return ""


class Detokenizer:
    """One reply's tokens to text, piece by piece; a piece never ends inside a character.

    All pieces and the flush together equal `tokenizer.decode` of all ids.
    """

    def __init__(self, tokenizer: Tokenizer, shown: Collection[int] = ()) -> None:
        """shown: special tokens that have a text nonetheless"""
        self._tokenizer = tokenizer
        self._hidden = tokenizer.special_ids.difference(shown)
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._run = bytearray()  # byte-fallback tokens whose end has not been seen
        self._is_at_start = tokenizer.strips_space

    def push(self, token_id: int) -> str:
        """The text that this token completes, maybe none."""
        token = self._tokenizer.token(token_id)
        if token is None or token_id in self._hidden:
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


def _open_backend(files: TokenizerFiles, path: Path) -> _Backend:
    """The library's tokenizer, which neither cuts nor pads, with all added tokens."""
    document = files.document
    model = document.get("model")
    if isinstance(model, dict) and model.get("dropout"):
        raise BadInput(
            f"{path}: model.dropout is {model['dropout']!r}, need null: a text has one reading"
        )
    document = document | {"truncation": None, "padding": None}
    try:
        backend = _Backend.from_str(json.dumps(document))
        backend.add_tokens([AddedToken(token.content, **token.flags) for token in files.added])
        backend.encode_special_tokens = files.splits_special
    except BaseException as error:  # the library raises nothing narrower, and its panics are none
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise BadInput(f"{path} cannot be read: {error}") from error
    _check_ids(files, backend, path)
    return backend


def _check_ids(files: TokenizerFiles, backend: _Backend, path: Path) -> None:
    """The library numbers added tokens itself: it has to come to the ids that the files give."""
    listed = [(token.content, token.id, "added_tokens_decoder") for token in files.added]
    own = files.document.get("added_tokens") or []
    listed += [(token["content"], token.get("id"), "added_tokens") for token in own]
    for content, index, where in listed:
        got = backend.token_to_id(content)
        if index is not None and got != index:
            raise BadInput(
                f"{path}: token {content!r} has id {index} in {where}, and the tokenizer makes it "
                f"{got}; save the tokenizer again with transformers, or correct the id"
            )


def _decoder(document: Any, path: Path) -> tuple[str, bool]:
    """The scheme, and whether a text's first space is taken off.

    Only the two decoders that Detokenizer computes piece by piece. Raises BadInput for others.
    """
    found = document if isinstance(document, dict) else {}
    steps = found.get("decoders") if found.get("type") == "Sequence" else [found]
    plain = [_decoder_step(step) for step in steps or []]
    if plain == ["ByteLevel"]:
        return "ByteLevel", False
    if plain[:3] == ["Replace ▁", "ByteFallback", "Fuse"] and plain[3:] in ([], ["Strip 1"]):
        return "ByteFallback", plain[3:] == ["Strip 1"]
    raise BadInput(
        f"{path}: decoder {document!r} is not supported; need ByteLevel, or Replace ▁ by a space, "
        "ByteFallback, Fuse and at most a Strip of one space"
    )


def _decoder_step(step: Any) -> str:
    kind = str(step.get("type")) if isinstance(step, dict) else "?"
    if kind == "Replace" and step.get("pattern") == {"String": "▁"} and step.get("content") == " ":
        return "Replace ▁"
    is_strip = kind == "Strip" and step.get("content") == " " and step.get("start") == 1
    return "Strip 1" if is_strip and step.get("stop") == 0 else kind


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
