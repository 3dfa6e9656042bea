"""What the last stage reads grammars with: the bytes of every token, from the model's own files.

Read at the first grammar, as most stages never see one.
"""

from __future__ import annotations

from pathlib import Path

from bramble.errors import BadShard
from bramble.model.grammar import Grammars, Vocabulary
from bramble.model.manifest import Manifest, verify_texts
from bramble.model.tokenizer import Tokenizer
from bramble.stage import memory


def read_grammars(folder: Path, manifest: Manifest) -> Grammars:
    """Read the tokenizer of a model folder, each of its files proven.

    Takes 5 s and, for that time, 180 MB at 128k tokens; 65 MB stay (service/DESIGN.md).
    Raises BadShard for a file that is missing or damaged, BadInput for one that cannot be read.
    """
    verify_texts(folder, manifest)
    if not manifest.eos_ids:
        raise BadShard(f"{manifest.name} has no token that ends a reply")
    words = vocabulary(Tokenizer(folder), manifest.shape.vocab_size, manifest.eos_ids)
    grammars = Grammars(words)
    del words
    memory.trim()
    return grammars


def vocabulary(tokenizer: Tokenizer, num_rows: int, end_ids: tuple[int, ...]) -> Vocabulary:
    """Return the bytes of each row of the embedding; rows that are no token have none."""
    special = tokenizer.special_ids.union(end_ids)
    return Vocabulary(
        [tokenizer.token_bytes(index) for index in range(num_rows)],
        tuple(index for index in sorted(special) if index < num_rows),
        end_ids,
    )
