"""An engine gives what transformers gives, in any cut of prompt, batch and ring."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bramble.errors import BadInput, BadShard, Broken
from bramble.model import manifest as manifests
from bramble.model.share import Share
from bramble.stage import cpu
from bramble.stage.engine import Engine
from bramble.wire.messages import Open, Sampling, StepKind
from ring import GREEDY, Ring, assign

PROMPTS = [[7, 9, 30, 4], [50, 51], list(range(20, 60)), [3], [99, 8, 7], [4] * 9, [2, 3], [77]]
ROWS = 8


@pytest.fixture
def ring(model):
    return Ring(model("llama3", "int4"))


@pytest.mark.parametrize("quantization", ["float32", "int4", "int8"])
@pytest.mark.parametrize("sampling", [GREEDY, Sampling(seed=11, temperature=0.9)])
def test_four_streams_at_once_get_the_tokens_each_gets_alone(quantization, sampling, model):
    folder = model("llama3", quantization)
    alone = [Ring(folder).generate(prompt, 20, 0, sampling) for prompt in PROMPTS[:4]]
    ring, tokens = Ring(folder, 2), []
    for row, prompt in enumerate(PROMPTS[:4]):
        tokens.append(ring.generate(prompt, 1, row, sampling))
    for _ in range(19):
        positions = [len(p) + len(t) - 1 for p, t in zip(PROMPTS[:4], tokens, strict=True)]
        result = ring.decode([t[-1] for t in tokens], positions, is_sampled=True)
        for reply, token in zip(tokens, result.token_ids.tolist(), strict=True):
            reply.append(token)
    assert tokens == alone


def test_a_swapped_row_goes_on_as_before(ring):
    want = ring.generate(PROMPTS[2], 6)
    first = ring.generate(PROMPTS[2], 1)
    ring.generate(PROMPTS[1], 1, row=3)
    ids, tokens, swaps = np.array([0], np.uint64), first, ((0, 3, 40),)
    for i in range(5):
        result = ring.decode([tokens[-1]], [40 + i], 3, is_sampled=True, sequences=ids, swaps=swaps)
        tokens, swaps = [*tokens, int(result.token_ids[0])], ()
    assert tokens == want


def test_a_copied_beginning_is_as_good_as_one_computed(ring):
    want = ring.generate(PROMPTS[2], 6)
    other = [*PROMPTS[2][:30], *PROMPTS[1][:5]]
    wanted_other = ring.generate(other, 6, row=1)
    ring.generate(PROMPTS[2], 1, row=0)
    opened = Open(2, len(other), GREEDY, tuple(other))
    result = ring.prefill(
        other[30:], 30, 2, opens=(opened,), is_sampled=True, copies=((0, 2, 0, 20), (0, 2, 20, 30))
    )
    tokens = [int(result.token_ids[0])]
    for i in range(5):
        result = ring.decode([tokens[-1]], [len(other) + i], 2, is_sampled=True)
        tokens.append(int(result.token_ids[0]))
    assert tokens == wanted_other
    assert ring.generate(PROMPTS[2], 6) == want


def test_signs_of_life_come_between_the_layers_of_a_long_step(ring):
    signs = []
    ring.engines[0].run(ring.step(StepKind.PREFILL, [PROMPTS[2]], [0]), lambda: signs.append(1))
    assert len(signs) >= 3


def test_reset_forgets_cache_and_sequences(ring):
    ring.generate(PROMPTS[0], 2)
    engine = ring.engines[0]
    assert engine.kv_used_bytes > 0
    engine.reset()
    assert engine.kv_used_bytes == 0
    with pytest.raises(Broken, match="before it was opened"):
        ring.prefill(PROMPTS[0], is_sampled=True)


def test_an_unsampled_step_only_fills_the_cache(ring):
    result = ring.prefill(PROMPTS[0])
    assert result.hidden is None
    assert result.token_ids.shape == result.logprobs.shape == (0,)


def test_steps_that_do_not_fit_are_refused_before_anything_runs(ring):
    with pytest.raises(Broken, match="token ids"):
        ring.prefill([160])
    with pytest.raises(Broken, match="history of sequence 1 has token ids 3 to 160"):
        ring.prefill([3], opens=(Open(1, 1, GREEDY, (3, 160)),))
    with pytest.raises(Broken, match="disagree about max_length"):
        ring.prefill([1], position=96)
    with pytest.raises(Broken, match="disagree about the plan"):
        ring.decode([1, 1], [0, 0], first_row=3)
    with pytest.raises(Broken, match="cannot have"):
        ring.run(ring.step(StepKind.PREFILL, [[1], [2]], [0, 0]))
    assert ring.engines[0].kv_used_bytes == 0


def test_a_later_stage_needs_a_hidden_state_of_the_right_shape(model):
    ring = Ring(model("llama3"), 2)
    step = ring.step(StepKind.DECODE, [[1]], [0])
    for hidden in (None, np.zeros((2, 64), np.float32)):
        with pytest.raises(Broken, match="hidden state"):
            ring.engines[1].run(replace(step, hidden=hidden))


def test_many_batch_shapes_stay_correct(ring):
    want = ring.generate(PROMPTS[0], 3)
    for length in range(1, 80):
        ring.prefill(list(range(2, 2 + length)), row=1)
    assert ring.generate(PROMPTS[0], 3) == want


def test_an_altered_shard_is_named(model, tmp_path):
    folder = tmp_path / "damaged"
    source = model("llama3")
    for path in source.rglob("*"):
        target = folder / path.relative_to(source)
        if path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    data = folder / "shards" / "layer-001.data"
    content = bytearray(data.read_bytes())
    content[1000] ^= 4
    data.write_bytes(content)
    manifest = manifests.read(folder)
    Engine(folder, manifest, assign(manifest, 0, 3), 1)
    with pytest.raises(BadShard, match=r"layer-001\.data: got sha256"):
        Engine(folder, manifest, assign(manifest, 1, 3), 1)


def test_layers_that_do_not_exist_are_refused(model):
    manifest = manifests.read(model("llama3"))
    four = Share.uncut(0, 4, has_embed=True, has_lm_head=False)
    with pytest.raises(BadInput, match="has 0:3"):
        Engine(model("llama3"), manifest, assign(manifest, share=four), 1)


def test_a_part_of_each_layer_is_refused(model):
    manifest = manifests.read(model("llama3"))
    whole = assign(manifest).share
    part = replace(whole, columns=(0, whole.columns[1] // 2))
    with pytest.raises(BadInput, match="part of each layer"):
        Engine(model("llama3"), manifest, assign(manifest, share=part), 1)


def test_a_share_whose_numbers_are_not_said_is_whole(model):
    manifest = manifests.read(model("llama3"))
    unsaid = Share.uncut(0, 3, has_embed=True, has_lm_head=True)
    assert unsaid.completed(manifest.shape) == assign(manifest).share
    Engine(model("llama3"), manifest, assign(manifest, share=unsaid), 1)


def test_a_penalised_sequence_counts_its_own_reply(ring):
    sampling = Sampling(temperature=0, presence_penalty=1000.0)
    tokens = ring.generate(PROMPTS[0], 12, sampling=sampling)
    assert len(set(tokens)) == 12


def test_a_closed_sequence_can_be_opened_anew(ring):
    opened = Open(0, 1, GREEDY)
    ring.prefill([5], opens=(opened,), is_sampled=True)
    ring.prefill([5], closes=(0,), opens=(opened,), is_sampled=True)


def test_an_old_arm_is_refused_and_a_new_one_is_not():
    cpu.check("aarch64", "Features\t: fp asimd asimddp\n")
    cpu.check("x86_64", "")
    with pytest.raises(BadInput, match="asimddp"):
        cpu.check("aarch64", "Features\t: fp asimd crc32\n")
    with pytest.raises(BadInput, match="ProcSubset"):
        cpu.check("aarch64", "processor\t: 0\n")
