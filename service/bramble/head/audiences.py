"""All requests by name: those that run, and those whose replies can be had again for a while."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from bramble.errors import BadInput, KeyReused, ReplyNotFound, Unavailable
from bramble.head.audience import Audience, Send
from bramble.wire.messages import Done, Generate, Refused, Resume


@dataclass(frozen=True, slots=True)
class Keeping:
    """For how long, and how much, is kept for clients that come back."""

    grace_s: float = 120.0  # a request that nobody reads goes on for so long
    keep_s: float = 600.0  # a reply that has ended can be had again for so long
    max_unread: int = 16  # requests that go on though nobody reads them
    max_ended: int = 256
    max_ended_bytes: int = 32 << 20


@dataclass(slots=True)
class Audiences:
    send: Send
    keeping: Keeping = field(default_factory=Keeping)
    _open: dict[str, Audience] = field(default_factory=dict)  # of requests that run
    _ended: dict[str, Audience] = field(default_factory=dict)  # the oldest first
    _names: dict[str, str] = field(default_factory=dict)  # a client's key → the request it is for
    _ended_bytes: int = 0

    def __getitem__(self, name: str) -> Audience:
        return self._open[name]

    def get(self, name: str) -> Audience | None:
        return self._open.get(name) or self._ended.get(name)

    def join(self, peer: bytes, asked: Generate | Resume) -> bool:
        """Join the request of that name, running or ended. False if there is none.

        Raises KeyReused, ReplyNotFound or Unavailable with what keeps the reader out.
        """
        if isinstance(asked, Generate) and self._names.get(asked.key, asked.request) != asked.request:
            raise KeyReused(
                "Idempotency-Key: it was used for another request in the last minutes; send a new "
                "key, or the same body"
            )
        audience = self.get(asked.request)
        if audience is None:
            if isinstance(asked, Resume):
                raise ReplyNotFound(
                    "no such reply: it was never asked for, was cancelled, ended more than "
                    f"{self.keeping.keep_s / 60:.0f} minutes ago, or went with a head that was "
                    "lost; send the request again"
                )
            return False
        generated = asked.generated if isinstance(asked, Generate) else ()
        if audience.differs(generated):
            raise Unavailable("this reply went on in another way; ask anew", 1)
        if audience.asked.sampling.top_logprobs >= 0 and audience.record is not None:
            if audience.record.lacks_logprobs(len(generated)):
                raise Unavailable("log probabilities went with a head that was lost; ask anew", 1)
        audience.join(peer, asked)
        return True

    def open(self, peer: bytes, asked: Generate) -> Audience:
        """Begin a request, with its first reader."""
        audience = self._open[asked.request] = Audience(asked, self.send)
        if asked.key:
            self._names[asked.key] = asked.request
        audience.join(peer, asked)
        return audience

    def end(self, name: str, end: Done | Refused, now: float) -> None:
        """Tell the readers how it ended; keep what somebody may ask for again."""
        audience = self._open.pop(name)
        audience.finish(end)
        is_final = isinstance(end, Done) or end.family == "PoisonRequest"
        if not (is_final and audience.asked.is_kept):
            self._forget_key(audience)
            return
        # Of what was asked only its name is needed now, and how the web is to show the reply
        audience.asked = replace(audience.asked, messages=None, prompt=None, generated=())
        audience.since = now
        self._ended[name] = audience
        self._ended_bytes += _size(audience)

    def drop(self, name: str) -> None:
        """Forget a request, running or ended."""
        if (audience := self._open.pop(name, None)) is not None:
            self._forget_key(audience)
        if name in self._ended:
            self._forget(name)

    def tick(self, now: float) -> list[str]:
        """Forget what is past its time; return the running requests that are to be cancelled."""
        for name in list(self._too_many(now)):
            self._forget(name)
        unread = []
        for name, audience in self._open.items():
            if audience.readers:
                audience.since = None
                continue
            if audience.since is None:
                audience.since = now
            unread.append((audience.since, name, audience.asked.is_kept))
        unread.sort(reverse=True)
        return [
            name
            for index, (since, name, is_kept) in enumerate(unread)
            if not is_kept
            or now - since >= self.keeping.grace_s
            or index >= self.keeping.max_unread
        ]

    def _too_many(self, now: float) -> Iterator[str]:
        num_ended, num_bytes = len(self._ended), self._ended_bytes
        for name, audience in self._ended.items():
            assert audience.since is not None
            is_late = now - audience.since >= self.keeping.keep_s
            is_room = num_ended <= self.keeping.max_ended
            if not is_late and is_room and num_bytes <= self.keeping.max_ended_bytes:
                return
            num_ended, num_bytes = num_ended - 1, num_bytes - _size(audience)
            yield name

    def _forget(self, name: str) -> None:
        audience = self._ended.pop(name)
        self._ended_bytes -= _size(audience)
        self._forget_key(audience)

    def _forget_key(self, audience: Audience) -> None:
        if self._names.get(audience.asked.key) == audience.asked.request:
            del self._names[audience.asked.key]


def _size(audience: Audience) -> int:
    about = len(str(audience.asked.about)) + 1024
    return about + (0 if audience.record is None else audience.record.num_bytes)
