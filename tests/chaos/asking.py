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
TRY_AGAIN = (429, 502, 503)  # of one who comes back for an accepted request
PATIENCE_S = 60.0  # without a word, until one who may come back gives up
PAUSE_S = 0.3  # before one comes back

Read = Callable[[http.client.HTTPResponse], str]  # takes a reply; see Asking._try


class Asking:
    """One request of one client; every way in which it can end becomes one line.

    key  sent as Idempotency-Key; a client without one comes back by the reply's id, if it has one
    """

    def __init__(
        self,
        recorder: Recorder,
        address: str,
        client: str,
        request: str,
        case: Case,
        key: str = "",
    ) -> None:
        self._recorder, self._address, self._case = recorder, address, case
        self._request, self._key = request, key
        self.timeout_s = TIMEOUT_S  # for a byte
        self._id, self._event = "", ""  # of the reply, and of the last event of it
        self._is_accepted = False
        self._members: dict[str, Any] = {}  # of the end, as the stream tells them
        self._silence_s, self._heard_at = 0.0, time.monotonic()
        self._say("asked", client=client, case=case.name, max_tokens=case.max_tokens)

    def stream(self, is_leaving: Callable[[int], bool] = lambda deltas: False) -> None:
        """Ask for a stream; `is_leaving` is asked at each line, with the deltas so far."""
        options = {"stream": True, "stream_options": {"include_usage": True}}
        self._ask(options, lambda response: self._read(response, is_leaving))

    def whole(self) -> None:
        self._ask({}, self._take_whole)

    def _ask(self, options: dict[str, Any], read: Read) -> None:
        """Ask, and come back for as long as one may hope to get the rest."""
        while why := self._try(options, read):
            # An accepted reply without an id cannot be had again: a key alone would begin another
            may_come_back = self._id or (self._key and not self._is_accepted)
            if not may_come_back or time.monotonic() - self._heard_at > PATIENCE_S:
                self._say("broke", why=why)
                return
            time.sleep(PAUSE_S)

    def _try(self, options: dict[str, Any], read: Read) -> str:
        """Return why the reply is still open, or "" once it has ended in some way."""
        connection = http.client.HTTPConnection(self._address, timeout=self.timeout_s)
        try:
            self._send(connection, options)
            response = connection.getresponse()
            if response.status == 200:
                return read(response)
            body = response.read()
            if self._is_accepted and response.status in TRY_AGAIN:
                return f"{response.status}: {_message(body)}"
            self._say("refused", status=response.status, error=_message(body))
        except (OSError, http.client.HTTPException, ValueError) as error:
            return f"{type(error).__name__}: {error}"
        finally:
            connection.close()
        return ""

    def _send(self, connection: http.client.HTTPConnection, options: dict[str, Any]) -> None:
        known = {"Idempotency-Key": self._key, "Last-Event-ID": self._event}
        headers = {name: value for name, value in known.items() if value}
        if self._is_accepted and not self._key:
            connection.request("GET", f"{ROUTE}/{self._id}", headers=headers)
        else:
            body = json.dumps(self._case.body | options)
            connection.request("POST", ROUTE, body, HEADERS | headers)

    # ------------------------------------------------------------------------------- a stream

    def _read(self, response: http.client.HTTPResponse, is_leaving: Callable[[int], bool]) -> str:
        self._open(response)
        deltas = 0
        for number, data in self._events(response):
            if is_leaving(deltas):
                self._say("left")
                return ""
            if data == "[DONE]":
                self._end()
                return ""
            document = json.loads(data) if data else {}
            if "error" in document:
                self._say("refused", status=200, error=document["error"]["message"])
                return ""
            deltas += self._take(number, document)
            self._event = number or self._event
        return "the stream ended without [DONE]"

    def _open(self, response: http.client.HTTPResponse) -> None:
        self._heard()
        if self._is_accepted:
            self._say("resumed", after=self._event)
        else:
            self._is_accepted = True
            self._id = response.getheader("X-Request-Id", "")
            self._say("accepted")

    def _events(self, response: http.client.HTTPResponse) -> Iterator[tuple[str, str]]:
        """Yield the id and data of each event; "" and "" for each comment."""
        number = ""
        while line := response.readline():
            self._heard()
            if line.startswith(b":"):
                yield "", ""
            elif line.startswith(b"id: "):
                number = line[4:].decode().strip()
            elif line.startswith(b"data: "):
                yield number, line[6:].decode().rstrip("\n")
                number = ""

    def _take(self, number: str, document: dict[str, Any]) -> int:
        if document.get("usage"):
            self._members |= _usage(document)
        for choice in document.get("choices", ()):
            if choice.get("finish_reason"):
                self._members["finish"] = choice["finish_reason"]
                self._members["preemptions"] = document.get("bramble", {}).get("preemptions", 0)
            text = (choice.get("delta") or {}).get("content")
            if text or choice.get("logprobs"):
                self._delta(number, document["id"], text or "", choice)
                return 1
        return 0

    def _delta(self, number: str, reply: str, text: str, choice: dict[str, Any]) -> None:
        tokens = {"event": int(number.partition(".")[0])} if number else {}
        if self._case.body["logprobs"]:
            tokens["tokens"] = len((choice.get("logprobs") or {}).get("content") or ())
        self._say("delta", reply=reply, text=text, **tokens)

    def _end(self) -> None:
        missing = {"finish": "none", "prompt_tokens": -1, "completion_tokens": -1}
        self._say("ended", **(missing | self._members), silence_s=round(self._silence_s, 3))

    # --------------------------------------------------------------------------- a whole reply

    def _take_whole(self, response: http.client.HTTPResponse) -> str:
        document = json.loads(response.read())
        (choice,) = document["choices"]
        self._say("accepted")
        self._delta("", document["id"], choice["message"]["content"], choice)
        self._members |= _usage(document) | {"finish": choice["finish_reason"]}
        self._members["preemptions"] = document.get("bramble", {}).get("preemptions", 0)
        self._end()
        return ""

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


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace")


def _usage(document: dict[str, Any]) -> dict[str, int]:
    usage = document["usage"]
    return {key: usage[key] for key in ("prompt_tokens", "completion_tokens")}
