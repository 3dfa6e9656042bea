"""The head's door over ZeroMQ: one short-lived connection per request, so that threads share none.

A head that falls silent is asked again with the tokens received so far; the reply then continues
where it stopped, because sampling depends on seed and position only.
"""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Generator
from dataclasses import replace
from typing import Any

from bramble import errors
from bramble.head.client import Event, Events, Pulse
from bramble.head.patience import Patience
from bramble.wire import messages as m
from bramble.wire.transport import Channel, Poll, Transport, peek

STATUS_TIMEOUT_S = 2.0
TURN_S = 0.5
RETRY_AFTER_S = 5
_FAMILIES: dict[str, type[errors.BrambleError]] = {  # what may stand in Refused.family
    family.__name__: family
    for family in (
        errors.BadInput,
        errors.ModelNotFound,
        errors.ReplyNotFound,
        errors.KeyReused,
        errors.TooLarge,
        errors.Unavailable,
        errors.QueueFull,
        errors.Broken,
        errors.PoisonRequest,
    )
}


class ZmqClient:
    def __init__(self, transport: Transport, endpoint: str) -> None:
        self._transport = transport
        self._endpoint = endpoint

    def generate(self, request: m.Generate, watch: socket.socket | None = None) -> Events:
        """See Client.generate."""
        yield from self._converse(request, watch)

    def resume(self, name: str, received: int = 0, watch: socket.socket | None = None) -> Events:
        """See Client.resume."""
        yield from self._converse(m.Resume(name, received), watch)

    def cancel(self, name: str) -> bool:
        """See Client.cancel."""
        answer = self._query(m.Cancel(name, is_for_all=True))
        return isinstance(answer, m.Cancelled) and answer.was_known

    def status(self) -> dict[str, Any]:
        """See Client.status."""
        answer = self._query(m.Query(uuid.uuid4().hex))
        return answer.document if isinstance(answer, m.Status) else {}

    def _query(self, query: m.Query | m.Cancel) -> m.Status | m.Cancelled:
        channel = self._transport.dealer(self._endpoint)
        try:
            channel.send(query)
            if Poll([channel]).wait(STATUS_TIMEOUT_S):
                answer = channel.receive()
                if isinstance(answer, m.Status | m.Cancelled):
                    return answer
                if isinstance(answer, m.Refused):
                    raise _error(answer)
        finally:
            channel.close()
        raise errors.Unavailable(
            f"the head does not answer within {STATUS_TIMEOUT_S:.0f} s; "
            "see `systemctl status bramble-head`"
        )

    def _converse(self, asked: m.Generate | m.Resume, watch: socket.socket | None) -> Events:
        conversation = _Conversation(self._transport, self._endpoint, asked, watch)
        try:
            yield from conversation.events()
        finally:
            conversation.close()


class _Conversation:
    """One request, over as many connections as the head's restarts make necessary."""

    def __init__(
        self,
        transport: Transport,
        endpoint: str,
        asked: m.Generate | m.Resume,
        watch: socket.socket | None,
    ) -> None:
        self._transport = transport
        self._endpoint = endpoint
        self._asked = asked
        self._generated = list(asked.generated) if isinstance(asked, m.Generate) else []
        self._watch = watch
        self._is_open = True
        self._is_accepted = False
        self._channel: Channel | None = None
        self._poll = Poll([])
        self._patience = Patience(time.monotonic())
        self._ask()

    def events(self) -> Generator[Event, None, None]:
        while True:
            is_heard = self._poll.wait(TURN_S)
            if self._has_left():
                return
            while self._channel is not None and (message := self._channel.receive()) is not None:
                self._patience.hear(message, time.monotonic())
                if (event := self._take(message)) is not None:
                    yield event
                    if isinstance(event, m.Done):
                        self._is_open = False
                        return
            if self._patience.must_ask(now := time.monotonic()):
                self._ask()
            if not is_heard:
                yield Pulse(self._patience.silent_s(now))

    def close(self) -> None:
        """Leave what has not ended."""
        if self._channel is None:
            return
        if self._is_open:
            try:
                self._channel.send(m.Cancel(self._asked.request))
                self._channel.linger()
            except errors.Broken:
                pass  # the head is gone, and the request with it
        self._channel.close()

    def _has_left(self) -> bool:
        """True once the asking peer has closed its connection.

        One that sends more before it has its answer is watched no further: what it sent would
        wake us again at once, for as long as the reply takes.
        """
        if self._watch is None:
            return False
        first = peek(self._watch)
        if first:
            self._watch = None
            self._poll = Poll([] if self._channel is None else [self._channel])
        return first == b""

    def _take(self, message: m.Message) -> Event | None:
        """Return the event to pass on. Raises what the head refused the request with."""
        match message:
            case m.Accepted():
                is_first, self._is_accepted = not self._is_accepted, True
                self._note(message)
                return message if is_first else None
            case m.Delta(token_ids=token_ids):
                self._generated += token_ids
                return message
            case m.Progress():
                return message if self._is_accepted else Pulse(0.0)
            case m.Done():
                return message
            case m.Refused():
                self._is_open = False
                raise _error(message)
        raise errors.Broken(f"the head sent a {type(message).__name__} to a request")

    def _note(self, accepted: m.Accepted) -> None:
        """Remember what another head has to be asked."""
        asked, told = self._asked, accepted.asked
        if told is not None and (told.messages, told.prompt) != (None, None):
            asked = replace(told, received=asked.received)
        if isinstance(asked, m.Generate):
            place = asked.accepted_at_us or accepted.accepted_at_us
            asked = replace(asked, export=accepted.export, accepted_at_us=place)
        self._asked = asked

    def _ask(self) -> None:
        if self._channel is not None:
            self._channel.close()
        self._channel = self._transport.dealer(self._endpoint)
        self._poll = Poll([self._channel])
        if self._watch is not None:
            self._poll.add(self._watch)
        if isinstance(self._asked, m.Generate):
            self._channel.send(replace(self._asked, generated=tuple(self._generated)))
        else:  # by name; of a reply that has ended nothing more is known
            self._channel.send(replace(self._asked, num_had=len(self._generated)))


def _error(refused: m.Refused) -> errors.BrambleError:
    """Return what the head refused a request with; a family that is unknown here is Broken."""
    family = _FAMILIES.get(refused.family, errors.Broken)
    if issubclass(family, errors.BadInput):
        return family(refused.message, refused.param, refused.code)
    if issubclass(family, errors.Unavailable):
        return family(refused.message, refused.retry_after_s or RETRY_AFTER_S)
    return family(refused.message)
