"""One request: its sequence, and its tokens' way to text, log probabilities and its record."""

from __future__ import annotations

from collections.abc import Sequence as Several
from dataclasses import dataclass, replace
from typing import Any

from bramble.errors import BadInput, ModelNotFound
from bramble.head.flips import Flips
from bramble.head.history import read_history
from bramble.head.record import Record, read_likely
from bramble.head.reply_shape import offered_tools, reply_grammar
from bramble.head.sequence import Sequence, State
from bramble.head.step_plan import Emission
from bramble.head.stop import StopMatcher
from bramble.model.manifest import Manifest
from bramble.model.replies.thoughts import ThoughtCounter
from bramble.model.sampling import effective
from bramble.model.tokenizer import Chat, Detokenizer, Tokenizer, opened_thought
from bramble.wire.messages import (
    BIASES,
    SAMPLING_RANGES,
    Done,
    Finish,
    Generate,
    Sampled,
    Sampling,
)


@dataclass(slots=True)
class Request:
    """Times are of the head's monotonic clock."""

    asked: Generate
    sequence: Sequence
    arrived_at: float
    detokenizer: Detokenizer
    stops: StopMatcher
    record: Record
    thought: ThoughtCounter
    started_at: float | None = None
    first_token_at: float | None = None
    heard_at: float = 0.0  # when its readers were last sent something
    has_met_stop: bool = False
    opening: str = ""  # of a thought, which the template has written; shown with the first token

    def add(self, emission: Emission, sampled: Sampled) -> None:
        """Put a sampled token on record; sets has_met_stop."""
        count = self.asked.sampling.top_logprobs
        likely = read_likely(sampled, emission.index, count) if count >= 0 else None
        is_last = bool(self.sequence.finish) and emission.is_newest
        self.record.add(self._text(emission.token_id, is_last), emission.token_id, likely)

    def add_again(self, token_id: int, is_last: bool) -> None:
        """Put a token on record that its reader has already; sets has_met_stop."""
        self.record.add(self._text(token_id, is_last), token_id)

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
            cached_tokens=min(sequence.num_cached, sequence.num_prompt_tokens),
            stop_string=self.stops.met,
            thought_tokens=self.thought.num_tokens if self.asked.messages is not None else 0,
        )

    def _text(self, token_id: int, is_last: bool) -> str:
        text = ""
        if token_id not in self.sequence.eos_ids:
            text = self.detokenizer.push(token_id)
            self.thought.add(text)
        text, self.has_met_stop = self.stops.push(text)
        if is_last and not self.has_met_stop:
            text += self._rest()
        text, self.opening = self.opening + text, ""
        return text

    def _rest(self) -> str:
        text, self.has_met_stop = self.stops.push(self.detokenizer.flush())
        return text if self.has_met_stop else text + self.stops.flush()


def open_request(
    asked: Generate, tokenizer: Tokenizer, manifest: Manifest, max_length: int, now: float
) -> Request:
    """Tokenize what was asked and check it against the context. Raises BadInput.

    Tokens that a reader has already (after the head was lost) are put on record first; where they
    are the whole reply, the sequence is finished. So is one of no tokens, whose prompt is only
    counted.
    """
    if asked.model not in ("", manifest.name):
        raise ModelNotFound(
            f"model {asked.model[:80]!r} is not served here; {manifest.name!r} is", "model"
        )
    vocab_size = manifest.shape.vocab_size
    sampling = _sampling(asked, manifest)
    _check(asked, sampling, vocab_size)
    prompt, flips, laid_out = _read_prompt(asked, tokenizer, manifest)
    # Exact where whoever asked could tell it from another run's: greedy, or by a seed of theirs
    is_exact = sampling.temperature == 0 or asked.is_seeded
    if asked.generated and not is_exact:  # read as one prompt it goes on sooner
        flips = (len(prompt) + len(asked.generated),)
    sequence = Sequence(
        request=asked.request,
        tokens=prompt + list(asked.generated),
        num_prompt_tokens=len(prompt),
        arrival=asked.accepted_at_us,
        max_tokens=_most_tokens(asked, len(prompt), max_length),
        sampling=sampling,
        eos_ids=frozenset() if asked.ignore_eos else frozenset(manifest.eos_ids),
        flips=flips,
        is_exact=is_exact,
        grammar=reply_grammar(asked, tokenizer, manifest, laid_out),
    )
    opening = opened_thought(laid_out)
    request = Request(
        asked=asked,
        sequence=sequence,
        arrived_at=now,
        detokenizer=Detokenizer(tokenizer, tokenizer.marker_ids if offered_tools(asked) else ()),
        stops=StopMatcher(asked.stop),
        record=Record(asked.request, tokenizer.token_bytes, sampling.top_logprobs >= 0),
        thought=ThoughtCounter(opening),
        opening=opening,
    )
    _catch_up(request)
    return request


