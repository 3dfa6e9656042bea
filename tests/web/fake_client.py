"""A head in memory: the last message, or the prompt, says which script it plays.

"full", "long", "down"  refuse the request     "read"  reads the prompt for ever
"slow"  200 words, 20 ms apart                 "break" fails after two words
"poison" ends stages after two words
"flood" 10,000 words of 1,000 letters
"call"  thinks, says a word, and calls weather in the format of Hermes
anything else  "Hello there, friend."
"""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

from bramble.errors import (
    BadInput,
    Broken,
    ModelNotFound,
    PoisonRequest,
    QueueFull,
    ReplyNotFound,
    Unavailable,
)
from bramble.head.client import Events
from bramble.wire.messages import (
    Accepted,
    Delta,
    Done,
    Finish,
    Generate,
    Progress,
    TokenLogprob,
)
from bramble.wire.transport import peek

MARK = "0123456789ab"
WORDS = ["Hello", " there", ",", " friend", "."]

CALL = """<think>
Where?
</think>

Let me see.
<tool_call>
{"name": "weather", "arguments": {"city": "Rome"}}
</tool_call>"""

MODEL = {
    "name": "fake",
    "export": "ef" * 32,
    "bytes": 12345,
    "architecture": "LlamaForCausalLM",
    "num_parameters": 1_500_000_000,
    "max_length": 100,
    "quantization": "int4",
    "capabilities": {"tools": True, "thinking": False},
    "defaults": {"temperature": 0.6},
}
RING = {
    "state": "serving",
    "reason": None,
    "requests": {"running": 2, "queued": 0},
    "speed": {"decode_tokens_s": 1.0, "prefill_tokens_s": 2.0},
    "stages": [],
}


class FakeClient:
    def __init__(self, max_running: int = 1000) -> None:
        self._lock = threading.Lock()
        self._max_running = max_running
        self.running = 0
        self.cancelled = 0
        self.term = 1  # 0 while another head leads
        self.has_quorum = True  # of stages that obey it
        self.asked: list[Generate] = []
        self.is_away = False

    def generate(self, request: Generate, watch: socket.socket | None = None) -> Events:
        """Play the script; counts a generator that is closed, or left, before its Done."""
        if request.model not in ("", "fake"):
            raise ModelNotFound(f"model {request.model!r} is not served here; 'fake' is", "model")
        self.asked.append(request)
        script = self._script(request)
        self._enter()
        is_done = False
        try:
            yield Accepted(request.request, 7, "", 1, "fake", MARK, request, "hermes")
            for event in self._play(script, request):
                if watch is not None and peek(watch) == b"":
                    return
                yield event
            is_done = True
        except Broken:
            is_done = True
            raise
        finally:
            with self._lock:
                self.running -= 1
                self.cancelled += not is_done

    def resume(self, name: str, received: int = 0, watch: socket.socket | None = None) -> Events:
        """Play it again from the beginning, whoever asked."""
        asked = [each for each in self.asked if each.request == name]
        if not asked:
            raise ReplyNotFound("no such reply")
        yield from self.generate(asked[0], watch)

    def cancel(self, name: str) -> bool:
        before = len(self.asked)
        self.asked = [each for each in self.asked if each.request != name]
        return len(self.asked) < before

    def status(self) -> dict[str, Any]:
        if self.is_away:
            raise Unavailable("the head is away")
        return {
            "version": "0",
            "term": self.term,
            "has_quorum": self.has_quorum,
            "state": "serving",
            "reason": None,
            "model": MODEL,
            "plan": {"plan_id": "ab" * 16, "rings": [RING, RING | {"state": "loading"}]},
            "speed": {"decode_tokens_s": 1.0, "prefill_tokens_s": 2.0},
            "requests": {
                "running": self.running,
                "queued": 0,
                "completed": 0,
                "failed": 0,
                "cancelled": self.cancelled,
                "preemptions": 0,
            },
            "counters": {"steps_total": 3},
        }

    def _enter(self) -> None:
        with self._lock:
            if self.running >= self._max_running:
                raise QueueFull("too many are waiting", 3)
            self.running += 1

    def _script(self, request: Generate) -> str:
        if request.messages is not None:
            script = str(request.messages[-1]["content"])
        else:
            script = str(request.prompt)
        if script == "full":
            raise QueueFull("64 requests are waiting already", 3)
        if script == "long":
            raise BadInput("the context is 100 tokens", "messages", "context_length_exceeded")
        if script == "down":
            raise Unavailable("no ring serves: stage 1", 9)
        return script

    def _play(self, script: str, request: Generate) -> Any:
        name = request.request
        while script == "read":
            time.sleep(0.05)
            yield Progress(name, 0, 128, 900)
        scripts = {
            "slow": [f"w{i} " for i in range(200)],
            "flood": ["w" * 1000] * 10_000,
            "call": [CALL[i : i + 7] for i in range(0, len(CALL), 7)],
        }
        words = scripts.get(script, WORDS)
        for count, word in enumerate(words):
            if script == "slow":
                time.sleep(0.02)
            if script == "break" and count == 2:
                raise Broken("the ring ended it")
            if script == "poison" and count == 2:
                raise PoisonRequest("a stage ended 2 times while it computed this request")
            yield Delta(name, word, (count,), self._logprobs(word, request))
        yield Done(name, Finish.STOP, 7, len(words), 0.0, 0.1, 0.2)

    def _logprobs(self, word: str, request: Generate) -> tuple[TokenLogprob, ...]:
        if request.sampling.top_logprobs < 0:
            return ()
        top = [{"token": word, "bytes": list(word.encode()), "logprob": -0.5}]
        return (TokenLogprob(word, list(word.encode()), -0.5, top),)
