"""Decides what goes round the ring next: pure, without clock, sockets or tensors.

Continuous batching in lanes, one per stage, so that all stages work at once; prompts enter in
chunks that follow one another. Preempting a sequence (drop its row, prefill its tokens again) is
the only recovery path, for a full cache as for a restarted ring. What may have ended a stage goes
round alone (head/suspicion.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from bramble.errors import PoisonRequest, Unavailable
from bramble.head.flips import is_reply, next_flip, whole_chunks, without_lone
from bramble.head.guesser import Costs
from bramble.head.lanes import Lane, Lanes
from bramble.head.pace import Pace
from bramble.head.rows import Prefix, Rows
from bramble.head.sequence import Sequence, State
from bramble.head.step_plan import Emission, StepPlan
from bramble.head.suspicion import is_guilty, suspects, verdict
from bramble.wire.messages import STUCK, Finish, StepKind

NO_TOKEN = (
    "no token may follow here: the reply's schema or grammar has come to a dead end, or takes too "
    "much work to follow; other requests go on; simplify it"
)
NO_READER = (
    "the last stage cannot read the model's tokenizer, and so no schema or grammar; other requests "
    "go on; see that node's log, and let it fetch the model's files (bramble fetch)"
)
OTHER_RELEASE = (
    "a stage runs another release, which may know no schemas and grammars; upgrade all nodes to one"
)


@dataclass(frozen=True, slots=True)
class Limits:
    num_stages: int
    num_rows: int
    budget_tokens: int  # of KV cache, over all rows
    prefill_tokens: int  # of one chunk
    can_copy: bool = True  # False while a stage runs a release that knows no copies of rows
    can_replay: bool = True  # the same of steps that replay a reply
    can_constrain: bool = True  # the same of grammars
    is_guessing: bool = False  # a row alone in its lane may carry guesses (head/guesser.py)

    @property
    def rows_per_lane(self) -> int:
        return max(1, self.num_rows // self.num_stages)

    @property
    def max_chunks(self) -> int:
        """Chunks under way at once: one per stage, and one that waits at the first."""
        return self.num_stages + 1

    @property
    def max_paced_chunks(self) -> int:
        """The same while streams run: their steps are what waits at the first stage then."""
        return self.num_stages


@dataclass(slots=True)
class Counters:
    preemptions: int = 0
    prefix_tokens: int = 0  # prompt tokens that needed no prefill
    guessed_tokens: int = 0
    true_tokens: int = 0  # guesses that came true


@dataclass(slots=True)
class Scheduler:
    limits: Limits
    counters: Counters = field(default_factory=Counters)
    pace: Pace = field(default_factory=Pace)
    costs: Costs = field(default_factory=Costs)
    waiting: deque[Sequence] = field(default_factory=deque)
    arrivals: Iterator[int] = field(default_factory=lambda: count(1))  # of all schedulers together
    _prefilling: deque[Sequence] = field(default_factory=deque)
    _rows: Rows = field(init=False)
    _lanes: Lanes = field(init=False)
    _under_way: dict[int, StepPlan] = field(default_factory=dict)
    _closes: list[int] = field(default_factory=list)
    _num_chunks: int = 0
    _num_entered: int = 0  # tokens of prompts, since none last entered
    _has_suspects: bool = False
    _tried: Sequence | None = None  # a suspect that is alone, or for which the ring empties
    _last_id: int = 0
    _last_step: int = 0

    def __post_init__(self) -> None:
        self._clear()

    # --------------------------------------------------------------------------------- requests

    def add(self, sequence: Sequence) -> None:
        """Queue a new sequence, or one that comes back from a lost head with its old place."""
        newest = next(self.arrivals)
        sequence.arrival = min(sequence.arrival or newest, newest)
        self._queue(sequence)

    def finish(self, sequence: Sequence, finish: Finish) -> None:
        """End a sequence now, wherever it is; what is under way for it will find nobody."""
        if sequence.state is State.FINISHED:
            return
        if sequence.state is State.WAITING:
            self.waiting.remove(sequence)
        else:
            self._retire(sequence)
        sequence.state, sequence.finish = State.FINISHED, finish

    def stop(self, sequence: Sequence, num_tokens: int) -> None:
        """End a sequence whose text met a stop: tokens behind that one are not of the reply."""
        self.finish(sequence, Finish.STOP)
        del sequence.tokens[num_tokens:]

    def withdraw(self, sequence: Sequence) -> None:
        """Give up a sequence that waits, for another scheduler to adopt."""
        self.waiting.remove(sequence)
        if sequence is self._tried:
            self._tried = None

    def adopt(self, sequence: Sequence) -> None:
        """Queue a sequence of another scheduler before all that arrived after it."""
        self._queue(sequence)

    def prefix_length(self, sequence: Sequence) -> int:
        """Return how many of a sequence's first tokens are still cached."""
        return self._rows.longest_prefix(sequence).usable

    @property
    def num_rows(self) -> int:
        return len(self._rows)

    @property
    def running(self) -> list[Sequence]:
        return [owner for i in range(len(self._rows)) if (owner := self._rows.owner(i)) is not None]

    @property
    def is_working(self) -> bool:
        """True while a step is under way."""
        return bool(self._under_way)

    def under_way(self, number: int) -> StepPlan | None:
        """Return the plan of a step that has not been answered yet."""
        return self._under_way.get(number)

    @property
    def reserved_tokens(self) -> int:
        return self._rows.reserved_tokens

    # ------------------------------------------------------------------------------------ steps

    def schedule(self) -> Iterator[StepPlan]:
        """Yield every step that can be sent now, in the order in which to send them."""
        self._admit()
        self._lanes.spread()
        for lane in self._lanes:
            if not self._is_trying() and not lane.is_under_way and self._activate(lane):
                yield self._decode(lane, self._lanes.active(lane))
        while not self._is_trying() and self._prefilling and self._num_chunks < self._max_chunks():
            yield self._prefill(self._prefilling.popleft())
        if self._tried is not None:
            yield from self._try(self._tried)

    def complete(self, number: int, token_ids: list[int]) -> list[Emission]:
        """Take in a step's answer; an unknown number (of before a reset) yields nothing."""
        plan = self._under_way.pop(number, None)
        if plan is None:
            return []
        if plan.kind.is_chunk:
            self._num_chunks -= 1
        else:
            self._lanes[plan.lane].is_under_way = False
        emissions: list[Emission] = []
        for index, sequence in enumerate(plan.sequences):
            if sequence.id != plan.ids[index] or sequence.state is State.FINISHED:
                continue
            sequence.num_prefilled = plan.positions[index] + len(plan.token_ids[index])
            if plan.kind is StepKind.VERIFY:
                emissions += self._append_run(sequence, plan, token_ids)
            elif plan.is_sampled:
                emissions += self._append(sequence, token_ids[index], index)
            self._clear_name(sequence)
        return emissions

    def reset(
        self,
        limits: Limits | None = None,
        reason: str = "a stage ended",
        fatal: Collection[int] | None = None,
    ) -> None:
        """Preempt everything: the ring's caches are gone, or the ring is another one.

        reason  what ended the ring, for whoever asked for what did it
        fatal   the numbers of the steps that may have done it; None = any that was under way
        """
        plans = [p for p in self._under_way.values() if fatal is None or p.number in fatal]
        for sequence, found in suspects(plans).items():
            is_alone = all(plan.sequences == (sequence,) for plan in plans)
            if is_guilty(sequence, found, is_alone):
                sequence.problem = PoisonRequest(verdict(sequence, reason))
                self.finish(sequence, Finish.CANCELLED)
        for sequence in sorted(self.running, key=lambda s: s.arrival, reverse=True):
            self._requeue(sequence)
        self.limits, self.pace = limits or self.limits, Pace()
        self._clear()

    # ---------------------------------------------------------------------------------- suspects

    def _is_trying(self) -> bool:
        """True if a suspect's time to be alone has come: nothing else is sent until it is over."""
        if self._tried is not None and self._tried.state in (State.FINISHED, State.WAITING):
            self._tried = None
        if self._tried is None and self._has_suspects:
            self._tried = next(filter(_is_due, self.running), None)
            self._has_suspects = any(s.suspicion for s in (*self.running, *self.waiting))
        return self._tried is not None

    def _try(self, sequence: Sequence) -> Iterator[StepPlan]:
        """Yield the suspect's steps once nothing else is under way."""
        if any(plan.sequences != (sequence,) for plan in self._under_way.values()):
            return
        while sequence.state is State.PREFILLING and self._num_chunks < self._max_chunks():
            suspicion = sequence.suspicion
            if suspicion is None or sequence.num_sent >= suspicion.until:
                return
            if suspicion.is_decode and sequence.num_sent == len(sequence.tokens) - 1:
                if self._num_chunks == 0:  # its prompt is there; a decode step opens it this time
                    self._prefilling.remove(sequence)
                    yield self._decode(self._lanes.of(sequence.row), (sequence,), (sequence,))
                return
            self._prefilling.remove(sequence)
            yield self._prefill(sequence)
        if sequence.state is State.READY:
            self._grow(sequence)
        if sequence.state is State.READY:  # not preempted, where the cache has no room
            yield self._decode(self._lanes.of(sequence.row), (sequence,))

    def _clear_name(self, sequence: Sequence) -> None:
        """A suspect whose fatal positions came back was not the reason."""
        suspicion = sequence.suspicion
        if suspicion is not None and sequence.num_prefilled >= suspicion.until:
            sequence.suspicion = None
            if sequence is self._tried:
                self._tried = None

    # ------------------------------------------------------------------------------------ admit

    def _admit(self) -> None:
        while self.waiting:
            sequence = self.waiting[0]
            if sequence.grammar and not self.limits.can_constrain:
                self._break_off(sequence, Unavailable(OTHER_RELEASE))
                continue
            prefix = self._rows.longest_prefix(sequence)
            goes_on = prefix.row is not None and self._goes_on(prefix)
            lane = self._lanes.best(prefix.row if goes_on else None)
            row = None if lane is None else self._choose_row(sequence, lane, prefix.row, goes_on)
            if lane is None or row is None:
                return
            self._seat(sequence, lane, row, prefix.usable if row == prefix.row else 0)
            self.waiting.popleft()
            sequence.state = State.PREFILLING
            self._prefilling.append(sequence)

    def _goes_on(self, prefix: Prefix) -> bool:
        """True if a sequence should have the row whose first tokens it shares.

        Where only a beginning is shared, such as a system prompt, the row stays as it is and the
        beginning is copied.
        """
        return not self.limits.can_copy or self._rows.is_outgrown(prefix)

    def _choose_row(
        self, sequence: Sequence, lane: Lane, kept_row: int | None, goes_on: bool
    ) -> int | None:
        """Reserve a row: the lane's whose loss hurts least, or the kept one if the sequence goes on
        there or there is no room for both; None if there is no room at all."""
        room = len(sequence.tokens) + 1
        free = self._lanes.free_row(lane)
        assert free is not None
        if not goes_on and self._rows.reserve(free, room, besides=kept_row):
            return free
        return kept_row if kept_row is not None and self._rows.reserve(kept_row, room) else None

    def _seat(self, sequence: Sequence, lane: Lane, row: int, kept: int) -> None:
        """Give the sequence a row with its first `kept` tokens, moved into the lane if need be."""
        kept = _inheritable(sequence, kept)
        self._rows.take(self._lanes.bring(row, lane), sequence, kept)
        self._count_cached(sequence, kept)
        self._inherit(sequence)
        sequence.num_prefilled = sequence.num_sent

    def _inherit(self, sequence: Sequence) -> None:
        """Copy what others have computed meanwhile of the sequence's prompt."""
        if self.limits.can_copy:
            most = partial(_inheritable, sequence)
            self._count_cached(sequence, self._rows.inherit(sequence.row, most))

    def _count_cached(self, sequence: Sequence, num_tokens: int) -> None:
        self.counters.prefix_tokens += num_tokens
        if not sequence.preemptions:
            sequence.num_cached += num_tokens

    # ----------------------------------------------------------------------------------- decode

    def _activate(self, lane: Lane) -> bool:
        """Gather the lane's ready sequences, with room for one more token of each."""
        self._lanes.gather(lane)
        for sequence in self._lanes.active(lane):
            if sequence.state is State.READY:  # not preempted for the one before
                self._grow(sequence)
        return lane.num_active > 0

    def _grow(self, sequence: Sequence) -> None:
        """Reserve room for the newest token, if need be at the cost of the latest arrival."""
        while not self._rows.reserve(sequence.row, len(sequence.tokens)):
            victim = max(self.running, key=lambda s: s.arrival)
            self._preempt(victim)
            if victim is sequence:
                return

    def _decode(
        self, lane: Lane, sequences: tuple[Sequence, ...], opens: tuple[Sequence, ...] = ()
    ) -> StepPlan:
        lane.is_under_way = True
        positions = tuple(len(s.tokens) - 1 for s in sequences)
        for sequence in sequences:
            sequence.num_sent = len(sequence.tokens)
            sequence.state = State.SAMPLING
        tokens: tuple[tuple[int, ...], ...] = tuple((s.tokens[-1],) for s in sequences)
        kind = StepKind.DECODE
        if guesses := self._guess(sequences):
            kind, tokens = StepKind.VERIFY, ((*tokens[0], *guesses),)
        first_row = sequences[0].row
        return self._plan(lane.number, kind, True, first_row, sequences, positions, tokens, opens)

    def _guess(self, sequences: tuple[Sequence, ...]) -> tuple[int, ...]:
        """Return guesses that a step may carry: of a row that is alone, as the stages' attention
        takes several new tokens of one row only."""
        sequence = sequences[0]
        if not (self.limits.is_guessing and sequence.may_guess and len(sequences) == 1):
            return ()
        if sequence.suspicion is not None:  # it is to be computed as it was
            return ()
        room = sequence.max_tokens - len(sequence.tokens) - 1  # one more is sampled behind them
        guesses = sequence.guesser.guess(sequence.tokens, room, self.costs)
        if not guesses or not self._rows.reserve(sequence.row, len(sequence.tokens) + len(guesses)):
            return ()
        sequence.num_sent += len(guesses)
        return guesses

    # ---------------------------------------------------------------------------------- prefill

    def _is_paced(self) -> bool:
        """True if a stream runs that chunks could hold up."""
        return self._num_streams() > 0

    def _num_streams(self) -> int:
        return sum(s.state in (State.SAMPLING, State.READY) for s in self.running)

    def _max_chunks(self) -> int:
        return self.limits.max_paced_chunks if self._is_paced() else self.limits.max_chunks

    def _chunk_tokens(self, sequence: Sequence) -> int:
        longest, num_stages = self.limits.prefill_tokens, self.limits.num_stages
        if self._is_paced():
            share = (1 + len(self._prefilling)) / self._num_streams()
            return self.pace.chunk_tokens(num_stages, longest, share)
        num_tokens = sum(len(s.tokens) - s.num_sent for s in (sequence, *self._prefilling))
        return self.pace.lone_chunk_tokens(num_stages, num_tokens, longest, self._num_entered)

    def _prefill(self, sequence: Sequence) -> StepPlan:
        """Plan one chunk of a sequence; long prompts take turns."""
        self._inherit(sequence)
        start, stop = sequence.num_sent, self._chunk_stop(sequence)
        is_last = stop == len(sequence.tokens)
        opens = (sequence,) if is_last else ()
        sequence.num_sent = stop
        if is_last:
            sequence.state = State.SAMPLING
        else:
            self._prefilling.append(sequence)
        self._num_chunks += 1
        self._num_entered = self._num_entered + stop - start if self._prefilling else 0
        lane = self._lanes.of(sequence.row).number
        tokens = (tuple(sequence.tokens[start:stop]),)
        kind = StepKind.REPLAY if self._is_replayed(sequence, start) else StepKind.PREFILL
        return self._plan(lane, kind, is_last, sequence.row, (sequence,), (start,), tokens, opens)

    def _is_replayed(self, sequence: Sequence, position: int) -> bool:
        return self.limits.can_replay and is_reply(sequence.flips, position)

    def _chunk_stop(self, sequence: Sequence) -> int:
        """Return where the next chunk ends: it is all of a prompt or all of a reply, and none of a
        prompt has a single token.

        onnxruntime rounds attention of one new token differently from that of several; rows of two
        or more are bitwise the same however a prompt is cut (measured, service/DESIGN.md).
        """
        start, end = sequence.num_sent, _end_in_company(sequence)
        if self.limits.can_replay:
            end = next_flip(sequence.flips, start, end)
        stop = min(start + self._chunk_tokens(sequence), end)
        if self._is_replayed(sequence, start):
            return stop
        stop = min(max(stop, start + 2), end)
        if end - stop == 1:
            return stop - 1 if stop - start > 2 else end
        return stop

    def _plan(
        self,
        lane: int,
        kind: StepKind,
        is_sampled: bool,
        first_row: int,
        sequences: tuple[Sequence, ...],
        positions: tuple[int, ...],
        token_ids: tuple[tuple[int, ...], ...],
        opens: tuple[Sequence, ...] = (),
    ) -> StepPlan:
        self._last_step += 1
        operations = self._rows.drain()
        closes, self._closes = tuple(self._closes), []
        plan = StepPlan(
            self._last_step,
            lane,
            kind,
            is_sampled,
            first_row,
            sequences,
            tuple(s.id for s in sequences),
            positions,
            token_ids,
            operations.swaps,
            operations.copies,
            operations.trims,
            opens,
            closes,
        )
        self._under_way[plan.number] = plan
        return plan

    # ------------------------------------------------------------------------------------ ending

    def _append_run(
        self, sequence: Sequence, plan: StepPlan, token_ids: list[int]
    ) -> Iterator[Emission]:
        """Append the guesses that came true and the token behind them, up to the reply's end."""
        num_guessed, num_true = len(plan.token_ids[0]) - 1, len(token_ids) - 1
        self.counters.guessed_tokens += num_guessed
        self.counters.true_tokens += num_true
        sequence.guesser.learn(num_guessed, num_true, self.costs)
        # Guesses that came true are in the cache; what is behind them there counts no more
        sequence.num_sent = sequence.num_prefilled = plan.positions[0] + 1 + num_true
        for index, token_id in enumerate(token_ids):
            yield from self._append(sequence, token_id, index)
            if sequence.state is State.FINISHED:
                return

    def _append(self, sequence: Sequence, token_id: int, index: int) -> Iterator[Emission]:
        if token_id < 0:
            is_stuck = token_id == STUCK
            self._break_off(
                sequence, PoisonRequest(NO_TOKEN) if is_stuck else Unavailable(NO_READER)
            )
            return
        sequence.tokens.append(token_id)
        sequence.state = State.READY
        if token_id in sequence.eos_ids:
            self.finish(sequence, Finish.STOP)
        elif len(sequence.tokens) >= sequence.max_tokens:
            self.finish(sequence, Finish.LENGTH)
        yield Emission(sequence, token_id, index, len(sequence.tokens))

    def _break_off(self, sequence: Sequence, problem: PoisonRequest | Unavailable) -> None:
        """End a sequence that cannot go on; whoever asked is told why."""
        sequence.problem = problem
        self.finish(sequence, Finish.CANCELLED)

    def _retire(self, sequence: Sequence) -> int:
        """Take a sequence out of its lane; return its row, which keeps what is cached."""
        if sequence in self._prefilling:
            self._prefilling.remove(sequence)
        row = self._lanes.leave(sequence.row)
        self._rows.release(row)
        self._closes.append(sequence.id)
        return row

    def _preempt(self, sequence: Sequence) -> None:
        self._rows.forget(self._retire(sequence))
        self._requeue(sequence)

    def _requeue(self, sequence: Sequence) -> None:
        """Put a sequence back before all that arrived after it."""
        sequence.state, sequence.row = State.WAITING, -1
        sequence.num_sent = sequence.num_prefilled = 0
        if not sequence.is_exact:  # read as one prompt it is back sooner
            is_decoded = sequence.suspicion is not None and sequence.suspicion.is_decode
            sequence.flips = without_lone((len(sequence.tokens) - is_decoded,))
        sequence.preemptions += 1
        self.counters.preemptions += 1
        self._queue(sequence)

    def _queue(self, sequence: Sequence) -> None:
        self._renew(sequence)
        self._has_suspects |= sequence.suspicion is not None
        place = sum(other.arrival < sequence.arrival for other in self.waiting)
        self.waiting.insert(place, sequence)

    def _renew(self, sequence: Sequence) -> None:
        """Give a sequence an id that no other has here, nor it itself had elsewhere: a step of
        another ring that it has left may still be under way."""
        self._last_id = max(self._last_id, sequence.id) + 1
        sequence.id = self._last_id

    def _clear(self) -> None:
        width = self.limits.rows_per_lane
        self._rows = Rows(width * self.limits.num_stages, self.limits.budget_tokens)
        self._lanes = Lanes(self.limits.num_stages, width, self._rows)
        self._prefilling.clear()
        self._under_way.clear()
        self._closes = []
        self._tried = None
        self._num_chunks = self._num_entered = 0


