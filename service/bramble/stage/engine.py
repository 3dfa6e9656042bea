"""A loaded shard: runs steps through embedding, decoder layers, lm_head and sampler.

It knows tensors, rows and parts; of sockets, neighbours and the order of steps it knows nothing.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bramble.errors import BadInput, Broken, CacheFull
from bramble.model.digest import digest
from bramble.model.manifest import CACHE_BYTES, MAX_LENGTH, Manifest
from bramble.model.share import Share
from bramble.model.slices import check as check_slices
from bramble.stage import cpu, memory, proof, session, tune
from bramble.stage.arena import Arena, ArenaShape
from bramble.stage.exchange.protocol import Exchange
from bramble.stage.foresight import Account, Foreseen
from bramble.stage.gather import Gatherer
from bramble.stage.member import Group
from bramble.stage.proof import Proofs
from bramble.stage.sampler import Choice, Sampler
from bramble.stage.shard import Shard
from bramble.wire.frames import MAX_ROWS
from bramble.wire.messages import Assign, Step, StepKind

if TYPE_CHECKING:
    from bramble.model.grammar import Grammars

MAX_VERIFIED = 64  # tokens of a VERIFY: the logits of each are held at once
NOTHING = Choice(
    np.zeros(0, np.int32),
    np.zeros(0, np.float32),
    np.zeros((0, 0), np.int32),
    np.zeros((0, 0), np.float32),
)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step produced; the sampled arrays are empty where nothing was sampled.

    hidden        float32 (n * t, hidden_size), reused by the next run; None from the last stage
    token_ids     int32 (m,)       logprobs      float32 (m,)       m = n, or of a VERIFY 1 to t
    top_ids       int32 (m, k)     top_logprobs  float32 (m, k)
    digest        float32 (8,) of the last token's hidden state, if the step is a check
    compute_us    µs in onnxruntime and the sampler
    foreseen_us   how much of it had been spent before the step was asked for
    """

    hidden: NDArray[np.float32] | None
    token_ids: NDArray[np.int32] = field(default_factory=lambda: NOTHING.token_ids)
    logprobs: NDArray[np.float32] = field(default_factory=lambda: NOTHING.logprobs)
    top_ids: NDArray[np.int32] = field(default_factory=lambda: NOTHING.top_ids)
    top_logprobs: NDArray[np.float32] = field(default_factory=lambda: NOTHING.top_logprobs)
    digest: NDArray[np.float32] | None = None
    compute_us: float = 0.0
    foreseen_us: float = 0.0


