"""Replies under a schema or grammar are what it says, whatever the logits, steps and losses."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest
from bramble.errors import BadShard
from bramble.model.grammar import Grammars, Vocabulary, grammar_text
from bramble.stage.sampler import Sampler
from bramble.wire.messages import STUCK, UNREAD, Open, Sampling

from tests.schemas import Replier, is_valid, schemas

NUM_SCHEMAS = 100  # of the 1,000 that `python -m tests.schemas` tries
GREEDY = Sampling(temperature=0.0)
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["red", "green"]}, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def replier():
    return Replier()


def grammar_of(schema) -> str:
    return grammar_text("json_schema", json.dumps(schema), "schema")


@pytest.mark.parametrize("part", range(4))
def test_random_logits_write_json_that_the_schema_allows(replier, part):
    for number, schema in list(enumerate(schemas(NUM_SCHEMAS)))[part::4]:
        text = replier.text(replier.reply(schema, number))
        assert is_valid(schema, text), f"{text!r} under {schema}"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sampling", [GREEDY, Sampling(top_k=5), Sampling(top_p=0.3, min_p=0.2)])
def test_a_sequence_that_is_opened_anew_amid_its_reply_goes_on_as_it_would_have(
    replier, sampling, seed
):
    whole = replier.reply(PERSON, seed, sampling)
    for cut in range(0, len(whole), 3):
        sampler = Sampler(lambda: replier.grammars)
        history = (0, *whole[:cut])
        sampling = replace(sampling, seed=seed)
        sampler.open(Open(7, 1, sampling, history, grammar_of(PERSON)))
        for count in range(cut, len(whole)):
            logits = replier.logits(seed, count)[None]
            assert sampler.sample(logits, [7], [1 + count]).token_ids.tolist() == [whole[count]]
            sampler.feed(7, [whole[count]], 1 + count)
        end = sampler.sample(replier.logits(seed, len(whole))[None], [7], [1 + len(whole)])
        assert end.token_ids.tolist() == [replier.end_id]


@pytest.mark.parametrize("is_right", [True, False])
def test_guesses_move_the_grammar_on_only_if_they_came_true(replier, is_right):
    seed, sampling = 5, Sampling(seed=5)
    whole = [*replier.reply(PERSON, seed, sampling), replier.end_id]
    sampler = Sampler(lambda: replier.grammars)
    sampler.open(Open(1, 1, sampling, (0,), grammar_of(PERSON)))
    said = sampler.sample(replier.logits(seed, 0)[None], [1], [1]).token_ids.tolist()
    while replier.end_id not in said:
        guesses = whole[len(said) : len(said) + 4]
        if not is_right:  # another allowed one, or a forbidden one
            guesses[-1:] = [(guesses[-1] + len(said)) % len(replier.tokens)]
        run = [said[-1], *guesses]
        logits = np.stack([replier.logits(seed, len(said) + i) for i in range(len(run))])
        said += sampler.verify(logits, 1, len(said), run).token_ids.tolist()
    assert said[: len(whole)] == whole  # the head stops at the end, also amid an answer


def test_sequences_side_by_side_keep_to_their_own_grammars(replier):
    sampler, free = Sampler(lambda: replier.grammars), Sampling(seed=3)
    alone = replier.reply(PERSON, 1, Sampling(seed=1))
    sampler.open(Open(1, 1, Sampling(seed=1), (0,), grammar_of(PERSON)))
    sampler.open(Open(2, 1, free))
    sampler.open(Open(3, 1, Sampling(seed=4), (0,), grammar_of({"type": "null"})))
    other = Sampler()
    other.open(Open(2, 1, free))
    nulls = b""
    for count, expected in enumerate(alone[:20]):
        logits = np.stack([replier.logits(seed, count) for seed in (1, 2, 3)])
        first, second, third = sampler.sample(logits, [1, 2, 3], [1 + count] * 3).token_ids
        assert first == expected
        assert [second] == other.sample(logits[1:2], [2], [1 + count]).token_ids.tolist()
        nulls += b"" if third == replier.end_id else replier.tokens[third]
        for sequence, token in ((1, first), (2, second), (3, third)):
            sampler.feed(sequence, [int(token)], 1 + count)
    assert nulls == b"null"


def test_what_is_surely_allowed_is_what_the_mask_says(replier):
    chance = np.random.default_rng(0)
    for number, schema in enumerate(schemas(20)):
        matcher = replier.grammars.compile(grammar_of(schema))
        for token in replier.reply(schema, number)[:60]:
            mask, probes = matcher.mask(), chance.integers(0, len(replier.tokens), 20)
            assert all(matcher.surely_allows(int(each)) == mask[each] for each in probes)
            assert matcher.surely_allows(token) and mask[token]
            matcher.feed([token])


def test_masks_over_128_thousand_tokens_are_soon_computed():
    """The bounds, of processor time, are ten times what it takes on a desktop's core."""
    chance = np.random.default_rng(0)
    letters = np.frombuffer(b'etaoinshrdlu ETAOIN0123456789.,:"{}[]_-\n', np.uint8)
    tokens = [bytes([byte]) for byte in range(256)]
    tokens += {bytes(chance.choice(letters, 2 + n % 7)) for n in range(128_000)}
    words = Vocabulary([*tokens, b"<end>"], (len(tokens),), (len(tokens),))
    grammars = Grammars(words)
    compile_s, mask_s = [], []
    for schema in schemas(30):
        started = time.thread_time()
        matcher = grammars.compile(grammar_of(schema))
        compile_s.append(time.thread_time() - started)
        for _ in range(30):
            started = time.thread_time()
            mask = matcher.mask()
            mask_s.append(time.thread_time() - started)
            matcher.feed([int(chance.choice(np.flatnonzero(mask)))])
    assert np.mean(compile_s) < 0.03 and np.mean(mask_s) < 0.003


