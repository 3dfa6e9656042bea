"""The setting of the threads is measured once, chosen by what a request takes, and kept."""

from __future__ import annotations

import json
import logging

import pytest
from bramble.model import manifest as manifests
from bramble.stage import tune
from bramble.stage.engine import Engine
from bramble.stage.session import Threads
from bramble.stage.tune import Timing, pick, search
from ring import assign

# One Raspberry Pi 5, Llama-3.2-1B Q4_K_M, tokens/s of decode and prefill with 1 to 4 threads
# (edge-llm-memory-wall)
PI5 = {1: (10.3, 22), 2: (14.4, 44), 3: (12.8, 61), 4: (11.4, 62)}


def on_a_pi(threads: Threads) -> Timing:
    decode, prefill = PI5[threads.count]
    slower = 1.0 if threads.can_spin else 1.02
    return Timing(slower / decode, slower * 128 / prefill)


@pytest.fixture
def tuned(model, tmp_path, monkeypatch):
    """Return a function that chooses for a golden model as if its layers were large."""
    monkeypatch.setattr(tune, "SMALL_BYTES", 0)
    monkeypatch.setattr(tune, "num_threads", lambda configured: 2)
    folder = model("llama3", "int4")
    fed = []

    def choose(place=tmp_path / "kept"):
        manifest = manifests.read(folder)
        return tune.choose(folder, manifest, range(1, 3), place, lambda: fed.append(1))

    choose.fed = fed
    return choose


def test_two_threads_win_on_a_pi_that_four_starve():
    chosen, timings = search(on_a_pi, 4)
    assert chosen == Threads(2, can_spin=False)
    assert len(timings) == 7


def test_more_threads_win_where_prompts_gain_more_than_replies_lose():
    timings = {Threads(2): Timing(0.070, 12.0), Threads(4): Timing(0.072, 6.0)}
    assert pick(timings) == Threads(4)


def test_a_gain_within_the_noise_is_none():
    timings = {Threads(1): Timing(0.100, 1.0), Threads(2): Timing(0.098, 0.98)}
    assert pick(timings) == Threads(1)


def test_no_more_threads_are_tried_than_there_are_cores():
    _, timings = search(on_a_pi, 2)
    assert max(threads.count for threads in timings) == 2


def test_a_machine_of_many_cores_may_use_all_of_them():
    chosen, _ = search(lambda threads: Timing(1 / threads.count, 1.0), 12)
    assert chosen.count == 12


def test_a_setting_that_fails_is_not_chosen():
    chosen, _ = search(lambda t: on_a_pi(t) if t.count == 1 else None, 4)
    assert chosen == Threads(1)
    assert search(lambda threads: None, 4) == (Threads(4), {})


def test_real_layers_are_measured_once_and_the_watchdog_is_fed(tuned, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    chosen = tuned()
    assert "event=tuned" in caplog.text and "ms" in caplog.text
    assert len(tuned.fed) >= 3
    (kept,) = json.loads((tmp_path / "kept" / tune.FILE_NAME).read_text())["kept"].values()
    assert Threads(**kept) == chosen
    caplog.clear()
    tuned.fed.clear()
    assert tuned() == chosen
    assert not tuned.fed and "tuned" not in caplog.text


def test_another_processor_is_measured_anew(tuned, monkeypatch):
    tuned()
    tuned.fed.clear()
    monkeypatch.setattr(tune, "machine_key", lambda: "another")
    tuned()
    assert tuned.fed


def test_what_cannot_be_timed_leaves_one_thread_per_core_and_a_sentence(tuned, monkeypatch, caplog):
    monkeypatch.setattr(tune.sys, "executable", "/bin/false")
    assert tuned() == Threads(2)
    assert "not_timed" in caplog.text


def test_without_a_place_nothing_is_measured(tuned):
    assert tuned(None) == Threads(2)
    assert not tuned.fed


def test_a_small_model_is_not_measured(tuned, monkeypatch):
    monkeypatch.setattr(tune, "SMALL_BYTES", 1 << 30)
    assert tuned() == Threads(2)
    assert not tuned.fed


def test_configured_threads_win_over_the_measurement(model, tmp_path, monkeypatch):
    monkeypatch.setattr(tune, "SMALL_BYTES", 0)
    folder = model("llama3", "int4")
    manifest = manifests.read(folder)
    engine = Engine(folder, manifest, assign(manifest), 1, tmp_path)
    assert engine.threads == Threads(1)
    assert not (tmp_path / tune.FILE_NAME).exists()


@pytest.mark.parametrize(
    ("threads", "sentence"),
    [
        (Threads(1, False), "1 thread"),
        (Threads(4), "4 threads"),
        (Threads(2, False), "2 threads that sleep when idle"),
    ],
)
def test_a_setting_is_told_in_words(threads, sentence):
    assert threads.sentence == sentence
