"""Right inputs of each target, from which wrong ones are made."""

from __future__ import annotations

import json
import struct
import tempfile
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from bramble.model import manifest as manifests
from bramble.model.share import Share
from bramble.wire import frames
from bramble.wire import messages as m

from tests.export.gguf_files import GgufFile
from tests.fuzz import exchange
from tests.fuzz.sockets import GREETING, HELLO
from tests.plan.test_planner import manifest

GOLDEN = Path(__file__).parent.parent / "golden"
PLAN = "00" * 16
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [{"id": 3, "content": "<s>", "special": True}],
    "normalizer": None,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
    "post_processor": None,
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
}
TOKENIZER_CONFIG = {
    "bos_token": "<s>",
    "tokenizer_class": "LlamaTokenizer",
    "chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}",
    "added_tokens_decoder": {"3": {"content": "<s>", "special": True}},
}
CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
CONTROL = [
    m.Hello("a", 1, "tcp://127.0.0.1:7101", "1", 1 << 29, "x86_64"),
    m.Beat("a", 1, {"idle_s": 1.0, "last_step": 3, "throttled": "", "busy": 0.5}),
    m.Ready("b", 1, "?", 1, 0.1, 1),
    m.Failed("a", 1, "?", 1, "no", 2),
]
CLIENT = [
    m.Generate("r", m.Sampling(), messages=CHAT, max_tokens=3),
    m.Generate("r", m.Sampling(top_logprobs=2, logit_bias=((3, 1.0),)), prompt=[1, 2], stop=("a",)),
    m.Cancel("r"),
    m.Query("r"),
]
TO_STAGE = [
    m.Assign(
        PLAN,
        1,
        "llama3",
        "?",
        0,
        1,
        Share.uncut(0, 3, True, True),
        (m.Member("", "tcp://127.0.0.1:1"),),
        2,
        64,
        1 << 20,
    ),
    m.Assign(
        PLAN,
        2,
        "llama3",
        "?",
        0,
        2,
        Share.uncut(0, 1, True, False),
        (m.Member("", "tcp://127.0.0.1:1"),),
        2,
        9,
        1 << 20,
    ),
    m.Beat("head", 7),
]
SETTINGS = (
    b"node: pi1\nhead: tcp://10.0.0.1:7100\nthreads: 3\n",
    b"model: /x\nstages: [a, b]\nrings: [[a],[b]]\nmax_rows: 3\n",
    b"listen: 0.0.0.0:80\nnames: [x]\n",
    b'pi1: "' + b"a" * 40 + b'"\n',
)
REQUESTS = (
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /v1 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    b"GET / HTTP/1.1\r\n\r\n",
)
CHAT_BODY = {"messages": [{"role": "user", "content": "hi"}]}
BODIES: tuple[tuple[int, dict[str, Any]], ...] = (
    (0, CHAT_BODY | {"stream": True, "stream_options": {"include_usage": True}}),
    (0, CHAT_BODY | {"temperature": 0.5, "stop": ["a"], "seed": 3, "logit_bias": {"3": 1}, "n": 2}),
    (1, {"prompt": "hi", "max_tokens": 3, "echo": True, "logprobs": 1}),
)
TARGETS_OF_HTTP = (
    b"GET\n/v1/models/fake\nlocalhost\n\n",
    b"GET\n/files/" + b"0" * 64 + b"\n127.0.0.1\n\nbytes=0-3\n",
)


def seeds(target: str) -> list[bytes]:
    """The right inputs of a target."""
    return _SEEDS[target]


def _step(**members: Any) -> m.Step:
    given = {
        "plan_id": bytes(16),
        "epoch": 1,
        "step": 1,
        "lane": 0,
        "kind": m.StepKind.PREFILL,
        "is_sampled": True,
        "is_check": False,
        "first_row": 0,
        "sequences": np.ones(1, np.uint64),
        "positions": np.zeros(1, np.int32),
        "token_ids": np.array([[5, 6, 7]], np.int32),
        "opens": (m.Open(1, 3, m.Sampling(logit_bias=((1, 2.0),), top_logprobs=2), (1, 2)),),
    }
    return m.Step(**(given | members))


STEPS = [
    _step(),
    _step(swaps=((0, 1, 2),), copies=((0, 1, 0, 2),), trims=((1, 0),), closes=(3,)),
    _step(hidden=np.ones((3, 64), np.float32)),
    _step(kind=m.StepKind.VERIFY, hidden=np.ones((3, 64), np.float32)),
]


def _sampled(kind: m.StepKind, n: int, positions: list[int]) -> m.Sampled:
    k = len(positions)
    return m.Sampled(
        plan_id=bytes(16),
        epoch=1,
        step=1,
        lane=0,
        kind=kind,
        sequences=np.arange(1, 1 + n, dtype=np.uint64),
        positions=np.array(positions, np.int32),
        token_ids=np.full(k, 9, np.int32),
        logprobs=np.full(k, -0.5, np.float32),
        top_ids=np.full((k, 2), 9, np.int32),
        top_logprobs=np.full((k, 2), -0.5, np.float32),
        traces=np.zeros((2, 3), np.uint32),
        digests=np.zeros((0, 8), np.float32),
    )


