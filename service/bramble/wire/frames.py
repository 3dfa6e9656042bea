"""Messages to bytes and back, as WIRE.md lays down; exact inverses, no sockets.

`pack` never copies a hidden state; `unpack` returns arrays that alias the frames it was given and
raises BadFrame, and nothing else, for whatever it cannot read.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import DTypeLike, NDArray

from bramble.errors import BadFrame
from bramble.model.manifest import DIGEST_SIZE
from bramble.wire import messages as m

Buffer = bytes | bytearray | memoryview
Message = m.Message
AnyMessage = TypeVar("AnyMessage")

MAGIC = b"BRMB"
VERSION = 1
ENVELOPE = struct.Struct("<4sBBHII")
STEP = struct.Struct("<16sQIIIIIHHHHHBBBB2x")
SAMPLED = struct.Struct("<16sQIIIIHBBB3x")
OPEN = struct.Struct("<QIIIiiQdddddd")
BIAS = struct.Struct("<id")

MAX_ROWS = 4096
MAX_TOKENS = 16384  # of one step
MAX_HIDDEN_SIZE = 16384
TRACE_SIZE = 3

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
}
KIND_OF = {kind: number for number, kind in KINDS.items()}
_JSON_ENCODER = msgspec.json.Encoder()
_JSON_DECODERS = {
    number: msgspec.json.Decoder(kind) for number, kind in KINDS.items() if number > 2
}


def pack(message: Message) -> list[Buffer]:
    """Return the message's frames; a hidden state is aliased, not copied."""
    kind = KIND_OF[type(message)]
    if isinstance(message, m.Step):
        frames = _pack_step(message)
    elif isinstance(message, m.Sampled):
        frames = _pack_sampled(message)
    else:
        frames = [_JSON_ENCODER.encode(message)]
    return [_envelope(kind, frames), *frames]


def unpack(frames: Sequence[Buffer]) -> Message:
    """Return the message; its arrays alias `frames`. Raises BadFrame."""
    kind = _check_envelope(frames)
    if kind == 1:
        return _unpack_step(frames[1:])
    if kind == 2:
        return _unpack_sampled(frames[1:])
    if len(frames) != 2:
        raise BadFrame(f"message of kind {kind}: got {len(frames)} frames, need 2")
    try:
        message: Message = _JSON_DECODERS[kind].decode(frames[1])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadFrame(f"{KINDS[kind].__name__}: {error}") from error
    return message


# ------------------------------------------------------------------------------------- envelope


def _envelope(kind: int, frames: list[Buffer]) -> bytes:
    head = ENVELOPE.pack(MAGIC, VERSION, kind, len(frames), 0, 0)[:8]
    return head + struct.pack("<II", _checksum(head, frames), 0)


def _checksum(head: Buffer, frames: Sequence[Buffer]) -> int:
    crc = zlib.crc32(head)
    for frame in frames:
        crc = zlib.crc32(_size(frame).to_bytes(8, "little"), crc)
        crc = zlib.crc32(frame, crc)
    return crc


def _size(frame: Buffer) -> int:
    return frame.nbytes if isinstance(frame, memoryview) else len(frame)


def _check_envelope(frames: Sequence[Buffer]) -> int:
    if not frames or _size(frames[0]) != ENVELOPE.size:
        raise BadFrame("no envelope: got another protocol, or a message cut short")
    magic, version, kind, num_frames, crc, reserved = ENVELOPE.unpack(frames[0])
    if magic != MAGIC:
        raise BadFrame(f"magic is {magic!r}, need {MAGIC!r}: the sender is not Bramble")
    if version != VERSION:
        raise BadFrame(f"wire version {version}, this Bramble speaks {VERSION}: upgrade all nodes")
    if kind not in KINDS or reserved:
        raise BadFrame(f"unknown kind {kind}")
    if num_frames != len(frames) - 1:
        raise BadFrame(f"got {len(frames) - 1} frames, the envelope says {num_frames}")
    if crc != _checksum(bytes(frames[0])[:8], frames[1:]):
        raise BadFrame(f"checksum of a {KINDS[kind].__name__} differs: altered on the way")
    return int(kind)


