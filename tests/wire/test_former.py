"""Nodes of the former release, which knows whole layers only, take part while others are new."""

import json

from bramble.model.share import ALL, NONE, Share
from bramble.wire import messages as m
from bramble.wire.frames import BODY, _seal, pack, unpack

# What the former release sends, byte for byte
FORMER = (
    b'{"plan_id":"abababababababababababababababab","epoch":3,"model":"llama","manifest_sha256":"cd",'
    b'"stage":0,"num_stages":2,"start":0,"stop":5,"has_embed":true,"has_lm_head":false,'
    b'"next_endpoint":"tcp://h:1","rows":16,"max_length":8,"kv_bytes":1,"next_node":"pi2",'
    b'"kv_cache":"float32","first_endpoint":"","first_node":"","previous_node":"pi1",'
    b'"last_node":"pi2","is_suspect":false,"term":4}'
)


def test_an_assignment_of_the_former_release_is_of_whole_layers() -> None:
    got = unpack([bytes(frame) for frame in _seal(18, FORMER, None)])
    assert isinstance(got, m.Assign)
    assert got.share == Share(0, 5, True, ALL, ALL, ALL, NONE)
    assert (got.plan_id, got.term) == ("ab" * 16, 4)


def test_the_former_release_finds_in_an_assignment_all_that_it_needs() -> None:
    assign = unpack([bytes(frame) for frame in _seal(18, FORMER, None)])
    document = json.loads(bytes(pack(assign)[0])[BODY:])
    assert {name: document[name] for name in json.loads(FORMER)} == json.loads(FORMER)
