"""One HTTP request on its way in: how much of it is here, and until when the rest may take.

It finds where a request ends, no more: gunicorn's parser reads what is handed on, and refuses it
where it is wrong. So a request whose end cannot be told is handed on as far as its header goes,
and its connection serves no other. Knows no socket and no clock.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from enum import Enum, auto

MIN_BYTES_S = 10_000  # a body, and who reads a reply, may be slower than this for client_timeout_s
MAX_HEADER_BYTES = 64 << 10  # clients send 1 to 4 KiB; browsers give up beyond 256 KiB of cookies
MAX_CHUNK_LINE = 4 << 10  # the size of a chunk with its extensions
_END = b"\r\n\r\n"
_CHUNK_SIZE = re.compile(rb"[0-9a-fA-F]{1,16}[ \t]*(;|$)")
_NOT_HTTP = re.compile(rb"\A[^\r!-~]|(?<!\r)\n")  # TLS, or lines that end as no header's may


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client may take. Seconds."""

    idle_s: float  # from one request's end to the first byte of the next
    header_s: float  # from its first byte to the end of its header
    body_s: float  # for its body, beyond what that takes at MIN_BYTES_S
    max_body_bytes: int


class Phase(Enum):
    SILENCE = auto()
    HEADER = auto()
    BODY = auto()
    COMPLETE = auto()
    HEADER_TOO_LARGE = auto()
    BODY_TOO_LARGE = auto()


class Arrival:
    """What came on one connection and was not handed on yet."""

    def __init__(self, patience: Patience, now: float) -> None:
        self._patience = patience
        self._buffer = bytearray()
        self._expect_next(now)

    @property
    def path(self) -> bytes:
        """The path that a complete request asks for, as far as it can be told."""
        words = bytes(self._buffer[: self._header_stop]).split(maxsplit=2)
        return words[1].partition(b"?")[0] if len(words) == 3 else b""

    def add(self, data: bytes, now: float) -> None:
        """Take what arrived; afterwards `phase` says what it amounts to."""
        self._buffer += data
        self._look(now)

    def take(self, now: float) -> bytes:
        """Hand the complete request on; what came behind it begins the next one."""
        assert self.phase is Phase.COMPLETE, self.phase
        request = bytes(self._buffer[: self._stop])
        del self._buffer[: self._stop]
        self._expect_next(now)
        return request

    def resume(self, now: float) -> None:
        """Count a client's time from now on, who waited for us until now."""
        self.deadline = now + self._patience.idle_s
        self._look(now)

    def drop(self) -> int:
        """Forget what is here; return how many bytes that was."""
        num_bytes = len(self._buffer)
        self._buffer.clear()
        return num_bytes

    def _expect_next(self, now: float) -> None:
        self.phase = Phase.SILENCE
        self.deadline = now + self._patience.idle_s  # by the clock of `now`
        self.awaits_continue = False  # before it sends its body, until we told it to
        self.is_last = False  # nothing that comes behind it can be made out
        self._header_stop = 0  # bytes; 0 = not here yet
        self._stop = 0  # of the request; 0 = not known yet
        self._chunk_at = 0  # where the next chunk's size begins; 0 = not chunked
        self._body_bytes = 0  # announced by its chunks so far
        self._searched = 0

    def _look(self, now: float) -> None:
        if self.phase is Phase.SILENCE and self._buffer:
            self.phase, self.deadline = Phase.HEADER, now + self._patience.header_s
        if self.phase is Phase.HEADER:
            self._look_for_header(now)
        if self.phase is Phase.BODY:
            self._look_for_body(now)

    def _look_for_header(self, now: float) -> None:
        found = self._buffer.find(_END, max(0, self._searched - len(_END) + 1))
        if _NOT_HTTP.search(self._buffer, self._searched, found if found >= 0 else sys.maxsize):
            self._give_up()
            return
        self._searched = len(self._buffer)
        if found < 0 and self._searched <= MAX_HEADER_BYTES:
            return
        if not 0 <= found <= MAX_HEADER_BYTES:
            self.phase = Phase.HEADER_TOO_LARGE
            return
        self._header_stop = self._stop = found + len(_END)
        self._begin_body(bytes(self._buffer[:found]), now)

    def _begin_body(self, header: bytes, now: float) -> None:
        self._body_since = now
        lengths, codings, expects = _framing(header)
        if codings:
            self.phase = Phase.BODY
            self._chunk_at, self._stop = self._header_stop, 0
            if lengths or codings[-1] != b"chunked":
                self._give_up()
        elif not lengths:
            self.phase = Phase.COMPLETE
        elif len(lengths) == 1 and lengths[0].isdigit():
            size = int((lengths[0].lstrip(b"0") or b"0")[:18])  # more digits are more than enough
            self.phase = Phase.BODY
            self._stop = self._header_stop + size
            if size > self._patience.max_body_bytes:
                self.phase = Phase.BODY_TOO_LARGE
        else:
            self._give_up()
        self.awaits_continue = (
            expects and self.phase is Phase.BODY and len(self._buffer) == self._header_stop
        )

    def _look_for_body(self, now: float) -> None:
        if self._chunk_at:
            self._look_for_chunks()
        elif len(self._buffer) >= self._stop:
            self.phase = Phase.COMPLETE
        num_here = len(self._buffer) - self._header_stop
        self.deadline = self._body_since + self._patience.body_s + num_here / MIN_BYTES_S

    def _look_for_chunks(self) -> None:
        """Go from chunk to chunk as far as they are here."""
        while self.phase is Phase.BODY and self._chunk_at <= len(self._buffer):
            line_stop = self._buffer.find(b"\r\n", self._chunk_at)
            if line_stop < 0 and len(self._buffer) - self._chunk_at <= MAX_CHUNK_LINE:
                return
            line = bytes(self._buffer[self._chunk_at : max(line_stop, self._chunk_at)])
            if not _CHUNK_SIZE.match(line) or len(line) > MAX_CHUNK_LINE:
                self._give_up()
            elif size := int(line.partition(b";")[0], 16):
                self._body_bytes += size
                self._chunk_at = line_stop + 2 + size + 2
                if self._body_bytes > self._patience.max_body_bytes:
                    self.phase = Phase.BODY_TOO_LARGE
            else:
                self._look_for_trailers(line_stop)
                return

    def _look_for_trailers(self, line_stop: int) -> None:
        found = self._buffer.find(_END, line_stop)
        if found >= 0:
            self._stop = found + len(_END)
            self.phase = Phase.COMPLETE
        elif len(self._buffer) - line_stop > MAX_HEADER_BYTES:
            self._give_up()

    def _give_up(self) -> None:
        """Its end cannot be told: hand on what is here, and let gunicorn say what is wrong."""
        self.phase = Phase.COMPLETE
        self._stop = len(self._buffer)
        self.is_last = True


def _framing(header: bytes) -> tuple[list[bytes], list[bytes], bool]:
    """Return what says where a request ends: lengths, transfer codings, and if it waits for 100."""
    lengths: list[bytes] = []
    codings: list[bytes] = []
    expects = False
    is_old = header.lstrip(b"\r\n").partition(b"\r\n")[0].endswith(b"/1.0")
    for line in header.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        match name.lower():
            case b"content-length":
                lengths.append(value.strip(b" \t"))
            case b"transfer-encoding":
                codings += [coding.strip(b" \t").lower() for coding in value.split(b",")]
            case b"expect":
                expects = value.strip(b" \t").lower() == b"100-continue" and not is_old
    return lengths, codings, expects
