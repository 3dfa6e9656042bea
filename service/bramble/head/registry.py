"""Which stages there are, and how far each is with the current assignment.

Pure: the time is passed in. It does not know how messages travel.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from bramble.wire.messages import Assign, Beat, Failed, Hello, Ready

LOADING = "loading its shard"
SILENT = "not heard of for over {:.0f} s"
TEXTS = (
    "threads",
    "throttled",
    "fetching",
    "damaged",
    "restarts",
)  # of a beat's figures; all others are numbers
MAX_NUMBER = 1 << 63
LOST_S = 10.0  # without a sign of life; a stage beats every second
LOST_LOADING_S = 120.0  # the same between two files, each of which it may hash and pack


@dataclass(slots=True)
class StageEntry:
    """One node of the ring as the head sees it; state is waiting, loading, ready, failed, lost."""

    node: str
    place: str = ""  # in the ring, for a person
    hello: Hello | None = None
    peer: bytes = b""
    heard_at: float = 0.0
    state: str = "waiting"
    reason: str | None = "not heard of yet"
    assign: Assign | None = None
    told_peer: bytes = b""  # the connection that was told of it
    ready: Ready | None = None
    stats: dict[str, Any] = field(default_factory=dict)
    doubt: str | None = None  # why it is not this head's to lead; None = it obeys

    @property
    def is_present(self) -> bool:
        return self.hello is not None and self.state != "lost"

    @property
    def problem(self) -> str | None:
        """Why it takes no part, for a person."""
        return self.doubt if self.is_present and self.doubt is not None else self.reason


class Registry:
    def __init__(self, groups: tuple[tuple[str, ...], ...]) -> None:
        """groups  for each stage of the ring the nodes that serve it, by rank"""
        self.groups = groups
        self.entries = [
            StageEntry(node, f"stage {stage}" if len(group) == 1 else f"stage {stage}, rank {rank}")
            for stage, group in enumerate(groups)
            for rank, node in enumerate(group)
        ]
        self._by_node = {entry.node: entry for entry in self.entries}

    @property
    def num_stages(self) -> int:
        return len(self.groups)

    def entry(self, node: str) -> StageEntry:
        return self._by_node[node]

    def hello_of(self, node: str) -> Hello:
        """What a node that is present has said of itself."""
        hello = self._by_node[node].hello
        assert hello is not None
        return hello

    @property
    def is_complete(self) -> bool:
        return all(entry.is_present and entry.doubt is None for entry in self.entries)

    def is_of_release(self, version: str) -> bool:
        """True if every stage runs this release, and so knows all that its head may send."""
        return all(entry.hello and entry.hello.version == version for entry in self.entries)

    @property
    def is_ready(self) -> bool:
        return all(entry.state == "ready" for entry in self.entries)

    def knows(self, node: str) -> bool:
        return node in self._by_node

    def hello(self, peer: bytes, message: Hello, now: float) -> bool:
        """Record a stage; True if it is new, restarted or back: the ring must start anew."""
        entry = self._by_node[message.node]
        message = replace(message, vow=None)  # which changes while the stage stays the same
        is_new = entry.hello != message or entry.state == "lost"
        entry.hello, entry.peer, entry.heard_at = message, peer, now
        if is_new:
            entry.state, entry.reason = "waiting", "known, not yet assigned"
            entry.assign = entry.ready = None
        return is_new

    def beat(self, peer: bytes, message: Beat, now: float) -> bool:
        """Record a sign of life; False if the sender has to say hello first."""
        entry = self._by_node.get(message.node)
        if entry is None or not entry.is_present or entry.hello is None:
            return False
        if entry.hello.incarnation != message.incarnation:
            return False
        entry.peer, entry.heard_at, entry.stats = peer, now, _sound(message.stats)
        if entry.state == "loading":
            entry.reason = str(entry.stats.get("fetching") or LOADING)
        return True

    def note_doubt(self, node: str, doubt: str | None) -> bool:
        """Record whether a stage obeys this head; True if that changes what the ring may do."""
        entry = self._by_node[node]
        has_changed = (entry.doubt is None) != (doubt is None)
        entry.doubt = doubt
        if has_changed and doubt is not None:  # what it was assigned is over
            entry.assign = entry.ready = None
            if entry.is_present:
                entry.state, entry.reason = "waiting", "known, not yet assigned"
        return has_changed and entry.is_present

    def assigned(self, node: str, assign: Assign) -> StageEntry:
        entry = self._by_node[node]
        entry.assign, entry.told_peer, entry.ready = assign, entry.peer, None
        entry.state, entry.reason = "loading", LOADING
        return entry

    def missed(self, node: str) -> Assign | None:
        """Return what this stage has to be told again; None if nothing is lost.

        What a connection held when it broke is gone: a stage that loads and speaks by another one
        may not have heard of its assignment; one that has it already has answered in vain.
        """
        entry = self._by_node.get(node)
        if entry is None or entry.state != "loading" or entry.assign is None:
            return None
        has_moved = entry.peer != entry.told_peer
        has_answered = entry.stats.get("epoch") == entry.assign.epoch
        entry.told_peer = entry.peer
        return entry.assign if has_moved or has_answered else None

    def ready(self, message: Ready, now: float) -> bool:
        """Record that a stage has loaded; False if that is known, or of another assignment."""
        entry = self._current(message)
        if entry is None or entry.state == "ready":
            return False
        entry.state, entry.reason, entry.ready, entry.heard_at = "ready", None, message, now
        return True

    def failed(self, message: Failed, now: float) -> bool:
        entry = self._current(message)
        if entry is None:
            return False
        entry.state, entry.reason, entry.heard_at = "failed", message.reason, now
        return True

    def speaks_of_now(self, message: Ready | Failed) -> bool:
        """True if a message is of a stage's present assignment."""
        return self._current(message) is not None

    def lose_silent(self, now: float) -> list[StageEntry]:
        """Mark the stages that have been silent for too long and return them."""
        lost = []
        for entry in self.entries:
            if entry.state == "loading" and now - entry.heard_at > LOST_S:
                entry.reason = f"told to load its shard, {SILENT.format(LOST_S)}"
            allowed_s = LOST_LOADING_S if entry.state == "loading" else LOST_S
            if entry.is_present and now - entry.heard_at > allowed_s:
                entry.state, entry.reason = "lost", SILENT.format(allowed_s)
                lost.append(entry)
        return lost

    def problems(self) -> list[str]:
        """One sentence for each stage that keeps the ring from serving."""
        return self._sentences({"waiting", "loading", "failed", "lost"})

    def failures(self) -> list[str]:
        """One sentence for each stage that has failed."""
        return self._sentences({"failed"})

    def _sentences(self, states: set[str]) -> list[str]:
        return [
            f"{entry.place} ({entry.node}): {entry.problem}"
            for entry in self.entries
            if entry.state in states
        ]

    def _current(self, message: Ready | Failed) -> StageEntry | None:
        entry = self._by_node.get(message.node)
        if entry is None or entry.assign is None or entry.hello is None:
            return None
        wanted = (entry.hello.incarnation, entry.assign.plan_id, entry.assign.epoch)
        got = (message.incarnation, message.plan_id, message.epoch)
        return entry if wanted == got else None


def _sound(stats: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a beat that are what they should be: a stage may send anything."""
    return {
        name: value
        for name, value in stats.items()
        if (isinstance(value, str) if name in TEXTS else _is_number(value))
    }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and -MAX_NUMBER < value < MAX_NUMBER
