"""What the choices of one HTTP request used: their tokens, and our `bramble` figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bramble.wire.messages import Done


class Tally:
    def __init__(
        self,
        num_choices: int,
        choices_per_prompt: int,
        tell: Callable[[Done], None] = lambda done: None,
    ) -> None:
        """Count each prompt once, however many choices read it, as OpenAI does.

        tell    hears of every choice that is done, and was not told of before
        """
        self._tell = tell
        self._num_choices = num_choices
        self._choices_per_prompt = choices_per_prompt
        self._done: dict[int, Done] = {}

    def add(self, index: int, done: Done) -> None:
        self._done[index] = done
        if not done.is_repeat:
            self._tell(done)

    @property
    def is_complete(self) -> bool:
        return len(self._done) == self._num_choices

    @property
    def prompt_tokens(self) -> int:
        return sum(done.prompt_tokens for done in self._firsts())

    @property
    def completion_tokens(self) -> int:
        return sum(done.completion_tokens for done in self._done.values())

    @property
    def cached_tokens(self) -> int:
        """Return how many tokens of the prompts were not computed again."""
        return sum(done.cached_tokens for done in self._firsts())

    @property
    def thought_tokens(self) -> int:
        """Return how many of the completions' tokens are thoughts."""
        return sum(done.thought_tokens for done in self._done.values())

    def usage(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }

    def figures(self) -> dict[str, Any]:
        """Return the `bramble` member of a whole reply; of several choices, first to last."""
        done = self._done.values()
        return {
            "queue_s": round(min(d.queue_s for d in done), 4),
            "first_token_s": round(min(d.first_token_s for d in done), 4),
            "total_s": round(max(d.total_s for d in done), 4),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "preemptions": sum(d.preemptions for d in done),
        }

    def _firsts(self) -> list[Done]:
        """Return one choice of each prompt."""
        firsts = range(0, self._num_choices, self._choices_per_prompt)
        return [self._done[index] for index in firsts]


def figures_of(done: Done) -> dict[str, Any]:
    """Return the `bramble` member of one choice's last chunk."""
    tally = Tally(1, 1)
    tally.add(0, done)
    return tally.figures()
