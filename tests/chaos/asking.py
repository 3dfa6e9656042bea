"""One request over HTTP, as a client makes it, written into the history line by line."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.chaos.cases import Case
from tests.chaos.history import Recorder

TIMEOUT_S = 75.0  # without a byte: longer than the web waits for a head
ROUTE = "/v1/chat/completions"
HEADERS = {"Content-Type": "application/json"}


class Asking:
    """One request of one client; every way in which it can end becomes one line."""

    def __init__(self, recorder: Recorder, address: str, client: str, request: str, case: Case):
        self._recorder, self._address, self._case = recorder, address, case
        self._request = request
        self._members: dict[str, Any] = {}  # of the end, as the stream tells them
        self._silence_s, self._heard_at = 0.0, time.monotonic()
        self._say("asked", client=client, case=case.name, max_tokens=case.max_tokens)

    def stream(self, is_leaving: Callable[[int], bool] = lambda deltas: False) -> None:
        """Ask for a stream; `is_leaving` is asked at each line, with the deltas so far."""
        options = {"stream": True, "stream_options": {"include_usage": True}}
        self._ask(options, lambda response: self._read(response, is_leaving))

    def whole(self) -> None:
        self._ask({}, self._take_whole)

    def _ask(
        self, options: dict[str, Any], read: Callable[[http.client.HTTPResponse], None]
    ) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=TIMEOUT_S)
        try:
            body = json.dumps(self._case.body | options)
            connection.request("POST", ROUTE, body, HEADERS)
            response = connection.getresponse()
            if response.status == 200:
                read(response)
            else:
                self._refused(response.status, response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._say("broke", why=f"{type(error).__name__}: {error}")
        finally:
            connection.close()

    # ------------------------------------------------------------------------------- a stream

    def _read(self, response: http.client.HTTPResponse, is_leaving: Callable[[int], bool]) -> None:
        self._say("accepted")
        deltas = 0
        for data in self._events(response):
            if is_leaving(deltas):
                self._say("left")
                return
            if data == "[DONE]":
                self._end()
                return
            document = json.loads(data) if data else {}
            if "error" in document:
                self._say("refused", status=200, error=document["error"]["message"])
                return
            deltas += self._take(document)
        self._say("broke", why="the stream ended without [DONE]")

    def _events(self, response: http.client.HTTPResponse) -> Iterator[str]:
        """Yield the data of each event, and "" for each comment."""
        while line := response.readline():
            self._heard()
            if line.startswith(b":"):
                yield ""
            elif line.startswith(b"data: "):
                yield line[6:].decode().rstrip("\n")

    def _take(self, document: dict[str, Any]) -> int:
        if document.get("usage"):
            self._members |= _usage(document)
        for choice in document.get("choices", ()):
            if choice.get("finish_reason"):
                self._members["finish"] = choice["finish_reason"]
                self._members["preemptions"] = document.get("bramble", {}).get("preemptions", 0)
            text = (choice.get("delta") or {}).get("content")
            if text or choice.get("logprobs"):
                self._delta(document["id"], text or "", choice)
                return 1
        return 0

    def _delta(self, reply: str, text: str, choice: dict[str, Any]) -> None:
        tokens = {}
        if self._case.body["logprobs"]:
            tokens = {"tokens": len((choice.get("logprobs") or {}).get("content") or ())}
        self._say("delta", reply=reply, text=text, **tokens)

    def _end(self) -> None:
        missing = {"finish": "none", "prompt_tokens": -1, "completion_tokens": -1}
        self._say("ended", **(missing | self._members), silence_s=round(self._silence_s, 3))

    # --------------------------------------------------------------------------- a whole reply

    def _take_whole(self, response: http.client.HTTPResponse) -> None:
        document = json.loads(response.read())
        (choice,) = document["choices"]
        self._say("accepted")
        self._delta(document["id"], choice["message"]["content"], choice)
        self._members |= _usage(document) | {"finish": choice["finish_reason"]}
        self._members["preemptions"] = document.get("bramble", {}).get("preemptions", 0)
        self._end()

    def _refused(self, status: int, body: bytes) -> None:
        try:
            message = json.loads(body)["error"]["message"]
        except (ValueError, KeyError, TypeError):
            message = body[:200].decode(errors="replace")
        self._say("refused", status=status, error=message)

    def _heard(self) -> None:
        now = time.monotonic()
        self._silence_s, self._heard_at = max(self._silence_s, now - self._heard_at), now

    def _say(self, kind: str, **members: Any) -> None:
        self._recorder.write(kind, request=self._request, **members)


def answer(address: str, case: Case, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """Return the whole reply to a case, outside of any history. Raises OSError."""
    connection = http.client.HTTPConnection(address, timeout=timeout_s)
    try:
        connection.request("POST", ROUTE, json.dumps(case.body), HEADERS)
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise OSError(f"{response.status}: {body[:200]!r}")
        document: dict[str, Any] = json.loads(body)
        return document
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()


def reference(case: Case, document: dict[str, Any]) -> dict[str, Any]:
    """The members of the history's line for what an undisturbed ring answers."""
    (choice,) = document["choices"]
    usage = _usage(document)
    known = {"text": choice["message"]["content"], "finish": choice["finish_reason"], **usage}
    if not case.is_repeatable:
        known |= {"text": None, "finish": None, "completion_tokens": None}
    return {"case": case.name, "body": case.body, **known}


def get(address: str, path: str, timeout_s: float) -> dict[str, Any]:
    """Return a JSON document. Raises OSError."""
    connection = http.client.HTTPConnection(address, timeout=timeout_s)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        document: dict[str, Any] = json.loads(response.read())
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()
    return document


def _usage(document: dict[str, Any]) -> dict[str, int]:
    usage = document["usage"]
    return {key: usage[key] for key in ("prompt_tokens", "completion_tokens")}
