"""Decides whether guessing a sequence's next tokens pays, and how far: measured, not hoped.

Pure and clock-free. Costs are in steps of one row with one token: a step with two may cost 1.4.
Every sequence has an account of them. A guess is made only if the account can bear its failure,
so that no text is ever slowed by more than start, overdraft and interest.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from bramble.head.draft import Draft, Index

COUNTS = (1, 2, 3, 5, 7, 15)  # guesses of one step; every width is bound and measured by itself
START = 1.0  # a new sequence's account
OVERDRAFT = 1.0  # what a failure may leave it in debt, if it was unlikely
INTEREST = 0.01  # for every token that was not guessed
MOST = 8.0  # what profits are saved up to: a full guess may fail, a second one in a row may not
PAYS = 1.02  # expected tokens per cost, from which on a guess is no probe
FIRST_PAUSE, LAST_PAUSE = 4, 256  # tokens between probes; doubled by every one that fails

# By how many tokens were found to repeat (draft.NGRAM or more): the share of guesses that come
# true before any was tried, which counts as TRUST tries. Older tries fade.
MATCHES = (3, 5, 9, 17)
PRIORS = (0.25, 0.4, 0.6, 0.75, 0.85)
TRUST = 2.0
FADING = 0.9

WINDOW = 9  # steps of a width, of which the fastest counts: slower ones waited for something else
SURE = 2  # steps of a width before it counts as measured: the first one has buffers to bind
FORGET = 64  # steps of one token after which widths lose their oldest: dear ones are tried anew
SLOPE = 0.5  # of cost over tokens while nothing is measured; int4 on x86 0.4 (service/DESIGN.md)


class Costs:
    """What a step of one row takes by its number of tokens, as the stages report it."""

    def __init__(self) -> None:
        self._recent: dict[int, deque[float]] = {}
        self._num_single = 0

    def count(self, num_tokens: int, compute_us: float) -> None:
        self._recent.setdefault(num_tokens, deque(maxlen=WINDOW)).append(compute_us)
        self._num_single += num_tokens == 1
        if num_tokens == 1 and self._num_single % FORGET == 0:
            self._forget()

    def ratio(self, num_tokens: int) -> float:
        """Return the cost of a step of `num_tokens` against a step of one, 1 … num_tokens.

        Where a width was not measured the line through one token and the next narrower one goes on.
        """
        known = self._known()
        below = max(t for t in known if t <= num_tokens)
        slope = SLOPE if below == 1 else (known[below] - 1) / (below - 1)
        estimate = known[below] + slope * (num_tokens - below)
        return min(max(estimate, 1.0), float(num_tokens))

    def _forget(self) -> None:
        """Lose the oldest step of each width; of one that is cheap enough SURE ones stay."""
        known = self._known()
        for width, recent in self._recent.items():
            is_dear = known.get(width, 0.0) > 1 + SLOPE * (width - 1)
            if width > 1 and len(recent) > (0 if is_dear else SURE):
                recent.popleft()

    def _known(self) -> dict[int, float]:
        fastest = {t: min(recent) for t, recent in self._recent.items() if len(recent) >= SURE}
        one = fastest.get(1)
        if not one:
            return {1: 1.0}
        return {t: cost / one for t, cost in fastest.items()}


@dataclass(slots=True)
class Guesser:
    """One sequence's guesses: those of its index, as far as they pay."""

    account: float = START
    _index: Index = field(default_factory=Index)
    _tried: list[float] = field(default_factory=lambda: [0.0] * len(PRIORS))
    _true: list[float] = field(default_factory=lambda: [0.0] * len(PRIORS))
    _class: int = 0  # of the guess under way
    _pause: int = FIRST_PAUSE
    _wait: int = 0

    def guess(self, tokens: list[int], room: int, costs: Costs) -> tuple[int, ...]:
        """Return guesses of what follows `tokens`, `room` at most; none where that pays better."""
        draft = self._index.draft(tokens, min(room, COUNTS[-1]))
        count = 0 if draft is None else self._best_count(draft, costs)
        if draft is None or count == 0:
            self.account = min(self.account + INTEREST, MOST)
            self._wait = max(0, self._wait - 1)
            return ()
        self._class = _class_of(draft.match)
        return draft.token_ids[:count]

    def learn(self, num_guessed: int, num_true: int, costs: Costs) -> None:
        """Take in how many of the guesses of the last step came true, from the first on."""
        gain = num_true + 1 - costs.ratio(num_guessed + 1)
        self.account = min(self.account + gain, MOST)
        tries = min(num_true + 1, num_guessed)  # what lies behind a wrong guess was not tried
        self._tried[self._class] = self._tried[self._class] * FADING + tries
        self._true[self._class] = self._true[self._class] * FADING + num_true
        self._pause = FIRST_PAUSE if num_true else min(2 * self._pause, LAST_PAUSE)
        self._wait = 0 if num_true else self._pause

    def _best_count(self, draft: Draft, costs: Costs) -> int:
        """Return how many guesses give most tokens for their cost; 0 or a probe if none pays."""
        share = self._share(_class_of(draft.match))
        best, most = 0, PAYS
        for count in COUNTS:
            cost = costs.ratio(count + 1)
            if count > len(draft.token_ids) or not self._can_bear(cost - 1, share):
                break
            value = sum(share**i for i in range(count + 1)) / cost
            if value > most:
                best, most = count, value
        is_probe = best == 0 and self._wait == 0 and self._can_bear(costs.ratio(2) - 1, share)
        return 1 if is_probe else best

    def _can_bear(self, loss: float, share: float) -> bool:
        """True if the account has the loss as far as it is to be expected, and nearly all of it."""
        return (1 - share) * loss <= self.account and loss <= self.account + OVERDRAFT

    def _share(self, index: int) -> float:
        return (self._true[index] + TRUST * PRIORS[index]) / (self._tried[index] + TRUST)


def _class_of(match: int) -> int:
    return sum(match >= bound for bound in MATCHES)
