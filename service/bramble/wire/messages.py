"""The logical messages of all three conversations, as frozen dataclasses; no bytes, no sockets.

ring     Step, Sampled                            head → stage → … → stage → head, first stage
control  Hello, Beat, Ready, Failed, Assign       stage ↔ head
client   Generate, Resume, Cancel … Delta, Done   web or CLI ↔ head

WIRE.md is the specification; `frames.py` turns these into bytes and back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bramble.model.sampling import RANGES
from bramble.model.share import Share
from bramble.wire.terms import Claim, Vow

# ----------------------------------------------------------------------------------------- ring


UINT64_MAX = (1 << 64) - 1
BIASES = (-100.0, 100.0)  # as in OpenAI's API; added to a logit, larger ones may leave float32
SAMPLING_RANGES: dict[str, tuple[float, float]] = {  # least and most; NaN is in none
    **RANGES,
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "seed": (0, UINT64_MAX),
    "top_logprobs": (-1, 20),
}


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the last stage picks a token from the full logits.

    Applied in this order: logit_bias, repetition, presence and frequency penalties, the grammar
    (what it forbids is as if it were no token), temperature, top_k, top_p, min_p. The random number
    of a token is a function of (seed, position) only.
    """

    temperature: float = 1.0  # 0 = greedy
    top_k: int = 0  # 0 = off
    top_p: float = 1.0  # 1 = off
    min_p: float = 0.0  # 0 = off; relative to the most likely token
    repetition_penalty: float = 1.0  # over prompt and reply, as in CTRL (arXiv 1909.05858)
    presence_penalty: float = 0.0  # over the reply, as in OpenAI's API
    frequency_penalty: float = 0.0  # over the reply, as in OpenAI's API
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int = 0  # uint64
    top_logprobs: int = -1  # -1 = none, 0 = of the chosen token alone, 1..20 = and the likeliest

    @property
    def has_penalty(self) -> bool:
        return (self.repetition_penalty, self.presence_penalty, self.frequency_penalty) != (1, 0, 0)


@dataclass(frozen=True, slots=True)
class Constraint:
    """What a reply has to be, from its first token on: the sampler allows no other token."""

    kind: str  # json_schema, regex, or lark: a grammar as llguidance reads it
    text: str
    param: str = "constraint"  # what the client calls it: errors name it, and places in it


@dataclass(frozen=True, slots=True)
class Open:
    """Tell the last stage's sampler of a sequence, with the step that samples its first token.

    num_prompt_tokens  the prompt's length: what lies beyond counts as reply, also when a preempted
                       sequence is prefilled with both
    history            token ids up to and with this step's, if a penalty or a grammar needs them;
                       else empty. (Earlier steps may have gone round for another sequence with
                       this prefix.)
    grammar            what the reply has to be, as model/grammar.py compiles it; "" = anything
    """

    sequence: int
    num_prompt_tokens: int
    sampling: Sampling
    history: tuple[int, ...] = ()
    grammar: str = ""


STUCK = -1  # a sampled token id: the reply's grammar allows none, or became too complex to follow
UNREAD = -2  # a sampled token id: the last stage cannot read the grammar; it lacks the tokenizer


class StepKind(IntEnum):
    DECODE = 0  # n rows of one token each
    PREFILL = 1  # one row of t tokens
    VERIFY = 2  # one row: its newest token, and t - 1 guessed ones behind it
    REPLAY = 3  # one row of t tokens that a reply decoded before

    @property
    def is_chunk(self) -> bool:
        """True for known tokens that fill a row's cache."""
        return self in (StepKind.PREFILL, StepKind.REPLAY)

    @property
    def is_single(self) -> bool:
        """True where several tokens have to be rounded as steps of one token round them."""
        return self in (StepKind.VERIFY, StepKind.REPLAY)


@dataclass(frozen=True, slots=True)
class Step:
    """One message round a ring: new tokens for the cache rows [first_row, first_row + n).

    Applied by every stage in the order: swaps, copies, trims, layers; by the last one's sampler:
    closes, opens, sampling. Steps of an epoch have rising numbers and arrive in that order.
    """

    plan_id: bytes  # 16 bytes; a stage refuses another plan's message
    epoch: int  # another at each activation, so that a restarted ring drops what was under way
    step: int  # rises by at least one; a stage drops repeats
    lane: int
    kind: StepKind
    is_sampled: bool  # the last stage samples after each row's last token (VERIFY: behind token
    # after token, up to the first that was guessed wrong); else it acknowledges
    is_check: bool  # each stage appends a digest of its output (golden check)
    first_row: int
    sequences: NDArray[np.uint64]  # (n,)
    positions: NDArray[np.int32]  # (n,) index of each row's first new token
    token_ids: NDArray[np.int32]  # (n, t)
    swaps: tuple[tuple[int, int, int], ...] = ()  # (row a, row b, tokens to exchange)
    copies: tuple[tuple[int, int, int, int], ...] = ()  # (row from, row to, tokens start, stop)
    trims: tuple[tuple[int, int], ...] = ()  # (row, tokens to keep): the rest gives back its memory
    opens: tuple[Open, ...] = ()
    closes: tuple[int, ...] = ()  # sequences the sampler forgets
    hidden: NDArray[np.float32] | None = None  # (n * t, hidden_size); None before the first stage
    traces: NDArray[np.uint32] = field(  # (stages passed, 3) µs: waiting, compute, Python and wire
        default_factory=lambda: np.zeros((0, 3), np.uint32)
    )
    digests: NDArray[np.float32] = field(  # (stages passed, DIGEST_SIZE), for is_check
        default_factory=lambda: np.zeros((0, 8), np.float32)
    )