# ----------------------------------------------------------------------------------------- step


def _pack_step(step: m.Step) -> list[Buffer]:
    n, t = step.token_ids.shape
    header = STEP.pack(
        step.plan_id,
        step.step,
        step.epoch,
        step.first_row,
        n,
        t,
        0 if step.hidden is None else step.hidden.shape[1],
        step.lane,
        len(step.swaps),
        len(step.trims),
        len(step.opens),
        len(step.closes),
        len(step.traces),
        len(step.digests),
        step.kind,
        step.is_sampled | step.is_check << 1,
    )
    arrays = b"".join(
        (
            step.sequences.tobytes(),
            np.asarray(step.closes, "<u8").tobytes(),
            step.positions.tobytes(),
            step.token_ids.tobytes(),
            np.asarray(step.swaps, "<i4").tobytes(),
            np.asarray(step.trims, "<i4").tobytes(),
            step.traces.tobytes(),
            step.digests.tobytes(),
        )
    )
    hidden = b"" if step.hidden is None else step.hidden.data.cast("B")
    return [header, arrays, b"".join(map(_pack_open, step.opens)), hidden]


def _unpack_step(frames: Sequence[Buffer]) -> m.Step:
    header, body, opens, hidden_bytes = _expect(frames, 4, STEP.size)
    (
        plan_id,
        number,
        epoch,
        first_row,
        n,
        t,
        hidden_size,
        lane,
        num_swaps,
        num_trims,
        num_opens,
        num_closes,
        num_traces,
        num_digests,
        kind,
        flags,
    ) = STEP.unpack(header)
    _check_step_header(bytes(header), n, t, hidden_size, kind, flags, first_row)
    reader = _Reader(body)
    sequences = reader.take("<u8", (n,))
    closes = reader.take("<u8", (num_closes,))
    positions = reader.take("<i4", (n,))
    token_ids = reader.take("<i4", (n, t))
    swaps = reader.take("<i4", (num_swaps, 3))
    trims = reader.take("<i4", (num_trims, 2))
    traces = reader.take("<u4", (num_traces, TRACE_SIZE))
    digests = reader.take("<f4", (num_digests, DIGEST_SIZE))
    reader.finish()
    for name, array in (
        ("position", positions),
        ("token id", token_ids),
        ("row", swaps),
        ("row", trims),
    ):
        if array.size and array.min() < 0:
            raise BadFrame(f"Step: a {name} is {array.min()}, need 0 or more")
    return m.Step(
        plan_id=plan_id,
        epoch=epoch,
        step=number,
        lane=lane,
        kind=m.StepKind(kind),
        is_sampled=bool(flags & 1),
        is_check=bool(flags & 2),
        first_row=first_row,
        sequences=sequences,
        positions=positions,
        token_ids=token_ids,
        swaps=tuple((a, b, tokens) for a, b, tokens in swaps.tolist()),
        trims=tuple((row, keep) for row, keep in trims.tolist()),
        opens=_unpack_opens(opens, num_opens),
        closes=tuple(closes.tolist()),
        hidden=_hidden(hidden_bytes, n * t, hidden_size),
        traces=traces,
        digests=digests,
    )


