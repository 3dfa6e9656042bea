"""Which sequence, or which ended sequence's tokens, each row of the ring's KV cache holds.

Accounts for the cache's byte budget in tokens. It records the row operations that the next step
has to carry, and knows nothing of lanes, steps or time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bramble.head.sequence import Sequence

QUANTUM = 64  # tokens by which a reservation grows; one page of 4 KiB holds 16 of 64 × float32
MIN_PREFIX = 16  # tokens; below this a swap costs more than it saves


@dataclass(slots=True)
class Row:
    owner: Sequence | None = None
    kept: list[int] = field(default_factory=list)  # tokens of an ended sequence, still cached
    reserved: int = 0  # tokens
    last_used: int = 0

    def num_cached(self) -> int:
        """Tokens whose keys and values the row holds, or will when what is under way is done."""
        return len(self.kept) if self.owner is None else self.owner.num_sent


class Rows:
    def __init__(self, num_rows: int, budget_tokens: int) -> None:
        self.budget_tokens = budget_tokens
        self._rows = [Row() for _ in range(num_rows)]
        self._clock = 0
        self._swaps: list[tuple[int, int, int]] = []
        self._trims: dict[int, int] = {0: 0}  # the golden check left its tokens in row 0

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def reserved_tokens(self) -> int:
        return sum(row.reserved for row in self._rows)

    def owner(self, index: int) -> Sequence | None:
        return self._rows[index].owner

    def free_row(self, start: int, stop: int) -> int | None:
        """Return the row without owner in [start, stop) whose loss hurts least."""
        free = [i for i in range(start, stop) if self._rows[i].owner is None]
        return min(free, key=lambda i: (self._rows[i].last_used, i), default=None)

    def longest_prefix(self, tokens: list[int]) -> tuple[int | None, int]:
        """Return the kept row that shares most first tokens with `tokens`, and how many."""
        best, length = None, MIN_PREFIX - 1
        for index, row in enumerate(self._rows):
            if row.owner is None and len(row.kept) > length:
                common = common_prefix(row.kept, tokens)
                if common > length:
                    best, length = index, common
        return best, length if best is not None else 0

    def reserve(self, index: int, num_tokens: int) -> bool:
        """Make room for `num_tokens` in a row, giving up kept rows as needed, oldest first."""
        row = self._rows[index]
        wanted = min(-(-num_tokens // QUANTUM) * QUANTUM, self.budget_tokens)
        while self.reserved_tokens - row.reserved + max(wanted, row.reserved) > self.budget_tokens:
            victim = self._oldest_kept(index)
            if victim is None:
                return False
            self.forget(victim)
        row.reserved = max(wanted, row.reserved)
        return True

    def take(self, index: int, owner: Sequence, num_kept: int) -> None:
        """Give a row to a sequence that inherits its first `num_kept` tokens."""
        row = self._rows[index]
        row.owner, row.kept = owner, []
        owner.row, owner.num_sent = index, num_kept

    def release(self, index: int) -> None:
        """Take a row from its owner; its tokens stay cached until the room is needed."""
        row = self._rows[index]
        assert row.owner is not None
        row.kept = row.owner.tokens[: row.owner.num_sent]
        row.owner.row, row.owner = -1, None
        self._clock += 1
        row.last_used = self._clock

    def forget(self, index: int) -> None:
        """Give a row's memory back."""
        row = self._rows[index]
        assert row.owner is None
        row.kept, row.reserved, row.last_used = [], 0, 0
        self._trims[index] = 0

    def swap(self, a: int, b: int) -> None:
        """Exchange two rows with all that they hold."""
        if a == b:
            return
        tokens = max(self._rows[a].num_cached(), self._rows[b].num_cached())
        self._rows[a], self._rows[b] = self._rows[b], self._rows[a]
        for index in (a, b):
            owner = self._rows[index].owner
            if owner is not None:
                owner.row = index
        self._trims = {{a: b, b: a}.get(i, i): keep for i, keep in self._trims.items()}
        if tokens:
            self._swaps.append((a, b, tokens))

    def drain(self) -> tuple[tuple[tuple[int, int, int], ...], tuple[tuple[int, int], ...]]:
        """Return the swaps and trims since the last call, for the step that is sent next."""
        swaps, trims = tuple(self._swaps), tuple(self._trims.items())
        self._swaps, self._trims = [], {}
        return swaps, trims

    def _oldest_kept(self, besides: int) -> int | None:
        kept = [
            i
            for i, row in enumerate(self._rows)
            if row.owner is None and row.reserved and i != besides
        ]
        return min(kept, key=lambda i: self._rows[i].last_used, default=None)


def common_prefix(a: list[int], b: list[int]) -> int:
    """Return how many first tokens two lists share."""
    length = min(len(a), len(b))
    if a[:length] == b[:length]:
        return length
    return next(i for i in range(length) if a[i] != b[i])
