"""Which sequence, or which ended sequence's tokens, each row of the ring's KV cache holds.

Accounts for the cache's byte budget in tokens. It records the row operations that the next step
has to carry, and knows nothing of lanes, steps or time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from bramble.head.flips import Flips, num_alike, spliced
from bramble.head.sequence import Sequence

QUANTUM = 64  # tokens by which a reservation grows; one page of 4 KiB holds 16 of 64 × float32
MIN_PREFIX = 16  # tokens; below this a swap or copy costs more than it saves


@dataclass(slots=True)
class Row:
    owner: Sequence | None = None
    kept: list[int] = field(default_factory=list)  # tokens of an ended sequence, still cached
    kept_flips: Flips = ()  # how those were computed
    reserved: int = 0  # tokens
    last_used: int = 0

    def num_cached(self) -> int:
        """Tokens whose keys and values the row holds, or will when what is under way is done."""
        return len(self.kept) if self.owner is None else self.owner.num_sent

    @property
    def flips(self) -> Flips:
        return self.kept_flips if self.owner is None else self.owner.flips

    def cached(self) -> list[int]:
        """Return those tokens; guesses under way are not among them."""
        return self.kept if self.owner is None else self.owner.tokens[: self.owner.num_sent]


@dataclass(frozen=True, slots=True)
class Prefix:
    """A kept row, how many of its first tokens a sequence shares, and how many it can use."""

    row: int | None
    usable: int
    common: int


@dataclass(frozen=True, slots=True)
class Operations:
    """What stages do to their rows before a step: swaps, then copies, then trims."""

    swaps: tuple[tuple[int, int, int], ...]
    copies: tuple[tuple[int, int, int, int], ...]
    trims: tuple[tuple[int, int], ...]


class Rows:
    def __init__(self, num_rows: int, budget_tokens: int) -> None:
        self.budget_tokens = budget_tokens
        self._rows = [Row() for _ in range(num_rows)]
        self._clock = 0
        self._swaps: list[tuple[int, int, int]] = []
        self._copies: list[tuple[int, int, int, int]] = []  # stages apply them behind all swaps
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

    def longest_prefix(self, sequence: Sequence) -> Prefix:
        """Return the kept row of which a sequence can use most first tokens."""
        best = Prefix(None, 0, 0)
        for index, row in enumerate(self._rows):
            if row.owner is None and len(row.kept) >= max(MIN_PREFIX, best.usable + 1):
                common = common_prefix(row.kept, sequence.tokens)
                usable = _usable(row, sequence, common)
                if usable >= max(MIN_PREFIX, best.usable + 1):
                    best = Prefix(index, usable, common)
        return best

    def is_outgrown(self, prefix: Prefix) -> bool:
        """True if a kept row is hardly more than what it shares with a sequence: who continues it
        may have it, and nobody misses the rest."""
        assert prefix.row is not None
        return len(self._rows[prefix.row].kept) - prefix.common < MIN_PREFIX

    def inherit(self, index: int, inheritable: Callable[[int], int]) -> int:
        """Copy into an owner's row what another row holds of the tokens that it still has to send.

        Return how many; `inheritable` says how many it may have of its first tokens. The other row
        may be in use or kept, and stays as it is.
        """
        owner = self._rows[index].owner
        assert owner is not None
        start, tokens = owner.num_sent, owner.tokens
        best, stop = -1, start + MIN_PREFIX - 1
        for other, row in enumerate(self._rows):
            if other != index and row.num_cached() > stop:
                common = common_prefix(row.cached(), tokens)
                # What is copied follows tokens of its own row, which must be computed as these are
                is_alike = num_alike(row.flips, owner.flips, start) == start
                usable = inheritable(_usable(row, owner, common)) if is_alike else 0
                if usable > stop:
                    best, stop = other, usable
        if best < 0:
            return 0
        self._copies.append((best, index, start, stop))
        if index in self._trims:
            self._trims[index] = max(self._trims[index], stop)
        self._touch(best)
        owner.num_sent = stop
        owner.flips = spliced(self._rows[best].flips, owner.flips, stop)
        return stop - start

    def last_used(self, index: int) -> int:
        """Return when a row was last of use; 0 if it holds nothing."""
        return self._rows[index].last_used

    def reserve(self, index: int, num_tokens: int, besides: int | None = None) -> bool:
        """Make room for `num_tokens` in a row, giving up kept rows as needed, oldest first.

        The row `besides` is not given up; none is where all of them would not suffice.
        """
        row = self._rows[index]
        wanted = self._rounded(num_tokens)
        if wanted <= row.reserved:
            return True
        missing = self.reserved_tokens - row.reserved + wanted - self.budget_tokens
        kept = self._kept(index, besides)
        if sum(self._rows[i].reserved for i in kept) < missing:
            return False
        for victim in kept:
            if missing <= 0:
                break
            missing -= self._rows[victim].reserved
            self.forget(victim)
        row.reserved = wanted
        return True

    def take(self, index: int, owner: Sequence, num_kept: int) -> None:
        """Give a row to a sequence that inherits its first `num_kept` tokens; the rest goes."""
        row = self._rows[index]
        owner.flips = spliced(row.flips, owner.flips, num_kept)
        row.owner, row.kept, row.kept_flips = owner, [], ()
        wanted = self._rounded(len(owner.tokens) + 1)
        if row.reserved > wanted:
            row.reserved = wanted
            self._trims[index] = num_kept
        owner.row, owner.num_sent = index, num_kept

    def release(self, index: int) -> None:
        """Take a row from its owner; its tokens stay cached until the room is needed."""
        row = self._rows[index]
        assert row.owner is not None
        row.kept, row.kept_flips = row.cached(), row.owner.flips
        row.owner.row, row.owner = -1, None
        self._touch(index)

    def forget(self, index: int) -> None:
        """Give a row's memory back."""
        row = self._rows[index]
        assert row.owner is None
        row.kept, row.kept_flips, row.reserved, row.last_used = [], (), 0, 0
        self._trims[index] = 0

    def swap(self, a: int, b: int) -> None:
        """Exchange two rows with all that they hold."""
        if a == b:
            return
        cached = self._rows[a].num_cached(), self._rows[b].num_cached()
        tokens = max(*cached, *self._wanted_by_copies(a, b))
        self._rows[a], self._rows[b] = self._rows[b], self._rows[a]
        for index in (a, b):
            owner = self._rows[index].owner
            if owner is not None:
                owner.row = index
        place = {a: b, b: a}
        self._trims = {place.get(i, i): keep for i, keep in self._trims.items()}
        self._copies = [
            (place.get(i, i), place.get(j, j), start, stop) for i, j, start, stop in self._copies
        ]
        self._swaps.append((a, b, tokens))  # if 0, both give their memory back

    def drain(self) -> Operations:
        """Return the row operations since the last call, for the step that is sent next."""
        operations = Operations(tuple(self._swaps), tuple(self._copies), tuple(self._trims.items()))
        self._swaps, self._copies, self._trims = [], [], {}
        return operations

    def _wanted_by_copies(self, *rows: int) -> Iterator[int]:
        """Yield how many tokens the copies still to be made need of these rows, given up or not."""
        for source, target, start, stop in self._copies:
            if source in rows:
                yield stop
            if target in rows:
                yield start

    def _touch(self, index: int) -> None:
        self._clock += 1
        self._rows[index].last_used = self._clock

    def _rounded(self, num_tokens: int) -> int:
        return min(-(-num_tokens // QUANTUM) * QUANTUM, self.budget_tokens)

    def _kept(self, *besides: int | None) -> list[int]:
        """Return the rows that can be given up, the one of no use for longest first."""
        kept = [
            i
            for i, row in enumerate(self._rows)
            if row.owner is None and row.reserved and i not in besides
        ]
        return sorted(kept, key=lambda i: self._rows[i].last_used)


def _usable(row: Row, sequence: Sequence, common: int) -> int:
    """Return how many tokens in common a sequence can use: all, unless its reply has to come again
    to the bit; then those that are computed as it would compute them."""
    return num_alike(row.flips, sequence.flips, common) if sequence.is_exact else common


def common_prefix(a: list[int], b: list[int]) -> int:
    """Return how many first tokens two lists share."""
    low, high = 0, min(len(a), len(b))
    while low < high:  # the first `low` are shared; slices compare in C
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
