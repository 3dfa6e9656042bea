"""The bench's pure parts: spreads, ratios, tables, and what it refuses."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from bramble.errors import BadInput, Broken
from bramble.stage import sampler
from bramble.wire.messages import Open, Sampling

from tests.bench import __main__ as cli
from tests.bench import cache, network, report, rounds, streams
from tests.bench.figures import Samples, Spread, paired
from tests.bench.llama import bench_samples
from tests.bench.processes import Place
from tests.bench.ratios import ratios
from tests.bench.told_stage import tell


def samples(**found: dict[str, list[float]]) -> Samples:
    return Samples({name.replace("_", " "): values for name, values in found.items()})


def test_a_slow_minute_that_meets_both_sides_leaves_their_ratio() -> None:
    assert paired([10.0, 5.0, 10.0], [20.0, 10.0, 20.0]) == [0.5, 0.5, 0.5]
    assert paired([9.0, 10.0, 30.0], [20.0]) == [0.5]


def test_the_ceiling_counts_with_its_best_batch() -> None:
    found = samples(
        ring_2={"streams 8": [90.0]}, ceiling_1_thread={"streams 4": [60.0], "streams 8": [50.0]}
    )
    (ratio,) = ratios(found)
    assert ratio.values.median == 1.5 and not ratio.holds and ratio.target == "≥ 1.7"


def test_llama_counts_with_its_better_format() -> None:
    found = Samples()
    found.add("ring 2", "streams 4", 66.0)
    found.add("llama.cpp Q4_0 rpc 2", "streams 4", 11.0)
    found.add("llama.cpp Q4_K_M rpc 2", "streams 4", 22.0)
    (ratio,) = ratios(found)
    assert ratio.values.median == 3.0 and ratio.holds


def test_every_told_text_is_known_by_the_length_of_its_prompt() -> None:
    texts = streams.told().values()
    lengths = {text.num_prompt for text in texts}
    assert len(lengths) == len(texts)
    others = streams.SMALL_PROMPT, streams.PREFILL_TOKENS, streams.STREAM_PROMPT
    assert lengths.isdisjoint({*others, streams.TURN_PROMPT})
    assert {len(text.reply) for text in texts} == {streams.GUESSED_TOKENS}


def test_a_told_stage_says_the_text_and_behind_it_what_it_draws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sampler, "pick", sampler.pick)
    tell({2: [5, 6, 7, 8]})
    one, logits = sampler.Sampler(), np.zeros((1, 10), np.float32)
    for sequence, num_prompt in ((1, 2), (2, 3)):
        one.open(Open(sequence, num_prompt, Sampling(temperature=0.0)))
    said = [one.sample(logits, [1], [position]).token_ids[0] for position in (2, 3, 4)]
    assert said == [7, 8, 0]
    assert one.sample(logits, [2], [3]).token_ids[0] == 0
    assert one.verify(np.zeros((2, 10), np.float32), 1, 1, [6, 7]).token_ids.tolist() == [7, 8]


def test_guesses_count_against_the_same_text_without() -> None:
    found = samples(
        ring_2={
            "plain an edit of code": [10.0, 20.0, 10.0],
            "guessed an edit of code": [20.0, 40.0, 10.0],
            "plain an essay": [10.0],
            "guessed an essay": [9.0],
        }
    )
    repeats, other = ratios(found)
    assert (repeats.name, repeats.values.median, repeats.target, repeats.holds) == (
        "ring 2, an edit of code, guesses / none",
        2.0,
        "≥ 1.5",
        True,
    )
    assert (other.target, other.holds) == ("≥ 0.97", False)


def test_a_bound_from_above_holds_below_it() -> None:
    found = samples(
        ring_1={
            "restart": [1.5, 1.9],
            "turn cold": [100.0],
            "turn second": [20.0],
            "resident": [110.0],
            "shards+kv": [100.0],
        }
    )
    assert {ratio.name.partition(", ")[2]: ratio.holds for ratio in ratios(found)} == {
        "first token of a second turn / cold": False,
        "warm restart in s": True,
        "resident / (shards + KV)": True,
    }


def test_the_roofline_is_the_share_of_the_bandwidth_that_decoding_reads() -> None:
    found = samples(ceiling_1_thread={"decode": [25.0]}, memory_1_thread={"bandwidth": [40.0]})
    (row,) = report.roofline(found, {"ceiling 1 thread": 800_000_000})
    assert (row["read_gb_s"], row["share"]) == (20.0, 0.5)


def test_a_table_lines_up_and_is_markdown() -> None:
    assert report.table(["", "ratio"], [["long name", "1.0"], ["b", "10.25"]]).splitlines() == [
        "|           | ratio |",
        "| --------- | ----: |",
        "| long name |   1.0 |",
        "| b         | 10.25 |",
    ]


def test_the_report_leaves_out_what_was_not_measured() -> None:
    found = samples(ring_1={"decode": [30.0, 20.0, 10.0]})
    document = report.document({"shape": "tiny"}, found, {}, {"ring 2": "it burnt"})
    text = report.markdown({"shape": "tiny"}, found, document)
    assert "20.0 (10.0–30.0)" in text and "prefill" not in text and "Ratios" not in text
    assert "**ring 2 failed:** it burnt" in text
    assert json.loads(json.dumps(document))["spreads"]["ring 1"]["decode"]["median"] == 20.0


def test_every_measured_quantity_has_a_unit() -> None:
    now = time.monotonic()
    reply = streams.Reply([1, 2, 3], 0.5, 1.5)
    assert reply.decode_tokens_s == 2.0
    for measured in (
        streams.decode(lambda prompt, tokens: reply, 400),
        streams.prefill(lambda prompt, tokens: reply, 400),
        streams.together(lambda prompt, tokens: reply, 400, 2),
        streams.turns(lambda prompt, tokens: reply, 400),
    ):
        document = report.document({}, Samples({"one": measured}), {}, {})
        assert all(each["unit"] for each in document["spreads"]["one"].values())
    with pytest.raises(Broken, match="asked for 3 tokens, got 2"):
        streams.reply(iter([1, 2]), now, 3)


class Dying:
    """A contender that fails at its second decode."""

    name = "dying"

    def __init__(self) -> None:
        self.calls, self.stops = 0, 0

    def start(self) -> None:
        pass

    def stop(self) -> None:
        self.stops += 1

    def can(self, task: str) -> bool:
        return task == "decode"

    def measure(self, task: str) -> streams.Measured:
        self.calls += 1
        if self.calls == 2:
            raise Broken("gone")
        return {"decode": [1.0]}


def test_a_contender_that_fails_is_left_out_from_there_on_and_told() -> None:
    dying, lines = Dying(), list[str]()
    bench = rounds.Bench([[dying]], rounds.tasks((1,), has_restart=False), lines.append)
    bench.run(2)
    assert (dying.calls, dying.stops) == (2, 2)
    assert bench.failures == {"dying": "gone"} and lines[-1] == "dying failed: gone"
    assert bench.samples.get("dying", "decode") == [1.0]


def test_a_place_pins_and_enters_its_namespace() -> None:
    assert Place("::1", (0, 1), "lab").command("true") == [
        *("ip", "netns", "exec", "lab"),
        *("taskset", "-c", "0,1"),
        "true",
    ]
    assert Place("::1").command("true") == ["true"]


def test_llama_bench_is_read_by_repetition() -> None:
    assert bench_samples('[{"n_gen": 64, "samples_ts": [30.5, 31.0]}]') == [30.5, 31.0]


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match=r"cmake is missing.*apt install cmake.*--only ring,ceiling"):
        cache.check_compiler()


@pytest.mark.parametrize("rate", ["fast", "1gbit; true", "1 gbit"])
def test_a_rate_that_is_none_is_refused(rate: str) -> None:
    with pytest.raises(BadInput, match="need a rate such as 1gbit"):
        network.check(rate)


def test_only_takes_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInput, match="need some of ring,group,ceiling,llama,memory"):
        cli.run(cli.parser().parse_args(["--only", "ring,vllm"]))
    with pytest.raises(SystemExit):
        cli.parser().parse_args(["--help"])
    assert "make bench" in capsys.readouterr().out


def test_one_sample_has_no_spread() -> None:
    assert report.spread(Spread.of([0.984])) == "0.98"
    assert report.spread(None) == "–"