# ------------------------------------------------------------------------- a small vocabulary

LETTERS = [bytes([byte]) for byte in range(128)]
END, OTHER_END, SPECIAL, NOTHING = 128, 129, 130, 131  # NOTHING: a row that is no token
WORDS = Vocabulary([*LETTERS, b"<end>", b"<eot>", b"<call>", b""], (128, 129, 130), (128, 129))


def opened(kind: str, text: str, sampling: Sampling = GREEDY) -> Sampler:
    sampler = Sampler(lambda: Grammars(WORDS))
    sampler.open(Open(1, 0, sampling, (), grammar_text(kind, text, "p")))
    return sampler


def allowed(sampler: Sampler) -> set[int]:
    """Which tokens come, one likeliest after the other."""
    return {next_token(sampler, token) for token in range(len(WORDS.tokens))}


def next_token(sampler: Sampler, likeliest: int) -> int:
    logits = np.zeros((1, len(WORDS.tokens)), np.float32)
    logits[0, likeliest] = 50
    return int(sampler.sample(logits, [1], [9]).token_ids[0])


def test_the_end_comes_only_where_the_grammar_may_end_and_then_nothing_else():
    sampler = opened("regex", "ab?")
    assert allowed(sampler) == {ord("a")}
    sampler.feed(1, [ord("a")], 0)
    assert allowed(sampler) == {ord("b"), END, OTHER_END}
    sampler.feed(1, [ord("b")], 1)
    assert allowed(sampler) == {END, OTHER_END}
    sampler.feed(1, [END], 2)
    assert allowed(sampler) <= {END, OTHER_END, STUCK}


def test_rows_that_are_no_token_and_unnamed_special_tokens_are_never_allowed():
    assert allowed(opened("regex", "(?s:.*)")) == {*range(128), END, OTHER_END}
    assert allowed(opened("lark", "start: <call> | <[129]>")) == {SPECIAL, OTHER_END}


@pytest.mark.parametrize(
    "sampling",
    [
        GREEDY,
        Sampling(top_k=1),
        Sampling(top_k=100),
        Sampling(top_p=0.01),
        Sampling(min_p=1.0),
        Sampling(temperature=1e-6),
        Sampling(presence_penalty=2, frequency_penalty=2, repetition_penalty=2),
    ],
)
def test_no_bias_and_no_setting_brings_what_the_grammar_forbids(sampling):
    biased = replace(sampling, logit_bias=((ord("z"), 100.0), (NOTHING, 100.0), (ord("b"), -100.0)))
    for seed in range(20):
        sampler = opened("regex", "[bc]", replace(biased, seed=seed))
        assert next_token(sampler, ord("q")) in (ord("b"), ord("c"))


def test_log_probabilities_are_those_of_the_model_before_anything_is_left_out():
    sampler = opened("regex", "b", replace(GREEDY, top_logprobs=2))
    logits = np.zeros((1, len(WORDS.tokens)), np.float32)
    logits[0, ord("q")] = 5
    choice = sampler.sample(logits, [1], [0])
    normalizer = np.log(np.exp(logits).sum())
    assert choice.token_ids.tolist() == [ord("b")] and choice.top_ids[0, 0] == ord("q")
    np.testing.assert_allclose(choice.logprobs, [-normalizer], rtol=1e-5)  # float32


def test_a_grammar_that_cannot_go_on_says_so_and_others_go_on():
    sampler = opened("regex", "aé", replace(GREEDY, top_logprobs=1))  # é has no token here
    sampler.open(Open(2, 0, GREEDY))
    sampler.feed(1, [ord("a")], 0)
    logits = np.zeros((2, len(WORDS.tokens)), np.float32)
    assert sampler.sample(logits, [1, 2], [1, 1]).token_ids.tolist() == [STUCK, 0]
    assert sampler.verify(logits, 1, 1, [0, 5]).token_ids.tolist() == [STUCK]


def test_tokens_that_the_grammar_never_allowed_leave_it_stuck():
    sampler = Sampler(lambda: Grammars(WORDS))
    sampler.open(Open(1, 1, GREEDY, (0, ord("x")), grammar_text("regex", "abc", "p")))
    assert allowed(sampler) == {STUCK}


def test_a_grammar_too_much_to_follow_is_stuck_and_never_ends_as_if_it_were_whole():
    sampler = opened("regex", "(?s:.*a.{30}b.{30}.*){3}")
    found = {next_token(sampler, ord("a"))}
    for position in range(60):
        sampler.feed(1, [ord("a")], position)
        found.add(next_token(sampler, ord("a")))
    assert found <= {ord("a"), STUCK}


def test_a_stage_without_the_tokenizer_fails_the_request_by_name_and_looks_again(caplog):
    files = []

    def read() -> Grammars:
        if not files:
            raise BadShard("tokenizer.json: cannot be read: No such file or directory")
        return Grammars(WORDS)

    sampler = Sampler(read)
    logits = np.zeros((2, len(WORDS.tokens)), np.float32)
    sampler.open(Open(1, 0, GREEDY, (), grammar_text("regex", "a", "p")))
    sampler.open(Open(2, 0, GREEDY))
    assert sampler.sample(logits, [1, 2], [0, 0]).token_ids.tolist() == [UNREAD, 0]
    assert "tokenizer.json" in caplog.text
    files.append("tokenizer.json")
    sampler.open(Open(3, 0, GREEDY, (), grammar_text("regex", "a", "p")))
    assert sampler.sample(logits[:1], [3], [0]).token_ids.tolist() == [ord("a")]
