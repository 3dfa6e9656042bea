"""One client's request: its sequence, and its tokens' way to text, logprobs and events."""

from __future__ import annotations

from collections.abc import Sequence as Several
from dataclasses import dataclass, field

from bramble.errors import BadInput
from bramble.head.flips import Flips
from bramble.head.history import read_history
from bramble.head.sequence import Sequence, State
from bramble.head.step_plan import Emission
from bramble.head.stop import StopMatcher
from bramble.model.manifest import Manifest
from bramble.model.tokenizer import Detokenizer, Tokenizer, opened_thought
from bramble.wire.messages import (
    BIASES,
    SAMPLING_RANGES,
    Delta,
    Done,
    Finish,
    Generate,
    Sampled,
    TokenLogprob,
)


@dataclass(slots=True)
class Request:
    """`peer` is the connection that asked; times are of the head's monotonic clock."""

    peer: bytes
    asked: Generate
    sequence: Sequence
    arrived_at: float
    detokenizer: Detokenizer
    stops: StopMatcher
    tokenizer: Tokenizer
    started_at: float | None = None
    first_token_at: float | None = None
    heard_at: float = 0.0  # when the client was last sent something
    has_met_stop: bool = False
    opening: str = ""  # of a thought, which the template has written; shown with the first token
    _logprobs: list[TokenLogprob] = field(default_factory=list)

    def delta(self, emission: Emission, sampled: Sampled) -> Delta:
        """Turn a sampled token into an event; sets has_met_stop."""
        token_id = emission.token_id
        if self.asked.sampling.top_logprobs >= 0:
            self._logprobs.append(self._logprob(token_id, sampled, emission.index))
        text = "" if token_id in self.sequence.eos_ids else self.detokenizer.push(token_id)
        text, self.has_met_stop = self.stops.push(text)
        if self.sequence.finish and emission.is_newest and not self.has_met_stop:
            text += self._rest()
        text, self.opening = self.opening + text, ""
        logprobs, self._logprobs = tuple(self._logprobs), []
        return Delta(self.asked.request, text, (token_id,), logprobs)

    def done(self, now: float) -> Done:
        sequence = self.sequence
        first = self.first_token_at if self.first_token_at is not None else now
        started = self.started_at if self.started_at is not None else now
        return Done(
            request=self.asked.request,
            finish=Finish.STOP if self.has_met_stop else sequence.finish or Finish.CANCELLED,
            prompt_tokens=sequence.num_prompt_tokens,
            completion_tokens=sequence.num_completion_tokens,
            queue_s=started - self.arrived_at,
            first_token_s=first - self.arrived_at,
            total_s=now - self.arrived_at,
            preemptions=sequence.preemptions,
        )

    def _rest(self) -> str:
        text, self.has_met_stop = self.stops.push(self.detokenizer.flush())
        return text if self.has_met_stop else text + self.stops.flush()

    def _logprob(self, token_id: int, sampled: Sampled, index: int) -> TokenLogprob:
        count = self.asked.sampling.top_logprobs
        top = zip(
            sampled.top_ids[index, :count].tolist(),
            sampled.top_logprobs[index, :count].tolist(),
            strict=True,
        )
        return TokenLogprob(
            *self._spell(token_id),
            float(sampled.logprobs[index]),
            [
                dict(zip(("token", "bytes"), self._spell(i), strict=True), logprob=p)
                for i, p in top
                if i >= 0
            ],
        )

    def _spell(self, token_id: int) -> tuple[str, list[int]]:
        raw = self.tokenizer.token_bytes(token_id)
        return raw.decode("utf-8", "replace"), list(raw)


def open_request(
    peer: bytes,
    asked: Generate,
    tokenizer: Tokenizer,
    manifest: Manifest,
    max_length: int,
    now: float,
) -> Request:
    """Tokenize what was asked and check it against the context. Raises BadInput.

    Tokens that the client has already (after the head was lost) run through detokenizer and stop
    matcher again without being shown; where they are the whole reply, the sequence is finished.
    What opens a thought came with the first of them.
    """
    vocab_size = manifest.shape.vocab_size
    _check(asked, vocab_size)
    prompt, flips, opening = _read_prompt(asked, tokenizer, vocab_size)
    is_exact = _is_exact(asked)
    if asked.generated and not is_exact:  # read as one prompt it goes on sooner
        flips = (len(prompt) + len(asked.generated),)
    max_tokens = _most_tokens(asked, len(prompt), max_length)
    sequence = Sequence(
        request=asked.request,
        tokens=prompt + list(asked.generated),
        num_prompt_tokens=len(prompt),
        max_tokens=max_tokens,
        sampling=asked.sampling,
        eos_ids=frozenset() if asked.ignore_eos else frozenset(manifest.eos_ids),
        flips=flips,
        is_exact=is_exact,
    )
    request = Request(
        peer=peer,
        asked=asked,
        sequence=sequence,
        arrived_at=now,
        detokenizer=Detokenizer(tokenizer),
        stops=StopMatcher(asked.stop),
        tokenizer=tokenizer,
        opening="" if asked.generated else opening,
    )
    for token_id in asked.generated:
        text = "" if token_id in sequence.eos_ids else request.detokenizer.push(token_id)
        _, request.has_met_stop = request.stops.push(text)
    if request.has_met_stop or sequence.eos_ids.intersection(asked.generated[-1:]):
        sequence.state, sequence.finish = State.FINISHED, Finish.STOP
    elif len(sequence.tokens) >= max_tokens:
        sequence.state, sequence.finish = State.FINISHED, Finish.LENGTH
    return request


