"""The replies of one HTTP request: n generations side by side, as one stream of events."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from queue import SimpleQueue

from bramble.errors import BrambleError, Unavailable
from bramble.head.client import Client, Event, Events, Pulse
from bramble.wire.messages import Accepted, Done, Finish, Generate

Indexed = tuple[int, Event]


class Choices:
    """Iterate once for (index, event); `close` cancels what still runs."""

    def __init__(self, streams: Sequence[Events], prompt_tokens: Sequence[int]) -> None:
        self.prompt_tokens = tuple(prompt_tokens)  # of each choice
        self._streams = tuple(streams)
        self._is_closed = threading.Event()
        self._has_threads = False

    def __iter__(self) -> Iterator[Indexed]:
        """Yield until every choice is done, or ended without Done as the asking peer left."""
        if len(self._streams) == 1:
            return self._one()
        return self._many()

    def close(self) -> None:
        """Cancel what runs: here, or in the threads of several, which see it within a second."""
        self._is_closed.set()
        if not self._has_threads:
            for stream in self._streams:
                stream.close()

    def _one(self) -> Iterator[Indexed]:
        for event in self._streams[0]:
            yield 0, _check(event)

    def _many(self) -> Iterator[Indexed]:
        events: SimpleQueue[tuple[int, Event | None]] = SimpleQueue()
        self._has_threads = True  # a generator that one of them runs cannot be closed here
        pool = ThreadPoolExecutor(len(self._streams), thread_name_prefix="choice")
        futures = [pool.submit(self._pump, i, s, events) for i, s in enumerate(self._streams)]
        pool.shutdown(wait=False)
        num_running = len(futures)
        try:
            while num_running:
                index, event = events.get()
                if event is None:
                    futures[index].result()  # raises what ended the stream, if an error did
                    num_running -= 1
                else:
                    yield index, _check(event)
        finally:
            self._is_closed.set()

    def _pump(
        self, index: int, stream: Events, events: SimpleQueue[tuple[int, Event | None]]
    ) -> None:
        try:
            with closing(stream):
                for event in stream:
                    events.put((index, event))
                    if self._is_closed.is_set():
                        return
        finally:
            events.put((index, None))


def open_choices(
    client: Client, requests: Sequence[Generate], watch: socket.socket | None
) -> Choices:
    """Have every request accepted by the head. Raises its error, and then none of them runs."""
    streams: list[Events] = []
    prompt_tokens: list[int] = []
    try:
        for request in requests:
            stream = client.generate(request, watch)
            streams.append(stream)
            prompt_tokens.append(_accept(stream))
    except BrambleError:
        for stream in streams:
            stream.close()
        raise
    return Choices(streams, prompt_tokens)


def _accept(stream: Events) -> int:
    for event in stream:
        if not isinstance(event, Pulse):
            assert isinstance(event, Accepted), event
            return event.prompt_tokens
    raise Unavailable("the connection closed before the request was accepted")


def _check(event: Event) -> Event:
    if isinstance(event, Done) and event.finish is Finish.CANCELLED:
        raise Unavailable("the request was cancelled while it ran; send it again")
    return event
