"""A head that plays a model which does what is asked of it: calls tools, fits schemas, thinks.

It answers, of a request:
  with a constraint           a document that fits its schema
  with tools                  a call of the first that was not called before, of the named one, or
                              of all if asked for "both"; but a greeting in a free choice gets a
                              greeting, and a result in a free choice the answer
  with a tool's result        "The result is …"
  anything else               "Hello there, friend.", behind a thought if thinking is asked for
"""

from __future__ import annotations

import json
import socket
from typing import Any

from bramble.errors import ModelNotFound, ReplyNotFound
from bramble.head.client import Events
from bramble.wire.messages import Accepted, Constraint, Delta, Done, Finish, Generate, Progress

from tests.clients.examples import example_of

NAME = "scripted"
MAX_LENGTH = 8192
REPLY_FORMAT = "hermes"
GREETING = "Hello"
PIECE = 5  # characters of a Delta
THOUGHT = "<think>\nSomebody greets me.\n</think>\n\n"


class ScriptedClient:
    def generate(self, request: Generate, watch: socket.socket | None = None) -> Events:
        if request.model not in ("", NAME):
            raise ModelNotFound(f"model {request.model!r} is not served here; {NAME!r} is", "model")
        text, name = _reply(request), request.request
        pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
        pieces = pieces[: request.max_tokens]
        yield Accepted(name, 7, model=NAME, asked=request, reply_format=REPLY_FORMAT)
        for index, piece in enumerate(pieces):
            yield Delta(name, piece, (index,))
            yield Progress(name, 0, 7, 7)  # as while a lost board is made up for
        finish = Finish.STOP if sum(map(len, pieces)) == len(text) else Finish.LENGTH
        yield Done(name, finish, 7, len(pieces), 0.0, 0.1, 0.2, cached_tokens=3)

    def resume(self, name: str, received: int = 0, watch: socket.socket | None = None) -> Events:
        raise ReplyNotFound("no such reply")
        yield

    def cancel(self, name: str) -> bool:
        return False

    def status(self) -> dict[str, Any]:
        return {
            "version": "0",
            "state": "serving",
            "reason": None,
            "model": {"name": NAME, "max_length": MAX_LENGTH, "defaults": {"temperature": 0.6}},
            "plan": {"plan_id": "ab" * 16, "rings": []},
            "speed": {},
            "requests": {"running": 0, "queued": 0},
            "counters": {},
        }


def _reply(request: Generate) -> str:
    if request.constraint is not None:
        return json.dumps(_fitting(request.constraint))
    messages = request.messages or [{"role": "user", "content": request.prompt}]
    last = messages[-1]
    is_result, content = last["role"] == "tool", str(last["content"])
    if request.tools and _calls(request.tool_choice, is_result, content):
        return "\n".join(_call(tool["function"]) for tool in _chosen(request, content))
    if is_result:
        return f"The result is {content}."
    thought = THOUGHT if request.template_options.get("enable_thinking") else ""
    return f"{thought}{GREETING} there, friend."


def _calls(choice: str, is_result: bool, content: str) -> bool:
    """Tell whether a reply to this last message is a call."""
    return choice != "none" and not (choice == "auto" and (is_result or GREETING in content))


def _fitting(constraint: Constraint) -> Any:
    assert constraint.kind == "json_schema", f"no script for {constraint.kind}"
    return example_of(json.loads(constraint.text))


def _chosen(request: Generate, content: str) -> list[dict[str, Any]]:
    tools = request.tools or []
    kind, _, name = request.tool_choice.partition(":")
    if kind == "function":
        return [tool for tool in tools if tool["function"]["name"] == name]
    called = _called(request.messages or [])
    left = [tool for tool in tools if tool["function"]["name"] not in called] or tools
    return left if "both" in content and request.parallel_calls else left[:1]


def _called(messages: list[dict[str, Any]]) -> set[str]:
    calls = [call for message in messages for call in message.get("tool_calls") or ()]
    return {call["function"]["name"] for call in calls}


def _call(function: dict[str, Any]) -> str:
    arguments = example_of(function.get("parameters") or {})
    call = json.dumps({"name": function["name"], "arguments": arguments})
    return f"<tool_call>\n{call}\n</tool_call>"