def _check(asked: Generate, vocab_size: int) -> None:
    """Refuse what steps cannot carry, or a stage or the sampler not compute.

    The web process has checked what came over HTTP; this is for whoever else asks.
    """
    sampling = asked.sampling
    for name, (least, most) in SAMPLING_RANGES.items():
        if not least <= (got := getattr(sampling, name)) <= most:  # NaN is in no range
            raise BadInput(f"{name}: got {got}, need {least} to {most}", name)
    _check_ids("logit_bias", [token_id for token_id, _ in sampling.logit_bias], vocab_size)
    for _, bias in sampling.logit_bias:
        if not BIASES[0] <= bias <= BIASES[1]:
            raise BadInput(f"logit_bias: got {bias}, need -100 to 100", "logit_bias")
    _check_ids("generated", asked.generated, vocab_size)
    if asked.max_tokens is not None and asked.max_tokens < 1:
        raise BadInput(f"max_tokens: got {asked.max_tokens}, need 1 or more", "max_tokens")


def _is_exact(asked: Generate) -> bool:
    """True for a reply that whoever asked could tell from another run's: a greedy one, and one by a
    seed of theirs."""
    return asked.sampling.temperature == 0 or asked.is_seeded


def _read_prompt(
    asked: Generate, tokenizer: Tokenizer, vocab_size: int
) -> tuple[list[int], Flips, str]:
    """Return the prompt's token ids, which of them are computed as replies, and what of the reply a
    chat's template has written."""
    flips, opening = None, ""
    if asked.messages is not None:
        text = tokenizer.render_chat(asked.messages)
        ids, flips = read_history(tokenizer, asked.messages, text)
        opening = opened_thought(text)
        _check_spelt("messages", ids, tokenizer, vocab_size)
    elif isinstance(asked.prompt, str):
        ids = tokenizer.encode(asked.prompt)
        _check_spelt("prompt", ids, tokenizer, vocab_size)
    else:
        ids = asked.prompt or []
        _check_ids("prompt", ids, vocab_size)
    if not ids:
        raise BadInput("prompt is empty: it has to hold at least one token", "prompt")
    return ids, flips or (len(ids),), opening


def _check_spelt(name: str, ids: list[int], tokenizer: Tokenizer, vocab_size: int) -> None:
    """Refuse text with a token that was added to the tokenizer and never to the model."""
    if ids and (token_id := max(ids)) >= vocab_size:
        raise BadInput(
            f"{name}: the text holds {tokenizer.token(token_id)!r}, token id {token_id}, which the "
            f"model does not know: its ids are 0 … {vocab_size - 1}; leave it out of the text",
            name,
        )


def _check_ids(name: str, ids: Several[int], vocab_size: int) -> None:
    for token_id in (min(ids), max(ids)) if ids else ():  # a million ids in a few milliseconds
        if not 0 <= token_id < vocab_size:
            raise BadInput(f"{name}: token id {token_id} is not in 0 … {vocab_size - 1}", name)


def _most_tokens(asked: Generate, num_prompt: int, max_length: int) -> int:
    """Most tokens of prompt and reply together. Raises BadInput with the numbers."""
    param = "prompt" if asked.messages is None else "messages"
    wanted = 1 if asked.max_tokens is None else asked.max_tokens
    if num_prompt + wanted > max_length:
        reply = "" if asked.max_tokens is None else f" and max_tokens is {asked.max_tokens}"
        lower = f", or set max_tokens to {max_length - num_prompt} at most"
        raise BadInput(
            f"the context is {max_length} tokens; the prompt has {num_prompt}{reply}; "
            f"shorten the prompt{lower if num_prompt < max_length else ''}, "
            "or start a new conversation",
            param,
            "context_length_exceeded",
        )
    return max_length if asked.max_tokens is None else num_prompt + asked.max_tokens
