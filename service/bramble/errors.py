"""Every error that Bramble raises on purpose.

BrambleError
├── BadInput           the caller's fault: HTTP 400, exit code 2; shown to the caller as it is
│   ├── ModelNotFound  HTTP 404
│   ├── ReplyNotFound  HTTP 404
│   ├── KeyReused      HTTP 422
│   ├── Elsewhere      HTTP 421
│   ├── OtherSite      HTTP 403
│   └── TooLarge       HTTP 413
├── Unavailable        nobody's fault, retry later: HTTP 503 with Retry-After
│   ├── QueueFull      HTTP 429 with Retry-After
│   └── CacheFull      a step does not fit a stage's KV cache: its epoch ends, and all is prefilled
│                      again. The scheduler preempts before it comes to that; no client sees it
└── Broken             our fault or the hardware's: HTTP 500; a process logs it and exits with 1,
    │                  its supervisor restarts it. Of one step: its epoch ends, the stage goes on
    ├── PoisonRequest  stages, or the head, ended over this request: HTTP 500, not to be retried
    ├── MemberGone     another member of a stage's group is gone: the epoch ends
    ├── BadFrame       a message that is truncated, altered or of another version: dropped, counted
    └── BadShard       a model file that is missing, cut short or altered: the stage reports it

A message says what was got, what is allowed and what to do.
"""

from __future__ import annotations


class BrambleError(Exception):
    """Catch this at the top of a process or of an HTTP request, nowhere else."""


class BadInput(BrambleError):
    """The caller has to change something; `param` names the offending parameter, if one does."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code  # OpenAI's machine-readable code, e.g. context_length_exceeded


class ModelNotFound(BadInput):
    """The named model is not the one that is served."""


class ReplyNotFound(BadInput):
    """No reply of that id is kept."""


class KeyReused(BadInput):
    """An Idempotency-Key that is another request's."""


class Elsewhere(BadInput):
    """The request is meant for another machine than this one."""


class OtherSite(BadInput):
    """A page of another site asks for what changes something here."""


class TooLarge(BadInput):
    """The request's body exceeds what the service reads."""


class Unavailable(BrambleError):
    """Nothing serves right now; the same request may succeed after `retry_after_s`."""

    def __init__(self, message: str, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QueueFull(Unavailable):
    """Too many requests wait already."""


class CacheFull(Unavailable):
    """A KV-cache reservation does not fit what is left."""


class Broken(BrambleError):
    """An invariant of ours, or the hardware, failed."""


class PoisonRequest(Broken):
    """A request that is not tried again, as it has ended stages, or the head."""


class MemberGone(Broken):
    """Another member of a stage's group has ended, or cannot be reached any more."""


class BadFrame(Broken):
    """A wire message that must not be read further."""


class BadShard(Broken):
    """A model file that must not be served."""