class Engine:
    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        assign: Assign,
        threads: int,
        packed: Path | None = None,
        alive: Callable[[], None] = lambda: None,
        proofs: Proofs | None = None,
        exchange: Exchange | None = None,
    ) -> None:
        """Check and load the assigned parts.

        threads    of the process's pool, 0 = as measured; the first engine of a process decides
        packed     where packed weights and what was measured are kept; None = nothing is, and
                   0 threads are one per core
        alive      called between files, so that a watchdog knows a long load from a hung one
        proofs     what is known of the files; None = what `packed` has
        exchange   with the other members of the stage's group; None if the share is whole

        Raises BadShard for a damaged file, BadInput for an assignment or a CPU that does not fit,
        Broken if the system refuses the KV cache. Nothing stays behind then.
        """
        if platform.machine() == "aarch64":
            cpu.check(platform.machine(), cpu.CPUINFO.read_text(encoding="utf-8"))
        assign = replace(assign, share=assign.share.completed(manifest.shape))
        _check_assignment(manifest, assign)
        share = assign.share
        self._group = _group(manifest, share, exchange)
        proofs = proofs or Proofs(packed)
        if assign.is_suspect:
            proof.verify(folder, manifest, share.part_names, proofs, alive, is_suspect=True)
        self.threads = (
            session.Threads(threads)
            if threads
            else tune.choose(folder, manifest, share.layers, packed, alive)
        )
        session.start_threads(self.threads)
        shape = manifest.shape
        self._arena = Arena(
            ArenaShape(
                share.num_layers,
                assign.rows,
                share.kv_heads[1] - share.kv_heads[0],
                assign.max_length,
                shape.head_dim,
                assign.kv_cache,
            ),
            assign.kv_bytes,
        )
        self._shard = Shard(
            folder, manifest, assign, self._arena, self.threads, packed, proofs, alive, self._group
        )
        self.files = self._shard.files
        texts = [n for n in manifest.text_files() if share.has_lm_head and (folder / n).exists()]
        originals = (*manifest.part_files(share.part_names), *texts)
        self.originals = {folder / n: manifest.files[n] for n in originals}
        read_grammars = partial(_read_grammars, folder, manifest)
        samples = share.has_lm_head and (self._group is None or self._group.exchange.rank == 0)
        self._sampler = Sampler(read_grammars) if samples else None
        self._gatherer: Gatherer | None = None
        if self._group is not None and share.has_lm_head:
            self._gatherer = Gatherer(self._group, share.vocab, shape.vocab_size)
        memory.release(packed)
        self._assign = assign
        self._hidden_size = shape.hidden_size
        self._vocab_size = shape.vocab_size
        self._foreseen: Foreseen | None = None
        self._account = Account()

    @property
    def kv_used_bytes(self) -> int:
        """Bytes of KV cache that rows hold."""
        return self._arena.used_bytes

    @property
    def num_rows(self) -> int:
        """How many rows of the KV cache hold tokens."""
        return self._arena.num_used

    def reset(self, exchange: Exchange | None = None) -> None:
        """Empty the KV cache and forget every sequence; the weights stay.

        exchange  of a member, the next epoch's; of the same rank
        """
        self._foreseen = None
        if self._group is not None and exchange is not None:
            self._group.exchange = exchange
        if self._gatherer is not None:
            self._gatherer.clear()
        self._arena.clear()
        if self._sampler is not None:
            self._sampler.clear()

    def get_ready_for_grammars(self) -> None:
        """On the last stage, before the first sequence that has a grammar: takes seconds."""
        if self._sampler is not None:
            self._sampler.get_ready()

    def run(self, step: Step, alive: Callable[[], None] | None = None) -> StepResult:
        """Apply a step: swaps, copies, trims, layers; on the last stage closes, opens, sampling.

        alive  called between layers: a chunk of a large model takes many seconds

        Raises Broken for a step that does not fit this shard, or fails; CacheFull if the byte
        budget does not hold it. The cache then counts no more, until `reset`.
        """
        self._check(step)
        started = time.perf_counter_ns()
        if self._group is not None:
            self._group.exchange.begin_step(step.step)
        foreseen = self._recall(step)
        hidden = self._forward(step, alive) if foreseen is None else foreseen.hidden
        mark = digest(hidden[-1, -1]) if step.is_check else None
        choice = NOTHING
        if self._sampler is not None:
            choice = self._finish(step, hidden, foreseen, self._sampler)
        elif self._gatherer is not None:
            self._help_finish(step, hidden, self._gatherer)
        foreseen_us = foreseen.compute_us if foreseen else 0.0
        return StepResult(
            hidden=None
            if self._assign.share.has_lm_head
            else hidden.reshape(-1, self._hidden_size),
            token_ids=choice.token_ids,
            logprobs=choice.logprobs,
            top_ids=choice.top_ids,
            top_logprobs=choice.top_logprobs,
            digest=mark,
            compute_us=_us_since(started) + foreseen_us,
            foreseen_us=foreseen_us,
        )

    def foresee(self, step: Step, token_ids: NDArray[np.int32]) -> None:
        """On a first stage, behind a DECODE step of one row that sampled token_ids (1,): compute
        what follows. Does nothing in a group, without room, or where it was in vain too often.
        """
        if self._group is not None:  # the others would have to compute it with this one
            return
        self._account.earn()
        if self._foreseen is not None or not 0 <= token_ids[0] < self._vocab_size:
            return
        row, position = step.first_row, int(step.positions[0]) + 1
        if not self._account.has_credit or position >= self._assign.max_length:
            return
        started = time.perf_counter_ns()
        length = self._arena.length(row)
        try:
            self._arena.extend(row, [position + 1])
        except CacheFull:
            return
        positions = np.array([position], np.int32)
        try:
            hidden = self._shard.forward(token_ids[None], row, positions, 1)
            logits = self._shard.logits(hidden[:, -1]) if self._assign.share.has_lm_head else None
        except Broken:  # whoever asks for the step is told
            self._arena.trim(row, length)
            return
        self._foreseen = Foreseen(
            int(step.sequences[0]),
            row,
            position,
            int(token_ids[0]),
            length,
            hidden,
            logits,
            _us_since(started),
        )

    def _recall(self, step: Step) -> Foreseen | None:
        """Return what was foreseen if it is asked for; else give its memory back."""
        foreseen, self._foreseen = self._foreseen, None
        if foreseen is None:
            return None
        if foreseen.is_asked_by(step):
            return foreseen
        if foreseen.sequence in step.sequences.tolist():  # else it has ended, and nobody waited
            self._account.charge()
        self._arena.trim(foreseen.row, foreseen.length)
        return None

    def _forward(self, step: Step, alive: Callable[[], None] | None) -> NDArray[np.float32]:
        """Swaps, copies, trims and layers; float32 (n, t, hidden_size), reused by the next run."""
        for a, b, tokens in step.swaps:
            self._arena.swap(a, b, tokens)
        for row, other, start, stop in step.copies:
            self._arena.copy(row, other, start, stop)
        for row, keep in step.trims:
            self._arena.trim(row, keep)
        t = step.token_ids.shape[1]
        self._arena.extend(step.first_row, [p + t for p in step.positions.tolist()])
        source = step.token_ids if step.hidden is None else step.hidden
        if step.kind.is_single and t > 1:
            row, position = step.first_row, int(step.positions[0])
            return self._shard.forward_singly(source, row, position, t, alive)
        return self._shard.forward(source, step.first_row, step.positions, t, alive)

    def _finish(
        self, step: Step, hidden: NDArray[np.float32], foreseen: Foreseen | None, sampler: Sampler
    ) -> Choice:
        """Keep the sampler's books, and pick a token behind each row's last one if asked."""
        if self._gatherer is not None:
            self._gatherer.follow(step)
        sampler.close(step.closes)
        sequences, positions = step.sequences.tolist(), step.positions.tolist()
        if step.kind is StepKind.VERIFY:
            logits = self._logits(step, hidden)
            return sampler.verify(logits, sequences[0], positions[0], step.token_ids[0].tolist())
        for i, sequence in enumerate(sequences):
            sampler.feed(sequence, step.token_ids[i].tolist(), positions[i])
        for message in step.opens:  # behind feeding: its history has this step's tokens
            sampler.open(message)
        if not step.is_sampled:
            return NOTHING
        known = None if foreseen is None else foreseen.logits
        logits = self._logits(step, hidden) if known is None else known
        t = step.token_ids.shape[1]
        return sampler.sample(logits, sequences, [p + t for p in positions])

    def _logits(self, step: Step, hidden: NDArray[np.float32]) -> NDArray[np.float32]:
        """Behind each token of a VERIFY, else behind each row's last; float32 (m, vocab_size)."""
        own = self._shard.logits(_heads(step, hidden))
        if self._gatherer is None:
            return own
        logits = self._gatherer.logits(step, own)
        assert logits is not None  # this is rank 0, which samples
        return logits

    def _help_finish(self, step: Step, hidden: NDArray[np.float32], gatherer: Gatherer) -> None:
        """Give rank 0, which samples, what this member has of the logits."""
        gatherer.follow(step)
        if step.is_sampled or step.kind is StepKind.VERIFY:
            gatherer.logits(step, self._shard.logits(_heads(step, hidden)))

    def _check(self, step: Step) -> None:
        """Whatever could read or write outside an array is refused here."""
        n, t = step.token_ids.shape
        is_decode = step.kind is StepKind.DECODE
        if n < 1 or t < 1 or (t if is_decode else n) != 1:
            raise Broken(f"step {step.step}: a {step.kind.name} cannot have {n} rows of {t} tokens")
        if len(step.positions) != n or len(step.sequences) != n or min(step.positions.tolist()) < 0:
            raise Broken(f"step {step.step}: needs {n} sequences and positions of 0 or more")
        token_ids = step.token_ids.ravel().tolist()
        self._check_ids("step", step.step, token_ids)
        for message in step.opens:
            if message.history:
                self._check_ids("the history of sequence", message.sequence, message.history)
        if step.kind is StepKind.VERIFY and t > MAX_VERIFIED:
            raise Broken(f"step {step.step}: {t} tokens to verify, at most {MAX_VERIFIED} may be")
        if self._assign.share.has_embed:
            if step.hidden is not None:
                raise Broken(f"step {step.step}: a hidden state came to the stage that embeds")
            return
        if step.hidden is None or step.hidden.shape != (n * t, self._hidden_size):
            got = None if step.hidden is None else step.hidden.shape
            raise Broken(
                f"step {step.step}: got a hidden state of {got}, need {(n * t, self._hidden_size)}"
            )

    def _check_ids(self, what: str, number: int, token_ids: Sequence[int]) -> None:
        low, high = min(token_ids), max(token_ids)
        if low < 0 or high >= self._vocab_size:
            raise Broken(
                f"{what} {number} has token ids {low} to {high}, the model 0 to "
                f"{self._vocab_size - 1}; head and stage disagree about the model"
            )


