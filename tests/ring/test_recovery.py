"""A process that dies is restarted, and nobody's tokens change."""

import json
import os
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from bramble.errors import BadInput, QueueFull, Unavailable
from bramble.model.manifest import sha256_of
from bramble.wire.messages import Accepted, Delta, Generate, Sampling
from bramble.wire.transport import Transport

from tests.ring.conftest import READY_S, Ring, RingMaker, greedy, running, sampled

LONG = 70


@pytest.fixture
def tended(make_ring: RingMaker, models: Path) -> Ring:
    return make_ring(models / "llama3-float32", 3)


def kill(ring: Ring, name: str) -> None:
    process = ring.child(name).process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)


def stream(ring: Ring, started: threading.Event) -> list[int]:
    got: list[int] = []
    for event in ring.client.generate(sampled("during", [5, 6, 7], LONG, seed=1)):
        if isinstance(event, Delta):
            got += event.token_ids
            started.set()
    return got


def test_another_model_does_not_go_on_with_a_reply(tended: Ring) -> None:
    begun = replace(greedy("begun", [5, 6, 7], 9), generated=(8, 9), export="another's sha256")
    with pytest.raises(Unavailable, match="the model was changed"):
        tended.generate(begun)


@pytest.mark.parametrize("victim", ["stage-0", "stage-1", "stage-2", "head"])
def test_a_killed_process_costs_time_and_no_token(victim: str, tended: Ring) -> None:
    wanted = tended.generate(sampled("before", [5, 6, 7], LONG, seed=1))[0]
    started = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        # Tended from this thread: the kernel ends a child with the thread that started it.
        reply = pool.submit(stream, tended, started)
        started.wait(10)
        kill(tended, victim)
        while not reply.done():
            tended.supervisor.tend()
            time.sleep(0.02)
        got = reply.result()
    assert got == wanted
    tended.wait_for("serving")
    assert tended.child(victim).restarts == 1
    assert tended.generate(sampled("after", [5, 6, 7], LONG, seed=1))[0] == wanted


def test_a_head_that_is_told_to_end_lets_replies_finish_and_leaves_the_rest_to_the_next(
    tended: Ring,
) -> None:
    wanted = tended.generate(sampled("before", [5, 6, 7], LONG, seed=1))[0]
    started = threading.Event()
    head = tended.child("head").process
    assert head is not None
    with ThreadPoolExecutor(2) as pool:
        reply = pool.submit(stream, tended, started)
        started.wait(10)
        head.terminate()
        later = pool.submit(tended.generate, sampled("later", [5, 6, 7], LONG, seed=1))
        while not (reply.done() and later.done()):
            tended.supervisor.tend()
            time.sleep(0.02)
    assert reply.result() == wanted
    assert later.result()[0] == wanted
    (end,) = (i for i, line in enumerate(tended.lines) if line.startswith("head: ended with 0"))
    before = "\n".join(tended.lines[:end])
    assert "event=done request=during" in before and "event=done request=later" not in before


