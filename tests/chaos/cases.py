"""What clients ask: questions of every kind, each greedy, sampled with a seed, and with none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

QUESTIONS = (
    "How do I add a Pi?",
    "How fast is it?",
    "What is a stage?",
    "Which port do I open in the browser?",
    "What is a bramble?",
    "Why is my node throttled, and what should I do about it?",
    "what is 25 plus 17?",
    "How do I update Bramble, and how do I undo that?",
    "Write me a poem about the sea",
    "Hallo, wie füge ich einen Raspberry Pi hinzu? 🍓",
    "Explain the golden check to somebody who has never seen a cluster. " * 6,
    "hi, my name is Mona",
    "What happens when a node loses its power in the middle of a reply?",
    "List the plays: site, upgrade, rollback, reset. " * 12,
    "x",
    "Repeat after me: one two three four, one two three four, one two three four.",
)
TOKENS = (24, 60, 120)


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    body: dict[str, Any]

    @property
    def is_repeatable(self) -> bool:
        """True where an undisturbed run of the same says the same."""
        return self.body["temperature"] == 0 or "seed" in self.body

    @property
    def max_tokens(self) -> int:
        return int(self.body["max_tokens"])


def cases(num_questions: int = len(QUESTIONS)) -> list[Case]:
    found = []
    for i, question in enumerate(QUESTIONS[:num_questions]):
        messages = [{"role": "user", "content": question}]
        if i % 4 == 3:  # a later turn, whose history is in the cache or is not
            messages = [
                {"role": "user", "content": QUESTIONS[0]},
                {"role": "assistant", "content": "Add it to hosts.yml and run the play again."},
                *messages,
            ]
        body = {
            "messages": messages,
            "max_tokens": TOKENS[i % len(TOKENS)],
            "ignore_eos": i % 2 == 0,  # so that some replies are long, and some end by themselves
            "logprobs": i % 3 != 1,  # tells each token, so that tokens can be counted
        }
        found.append(Case(f"greedy-{i}", body | {"temperature": 0}))
        found.append(Case(f"seeded-{i}", body | {"temperature": 0.8, "seed": 1000 + i}))
        found.append(Case(f"free-{i}", body | {"temperature": 0.8}))
    return found
