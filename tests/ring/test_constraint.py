"""A ring whose replies are what a schema says, also where a stage dies amid one."""

import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from bramble.errors import BadInput
from bramble.wire.messages import Constraint, Delta, Finish, Generate, Sampling

from tests.ring.conftest import Ring, RingMaker
from tests.schemas import is_valid

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 20, "maxLength": 60},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {
            "type": "array",
            "items": {"enum": ["red", "green"]},
            "minItems": 8,
            "maxItems": 9,
        },
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}


def asked(name: str, sampling: Sampling, schema: object = PERSON) -> Generate:
    return Generate(
        request=name,
        sampling=sampling,
        messages=[{"role": "user", "content": "Who are you?"}],
        constraint=Constraint("json_schema", json.dumps(schema), "response_format"),
    )


def stream(ring: Ring, request: Generate, started: threading.Event) -> str:
    text = ""
    for event in ring.client.generate(request):
        if isinstance(event, Delta):
            text += event.text
            started.set()
    return text


def test_a_stage_that_dies_amid_a_reply_to_a_schema_changes_no_letter(
    models: Path, make_ring: RingMaker
) -> None:
    ring, sampling = make_ring(models / "embedded-int4", 2), Sampling(temperature=1.5, seed=7)
    _, wanted, done = ring.generate(asked("before", sampling))
    assert is_valid(PERSON, wanted) and done.finish is Finish.STOP
    started = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(stream, ring, asked("during", sampling), started)
        assert started.wait(30)
        process = ring.child("stage-1").process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        while not reply.done():
            ring.supervisor.tend()
    assert reply.result() == wanted
    wrong = asked("wrong", sampling, {"properties": {"a": {"not": {}}}})
    with pytest.raises(BadInput, match="the keyword not is not supported") as caught:
        ring.generate(wrong)
    assert caught.value.param == "response_format.properties.a.not"
