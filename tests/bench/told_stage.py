"""A stage that is told what to say: `python -m tests.bench.told_stage REPLIES.json stage …`.

Weights are random, so replies would be, and guesses of real texts could not be measured. Here the
sampler draws as ever, and then says the text that belongs to a prompt of that length; what is
computed, sent, guessed and verified is what would be for a model that writes this text.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bramble.cli import main
from bramble.stage import sampler
from bramble.stage.sampler import Floats, State


def tell(replies: dict[int, list[int]]) -> None:
    """Have this process's samplers say `replies`: tokens in a prompt → its tokens and the reply's.

    Behind a prompt of another length, and behind the end of a reply, they say what they draw.
    """
    draw = sampler.pick

    def pick(logits: Floats, state: State, position: int) -> int:
        drawn = draw(logits, state, position)
        told = replies.get(state.num_prompt_tokens, [])
        return told[position] if position < len(told) else drawn

    sampler.pick = pick


if __name__ == "__main__":
    file, *words = sys.argv[1:]
    found = json.loads(Path(file).read_text(encoding="utf-8"))
    tell({int(length): ids for length, ids in found.items()})
    sys.exit(main(words))