@dataclass(frozen=True, slots=True)
class Sampled:
    """The last stage's answer to one Step; no token ids where the step was not sampled.

    m is the number of sampled tokens: n, or of a VERIFY the guesses that came true and the one
    token behind them.
    """

    plan_id: bytes
    epoch: int
    step: int
    lane: int
    kind: StepKind
    sequences: NDArray[np.uint64]  # (n,)
    positions: NDArray[np.int32]  # (m,) position of the sampled token; (0,) if not sampled
    token_ids: NDArray[np.int32]  # (m,) or (0,); of a row with a grammar it may be STUCK or UNREAD
    logprobs: NDArray[np.float32]  # (m,) natural log, before penalties and temperature; or (0,)
    top_ids: NDArray[np.int32]  # (m, k) k = largest top_logprobs among the rows; -1 = unasked
    top_logprobs: NDArray[np.float32]  # (m, k)
    traces: NDArray[np.uint32]  # (stages, 3)
    digests: NDArray[np.float32]  # (stages, DIGEST_SIZE) or (0, DIGEST_SIZE)


# -------------------------------------------------------------------------------------- control


@dataclass(frozen=True, slots=True)
class Hello:
    """A stage's first message, and again whenever the head does not know it."""

    node: str
    incarnation: int  # random per process: a changed one means the KV cache is gone
    endpoint: str  # where its predecessor connects to, e.g. tcp://10.0.0.11:7101
    version: str
    memory_bytes: int  # what weights and KV cache may take
    machine: str  # platform.machine()
    vow: Vow | None = None  # which head it obeys; None = of a release without terms
    # Epoch and number of the step over which the process before it ended; (-1, -1) = over none;
    # None = it may have been any
    died_in: tuple[int, int] | None = None
    exchange: str = ""  # where members of its group connect to; "" = it can be of no group


@dataclass(frozen=True, slots=True)
class Beat:
    """A stage's sign of life; the head answers each with a Beat of its own.

    A stage says which head it obeys (`vow`), a head asks to be obeyed (`claim`).
    """

    node: str
    incarnation: int
    stats: dict[str, Any] = field(default_factory=dict)  # for /api/status: speeds, memory, sensors
    vow: Vow | None = None
    claim: Claim | None = None


EXCHANGE_FORMS = ("float32", "float16", "q8")  # of a group's partial sums; float32 is exact


@dataclass(frozen=True, slots=True)
class Member:
    """A process among those that serve a stage, and where it listens."""

    node: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class Assign:
    """The head tells a stage what to run. A repeat is answered, and changes nothing."""

    plan_id: str  # 32 hex digits
    epoch: int
    model: str  # the model folder's name
    manifest_sha256: str
    stage: int
    num_stages: int
    share: Share  # of a head that cuts no layers with ALL for what it does not say
    next: tuple[Member, ...]  # whom it sends to: all members of the next stage, from the last one
    # the head; nobody, if rank 0 does
    rows: int
    max_length: int  # tokens of one row
    kv_bytes: int  # the ceiling of this shard's KV cache
    kv_cache: str = "float32"  # one of manifest.CACHE_BYTES
    first_endpoint: str = ""  # for the last of several stages: the first one's, told of its answers
    first_node: str = ""
    previous_node: str = ""  # whose steps it takes; "" = of an older head: anybody's that has a key
    last_node: str = ""  # for the first of several stages: whose answers it may hear of
    is_suspect: bool = False  # what it has computed was wrong: hash and pack every file anew
    term: int = 0  # the head's; a stage refuses one older than it has granted. 0 = of none
    rank: int = 0  # its place among those that serve the stage
    group: tuple[Member, ...] = ()  # all of them by rank, where they exchange; () = it is alone
    exchange_key: str = field(default="", repr=False)  # 64 hex digits, of this group and epoch
    exchange: str = "float32"  # the form of what its members send each other: EXCHANGE_FORMS