ANSWERS = [
    (b"0", _sampled(m.StepKind.DECODE, 2, [21, 21])),
    (b"0", _sampled(m.StepKind.PREFILL, 1, [20])),
    (b"1", _sampled(m.StepKind.VERIFY, 1, [21, 22])),
]


def _body(message: m.Message) -> bytes:
    """A message's body, and its hidden state behind it."""
    first, *others = frames.pack(message)
    return b"".join(map(bytes, (first[frames.BODY :], *others)))


def _cut(message: m.Message) -> int:
    """Where the first frame ends, as `cut` of sealing.py reads it."""
    first, *others = frames.pack(message)
    return (len(first) - frames.BODY) // 4 if others else 255


def _manifest() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        manifests.write(manifest(2), Path(folder))
        document = json.loads((Path(folder) / manifests.FILE_NAME).read_bytes())
    return json.dumps(document | {"seal": ""}).encode()  # so that a change is read at all


def _checkpoint() -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(16)


def _gguf(tokenizer: dict[str, Any], **more: Any) -> bytes:
    """A model of one layer with 16 numbers in each row."""
    sizes = {"attn_q": 16, "attn_k": 16, "attn_v": 16, "attn_output": 16}
    sizes |= {"ffn_gate": 16, "ffn_up": 16, "ffn_down": 16}
    shapes = {f"blk.0.{name}.weight": (rows, 16) for name, rows in sizes.items()}
    shapes |= {"token_embd.weight": (len(tokenizer["tokens"]), 16)}
    shapes |= dict.fromkeys(
        ("output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"), (16,)
    )
    counts = {"block_count": 1, "context_length": 8, "embedding_length": 16}
    counts |= {"feed_forward_length": 16, "attention.head_count": 1, "rope.dimension_count": 16}
    keys: dict[str, Any] = {f"llama.{key}": count for key, count in counts.items()}
    keys |= {"general.architecture": "llama", "llama.attention.layer_norm_rms_epsilon": 1e-5}
    keys |= {f"tokenizer.ggml.{key}": value for key, value in tokenizer.items()} | more
    return GgufFile(
        keys, {name: ("F16", shape, bytes(2 * prod(shape))) for name, shape in shapes.items()}
    ).bytes()


BYTE_LEVEL = {"model": "gpt2", "pre": "smollm", "tokens": ["<s>", "a", "b", "ab"]}
BYTE_LEVEL |= {"token_type": [3, 1, 1, 1], "merges": ["a b"], "eos_token_id": 0}
PIECES = {"model": "llama", "tokens": ["<unk>", "<s>", "</s>", "▁", "a", "▁a"]}
PIECES |= {"token_type": [2, 3, 3, 1, 1, 1], "scores": [0.0, 0.0, 0.0, -1.0, -2.0, -3.0]}


_SEEDS: dict[str, list[bytes]] = {
    "exchange": exchange.seeds(),
    "wire": [
        bytes([255, frames.KIND_OF[type(each)]]) + _body(each)
        for each in [*CONTROL, *CLIENT, *TO_STAGE, *STEPS[:2], ANSWERS[0][1]]
    ],
    "manifest": [_manifest()],
    "tokenizer": [json.dumps(TOKENIZER).encode() + b"\0" + json.dumps(TOKENIZER_CONFIG).encode()],
    "settings": list(SETTINGS),
    "architecture": [(GOLDEN / case / "config.json").read_bytes() for case in ("llama3", "qwen3")],
    "safetensors": [_checkpoint()],
    "gguf": [
        _gguf(BYTE_LEVEL, **{"tokenizer.chat_template": "{{ messages }}"}),
        _gguf(PIECES, **{"general.sampling.temp": 0.5, "llama.rope.scaling.type": "none"}),
    ],
    "arrival": list(REQUESTS),
    "body": [str(path).encode() + json.dumps(document).encode() for path, document in BODIES],
    "request": list(TARGETS_OF_HTTP),
    "control": [b"1" + b"\n".join(bytes([i]) + _body(each) for i, each in enumerate(CONTROL))],
    "client": [bytes([i]) + _body(each) for i, each in zip((0, 1, 2, 3), CLIENT, strict=True)],
    "answer": [choice + _body(each) for choice, each in ANSWERS],
    "step": [bytes([_cut(each)]) + _body(each) for each in STEPS],
    "assign": [bytes([i]) + _body(each) for i, each in enumerate(TO_STAGE)],
    "greeting": [bytes([choice]) + GREETING + HELLO for choice in (0, 1)],
}
