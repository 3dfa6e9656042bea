"""A head in memory behind the real web application; the last user message picks the script.

A request that is asked for again is played again, as if it had gone on meanwhile.
"""

from __future__ import annotations

import socket
import time
from typing import Any

from bramble.errors import BadInput, QueueFull, ReplyNotFound, Unavailable
from bramble.head.client import Events
from bramble.wire.messages import Accepted, Delta, Done, Finish, Generate, Progress

NASTY = (
    "<script>window.hit=1</script> <img src=x onerror='window.hit=1'> "
    "[link](javascript:window.hit=1) ![pic](http://elsewhere.invalid/x.png)"
)
RICH = (
    "# Title\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\ndef f():\n    return 1\n```\n\nBye."
)
LONG_LINE = f"```\n{'x = ' + '1234567890 ' * 60}\n```"
RIGHT_TO_LEFT = "مرحبا، كيف حالك؟\n\n- واحد\n- اثنان\n\nEnglish again."
THOUGHT = "<think>\nFirst I look.\n\nThen <b>I</b> see.\n</think>\n\n"
RAW = "| a |\n|---|\n| x<br>y |\n\n<center>\none\n**two**\n</center>\n\n- [ ] todo\n- [x] done"
HOT = {
    "level": "bad",
    "sentence": "too hot (85 °C), so it is slowed down",
    "advice": "fit the active cooler",
}
READING = {"reading": 1, "prompt_tokens": 1900, "prompt_tokens_read": 512}
TEXTS = {"raw": RAW, "nasty": NASTY, "rich": RICH, "wide": LONG_LINE, "rtl": RIGHT_TO_LEFT}


class ScriptedClient:
    """`asked` are the requests in their order."""

    def __init__(
        self,
        num_stages: int = 3,
        failed: int | None = None,
        num_rings: int = 1,
        hot: int | None = None,
        is_reading: bool = False,
    ) -> None:
        self.asked: list[Generate] = []
        self.ended: list[str] = []  # by whoever stopped it
        self._begun: dict[str, float] = {}
        self._num_stages = num_stages  # of each ring
        self._num_rings = num_rings
        self._failed = failed
        self._hot = hot
        self._is_reading = is_reading
        self.is_silent = False

    def messages(self) -> list[str]:
        """Return the texts of the newest request's messages."""
        return [str(message["content"]) for message in self.asked[-1].messages or []]

    def generate(self, request: Generate, watch: socket.socket | None = None) -> Events:
        self.asked.append(request)
        name, word = request.request, self.messages()[-1]
        if word == "429":
            raise QueueFull("refused 429", 7)
        if word == "503":
            raise Unavailable("refused 503", 7)
        if word == "400":
            raise BadInput("refused 400", "messages")
        is_first = name not in self._begun
        begun = self._begun.setdefault(name, time.monotonic())
        yield Accepted(name, 12, model="bramble-demo", mark="0123456789ab")
        if word == "progress":
            yield Progress(name, 0, 512, 1900)
            time.sleep(1)
        if word == "burst":  # much to draw, a little more while it is drawn, then nothing
            yield Delta(name, "```python\n" + "x = [1 for _ in y]  # z\n" * 600, (1,))
            time.sleep(0.03)
            yield Delta(name, "the_end", (1,))
            time.sleep(4)
        if word == "at once":
            yield Delta(name, "two ", (1,))
        if word == "thinking":
            yield Delta(name, THOUGHT[:-10], (1,))
            time.sleep(1)
            yield Delta(name, THOUGHT[-10:], (1,))
        text = TEXTS.get(word, f"reply to {word} ")
        words = [f"w{i} " for i in range(100)]
        for i, piece in enumerate(words if word in ("slow", "broken") else [text]):
            if word == "broken" and is_first and i == 10:
                return  # without Done: the connection breaks
            yield Delta(name, piece, (1,))
            time.sleep(max(0.0, begun + 0.05 * (i + 1) - time.monotonic()))
        if word == "fails":
            raise Unavailable("the ring stopped")
        yield Done(name, Finish.STOP, 12, 87, 0.0, 0.41, 1.41)

    def resume(self, name: str, received: int = 0, watch: socket.socket | None = None) -> Events:
        raise ReplyNotFound("the page asks again with its key")
        yield

    def cancel(self, name: str) -> bool:
        self.ended.append(name)
        return name.endswith("-0")

    def status(self) -> dict[str, Any]:
        if self.is_silent:
            raise Unavailable("the head does not answer; see the journal")
        rings = [
            {
                "state": "serving",
                "reason": None,
                "requests": {"running": 1, "queued": 2},
                "speed": {"decode_tokens_s": 12.3, "prefill_tokens_s": 60.0},
                "stages": [self._stage(index) for index in range(self._num_stages)],
            }
            for _ in range(self._num_rings)
        ]
        return {
            "version": "1",
            "state": "serving" if self._failed is None else "failed",
            "reason": None if self._failed is None else "stage failed",
            "model": {
                "name": "bramble-demo",
                "is_demo": True,
                "max_length": 2048,
                "defaults": {"temperature": 0.7},
            },
            "plan": {"plan_id": "ab" * 16, "rings": rings},
            "speed": self._speed(),
            "requests": {
                **(READING if self._is_reading else {"reading": 0}),
                "running": 1,
                "queued": 2,
                "completed": 3,
                "failed": 0,
                "cancelled": 0,
                "preemptions": 0,
            },
        }

    def _speed(self) -> dict[str, float]:
        if self._is_reading:
            return {"decode_tokens_s": 0.0, "prefill_tokens_s": 312.4}
        return {"decode_tokens_s": 12.3, "prefill_tokens_s": 60.0}

    def _stage(self, index: int) -> dict[str, Any]:
        is_failed = index == self._failed
        return {
            "node": f"pi-{index}",
            "start": 2 * index,
            "stop": 2 * index + 2,
            "has_embed": index == 0,
            "has_lm_head": index == self._num_stages - 1,
            "state": "failed" if is_failed else "ready",
            "reason": "checksum differs" if is_failed else None,
            "busy": 0.6,
            "tokens_s": 12.3,
            "kv_bytes": 1 << 30,
            "kv_used_bytes": 1 << 28,
            "resident_bytes": 1 << 30,
            "temperature_c": 85.0 if index == self._hot else 61.0,
            "throttled": "throttled, too hot" if index == self._hot else None,
            "troubles": [HOT] if index == self._hot else [],
        }
