"""Ask a whole ring, as `bramble run` starts it; the same script runs on both processors.

usage: ask.py MODEL OUT.json QUESTION…
"""

from __future__ import annotations

import json
import mmap
import platform
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

NUM_STAGES = 3
NUM_TOKENS = 24
READY_S = 300.0  # emulated: every process imports its libraries, stages compile the sampler


class Ring:
    def __init__(self, model: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._url = f"http://127.0.0.1:{port}"
        line = [sys.executable, "-m", "bramble", "run", f"--model={model}", f"--port={port}"]
        line += [f"--stages={NUM_STAGES}", "--threads=1"]
        self.process = subprocess.Popen(line, stdout=subprocess.DEVNULL)

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.call("/readyz")
                return
            except OSError:
                time.sleep(0.5)
        raise SystemExit(f"the ring does not get ready: {self.process.poll()}")

    def call(self, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._url + path, data, headers)
        with urllib.request.urlopen(request, timeout=READY_S) as response:
            return json.load(response)

    def ask(self, question: str) -> dict[str, object]:
        """Return the answer, its tokens and their logprobs."""
        messages = [{"role": "user", "content": question}]
        body: dict[str, object] = {"messages": messages, "temperature": 0, "logprobs": True}
        body |= {"model": self.call("/v1/models")["data"][0]["id"], "max_tokens": NUM_TOKENS}
        choice = self.call("/v1/chat/completions", body)["choices"][0]
        entries = choice["logprobs"]["content"]
        return {
            "text": choice["message"]["content"],
            "tokens": [entry["token"] for entry in entries],
            "logprobs": [entry["logprob"] for entry in entries],
        }


def main() -> None:
    model, out, *questions = sys.argv[1:]
    started = time.monotonic()
    ring = Ring(model)
    try:
        ring.wait_until_ready()
        where = f"{platform.machine()}, pages of {mmap.PAGESIZE} bytes"
        print(f"  ring on {where}: serves after {time.monotonic() - started:.0f} s", flush=True)
        answers = {question: ring.ask(question) for question in questions}
    finally:
        ring.process.send_signal(signal.SIGINT)
        code = ring.process.wait(60)
    assert code == 0, f"bramble run ended with {code}"
    print(f"  {len(questions)} questions answered, all in {time.monotonic() - started:.0f} s")
    found = {"machine": platform.machine(), "page_bytes": mmap.PAGESIZE, "answers": answers}
    Path(out).write_text(json.dumps(found), encoding="utf-8")


main()