def _inheritable(sequence: Sequence, num_known: int) -> int:
    """Return how many of a sequence's first tokens need not be computed, of those that are known.

    The last one is always computed anew, as its logits are what is asked for; and so is what a
    suspect is suspected for, as nothing else clears it.
    """
    end = len(sequence.tokens) if sequence.suspicion is None else _start_alone(sequence)
    return whole_chunks(sequence.flips, num_known, end)


def _end_in_company(sequence: Sequence) -> int:
    """Return up to where the tokens that are still to be sent may go beside other sequences'."""
    start = _start_alone(sequence)
    return len(sequence.tokens) if sequence.num_sent >= start else start


def _start_alone(sequence: Sequence) -> int:
    """Return from where on a suspect's tokens go alone; 0 if it is none.

    That is where it was fatal, or a token before, if that is a prompt's first one: it goes with
    more, as it would be rounded differently by itself.
    """
    if sequence.suspicion is None:
        return 0
    start, flips = sequence.suspicion.start, sequence.flips
    is_lone = start - 1 in (0, *flips) and not is_reply(flips, start - 1)
    return start - 1 if is_lone else start


def _is_due(sequence: Sequence) -> bool:
    """True if all of a suspect is sent that may go in company."""
    is_ready = sequence.state in (State.PREFILLING, State.READY)
    is_suspect = sequence.suspicion is not None
    return is_ready and is_suspect and sequence.num_sent >= _start_alone(sequence)
