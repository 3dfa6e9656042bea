"""Frames are exact inverses, and whatever is truncated or altered raises BadFrame."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from bramble.errors import BadFrame
from bramble.model.share import Share
from bramble.wire import messages as m
from bramble.wire.frames import BODY, HAS_GRAMMARS, KINDS, OPEN, STEP, _seal, forward, pack, unpack
from bramble.wire.terms import Claim, Vow
from hypothesis import given, settings
from hypothesis import strategies as st

floats = st.floats(allow_nan=False, allow_infinity=False)
ids = st.integers(0, 2**31 - 1)


@st.composite
def samplings(draw: st.DrawFn) -> m.Sampling:
    return m.Sampling(
        temperature=draw(floats),
        top_k=draw(ids),
        top_p=draw(floats),
        min_p=draw(floats),
        repetition_penalty=draw(floats),
        presence_penalty=draw(floats),
        frequency_penalty=draw(floats),
        logit_bias=tuple(draw(st.lists(st.tuples(ids, floats), max_size=3))),
        seed=draw(st.integers(0, 2**64 - 1)),
        top_logprobs=draw(st.integers(-1, 20)),
    )


@st.composite
def steps(draw: st.DrawFn) -> m.Step:
    kind = draw(st.sampled_from(m.StepKind))
    n, t = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    n, t = (n, 1) if kind is m.StepKind.DECODE else (1, t)
    hidden_size, stages = draw(st.sampled_from([0, 4])), draw(st.integers(0, 3))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    opens = st.builds(
        m.Open,
        st.integers(0, 2**63),
        st.integers(0, 2**32 - 1),
        samplings(),
        st.lists(ids, max_size=4).map(tuple),
        st.sampled_from(["", "", 'start: "ä"', "start: %json {}"]),
    )
    return m.Step(
        plan_id=random.bytes(16),
        epoch=draw(st.integers(0, 2**32 - 1)),
        step=draw(st.integers(0, 2**64 - 1)),
        lane=draw(st.integers(0, 2**16 - 1)),
        kind=kind,
        is_sampled=draw(st.booleans()),
        is_check=draw(st.booleans()),
        first_row=draw(st.integers(0, 1000)),
        sequences=random.integers(0, 2**64, n, np.uint64),
        positions=random.integers(0, 2**31, n, np.int32),
        token_ids=random.integers(0, 2**31, (n, t), np.int32),
        swaps=tuple(draw(st.lists(st.tuples(ids, ids, ids), max_size=3))),
        copies=tuple(draw(st.lists(st.tuples(ids, ids, ids, ids), max_size=3))),
        trims=tuple(draw(st.lists(st.tuples(ids, ids), max_size=3))),
        opens=tuple(draw(st.lists(opens, max_size=2))),
        closes=tuple(draw(st.lists(st.integers(0, 2**64 - 1), max_size=3))),
        hidden=random.random((n * t, hidden_size), np.float32) if hidden_size else None,
        traces=random.integers(0, 2**32, (stages, 3), np.uint32),
        digests=random.random((stages, 8), np.float32),
    )


@st.composite
def sampleds(draw: st.DrawFn) -> m.Sampled:
    kind = draw(st.sampled_from(m.StepKind))
    n, k = draw(st.integers(1, 4)), draw(st.integers(0, 3))
    sampled = draw(st.sampled_from([0, n]))
    if kind is m.StepKind.VERIFY:
        n, sampled = 1, draw(st.integers(1, 9))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    return m.Sampled(
        plan_id=random.bytes(16),
        epoch=draw(st.integers(0, 2**32 - 1)),
        step=draw(st.integers(0, 2**64 - 1)),
        lane=0,
        kind=kind,
        sequences=random.integers(0, 2**64, n, np.uint64),
        positions=random.integers(0, 99, sampled, np.int32),
        token_ids=random.integers(0, 99, sampled, np.int32),
        logprobs=random.random(sampled, np.float32),
        top_ids=random.integers(-1, 99, (sampled, k), np.int32),
        top_logprobs=random.random((sampled, k), np.float32),
        traces=random.integers(0, 99, (2, 3), np.uint32),
        digests=np.zeros((0, 8), np.float32),
    )


JSON_MESSAGES: list[m.Message] = [
    m.Hello("pi-1", 2**64 - 1, "tcp://10.0.0.1:7101", "0.1.0", 8 << 30, "aarch64"),
    m.Beat("pi-1", 7, {"busy": 0.5, "throttled": None}),
    m.Beat("pi-1", 7, vow=Vow(2**53, "pi-2", 2**64 - 1, 1.5, is_free=False)),
    m.Beat("head", 9, claim=Claim(3, 0.25, is_over=True)),
    m.Assign(
        "ab" * 16,
        3,
        "llama",
        "cd" * 32,
        0,
        3,
        Share.uncut(0, 5, True, False),
        (m.Member("pi-2", "tcp://h:1"),),
        16,
        8,
        1,
    ),
    m.Ready("pi-1", 7, "ab" * 16, 3, 1.5, 9),
    m.Failed("pi-1", 7, "ab" * 16, 3, "shards/layer-000.data: cannot be read"),
    m.Generate("r", m.Sampling(logit_bias=((3, -100.0),)), messages=[{"role": "user"}]),
    m.Generate("r", m.Sampling(), prompt=[1, 2, 3], stop=("\n",), generated=(4, 5)),
    m.Generate("r", m.Sampling(), prompt="x", chosen=("top_p",), key="k", about={"n": 1}),
    m.Resume("r", 3),
    m.Cancel("r"),
    m.Cancelled("r", was_known=True),
    m.Accepted("r", 12, asked=m.Generate("r", m.Sampling(), about={"n": 1})),
    m.Query("r"),
    m.Accepted("r", 12),
    m.Progress("r", 0, 128, 900),
    m.Delta("r", "é", (1, 2), (m.TokenLogprob("é", [195, 169], -0.5, [{"token": "e"}]),)),
    m.Done("r", m.Finish.STOP, 3, 4, 0.1, 0.2, 0.3),
    m.Refused("r", "BadInput", "temperature is −1", "temperature"),
    m.Status("r", {"state": "serving"}),
]


def frames_of(message: m.Message) -> list[bytes]:
    return [bytes(frame) for frame in pack(message)]


def assert_same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    for field in dataclasses.fields(a):
        left, right = getattr(a, field.name), getattr(b, field.name)
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype and left.shape == right.shape
            np.testing.assert_array_equal(left, right)
        else:
            assert left == right, field.name


@given(steps())
def test_a_step_survives_the_wire(step: m.Step) -> None:
    assert_same(step, unpack(frames_of(step)))


@given(sampleds())
def test_a_sampled_survives_the_wire(sampled: m.Sampled) -> None:
    assert_same(sampled, unpack(frames_of(sampled)))


@pytest.mark.parametrize("message", JSON_MESSAGES, ids=lambda message: type(message).__name__)
def test_every_other_message_survives_the_wire(message: m.Message) -> None:
    assert unpack(frames_of(message)) == message


def test_a_field_of_another_release_is_passed_over() -> None:
    hello = m.Hello("pi-1", 7, "tcp://10.0.0.1:7101", "0.1.0", 8 << 30, "aarch64")
    document = dataclasses.asdict(hello) | {"num_cores": 4, "what_comes_next": [1, {"a": None}]}
    assert unpack([bytes(f) for f in _seal(16, json.dumps(document).encode(), None)]) == hello


def test_opens_without_a_grammar_are_packed_as_an_older_release_packs_them() -> None:
    plain, other = m.Open(1, 2, m.Sampling(), (3, 4)), m.Open(2, 2, m.Sampling(), (), "a")
    step = m.Step(
        plan_id=bytes(16),
        epoch=1,
        step=1,
        lane=0,
        kind=m.StepKind.DECODE,
        is_sampled=False,
        is_check=False,
        first_row=0,
        sequences=np.zeros(1, np.uint64),
        positions=np.zeros(1, np.int32),
        token_ids=np.zeros((1, 1), np.int32),
        opens=(plain,),
    )
    with_one = dataclasses.replace(step, opens=(plain, other))
    body, longer = frames_of(step)[0], frames_of(with_one)[0]
    assert body[BODY + 61] == 0 and longer[BODY + 61] == HAS_GRAMMARS
    assert len(body) == BODY + 64 + 8 + 4 + 4 + OPEN.size + 8
    assert len(longer) == len(body) + OPEN.size + 4 + 4 + 1


def test_every_kind_is_tried() -> None:
    assert {type(message) for message in JSON_MESSAGES} | {m.Step, m.Sampled} == set(KINDS.values())


@settings(max_examples=300)
@given(st.data(), st.one_of(steps(), sampleds(), st.sampled_from(JSON_MESSAGES)))
def test_one_altered_bit_raises(data: st.DataObject, message: m.Message) -> None:
    frames = frames_of(message)
    index = data.draw(st.sampled_from([i for i, frame in enumerate(frames) if frame]))
    bit = data.draw(st.integers(0, len(frames[index]) * 8 - 1))
    altered = bytearray(frames[index])
    altered[bit // 8] ^= 1 << bit % 8
    frames[index] = bytes(altered)
    with pytest.raises(BadFrame):
        unpack(frames)


@settings(max_examples=300)
@given(st.data(), st.one_of(steps(), sampleds(), st.sampled_from(JSON_MESSAGES)))
def test_a_truncated_message_raises(data: st.DataObject, message: m.Message) -> None:
    frames = frames_of(message)
    index = data.draw(st.sampled_from([i for i, frame in enumerate(frames) if frame]))
    if data.draw(st.booleans()):
        del frames[index:]
    else:
        frames[index] = frames[index][: data.draw(st.integers(0, len(frames[index]) - 1))]
    with pytest.raises(BadFrame):
        unpack(frames)


@given(st.lists(st.binary(max_size=80), max_size=6))
def test_noise_raises(frames: list[bytes]) -> None:
    with pytest.raises(BadFrame):
        unpack(frames)


@settings(max_examples=300)
@given(st.data(), steps())
def test_a_lying_header_with_a_right_checksum_raises_or_is_consistent(
    data: st.DataObject, step: m.Step
) -> None:
    body = bytearray(frames_of(step)[0][BODY:])
    body[data.draw(st.integers(24, STEP.size - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = unpack([bytes(frame) for frame in _seal(1, bytes(body), step.hidden)])
    except BadFrame:
        return
    assert isinstance(found, m.Step)
    assert found.token_ids.shape == (len(found.sequences), found.token_ids.shape[1])


@given(steps(), st.booleans())
def test_a_stage_sends_on_what_it_got_with_what_it_adds(step: m.Step, is_check: bool) -> None:
    n, t = step.token_ids.shape
    hidden = np.random.default_rng(0).random((n * t, 6), np.float32)
    digest = np.arange(8, dtype=np.float32) if is_check else None
    raw = frames_of(step)
    found = unpack([bytes(f) for f in forward(raw, hidden, (1, 2, 3), digest)])
    added = np.zeros((0, 8), np.float32) if digest is None else digest[None]
    wanted = dataclasses.replace(
        step,
        hidden=hidden,
        traces=np.concatenate([step.traces, np.array([[1, 2, 3]], np.uint32)]),
        digests=np.concatenate([step.digests, added]),
    )
    assert_same(wanted, found)


def test_a_message_of_the_wrong_type_of_field_is_named() -> None:
    body = b'{"request": 7}'
    with pytest.raises(BadFrame, match=r"Cancel: Expected `str`, got `int` - at `\$.request`"):
        unpack(_seal(33, body, None))
