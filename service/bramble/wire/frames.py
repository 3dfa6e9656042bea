"""Messages to bytes and back, as WIRE.md lays down; exact inverses, no sockets.

`pack` never copies a hidden state; `unpack` returns arrays that alias the frames it was given and
raises BadFrame, and nothing else, for whatever it cannot read. A stage runs this between two
tokens, with caches that its weights have just swept: few calls count more than few lines.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bramble.errors import BadFrame
from bramble.model.manifest import DIGEST_SIZE
from bramble.wire import former
from bramble.wire import messages as m

Buffer = bytes | bytearray | memoryview
Message = m.Message

MAGIC = b"BRMB"
VERSION = 1
ENVELOPE = struct.Struct("<4sBBHII")
STEP = struct.Struct("<16sQIIIIIIHHHHHBBBBH")
SAMPLED = struct.Struct("<16sQIIIIHBBB3x")
OPEN = struct.Struct("<QIIIiiQdddddd")
BIAS = struct.Struct("<id")
LENGTH = struct.Struct("<I")
BODY = ENVELOPE.size  # offset of what follows the envelope in frame 0

MAX_ROWS = 4096
MAX_TOKENS = 16384  # of one step
MAX_HIDDEN_SIZE = 16384
IS_SAMPLED, IS_CHECK, HAS_GRAMMARS = 1, 2, 4  # flags of a Step
TRACE_SIZE = 3
TRACE_BYTES = TRACE_SIZE * 4
DIGEST_BYTES = DIGEST_SIZE * 4
NO_TRACES = np.zeros((0, TRACE_SIZE), np.uint32)
NO_DIGESTS = np.zeros((0, DIGEST_SIZE), np.float32)

KINDS: dict[int, type[Any]] = {
    1: m.Step,
    2: m.Sampled,
    16: m.Hello,
    17: m.Beat,
    18: m.Assign,
    19: m.Ready,
    20: m.Failed,
    32: m.Generate,
    33: m.Cancel,
    34: m.Query,
    35: m.Accepted,
    36: m.Progress,
    37: m.Delta,
    38: m.Done,
    39: m.Refused,
    40: m.Status,
    41: m.Resume,
    42: m.Cancelled,
}
KIND_OF = {kind: number for number, kind in KINDS.items()}
_JSON_ENCODER = msgspec.json.Encoder()
_WRITERS: dict[type[Any], Callable[[Any], bytes]] = {m.Assign: former.write}
_READERS: dict[int, Callable[[Any], Any]] = {
    number: msgspec.json.Decoder(kind).decode for number, kind in KINDS.items() if number > 2
} | {KIND_OF[m.Assign]: former.read}


def pack(message: Message) -> list[Buffer]:
    """Return the message's frames; a hidden state is aliased, not copied."""
    kind = KIND_OF[type(message)]
    if isinstance(message, m.Step):
        return _seal(kind, _step_body(message), message.hidden)
    if isinstance(message, m.Sampled):
        return _seal(kind, _sampled_body(message), None)
    return _seal(kind, _WRITERS.get(type(message), _JSON_ENCODER.encode)(message), None)


