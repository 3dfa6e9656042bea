"""The calls of one client: run, each prints as a line of JSON whether it did what it shows.

Run by the client's own Python, without Bramble: URL of a ring and URL of a scripted head in argv.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any


@dataclass(frozen=True)
class Server:
    url: str
    model: str

    @property
    def v1(self) -> str:
        return f"{self.url}/v1"


RING = Server(sys.argv[1], "bramble-demo")  # the embedded model, on a ring of three stages
SCRIPTED = Server(sys.argv[2], "scripted")  # see scripted_client.py

# What its model calls the first tool of a request with; it knows one city
PARAMETERS = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "where"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
    },
    "required": ["city"],
}
ARGUMENTS = {"city": "Paris", "unit": "celsius"}
WEATHER: dict[str, Any] = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": PARAMETERS,
}
CLOCK: dict[str, Any] = {"name": "get_time", "parameters": {"type": "object", "properties": {}}}
QUESTION = "What is the weather in Paris?"
RESULT = "21 degrees"
ANSWER = f"The result is {RESULT}."
GREETING = "Hello there, friend."
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
ASKED: list[Any] = [{"role": "user", "content": QUESTION}]


class Calls:
    def __init__(self, client: str, package: str) -> None:
        self._client = f"{client} {version(package)}"
        self._calls: list[tuple[str, str, Callable[[], Any]]] = []

    def add(self, call: str, shows: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
        """Register a function that raises unless the call does what it shows."""

        def register(function: Callable[[], Any]) -> Callable[[], Any]:
            self._calls.append((call, shows, function))
            return function

        return register

    def run(self) -> None:
        for call, shows, function in self._calls:
            with contextlib.redirect_stdout(sys.stderr):  # stdout has verdicts alone
                trouble = _trouble_of(function)
            verdict = {"client": self._client, "call": call, "shows": shows, "trouble": trouble}
            print(json.dumps(verdict), flush=True)


def _trouble_of(function: Callable[[], Any]) -> str | None:
    try:
        outcome = function()
        if inspect.isawaitable(outcome):
            asyncio.run(outcome)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001  the verdict on a call, whatever its client raises
        return traceback.format_exc()
    return None