def test_a_client_that_goes_away_frees_its_row(tended: Ring) -> None:
    """A reply may end before its client has gone: then another one is asked for."""
    for attempt in range(20):
        stream = tended.client.generate(greedy(f"gone-{attempt}", [1, 2, 3], 100))
        while not isinstance(next(stream), Accepted):
            pass
        stream.close()
        deadline = time.monotonic() + 20
        while (found := tended.client.status()["requests"])["running"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        if found["cancelled"]:
            return
    pytest.fail("20 clients went away, and every reply went on to its end")


def test_a_full_queue_and_bad_requests_are_refused_and_the_ring_serves_on(
    models: Path, make_ring: RingMaker
) -> None:
    ring = make_ring(models / "llama3-float32", 2, **{"max-queue": 4, "max-rows": 2})
    with ThreadPoolExecutor(40) as pool:
        futures = [
            pool.submit(ring.generate, greedy(f"many-{i}", [i + 3, 4, 5], 100)) for i in range(40)
        ]
        errors = [future.exception() for future in futures]
    assert {type(error) for error in errors} == {type(None), QueueFull}
    for request, message in [
        (
            greedy("x", [3] * 128, 20),
            "the context is 128 tokens, and the prompt has 128: no room is left for a reply; "
            "shorten the prompt, or start a new conversation",
        ),
        (greedy("x", [99999], 5), "prompt: token id 99999 is not in 0 … 159"),
        (
            Generate("x", Sampling(logit_bias=((3, 1.0), (160, 1.0))), prompt=[3], max_tokens=1),
            "logit_bias: token id 160 is not in 0 … 159",
        ),
        (Generate("x", Sampling(), messages=[{"role": "user", "content": "hi"}]), "chat template"),
    ]:
        with pytest.raises(BadInput, match=message):
            ring.generate(request)
    assert len(ring.generate(greedy("cut", [3] * 117, 20))[0]) == 11  # the context's end
    assert len(ring.generate(greedy("last", [3, 4, 5], 10))[0]) == 10


def test_a_stage_that_cannot_load_is_named_and_the_ring_recovers(
    models: Path, tmp_path: Path
) -> None:
    model = tmp_path / "models" / "llama3-float32"
    shutil.copytree(models / "llama3-float32", model)
    shard = model / "shards" / "layer-001.data"
    intact = shard.read_bytes()
    shard.write_bytes(intact[:-1] + bytes([intact[-1] ^ 1]))
    with running(model, 3, tmp_path) as ring:
        document = ring.wait_for("failed")
        assert "stage 1 (stage-1)" in str(document["reason"])
        assert "layer-001.data: got sha256" in str(document["reason"])
        with pytest.raises(Unavailable, match=r"layer-001\.data"):
            ring.generate(greedy("x", [3], 4))
        shard.write_bytes(intact)
        ring.wait_for("serving")


def test_a_ring_that_computes_something_else_does_not_serve(models: Path, tmp_path: Path) -> None:
    model = tmp_path / "models" / "llama3-float32"
    shutil.copytree(models / "llama3-float32", model)
    manifest = json.loads((model / "manifest.json").read_text())
    manifest["golden"]["digests"][2][3] *= 1.5
    manifest["seal"] = ""
    (model / "manifest.json").write_text(json.dumps(manifest))
    with running(model, 3, tmp_path) as ring:
        deadline, reason = time.monotonic() + READY_S, ""
        while "its files were hashed and packed anew; check" not in reason:
            assert time.monotonic() < deadline, reason
            reason = str(ring.wait_for("failed")["reason"])
        assert "stage 1 (stage-1): computes something else" in reason


def test_weights_that_were_packed_wrong_are_packed_anew(models: Path, tmp_path: Path) -> None:
    model, packed = models / "llama3-float32", tmp_path / "packed"
    with running(model, 3, tmp_path, packed=packed) as ring:
        ring.wait_for("serving")
        wanted = ring.generate(greedy("before", [5, 6, 7], 20))[0]
    (layer,) = packed.rglob("layer-001.before-*.onnx")
    graph = onnx.load(str(layer))
    for tensor in graph.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 1:
            (weights := onnx.numpy_helper.to_array(tensor).copy())[:] *= 3
            tensor.CopyFrom(onnx.numpy_helper.from_array(weights, tensor.name))
    sums = layer.with_suffix(".sha256")
    before = sha256_of(layer)
    onnx.save(graph, str(layer))
    sums.write_text(sums.read_text().replace(before, sha256_of(layer)))
    with running(model, 3, tmp_path, packed=packed) as ring:
        ring.wait_for("serving")
        assert ring.generate(greedy("after", [5, 6, 7], 20))[0] == wanted
        assert any("the golden check failed" in line for line in ring.lines)


def test_a_port_in_use_is_said_plainly(tmp_path: Path) -> None:
    with Transport() as one, Transport() as other:
        channel = one.pull("tcp://127.0.0.1:0")
        with pytest.raises(BadInput, match=r"cannot listen on .* Address already in use"):
            other.pull(channel.endpoint)
