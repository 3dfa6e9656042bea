"""Whatever a step that came over the wire says, it is run or refused: the stage goes on."""

from __future__ import annotations

import numpy as np
import pytest
from bramble.errors import BadFrame, BadInput, Broken, CacheFull
from bramble.model import manifest as manifests
from bramble.stage.engine import Engine
from bramble.stage.sampler import Sampler
from bramble.wire.frames import MAX_ROWS, pack, unpack
from bramble.wire.messages import Open, Sampling, Step, StepKind
from hypothesis import given, settings
from hypothesis import strategies as st
from ring import Ring, assign

GREEDY = Sampling(temperature=0.0)
HIDDEN = 64
numbers = st.one_of(st.integers(0, 5), st.sampled_from([63, 95, 96, 159, 160, 4096, 2**31 - 1]))
floats = st.one_of(
    st.sampled_from([0.0, -1.0, 1.0, 1e-300, 1e300, float("nan"), float("inf"), -float("inf")]),
    st.floats(0, 2),
)
samplings = st.builds(
    Sampling,
    temperature=floats,
    top_k=st.sampled_from([-5, 0, 3, 2**31 - 1]),
    top_p=st.sampled_from([1.0, float("inf"), 5.0]),  # below 1 numba compiles, for seconds
    min_p=floats,
    repetition_penalty=floats,
    presence_penalty=floats,
    frequency_penalty=floats,
    logit_bias=st.lists(st.tuples(numbers, floats), max_size=3).map(tuple),
    seed=st.sampled_from([0, 2**64 - 1]),
    top_logprobs=st.sampled_from([-(2**31), -1, 0, 20, 4000, 2**31 - 1]),
)
opens = st.builds(
    Open, st.integers(0, 3), numbers, samplings, st.lists(numbers, max_size=4).map(tuple)
)


@st.composite
def steps(draw: st.DrawFn) -> Step:
    kind = draw(st.sampled_from(StepKind))
    n, t = draw(st.integers(1, 5)), draw(st.sampled_from([1, 2, 5, 65, 97]))
    n, t = (n, 1) if kind is StepKind.DECODE else (1, t)
    few = {"max_size": 2}
    hidden = draw(st.sampled_from([None, 0.1, np.nan, np.inf, 1e38]))
    width = draw(st.sampled_from([HIDDEN, HIDDEN, 3]))
    return Step(
        plan_id=bytes(16),
        epoch=1,
        step=draw(numbers),
        lane=draw(st.integers(0, 2**16 - 1)),
        kind=kind,
        is_sampled=draw(st.booleans()),
        is_check=draw(st.booleans()),
        first_row=draw(numbers),
        sequences=np.array(draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), np.uint64),
        positions=np.array(draw(st.lists(numbers, min_size=n, max_size=n)), np.int32),
        token_ids=np.full((n, t), draw(numbers), np.int32),
        swaps=tuple(draw(st.lists(st.tuples(numbers, numbers, numbers), **few))),
        copies=tuple(draw(st.lists(st.tuples(numbers, numbers, numbers, numbers), **few))),
        trims=tuple(draw(st.lists(st.tuples(numbers, numbers), **few))),
        opens=tuple(draw(st.lists(opens, **few))),
        closes=tuple(draw(st.lists(st.integers(0, 3), **few))),
        hidden=None if hidden is None else np.full((n * t, width), hidden, np.float32),
    )


@pytest.fixture(scope="module")
def rings(model):
    return Ring(model("llama3")), Ring(model("llama3"), 2)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy on what is no number
@settings(max_examples=300, deadline=None)
@given(forged=steps())
def test_a_forged_step_is_run_or_refused(rings, forged):
    try:
        step = unpack(pack(forged))
    except BadFrame:
        return
    for engine in (*rings[0].engines, *rings[1].engines):
        try:
            engine.run(step)
        except (Broken, CacheFull):
            engine.reset()


def test_behind_forged_steps_an_engine_computes_as_before(rings):
    whole = rings[0]
    whole.engines[0].reset()
    want = whole.generate([5, 6, 7], 8)
    with pytest.raises(Broken):
        whole.prefill([3], row=1, swaps=((0, 1, 3), (0, 99, 3)))
    whole.engines[0].reset()
    assert whole.generate([5, 6, 7], 8) == want


def test_numbers_that_leave_float32_open_no_sequence():
    sampler = Sampler()
    for sampling in (
        Sampling(repetition_penalty=0.0),
        Sampling(repetition_penalty=float("nan")),
        Sampling(presence_penalty=1e300),
        Sampling(temperature=float("inf")),
        Sampling(logit_bias=((3, float("nan")),)),
        Sampling(top_logprobs=2**31 - 1),
    ):
        with pytest.raises(Broken, match="sequence 7 was opened with"):
            sampler.open(Open(7, 1, sampling, ()))
    assert len(sampler) == 0


@pytest.mark.parametrize("members", [{"rows": MAX_ROWS + 1}, {"max_length": 1 << 31}])
def test_an_assignment_of_more_than_a_step_or_the_model_can_have_is_refused(model, members):
    folder = model("llama3")
    manifest = manifests.read(folder)
    with pytest.raises(BadInput, match=f"need 1 to {MAX_ROWS} rows of 1 to"):
        Engine(folder, manifest, assign(manifest, **members), 1)
