"""The replies of one HTTP request: n generations side by side, as one stream of events."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from queue import SimpleQueue

from bramble.errors import Unavailable
from bramble.head.client import Event, Events
from bramble.web.about import About, unpack
from bramble.wire.messages import Accepted, Done, Finish

Indexed = tuple[int, Event]


class Choices:
    """Accept, then iterate once for (index, event); `close` leaves what still runs.

    open_stream  asks the head for one choice
    about        how many there are; None until the first one's Accepted says so
    """

    def __init__(self, open_stream: Callable[[int], Events], about: About | None) -> None:
        self.about = about
        self._open_stream = open_stream
        self._streams = [open_stream(0)]
        self._accepted: dict[int, Accepted] = {}
        self._is_closed = threading.Event()
        self._has_threads = False
        self._count()

    @property
    def first(self) -> Accepted | None:
        """What the head said of any of them: the same model replies to all."""
        return next(iter(self._accepted.values()), None)

    @property
    def num_prompt_tokens(self) -> int:
        return sum(accepted.prompt_tokens for accepted in self._accepted.values())

    @property
    def is_accepted(self) -> bool:
        return self.about is not None and len(self._accepted) == self.about.num_choices

    def accept(self, wait_s: float) -> bool:
        """Have the head accept every choice, one by one; False if that takes longer.

        Raises the head's error: the caller closes, and then none of them runs.
        """
        until = time.monotonic() + wait_s
        while not self.is_accepted:
            index = len(self._accepted)
            for event in self._streams[index]:
                self._note(index, event)
                if index in self._accepted:
                    break
                if time.monotonic() >= until:
                    return False
            else:
                raise Unavailable("the connection closed before the request was accepted")
        return True

    def __iter__(self) -> Iterator[Indexed]:
        """Yield until every choice is done, or ended without Done as the asking peer left."""
        if self.about is None:
            yield from self._until_counted()
        yield from self._one() if len(self._streams) == 1 else self._many()

    def close(self) -> None:
        """Leave what runs: here, or in the threads of several, which see it within a second."""
        self._is_closed.set()
        if not self._has_threads:
            for stream in self._streams:
                stream.close()

    def _count(self) -> None:
        if self.about is not None:
            self._streams += [self._open_stream(i) for i in range(1, self.about.num_choices)]

    def _note(self, index: int, event: Event) -> None:
        if isinstance(event, Accepted):
            self._accepted[index] = event
            if self.about is None:
                assert event.asked is not None
                self.about = unpack(event.asked.about)
                self._count()
        elif isinstance(event, Done) and event.finish is Finish.CANCELLED:
            raise Unavailable("the request was cancelled while it ran; send it again")

    def _until_counted(self) -> Iterator[Indexed]:
        for event in self._streams[0]:
            self._note(0, event)
            yield 0, event
            if self.about is not None:
                return

    def _one(self) -> Iterator[Indexed]:
        for event in self._streams[0]:
            self._note(0, event)
            yield 0, event

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
                    self._note(index, event)
                    yield index, event
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
