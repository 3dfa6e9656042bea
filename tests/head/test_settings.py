"""The head's rings, from a file or from flags; what cannot be is refused before anything starts."""

from pathlib import Path

import pytest
from bramble.cli import main
from bramble.config import HeadConfig, StageConfig, read_config
from bramble.errors import BadInput
from bramble.head.service import _check_steps

Capture = pytest.CaptureFixture[str]


def read(folder: Path, lines: str) -> HeadConfig:
    path = folder / "head.yml"
    path.write_text(f"model: /models/llama\n{lines}\n")
    return read_config(HeadConfig, path)


@pytest.mark.parametrize(
    ("lines", "rings"),
    [
        ("stages: [pi1, pi2]", ((("pi1",), ("pi2",)),)),
        ("stages: [pi1+pi2, pi3]", ((("pi1", "pi2"), ("pi3",)),)),
        ("rings: [[pi1], [pi2, pi3]]", ((("pi1",),), (("pi2",), ("pi3",)))),
        ("rings:\n  - [pi1+pi2]\n  - [pi3]", ((("pi1", "pi2"),), (("pi3",),))),
    ],
)
def test_a_list_of_stages_is_one_ring_and_rings_are_several(
    lines: str, rings: tuple[tuple[tuple[str, ...], ...], ...], tmp_path: Path
) -> None:
    assert read(tmp_path, lines).groups_of_rings == rings


def test_chunks_that_no_stage_would_take_are_refused(tmp_path: Path) -> None:
    config = read(tmp_path, "stages: [pi1]\nprefill_tokens: 4097")
    _check_steps(config, 2047)
    with pytest.raises(BadInput, match="hidden size of 2048 a step can carry 4096 tokens"):
        _check_steps(config, 2048)


@pytest.mark.parametrize("rings", ["[pi1, pi2]", "pi1", "[[1]]"])
def test_rings_that_are_no_lists_of_names_are_refused(rings: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"head.yml: rings: got .*, need a list of"):
        read(tmp_path, f"rings: {rings}")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "a ring has no nodes: name at least one for each"),
        (["--stages=a", "--rings=a/b"], "stages and rings are both given"),
        (["--rings=a,b/c,a"], "a is named 2 times: name each node once"),
        (["--stages=a,a"], "a is named 2 times: name each node once"),
        (["--stages=a+b,b"], "b is named 2 times: name each node once"),
        (["--rings=a+a/b"], "a is named 2 times: name each node once"),
        (["--stages=a+,b"], "'a+' names a node without a name; need NODE, or NODE+NODE where"),
        (["--stages=a,"], "'' names a node without a name"),
        (["--rings=+/b"], "'+' names a node without a name"),
        (["--stages=a", "--max-rows=5000"], "at most 4096 and 1048576 are allowed"),
        (["--stages=a", "--exchange=q4"], "exchange is 'q4', it has to be one of float32, float16"),
        (
            ["--stages=a", "--objective=speed"],
            "objective is 'speed', it has to be one of latency, throughput, capacity",
        ),
        (
            ["--stages=a", "--node=c", "--heads=a,b"],
            "node is 'c', but heads are a, b: it has to be among them",
        ),
        (["--stages=a", "--node=a", "--heads=a,a"], "heads are a, a: name each node once"),
    ],
)
def test_rings_that_cannot_be_are_refused(flags: list[str], message: str, capsys: Capture) -> None:
    assert main(["head", "--model=/nowhere", *flags]) == 2
    assert message in capsys.readouterr().err


def test_a_stage_is_told_of_other_heads_by_name(tmp_path: Path) -> None:
    path = tmp_path / "stage.yml"
    path.write_text("node: s\nhead: tcp://h:1\nother_heads: {b: 'tcp://h:2'}\n")
    assert read_config(StageConfig, path).other_heads == {"b": "tcp://h:2"}
    path.write_text("node: s\nhead: tcp://h:1\nother_heads: [b]\n")
    with pytest.raises(BadInput, match=r"other_heads: got a list of 1, need a text for each name"):
        read_config(StageConfig, path)


def test_another_head_without_a_place_is_refused(capsys: Capture) -> None:
    assert main(["stage", "--node=s", "--head=tcp://127.0.0.1:9", "--other-heads=b"]) == 2
    assert "--other-heads: got 'b', need NAME=VALUE" in capsys.readouterr().err
