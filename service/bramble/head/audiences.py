"""All requests by name: those that run, and those whose replies can be had again for a while."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from bramble.errors import KeyReused, ReplyNotFound, Unavailable
from bramble.head.audience import Audience, Send, went_another_way
from bramble.wire.messages import ClientMessage, Done, Generate, Refused, Resume


@dataclass(frozen=True, slots=True)
class Keeping:
    """For how long, and how much, is kept for clients that come back."""

    grace_s: float = 120.0  # a request that nobody reads, whose client can come back
    lost_s: float = 30.0  # one whose client never said so, and whose web process died
    max_left: int = 16  # requests that go on though their readers left by themselves
    keep_s: float = 600.0  # a reply that has ended can be had again for so long
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
        """Return who reads a request that runs."""
        return self._open[name]

    def join(self, peer: bytes, asked: Generate | Resume) -> bool:
        """Join the request of that name, running or ended. False if there is none.

        Raises KeyReused, ReplyNotFound or Unavailable with what keeps the reader out.
        """
        if isinstance(asked, Generate) and self._names.get(asked.key, asked.request) != (
            asked.request
        ):
            raise KeyReused(
                "Idempotency-Key: it was used for another request in the last minutes; send a new "
                "key, or the same body"
            )
        audience = self._open.get(asked.request)
        if isinstance(asked, Resume) or asked.key or asked.generated:  # not a name used anew
            audience = audience or self._ended.get(asked.request)
        if audience is None and isinstance(asked, Resume):
            raise ReplyNotFound(
                "no such reply: it was never asked for, was cancelled, ended more than "
                f"{self.keeping.keep_s / 60:.0f} minutes ago, or went with a head that was lost; "
                "send the request again"
            )
        if audience is None:
            return False
        _check_same(audience, asked)
        audience.join(peer, asked)
        return True

    def open(self, peer: bytes, asked: Generate) -> None:
        """Begin a request, with its first reader."""
        self.drop(asked.request)
        audience = self._open[asked.request] = Audience(asked, self.send)
        if asked.key:
            self._names[asked.key] = asked.request
        audience.join(peer, asked)

    def must_begin_anew(self, asked: Generate | Resume) -> bool:
        """True if a reader needs log probabilities that are lost, and may have the reply computed
        again: its key gives the seed, and nobody reads the reply as it is."""
        known = self._open.get(asked.request) or self._ended.get(asked.request)
        is_whole = isinstance(asked, Generate) and bool(asked.key) and not asked.generated
        return is_whole and known is not None and not known.readers and _lacks(known, asked)

    def leave(self, peer: bytes, name: str) -> bool:
        """Have a reader go. True if the request is to be cancelled, as nobody comes back for it."""
        audience = self._open.get(name)
        if audience is None or peer not in audience.readers:
            return False
        audience.leave(peer)
        return audience.is_left and not audience.can_return

    def tell(self, name: str, event: ClientMessage) -> None:
        self._open[name].tell(event)

    def end(self, name: str, end: Done | Refused, now: float) -> None:
        """Tell the readers how it ended; keep what somebody may ask for again."""
        audience = self._open.pop(name)
        audience.finish(end)
        if isinstance(end, Refused) and end.family != "PoisonRequest":
            self._forget_key(audience)  # asked again, it may be answered
            return
        # Of what was asked only its name is needed now, and how the web is to show the reply
        audience.asked = replace(audience.asked, messages=None, prompt=None, generated=())
        audience.since = now
        self._ended[name] = audience
        self._ended_bytes += _size(audience)

    def drop(self, name: str) -> bool:
        """Forget a request, running or ended. False if there is none."""
        if (audience := self._open.pop(name, None)) is not None:
            self._forget_key(audience)
            return True
        if name in self._ended:
            self._forget(name)
            return True
        return False

    def tick(self, now: float) -> list[str]:
        """Forget what is past its time; return the running requests that are to be cancelled."""
        for name in list(self._too_many(now)):
            self._forget(name)
        late, left = [], []
        for name, audience in self._open.items():
            if audience.readers:
                audience.since = None
                continue
            if audience.since is None:
                audience.since = now
            grace_s = self.keeping.grace_s if audience.can_return else self.keeping.lost_s
            if now - audience.since >= grace_s:
                late.append(name)
            elif audience.is_left:
                left.append((audience.since, name))
        left.sort(reverse=True)
        return late + [name for _, name in left[self.keeping.max_left :]]

    def _too_many(self, now: float) -> Iterator[str]:
        num_ended, num_bytes = len(self._ended), self._ended_bytes
        for name, audience in self._ended.items():
            assert audience.since is not None
            is_fresh = now - audience.since < self.keeping.keep_s
            is_small = num_bytes <= self.keeping.max_ended_bytes
            if is_fresh and is_small and num_ended <= self.keeping.max_ended:
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


def _check_same(audience: Audience, asked: Generate | Resume) -> None:
    """Refuse a reader whose reply went on in another way, or whose log probabilities are gone."""
    generated = asked.generated if isinstance(asked, Generate) else ()
    if audience.differs(generated):
        raise went_another_way()
    if _lacks(audience, asked):
        raise Unavailable(
            "log probabilities of this reply went with a head that was lost; send it again",
            1,
        )


def _lacks(audience: Audience, asked: Generate | Resume) -> bool:
    """True if log probabilities that this reader needs went with a head that was lost."""
    num_had = asked.num_had if isinstance(asked, Resume) else len(asked.generated)
    num_had = max(num_had, asked.received)  # of those the client needs no more than the text
    has_logprobs = audience.asked.sampling.top_logprobs >= 0
    record = audience.record
    return has_logprobs and record is not None and record.lacks_logprobs(num_had)


def _size(audience: Audience) -> int:
    """Return the bytes that keeping it takes, about."""
    asked = audience.asked
    texts = len(str(asked.about)) + sum(map(len, asked.stop))
    record = 0 if audience.record is None else audience.record.num_bytes
    return 1024 + texts + 160 * len(asked.sampling.logit_bias) + record