@dataclass(frozen=True, slots=True)
class Ready:
    """The stage serves this assignment."""

    node: str
    incarnation: int
    plan_id: str
    epoch: int
    load_s: float
    resident_bytes: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The stage cannot serve this assignment; `reason` is a sentence for a person.

    With a `step` it did, up to that one: it runs no other of this epoch.
    """

    node: str
    incarnation: int
    plan_id: str
    epoch: int
    reason: str
    step: int = -1


# --------------------------------------------------------------------------------------- client


class Finish(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Generate:
    """Ask for one completion. Exactly one of `messages` and `prompt` is given.

    A request of that name that runs already, or has ended not long ago, is joined: its reply is
    told from its beginning, or from behind `generated`.

    `generated` holds the token ids already received when a client resubmits after the head was
    lost: the reply continues behind them exactly as it would have. `export` and `accepted_at_us`
    are then what Accepted said: another model could not go on with them, and the request has its
    old place in the queue.
    """

    request: str  # unique, chosen by the client
    sampling: Sampling
    messages: list[dict[str, Any]] | None = None  # role and content, as in OpenAI's chat API
    prompt: str | list[int] | None = None
    max_tokens: int | None = None  # None = until the context is full; 0 = only count the prompt
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False  # for benchmarks
    generated: tuple[int, ...] = ()
    export: str = ""
    accepted_at_us: int = 0
    is_seeded: bool = True  # the client chose the seed, and may ask for the same reply again
    model: str = ""  # whose reply is wanted; "" = whichever is served
    chosen: tuple[str, ...] | None = None  # what of `sampling` the client chose, the rest is the
    # model's own; None = all of it
    key: str = ""  # a hash of the client's Idempotency-Key: it can come back for the reply
    received: int = 0  # tokens that the client has seen: a Delta ends behind them
    about: dict[str, Any] = field(default_factory=dict)  # told to whoever resumes by name alone
    constraint: Constraint | None = None
    tools: list[dict[str, Any]] | None = None  # of messages; as in OpenAI's chat API
    tool_choice: str = "auto"  # or none, required, or function:NAME
    parallel_calls: bool = True  # the reply may call several tools
    template_options: dict[str, Any] = field(default_factory=dict)  # for the chat template, such as
    # enable_thinking


@dataclass(frozen=True, slots=True)
class Resume:
    """Join a request by its name alone, or be refused with ReplyNotFound."""

    request: str
    received: int = 0  # as in Generate
    num_had: int = 0  # tokens that need not be told again


@dataclass(frozen=True, slots=True)
class Cancel:
    """The sender leaves. A request that nobody reads any more ends, if its client has no key.

    With `is_for_all` it ends whoever reads it, what it said is forgotten, and the answer is
    Cancelled.
    """

    request: str
    is_for_all: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """Ask for the status document (see `head/status.py`)."""

    request: str


@dataclass(frozen=True, slots=True)
class Accepted:
    request: str
    prompt_tokens: int
    export: str = ""  # sha256 of the manifest of the model that replies
    accepted_at_us: int = 0  # µs since 1970, and in every queue the request's place; 0 = none
    model: str = ""  # the name of the model that replies
    mark: str = ""  # a hash of that model and of the release: where it is equal, so are the tokens
    asked: Generate | None = None  # for who knew only the name; of an ended one without its prompt
    reply_format: str = ""  # how this model writes thoughts and calls, see model/replies.py


@dataclass(frozen=True, slots=True)
class Progress:
    """Sent at least once a second to each request that gets no text: the head is alive."""

    request: str
    queue_position: int  # 0 = running
    prefilled_tokens: int
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    token: str
    bytes: list[int]
    logprob: float
    top: list[dict[str, Any]] = field(default_factory=list)  # token, bytes, logprob


@dataclass(frozen=True, slots=True)
class Delta:
    """New text, of complete characters only; `token_ids` may run ahead of the text."""

    request: str
    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    request: str
    finish: Finish
    prompt_tokens: int
    completion_tokens: int
    queue_s: float
    first_token_s: float  # from arrival at the head
    total_s: float
    preemptions: int = 0
    is_repeat: bool = False  # somebody has heard it before
    cached_tokens: int = 0  # of the prompt: their keys and values were there already
    stop_string: str = ""  # of Generate.stop, the one that ended the reply; "" = none did
    thought_tokens: int = (
        0  # of completion_tokens: those of the thought that a chat's reply begins with
    )


@dataclass(frozen=True, slots=True)
class Refused:
    """The request ended in an error; `family` is the class name in errors.py."""

    request: str
    family: str
    message: str
    param: str | None = None
    code: str | None = None
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True)
class Cancelled:
    request: str
    was_known: bool


@dataclass(frozen=True, slots=True)
class Status:
    request: str
    document: dict[str, Any]


RingMessage = Step | Sampled
ControlMessage = Hello | Beat | Assign | Ready | Failed
ClientMessage = (
    Generate
    | Resume
    | Cancel
    | Query
    | Accepted
    | Progress
    | Delta
    | Done
    | Refused
    | Cancelled
    | Status
)
Message = RingMessage | ControlMessage | ClientMessage
