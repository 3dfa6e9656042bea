"""A group's members together give what one process gives, however each layer is divided."""

from __future__ import annotations

import numpy as np
import pytest
from bramble.wire.messages import Open, Sampling, StepKind
from groups import GroupLogits, GroupRing
from ring import GOLDENS, Ring

CASES = ("llama2", "llama3", "mistral", "qwen2", "qwen3")
ATOL = 1e-4  # the contract's against transformers: float32 sums in another order
PARTS = ((1, 1), (1, 2, 1), (3, 1), (1, 1, 1, 1))
LONG = [7, 9, 30, 4, 11, 50, 51, 3, 99, 8, 7, 64, 120, 5, 33, 2, 76]


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """Where slices and packed weights are kept for all tests: each is made once."""
    return tmp_path_factory.mktemp("packed")


def golden(case):
    return dict(np.load(GOLDENS / case / "golden.npz"))


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("case", CASES)
def test_groups_give_the_reference_logits(case, parts, model, root):
    ring, want = GroupLogits(model(case), parts=parts, root=root), golden(case)
    got = ring.prefill_logits(want["prompt_0"])
    np.testing.assert_allclose(got, want["prefill_logits_0"], rtol=0, atol=ATOL)
    for i, token in enumerate(want["decoded_0"][:4]):
        got = ring.decode_logits([token], [48 + i])
        np.testing.assert_allclose(got[0], want["decode_logits_0"][i], rtol=0, atol=ATOL)


@pytest.mark.parametrize("num_stages", [1, 2])
@pytest.mark.parametrize(("case", "parts"), list(zip(CASES, (*PARTS, PARTS[-1]), strict=True)))
def test_groups_choose_the_tokens_of_one_process(case, parts, num_stages, model, root):
    prompt = golden(case)["prompt_1"].tolist()
    alone = Ring(model(case)).generate(prompt, 16)
    ring = GroupRing(model(case), num_stages, parts=parts, root=root)
    assert ring.generate(prompt, 16) == alone


SAMPLINGS = (
    Sampling(seed=7, top_p=0.9),
    Sampling(seed=3, temperature=1.3, top_k=20, min_p=0.01),
    Sampling(temperature=0.0, repetition_penalty=1.3),
    Sampling(temperature=0.0, frequency_penalty=0.7, presence_penalty=0.2),
    Sampling(temperature=0.0, logit_bias=((5, 3.0), (17, -9.0))),
    Sampling(seed=1, top_logprobs=3),
)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_whatever_a_request_asks_is_sampled_as_in_one_process(sampling, model, root):
    prompt = golden("llama3")["prompt_1"].tolist()
    alone = Ring(model("llama3")).generate(prompt, 16, sampling=sampling)
    ring = GroupRing(model("llama3"), parts=(1, 2, 1), root=root)
    assert ring.generate(prompt, 16, sampling=sampling) == alone


def test_logprobs_are_those_of_one_process(model, root):
    """Within 1e-5: the logits differ by some 1e-6, as float32 sums are taken in another order."""
    opened = Open(0, len(LONG), Sampling(temperature=0.0, top_logprobs=4), tuple(LONG))
    step = {"opens": (opened,), "is_sampled": True}
    alone = Ring(model("qwen3")).prefill(LONG, **step)
    found = GroupRing(model("qwen3"), root=root).prefill(LONG, **step)
    np.testing.assert_array_equal(found.top_ids, alone.top_ids)
    np.testing.assert_allclose(found.logprobs, alone.logprobs, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.top_logprobs, alone.top_logprobs, rtol=0, atol=1e-5)


def test_of_greedy_sequences_members_send_their_best_token_alone(model, root):
    ring = GroupRing(model("llama3"), root=root)
    ring.generate(LONG, 5)
    assert [e._group.exchange.gathered_bytes for e in ring.groups[0]] == [5 * 8, 5 * 8]
    ring = GroupRing(model("llama3"), root=root)
    ring.generate(LONG, 5, sampling=Sampling(seed=7))
    assert [e._group.exchange.gathered_bytes for e in ring.groups[0]] == [5 * 80 * 4] * 2


@pytest.mark.parametrize("quantization", ["float32", "int4"])
def test_tokens_computed_together_have_the_bits_of_single_steps(quantization, model, root):
    ring = GroupLogits(model("llama3", quantization), root=root)
    ring.prefill_logits(LONG[:6])
    singly = [ring.decode_logits([token], [6 + i])[0] for i, token in enumerate(LONG[6:11])]
    ring.prefill_logits(LONG[:6], row=1)
    ids = np.array([LONG[6:11]], np.int32)
    together = ring._logits(
        lambda shard: shard.forward_singly(ids, 1, 6, 5), lambda hidden: hidden[0]
    )
    np.testing.assert_array_equal(together, singly)
    ring.prefill_logits(LONG[:6])
    ring.run(ring.step(StepKind.REPLAY, [LONG[6:10]], [6]))
    np.testing.assert_array_equal(ring.decode_logits([LONG[10]], [10])[0], singly[4])


@pytest.mark.parametrize("parts", [(1, 1), (1, 2, 1)])
def test_guesses_are_verified_as_one_process_verifies_them(parts, model, root):
    folder = model("llama3")
    alone = Ring(folder).generate(LONG, 8)
    for guesses in (alone[1:5], [alone[1], alone[2], 0, alone[4]], [0, 0]):
        one, ring = Ring(folder), GroupRing(folder, parts=parts, root=root)
        want = verified(one, alone[0], guesses)
        assert verified(ring, alone[0], guesses) == want


def verified(ring, token, guesses):
    opened = Open(0, len(LONG), Sampling(temperature=0.0), tuple(LONG))
    ring.prefill(LONG, opens=(opened,), is_sampled=True)
    return ring.verify([token, *guesses], len(LONG)).token_ids.tolist()


@pytest.mark.parametrize("parts", [(1, 1), (1, 2, 1)])
def test_three_rows_swaps_copies_and_trims_are_each_members_own(parts, model, root):
    """The same steps, with all that is done to rows, give one process's logits behind them."""
    found = [
        rows_moved(made)
        for made in (Ring(model("qwen2")), GroupRing(model("qwen2"), parts=parts, root=root))
    ]
    assert found[0] == found[1]


def rows_moved(ring):
    tokens = []
    opens = tuple(
        Open(row, 5 + row, Sampling(temperature=0.0), tuple(LONG[: 5 + row])) for row in range(3)
    )
    for row in range(3):
        result = ring.prefill(LONG[: 5 + row], row=row, opens=opens[row : row + 1], is_sampled=True)
        tokens.append(int(result.token_ids[0]))
    lengths = [5, 6, 7]
    moves = [
        {"swaps": ((0, 2, 7),), "sequences": np.array([2, 1, 0], np.uint64)},
        {"copies": ((0, 3, 0, 6),), "sequences": np.array([2, 1, 0], np.uint64)},
        {"trims": ((3, 2),), "sequences": np.array([2, 1, 0], np.uint64)},
    ]
    tokens, lengths = tokens[::-1], lengths[::-1]
    found = [tokens]
    for more in moves:
        result = ring.decode(found[-1], lengths, is_sampled=True, **more)
        found.append(result.token_ids.tolist())
        lengths = [length + 1 for length in lengths]
    return found