def _check_step_header(
    header: bytes, n: int, t: int, hidden_size: int, kind: int, flags: int, first_row: int
) -> None:
    if header[-2:] != b"\0\0" or kind > 1 or flags > 3:
        raise BadFrame(f"Step: kind {kind}, flags {flags} are not of this version")
    if not (1 <= n <= MAX_ROWS and t >= 1 and n * t <= MAX_TOKENS):
        raise BadFrame(f"Step: {n} rows of {t} tokens, at most {MAX_TOKENS} tokens are allowed")
    if (n if kind == m.StepKind.PREFILL else t) != 1:
        raise BadFrame(f"Step: {m.StepKind(kind).name} with {n} rows of {t} tokens")
    if hidden_size > MAX_HIDDEN_SIZE or first_row + n > 2**31 - 1:
        raise BadFrame(f"Step: hidden size {hidden_size} or first row {first_row} out of range")


def _hidden(frame: Buffer, tokens: int, hidden_size: int) -> NDArray[np.float32] | None:
    if _size(frame) != tokens * hidden_size * 4:
        raise BadFrame(
            f"Step: hidden state of {_size(frame)} bytes, need {tokens} × {hidden_size} × 4"
        )
    if hidden_size == 0:
        return None
    return np.frombuffer(frame, "<f4").reshape(tokens, hidden_size)


def _pack_open(opening: m.Open) -> bytes:
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
    return head + biases + np.asarray(opening.history, "<i4").tobytes()


def _unpack_opens(frame: Buffer, num_opens: int) -> tuple[m.Open, ...]:
    opens, offset = [], 0
    try:
        for _ in range(num_opens):
            opening, offset = _unpack_open(frame, offset)
            opens.append(opening)
    except struct.error as error:
        raise BadFrame(f"Step: opens cut short: {error}") from error
    if offset != _size(frame):
        raise BadFrame(f"Step: {_size(frame) - offset} bytes behind the last open")
    return tuple(opens)


def _unpack_open(frame: Buffer, offset: int) -> tuple[m.Open, int]:
    sequence, num_prompt, num_biases, num_history, top_k, top_logprobs, seed, *floats = (
        OPEN.unpack_from(frame, offset)
    )
    offset += OPEN.size
    middle = offset + num_biases * BIAS.size
    stop = middle + num_history * 4
    if stop > _size(frame):
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


def _pack_sampled(sampled: m.Sampled) -> list[Buffer]:
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
    return [header, b"".join(array.tobytes() for array in arrays)]


def _unpack_sampled(frames: Sequence[Buffer]) -> m.Sampled:
    header, body = _expect(frames, 2, SAMPLED.size)
    plan_id, step, epoch, n, sampled, k, lane, num_traces, num_digests, kind = SAMPLED.unpack(
        header
    )
    if n > MAX_ROWS or sampled not in (0, n) or k > MAX_TOKENS or kind > 1 or any(header[-3:]):
        raise BadFrame(f"Sampled: {n} rows, {sampled} sampled, {k} logprobs, kind {kind}")
    reader = _Reader(body)
    message = m.Sampled(
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
        digests=reader.take("<f4", (num_digests, DIGEST_SIZE)),
    )
    reader.finish()
    return message


# -------------------------------------------------------------------------------------- reading


def _expect(frames: Sequence[Buffer], count: int, header_size: int) -> Sequence[Buffer]:
    if len(frames) != count or _size(frames[0]) != header_size:
        raise BadFrame(f"got {len(frames)} frames, need {count}, the first of {header_size} bytes")
    return frames


class _Reader:
    """Takes arrays off a frame from front to back; never reads beyond its end."""

    def __init__(self, frame: Buffer) -> None:
        self._frame = memoryview(frame).cast("B")
        self._offset = 0

    def take(self, dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
        count = int(np.prod(shape, dtype=np.int64))
        stop = self._offset + count * np.dtype(dtype).itemsize
        if stop > len(self._frame):
            raise BadFrame(f"arrays of {len(self._frame)} bytes, the header needs {stop} or more")
        array = np.frombuffer(self._frame[self._offset : stop], dtype).reshape(shape)
        self._offset = stop
        return array

    def finish(self) -> None:
        if self._offset != len(self._frame):
            raise BadFrame(f"{len(self._frame) - self._offset} bytes behind the last array")
