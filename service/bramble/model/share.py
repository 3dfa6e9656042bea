"""Which part of a model one process holds, as one value.

A stage's member holds all of its layers, but of each layer only some heads and feed-forward
columns, and of the lm_head some rows. Where a stage has one member, its share is all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bramble.errors import BadInput
from bramble.model.manifest import Shape, layer_name

Range = tuple[int, int]  # [start, stop)
NONE: Range = (0, 0)
ALL: Range = (0, -1)  # as many as the model has, which is not known yet


@dataclass(frozen=True, slots=True)
class Share:
    """Decoder layers [start, stop) of a model, and what of each of them.

    heads      query heads: whole groups that share a KV head, or a part of one such group
    kv_heads   the KV heads of these query heads; members with parts of one group hold it each
    columns    of the feed-forward part: outputs of gate_proj and up_proj, inputs of down_proj
    vocab      rows of the lm_head; NONE where the share has none
    """

    start: int
    stop: int
    has_embed: bool
    heads: Range
    kv_heads: Range
    columns: Range
    vocab: Range = NONE

    @classmethod
    def whole(
        cls, shape: Shape, start: int, stop: int, has_embed: bool, has_lm_head: bool
    ) -> Share:
        """All of layers [start, stop), and of the ends that are asked for."""
        return cls(
            start,
            stop,
            has_embed,
            (0, shape.num_heads),
            (0, shape.num_kv_heads),
            (0, shape.intermediate_size),
            (0, shape.vocab_size) if has_lm_head else NONE,
        )

    @classmethod
    def uncut(cls, start: int, stop: int, has_embed: bool, has_lm_head: bool) -> Share:
        """As `whole` where the model's shape is not known: `completed` makes it whole."""
        return cls(start, stop, has_embed, ALL, ALL, ALL, ALL if has_lm_head else NONE)

    @property
    def has_lm_head(self) -> bool:
        return self.vocab != NONE

    @property
    def num_layers(self) -> int:
        return self.stop - self.start

    def kv_bytes_per_token(self, shape: Shape, kv_cache: str = "float32") -> int:
        """Bytes of keys and values that one token takes in its layers' KV heads."""
        whole = shape.kv_bytes_per_token(self.num_layers, kv_cache)
        return whole * (self.kv_heads[1] - self.kv_heads[0]) // shape.num_kv_heads

    @property
    def layers(self) -> range:
        return range(self.start, self.stop)

    @property
    def part_names(self) -> tuple[str, ...]:
        """The names of the parts that it is of, in the order in which they run."""
        layers = tuple(layer_name(index) for index in self.layers)
        return ("embed",) * self.has_embed + layers + ("lm_head",) * self.has_lm_head

    def completed(self, shape: Shape) -> Share:
        """This share, with the numbers of a model of this shape in place of ALL."""
        whole = Share.whole(shape, self.start, self.stop, self.has_embed, self.has_lm_head)
        return replace(
            self,
            heads=whole.heads if self.heads == ALL else self.heads,
            kv_heads=whole.kv_heads if self.kv_heads == ALL else self.kv_heads,
            columns=whole.columns if self.columns == ALL else self.columns,
            vocab=whole.vocab if self.vocab == ALL else self.vocab,
        )

    def is_whole(self, shape: Shape) -> bool:
        """True if nothing within its layers and ends is another member's."""
        return (
            self.heads == (0, shape.num_heads)
            and self.kv_heads == (0, shape.num_kv_heads)
            and self.columns == (0, shape.intermediate_size)
            and self.vocab in (NONE, (0, shape.vocab_size))
        )

    def check(self, shape: Shape) -> None:
        """Raise BadInput for a share that no model of this shape has, with the numbers."""
        for what, (start, stop), most in (
            ("layers", (self.start, self.stop), shape.num_layers),
            ("query heads", self.heads, shape.num_heads),
            ("KV heads", self.kv_heads, shape.num_kv_heads),
            ("feed-forward columns", self.columns, shape.intermediate_size),
            ("rows of the lm_head", self.vocab, shape.vocab_size),
        ):
            if not 0 <= start <= stop <= most:
                raise BadInput(f"{what} {start}:{stop} were assigned; the model has 0:{most}")
        group = shape.num_heads // shape.num_kv_heads
        first, last = self.heads[0] // group, -(-self.heads[1] // group)
        is_even = self.heads == (first * group, last * group)
        if self.heads[0] == self.heads[1] or self.kv_heads != (first, last):
            raise BadInput(
                f"query heads {self.heads[0]}:{self.heads[1]} were assigned with KV heads "
                f"{self.kv_heads[0]}:{self.kv_heads[1]}; need one head or more, and KV heads "
                f"{first}:{last}"
            )
        if not is_even and last - first > 1:
            raise BadInput(
                f"query heads {self.heads[0]}:{self.heads[1]} were assigned; need whole groups of "
                f"{group}, which share a KV head, or a part of one group"
            )
