"""A share is one that a model of that shape has, or a sentence says why not."""

import pytest
from bramble.errors import BadInput
from bramble.model.manifest import Shape
from bramble.model.share import NONE, Share

SHAPE = Shape(4, 64, 96, 8, 2, 8, 100, 128)


def test_a_whole_share_is_whole_whichever_layers_it_has() -> None:
    share = Share.whole(SHAPE, 1, 3, has_embed=False, has_lm_head=True)
    share.check(SHAPE)
    assert share.is_whole(SHAPE)
    assert share.part_names == ("layer-001", "layer-002", "lm_head")


@pytest.mark.parametrize(
    ("heads", "kv_heads"), [((0, 4), (0, 1)), ((4, 8), (1, 2)), ((1, 3), (0, 1)), ((7, 8), (1, 2))]
)
def test_whole_groups_of_heads_and_parts_of_one_are_shares(
    heads: tuple[int, int], kv_heads: tuple[int, int]
) -> None:
    share = Share(0, 4, True, heads, kv_heads, (0, 32), (0, 50))
    share.check(SHAPE)
    assert not share.is_whole(SHAPE)


@pytest.mark.parametrize(
    ("share", "says"),
    [
        (Share(0, 5, True, (0, 8), (0, 2), (0, 96)), "layers 0:5"),
        (Share(0, 4, True, (0, 9), (0, 2), (0, 96)), "query heads 0:9"),
        (Share(0, 4, True, (2, 6), (0, 2), (0, 96)), "whole groups of 4"),
        (Share(0, 4, True, (0, 4), (0, 2), (0, 96)), "KV heads 0:1"),
        (Share(0, 4, True, (4, 4), (1, 1), (0, 96)), "one head or more"),
        (Share(0, 4, True, (0, 8), (0, 2), (90, 97)), "columns 90:97"),
        (Share(0, 4, True, (0, 8), (0, 2), (0, 96), (0, 101)), "lm_head 0:101"),
    ],
)
def test_what_no_model_of_the_shape_has_is_refused(share: Share, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        share.check(SHAPE)


def test_a_share_without_rows_of_the_lm_head_has_none() -> None:
    assert not Share(0, 1, False, (0, 8), (0, 2), (0, 96), NONE).has_lm_head
