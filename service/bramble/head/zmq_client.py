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
        conversation = _Conversation(self._transport, self._endpoint, request, watch)
        try:
            yield from conversation.events()
        finally:
            conversation.close()

    def status(self) -> dict[str, Any]:
        """See Client.status."""
        name = uuid.uuid4().hex
        channel = self._transport.dealer(self._endpoint)
        try:
            channel.send(m.Query(name))
            if Poll([channel]).wait(STATUS_TIMEOUT_S):
                answer = channel.receive()
                if isinstance(answer, m.Status) and answer.request == name:
                    return answer.document
        finally:
            channel.close()
        raise errors.Unavailable(
            f"the head does not answer within {STATUS_TIMEOUT_S:.0f} s; "
            "see `systemctl status bramble-head`"
        )


class _Conversation:
    """One request, over as many connections as the head's restarts make necessary."""

    def __init__(
        self,
        transport: Transport,
        endpoint: str,
        request: m.Generate,
        watch: socket.socket | None,
    ) -> None:
        self._transport = transport
        self._endpoint = endpoint
        self._request = request
        self._generated = list(request.generated)
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
        """Cancel what has not ended."""
        if self._channel is None:
            return
        if self._is_open:
            try:
                self._channel.send(m.Cancel(self._request.request))
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
            case m.Accepted(export=export, accepted_at_us=accepted_at_us):
                is_first, self._is_accepted = not self._is_accepted, True
                accepted_at_us = self._request.accepted_at_us or accepted_at_us
                self._request = replace(self._request, export=export, accepted_at_us=accepted_at_us)
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

    def _ask(self) -> None:
        if self._channel is not None:
            self._channel.close()
        self._channel = self._transport.dealer(self._endpoint)
        self._poll = Poll([self._channel])
        if self._watch is not None:
            self._poll.add(self._watch)
        self._channel.send(replace(self._request, generated=tuple(self._generated)))


def _error(refused: m.Refused) -> errors.BrambleError:
    """Return what the head refused a request with; a family that is unknown here is Broken."""
    family = _FAMILIES.get(refused.family, errors.Broken)
    if issubclass(family, errors.BadInput):
        return family(refused.message, refused.param, refused.code)
    if issubclass(family, errors.Unavailable):
        return family(refused.message, refused.retry_after_s or RETRY_AFTER_S)
    return family(refused.message)