def unpack(frames: Sequence[Buffer]) -> Message:
    """Return the message; its arrays alias `frames`. Raises BadFrame."""
    kind = _check_envelope(frames)
    if kind == 1:
        return _unpack_step(frames)
    if kind == 2:
        return _unpack_sampled(frames)
    if len(frames) != 1:
        raise BadFrame(f"{KINDS[kind].__name__}: got {len(frames)} frames, need 1")
    try:
        message: Message = _READERS[kind](memoryview(frames[0])[BODY:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadFrame(f"{KINDS[kind].__name__}: {error}") from error
    return message


def forward(
    frames: Sequence[Buffer],
    hidden: NDArray[np.float32],
    trace: tuple[int, int, int],
    digest: NDArray[np.float32] | None,
) -> list[Buffer]:
    """Return a checked Step's frames for the next stage: all as it was, but what this one adds.

    hidden  float32 (n * t, hidden_size), aliased
    trace   µs: waiting, compute, Python and wire
    digest  float32 (DIGEST_SIZE,) for a check
    """
    old = memoryview(frames[0])
    header = list(STEP.unpack_from(old, BODY))
    num_traces, num_digests = header[_TRACES], header[_DIGESTS]
    cut = len(old) - num_digests * DIGEST_BYTES  # traces and digests stand last
    header[_HIDDEN_SIZE] = hidden.shape[1]
    header[_TRACES], header[_DIGESTS] = num_traces + 1, num_digests + (digest is not None)
    parts = (
        STEP.pack(*header),
        old[BODY + STEP.size : cut],
        struct.pack("<3I", *trace),
        old[cut:],
        b"" if digest is None else digest.tobytes(),
    )
    return _seal(1, b"".join(parts), hidden)


_HIDDEN_SIZE, _TRACES, _DIGESTS = 6, 13, 14  # places in STEP


# ------------------------------------------------------------------------------------- envelope


def _seal(kind: int, body: Buffer, hidden: NDArray[np.float32] | None) -> list[Buffer]:
    tail: list[Buffer] = [] if hidden is None else [hidden.data.cast("B")]
    length = BODY + len(body)
    start = struct.pack("<4sBBH", MAGIC, VERSION, kind, len(tail))
    crc = zlib.crc32(body, zlib.crc32(length.to_bytes(4, "little"), zlib.crc32(start)))
    for frame in tail:
        crc = zlib.crc32(frame, crc)
    return [b"".join((start, struct.pack("<II", crc, length), body)), *tail]


def _check_envelope(frames: Sequence[Buffer]) -> int:
    """Return the kind of a message whose frames are whole and as they were sent."""
    if not frames or len(frames[0]) < BODY:
        raise BadFrame("no envelope: got another protocol, or a message cut short")
    first = memoryview(frames[0])
    magic, version, kind, num_more, crc, length = ENVELOPE.unpack_from(first)
    if magic != MAGIC:
        raise BadFrame(f"magic is {magic!r}, need {MAGIC!r}: the sender is not Bramble")
    if version != VERSION:
        raise BadFrame(f"wire version {version}, this Bramble speaks {VERSION}: upgrade all nodes")
    if kind not in KINDS:
        raise BadFrame(f"unknown kind {kind}")
    if num_more != len(frames) - 1 or length != len(first):
        raise BadFrame(
            f"got {len(frames) - 1} more frames and {len(first)} bytes, "
            f"the envelope says {num_more} and {length}"
        )
    found = zlib.crc32(first[12:], zlib.crc32(first[:8]))
    for frame in frames[1:]:
        found = zlib.crc32(frame, found)
    if crc != found:
        raise BadFrame(f"checksum of a {KINDS[kind].__name__} differs: altered on the way")
    return int(kind)


# ----------------------------------------------------------------------------------------- step


def _step_body(step: m.Step) -> bytes:
    n, t = step.token_ids.shape
    has_grammars = any(opening.grammar for opening in step.opens)
    opens = b"".join(_pack_open(opening, has_grammars) for opening in step.opens)
    header = STEP.pack(
        step.plan_id,
        step.step,
        step.epoch,
        step.first_row,
        n,
        t,
        0 if step.hidden is None else step.hidden.shape[1],
        len(opens),
        step.lane,
        len(step.swaps),
        len(step.trims),
        len(step.opens),
        len(step.closes),
        len(step.traces),
        len(step.digests),
        step.kind,
        step.is_sampled * IS_SAMPLED | step.is_check * IS_CHECK | has_grammars * HAS_GRAMMARS,
        len(step.copies),
    )
    arrays = (
        header,
        step.sequences.tobytes(),
        np.asarray(step.closes, "<u8").tobytes() if step.closes else b"",
        step.positions.tobytes(),
        step.token_ids.tobytes(),
        np.asarray(step.swaps, "<i4").tobytes() if step.swaps else b"",
        np.asarray(step.copies, "<i4").tobytes() if step.copies else b"",
        np.asarray(step.trims, "<i4").tobytes() if step.trims else b"",
        opens,
        step.traces.tobytes(),
        step.digests.tobytes(),
    )
    return b"".join(arrays)


def _unpack_step(frames: Sequence[Buffer]) -> m.Step:
    first = frames[0]
    if len(first) < BODY + STEP.size:
        raise BadFrame(f"Step: {len(first)} bytes, need {BODY + STEP.size} or more")
    (
        plan_id,
        number,
        epoch,
        first_row,
        n,
        t,
        hidden_size,
        opens_bytes,
        lane,
        num_swaps,
        num_trims,
        num_opens,
        num_closes,
        num_traces,
        num_digests,
        kind,
        flags,
        num_copies,
    ) = STEP.unpack_from(first, BODY)
    _check_step_header(n, t, hidden_size, kind, flags)
    reader = _Reader(first, BODY + STEP.size)
    numbers = n * 8 + num_closes * 8 + n * 4 + n * t * 4
    rows = num_swaps * 12 + num_copies * 16 + num_trims * 8
    reader.expect(
        numbers + rows + opens_bytes + num_traces * TRACE_BYTES + num_digests * DIGEST_BYTES
    )
    sequences = reader.take("<u8", (n,))
    closes = reader.take("<u8", (num_closes,)).tolist() if num_closes else ()
    positions = reader.take("<i4", (n,))
    token_ids = reader.take("<i4", (n, t))
    swaps = reader.take("<i4", (num_swaps, 3)).tolist() if num_swaps else ()
    copies = reader.take("<i4", (num_copies, 4)).tolist() if num_copies else ()
    trims = reader.take("<i4", (num_trims, 2)).tolist() if num_trims else ()
    opens = reader.take_bytes(opens_bytes)
    _check_not_negative(positions, token_ids, (*swaps, *copies, *trims), first_row + n)
    return m.Step(
        plan_id=plan_id,
        epoch=epoch,
        step=number,
        lane=lane,
        kind=m.StepKind(kind),
        is_sampled=bool(flags & IS_SAMPLED),
        is_check=bool(flags & IS_CHECK),
        first_row=first_row,
        sequences=sequences,
        positions=positions,
        token_ids=token_ids,
        swaps=tuple((a, b, tokens) for a, b, tokens in swaps),
        copies=tuple((a, b, start, stop) for a, b, start, stop in copies),
        trims=tuple((row, keep) for row, keep in trims),
        opens=_unpack_opens(opens, num_opens, bool(flags & HAS_GRAMMARS)),
        closes=tuple(closes),
        hidden=_hidden(frames[1:], n * t, hidden_size),
        traces=reader.take("<u4", (num_traces, TRACE_SIZE)) if num_traces else NO_TRACES,
        digests=reader.take("<f4", (num_digests, DIGEST_SIZE)) if num_digests else NO_DIGESTS,
    )


def _check_not_negative(
    positions: NDArray[np.int32],
    token_ids: NDArray[np.int32],
    row_operations: Sequence[Sequence[int]],
    last_row: int,
) -> None:
    # Lists: numpy's reductions are no faster here, and sweep more code through a cold cache
    lowest = min(*positions.tolist(), *token_ids.ravel().tolist())
    if lowest < 0 or last_row > 2**31 - 1:
        raise BadFrame("Step: a position, token id or row is not in 0 … 2³¹ − 1")
    if any(number < 0 for numbers in row_operations for number in numbers):
        raise BadFrame("Step: a swap, copy or trim has a negative number")


def _check_step_header(n: int, t: int, hidden_size: int, kind: int, flags: int) -> None:
    if kind > m.StepKind.REPLAY or flags > 7:
        raise BadFrame(f"Step: kind {kind}, flags {flags} are not of this version")
    if not (1 <= n <= MAX_ROWS and t >= 1 and n * t <= MAX_TOKENS):
        raise BadFrame(f"Step: {n} rows of {t} tokens, at most {MAX_TOKENS} tokens are allowed")
    if (t if kind == m.StepKind.DECODE else n) != 1:
        raise BadFrame(f"Step: {m.StepKind(kind).name} with {n} rows of {t} tokens")
    if hidden_size > MAX_HIDDEN_SIZE:
        raise BadFrame(f"Step: hidden size {hidden_size}, at most {MAX_HIDDEN_SIZE} is allowed")


def _hidden(frames: Sequence[Buffer], tokens: int, hidden_size: int) -> NDArray[np.float32] | None:
    size = sum(len(frame) for frame in frames)
    if len(frames) != (hidden_size > 0) or size != tokens * hidden_size * 4:
        raise BadFrame(f"Step: hidden state of {size} bytes, need {tokens} × {hidden_size} × 4")
    if hidden_size == 0:
        return None
    return np.frombuffer(frames[0], "<f4").reshape(tokens, hidden_size)


def _pack_open(opening: m.Open, has_grammars: bool) -> bytes:
    s = opening.sampling
    head = OPEN.pack(
        opening.sequence,
        opening.num_prompt_tokens,
        len(s.logit_bias),
        len(opening.history),
        s.top_k,
        s.top_logprobs,
        s.seed,
        s.temperature,
        s.top_p,
        s.min_p,
        s.repetition_penalty,
        s.presence_penalty,
        s.frequency_penalty,
    )
    biases = b"".join(BIAS.pack(token, bias) for token, bias in s.logit_bias)
    packed = head + biases + np.asarray(opening.history, "<i4").tobytes()
    if not has_grammars:
        return packed
    grammar = opening.grammar.encode()
    return packed + LENGTH.pack(len(grammar)) + grammar


def _unpack_opens(frame: Buffer, num_opens: int, has_grammars: bool) -> tuple[m.Open, ...]:
    if not num_opens and not len(frame):
        return ()
    opens, offset = [], 0
    try:
        for _ in range(num_opens):
            opening, offset = _unpack_open(frame, offset)
            if has_grammars:
                grammar, offset = _unpack_grammar(frame, offset)
                opening = replace(opening, grammar=grammar)
            opens.append(opening)
    except struct.error as error:
        raise BadFrame(f"Step: opens cut short: {error}") from error
    if offset != len(frame):
        raise BadFrame(f"Step: {len(frame) - offset} bytes behind the last open")
    return tuple(opens)


def _unpack_grammar(frame: Buffer, offset: int) -> tuple[str, int]:
    start = offset + LENGTH.size
    stop = start + LENGTH.unpack_from(frame, offset)[0]
    if stop > len(frame):
        raise BadFrame(f"Step: a grammar of {stop - start} bytes promised, the frame ends")
    try:
        return str(memoryview(frame)[start:stop], "utf-8"), stop
    except UnicodeDecodeError as error:
        raise BadFrame(f"Step: a grammar is no text: {error}") from error


def _unpack_open(frame: Buffer, offset: int) -> tuple[m.Open, int]:
    sequence, num_prompt, num_biases, num_history, top_k, top_logprobs, seed, *floats = (
        OPEN.unpack_from(frame, offset)
    )
    offset += OPEN.size
    middle = offset + num_biases * BIAS.size
    stop = middle + num_history * 4
    if stop > len(frame):
        raise BadFrame(f"Step: {num_biases} biases, {num_history} tokens promised, the frame ends")
    view = memoryview(frame)
    biases = tuple(BIAS.iter_unpack(view[offset:middle]))
    history = tuple(np.frombuffer(view[middle:stop], "<i4").tolist())
    temperature, top_p, min_p, repetition, presence, frequency = floats
    sampling = m.Sampling(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition,
        presence_penalty=presence,
        frequency_penalty=frequency,
        logit_bias=biases,
        seed=seed,
        top_logprobs=top_logprobs,
    )
    return m.Open(sequence, num_prompt, sampling, history), stop


# -------------------------------------------------------------------------------------- sampled


def _sampled_body(sampled: m.Sampled) -> bytes:
    header = SAMPLED.pack(
        sampled.plan_id,
        sampled.step,
        sampled.epoch,
        len(sampled.sequences),
        len(sampled.token_ids),
        sampled.top_ids.shape[1],
        sampled.lane,
        len(sampled.traces),
        len(sampled.digests),
        sampled.kind,
    )
    arrays = (
        sampled.sequences,
        sampled.positions,
        sampled.token_ids,
        sampled.logprobs,
        sampled.top_ids,
        sampled.top_logprobs,
        sampled.traces,
        sampled.digests,
    )
    return b"".join((header, *(array.tobytes() for array in arrays if array.size)))


def _unpack_sampled(frames: Sequence[Buffer]) -> m.Sampled:
    first = frames[0]
    if len(frames) != 1 or len(first) < BODY + SAMPLED.size:
        raise BadFrame(f"Sampled: got {len(frames)} frames of {len(first)} bytes")
    plan_id, step, epoch, n, sampled, k, lane, num_traces, num_digests, kind = SAMPLED.unpack_from(
        first, BODY
    )
    is_padded = any(first[BODY + SAMPLED.size - 3 : BODY + SAMPLED.size])
    is_verify = kind == m.StepKind.VERIFY
    is_fitting = n == 1 and 1 <= sampled <= MAX_TOKENS if is_verify else sampled in (0, n)
    is_known = kind <= m.StepKind.REPLAY and not is_padded
    if n > MAX_ROWS or k > MAX_TOKENS or not is_fitting or not is_known:
        raise BadFrame(f"Sampled: {n} rows, {sampled} sampled, {k} logprobs, kind {kind}")
    reader = _Reader(first, BODY + SAMPLED.size)
    numbers = n * 8 + sampled * 12 + sampled * k * 8
    reader.expect(numbers + num_traces * TRACE_BYTES + num_digests * DIGEST_BYTES)
    return m.Sampled(
        plan_id=plan_id,
        epoch=epoch,
        step=step,
        lane=lane,
        kind=m.StepKind(kind),
        sequences=reader.take("<u8", (n,)),
        positions=reader.take("<i4", (sampled,)),
        token_ids=reader.take("<i4", (sampled,)),
        logprobs=reader.take("<f4", (sampled,)),
        top_ids=reader.take("<i4", (sampled, k)),
        top_logprobs=reader.take("<f4", (sampled, k)),
        traces=reader.take("<u4", (num_traces, TRACE_SIZE)),
        digests=reader.take("<f4", (num_digests, DIGEST_SIZE)) if num_digests else NO_DIGESTS,
    )


# -------------------------------------------------------------------------------------- reading


class _Reader:
    """Takes arrays off a frame from front to back, once its length is known to be right."""

    def __init__(self, frame: Buffer, offset: int) -> None:
        self._frame = frame
        self._offset = offset

    def expect(self, num_bytes: int) -> None:
        if self._offset + num_bytes != len(self._frame):
            raise BadFrame(
                f"arrays of {len(self._frame) - self._offset} bytes, the header says {num_bytes}"
            )

    def take(self, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        count = shape[0] if len(shape) == 1 else shape[0] * shape[1]
        if count == 0:
            return np.zeros(shape, dtype)
        array = np.frombuffer(self._frame, dtype, count, self._offset)
        self._offset += array.nbytes
        return array if len(shape) == 1 else array.reshape(shape)

    def take_bytes(self, count: int) -> memoryview:
        start, self._offset = self._offset, self._offset + count
        return memoryview(self._frame)[start : self._offset]