def _read_grammars(folder: Path, manifest: Manifest) -> Grammars:
    from bramble.stage.vocabulary import read_grammars  # 15 MB, for stages that need it

    return read_grammars(folder, manifest)


def _heads(step: Step, hidden: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of a step's hidden state (n, t, hidden_size), what tokens are sampled from: (m, …)."""
    return hidden[0] if step.kind is StepKind.VERIFY else hidden[:, -1]


def _us_since(started_ns: int) -> float:
    return (time.perf_counter_ns() - started_ns) / 1e3


def _group(manifest: Manifest, share: Share, exchange: Exchange | None) -> Group | None:
    """Raises BadInput for a share of each layer without those who have the rest."""
    if share.is_whole(manifest.shape):
        return None
    if exchange is None:
        raise BadInput("a part of each layer was assigned without a group that has the others")
    check_slices(manifest, share)
    return Group(exchange)


def _check_assignment(manifest: Manifest, assign: Assign) -> None:
    if assign.kv_cache not in CACHE_BYTES:
        raise BadInput(
            f"a KV cache of {assign.kv_cache!r} was assigned, this stage knows "
            f"{', '.join(CACHE_BYTES)}; have head and stage run one release"
        )
    manifest.check_cache(assign.kv_cache)
    assign.share.check(manifest.shape)
    if not (1 <= assign.rows <= MAX_ROWS and 1 <= assign.max_length <= MAX_LENGTH):
        raise BadInput(
            f"{assign.rows} rows of {assign.max_length} tokens were assigned; need 1 to {MAX_ROWS} "
            f"rows of 1 to {MAX_LENGTH} tokens"
        )