def _catch_up(request: Request) -> None:
    """Record the tokens that came before the head was lost, and see whether they are all."""
    sequence, generated = request.sequence, request.asked.generated
    is_whole = len(sequence.tokens) >= sequence.max_tokens
    for number, token_id in enumerate(generated, 1):
        is_last = number == len(generated) and (is_whole or token_id in sequence.eos_ids)
        request.add_again(token_id, is_last)
    if request.has_met_stop or sequence.eos_ids.intersection(generated[-1:]):
        sequence.state, sequence.finish = State.FINISHED, Finish.STOP
    elif is_whole:
        sequence.state, sequence.finish = State.FINISHED, Finish.LENGTH


def _sampling(asked: Generate, manifest: Manifest) -> Sampling:
    """Return what was chosen, and for the rest the model's own settings."""
    if asked.chosen is None:
        return asked.sampling
    own: dict[str, Any] = {**effective(manifest.defaults)}
    return replace(asked.sampling, **{k: v for k, v in own.items() if k not in asked.chosen})


def _check(asked: Generate, sampling: Sampling, vocab_size: int) -> None:
    """Refuse what steps cannot carry, or a stage or the sampler not compute.

    The web process has checked what came over HTTP; this is for whoever else asks.
    """
    for name, (least, most) in SAMPLING_RANGES.items():
        if not least <= (got := getattr(sampling, name)) <= most:  # NaN is in no range
            raise BadInput(f"{name}: got {got}, need {least} to {most}", name)
    _check_ids("logit_bias", [token_id for token_id, _ in sampling.logit_bias], vocab_size)
    for _, bias in sampling.logit_bias:
        if not BIASES[0] <= bias <= BIASES[1]:
            raise BadInput(f"logit_bias: got {bias}, need -100 to 100", "logit_bias")
    _check_ids("generated", asked.generated, vocab_size)
    if asked.accepted_at_us < 0:
        raise BadInput(f"accepted_at_us: got {asked.accepted_at_us}, need 0 or more")
    if asked.max_tokens is not None and asked.max_tokens < 0:
        raise BadInput(f"max_tokens: got {asked.max_tokens}, need 0 or more", "max_tokens")


def _read_prompt(
    asked: Generate, tokenizer: Tokenizer, manifest: Manifest
) -> tuple[list[int], Flips, str]:
    """Return the prompt's token ids, which of them are computed as replies, and of a chat what its
    template has written."""
    flips, text, vocab_size = None, "", manifest.shape.vocab_size
    if asked.messages is not None:
        chat = Chat(offered_tools(asked), asked.template_options)
        text = tokenizer.render_chat(asked.messages, chat)
        ids, flips = read_history(tokenizer, asked.messages, text, chat, manifest.eos_ids)
        _check_spelt("messages", ids, tokenizer, vocab_size)
    elif isinstance(asked.prompt, str):
        ids = tokenizer.encode(asked.prompt)
        _check_spelt("prompt", ids, tokenizer, vocab_size)
    else:
        ids = asked.prompt or []
        _check_ids("prompt", ids, vocab_size)
    if not ids:
        raise BadInput("prompt is empty: it has to hold at least one token", "prompt")
    return ids, flips or (len(ids),), text


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
    """Most tokens of prompt and reply together: what is asked beyond the context is cut to it.

    Raises BadInput where not one token of a reply fits.
    """
    if asked.max_tokens == 0:  # a prompt that is only counted may be longer than the context
        return num_prompt
    if num_prompt >= max_length:
        raise BadInput(
            f"the context is {max_length} tokens, and the prompt has {num_prompt}: no room is left "
            "for a reply; shorten the prompt, or start a new conversation",
            "prompt" if asked.messages is None else "messages",
            "context_length_exceeded",
        )
    if asked.max_tokens is None:
        return max_length
    return min(num_prompt + asked.max_tokens, max_length)
