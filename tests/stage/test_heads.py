"""A stage that knows two heads obeys one, remembers which, and refuses the older one's word."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from bramble.config import StageConfig
from bramble.errors import BadInput
from bramble.model.share import Share
from bramble.stage.allegiance import Allegiance
from bramble.stage.heads import Heads
from bramble.wire import messages as m
from bramble.wire.terms import Claim, Kept, Vow, epoch_of
from bramble.wire.transport import Router, Transport

SOON_S = 10.0


class Head:
    """A head as a stage sees it: it answers with what the test has it say."""

    def __init__(self, node: str, incarnation: int, router: Router) -> None:
        self.node, self.incarnation, self.router = node, incarnation, router
        self.peer = b""
        self.heard: list[m.Message] = []

    def read(self) -> None:
        while (received := self.router.receive()) is not None:
            self.peer, message = received
            assert not isinstance(message, Exception)
            self.heard.append(message)

    def claim(self, term: int) -> None:
        self.router.send(self.peer, m.Beat("head", self.incarnation, claim=Claim(term, 1.0)))

    def assign(self, term: int) -> None:
        assign = m.Assign(
            "ab" * 16, 3, "m", "cd" * 32, 0, 1, Share.uncut(0, 5, True, True), (), 1, 8, 1
        )
        self.router.send(self.peer, m.Beat("head", self.incarnation))
        self.router.send(self.peer, replace(assign, term=term))


def test_a_term_that_cannot_be_kept_is_granted_where_no_other_head_is_known() -> None:
    for is_alone in (True, False):
        allegiance = Allegiance(Kept(Path("/proc/nowhere/term.json")), 0.0, is_alone)
        allegiance.hear("a", 7, Claim(1, 20.0), 20.0)
        assert allegiance.obeys("a", 7) is is_alone


class World:
    def __init__(self, transport: Transport, folder: Path) -> None:
        self.transport, self.folder = transport, folder
        routers = [transport.router("tcp://127.0.0.1:0") for _ in "ab"]
        self.a, self.b = Head("a", 11, routers[0]), Head("b", 22, routers[1])
        self.heads = Heads(self.config(), transport, hello)
        self.meet()

    def config(self, **more: object) -> StageConfig:
        settings: dict[str, object] = {
            "node": "s",
            "head": self.a.router.endpoint,
            "head_node": "a",
            "other_heads": {"b": self.b.router.endpoint},
            "term": self.folder / "term.json",
        }
        return StageConfig(**(settings | more))  # type: ignore[arg-type]

    def meet(self) -> None:
        """Greet the heads, as a stage's process does first."""
        self.heads.greet()
        self.until(lambda: all(head.heard for head in (self.a, self.b)[: len(self.heads.all)]))

    def restart(self, **more: object) -> None:
        for head in (self.a, self.b):
            head.heard.clear()
        self.heads.close()
        self.heads = Heads(self.config(**more), self.transport, hello)
        self.meet()

    def until(self, is_so: Callable[[], object]) -> None:
        deadline = time.monotonic() + SOON_S
        while not is_so():
            assert time.monotonic() < deadline
            self.heads.read()
            for head in (self.a, self.b):
                head.read()
            time.sleep(0.002)

    def accepts(self, head: Head, term: int) -> bool:
        """Have the head assign a shard, and say whether the stage takes it."""
        head.assign(term)
        self.until(lambda: self.heads.has_assigned)
        ((line, assign),) = self.heads.take_assigns()
        assert line.node == head.node
        return self.heads.accepts(line, assign)


def hello(vow: Vow) -> m.Hello:
    return m.Hello("s", 1, "tcp://127.0.0.1:9", "1", 1 << 29, "x86_64", vow)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Transport() as transport:
        made = World(transport, tmp_path)
        with closing(made.a.router), closing(made.b.router):
            yield made
            made.heads.close()


def test_the_older_of_two_heads_is_refused_with_a_sentence_that_names_both(world: World) -> None:
    world.a.claim(1)
    world.until(lambda: world.heads.vow.head == "a")
    assert world.accepts(world.a, 1)
    assert not world.accepts(world.b, 1)
    assert not world.accepts(world.b, 2)  # while it has promised to obey the other
    assert world.heads.allegiance.refusal("b", 2) == (
        "this stage obeys the head on a (term 1), and the head on b came with term 2: "
        "only one of them may lead it"
    )


def test_a_term_outlives_the_process_and_so_does_whose_it_is(world: World) -> None:
    world.a.claim(4)
    world.until(lambda: world.heads.vow.term == 4)
    world.restart()
    assert isinstance(world.b.heard[0], m.Hello)
    vow = world.b.heard[0].vow
    assert vow is not None and (vow.term, vow.head, vow.is_free) == (4, "a", False)
    assert not world.accepts(world.b, 5)
    world.a.incarnation = 12  # a later process on that node
    world.a.claim(5)
    world.until(lambda: world.heads.vow.incarnation == 12)
    assert world.heads.vow.term == 5


def test_a_head_that_gives_its_term_up_frees_the_stage_at_once(world: World) -> None:
    world.a.claim(1)
    world.until(lambda: world.heads.vow.head == "a")
    over = Claim(1, 2.0, is_over=True)
    world.a.router.send(world.a.peer, m.Beat("head", world.a.incarnation, claim=over))
    world.until(lambda: world.heads.vow.is_free)
    assert world.accepts(world.b, 2)
    assert not world.accepts(world.a, 1)


def test_what_cannot_be_kept_is_not_granted(world: World) -> None:
    world.heads.allegiance._kept = Kept(Path("/proc/bramble/term.json"))
    world.a.claim(1)
    world.b.claim(2)
    assert not world.accepts(world.a, 1)
    assert world.heads.vow.term == 0
    assert "could not keep a term on its disk" in world.heads.allegiance.refusal("a", 1)


def test_a_head_without_terms_is_obeyed_where_there_is_no_other(world: World) -> None:
    assert not world.accepts(world.a, 0)
    world.restart(other_heads={})
    assert world.accepts(world.a, 0)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"term": None}, "name the file that keeps whom to obey"),
        ({"head_node": "b"}, "head_node is 'b' and other_heads are b: name each node once"),
        ({"head_node": ""}, "name each node once"),
    ],
)
def test_settings_with_which_two_heads_could_be_obeyed_are_refused(
    world: World, more: dict[str, object], sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        Heads(world.config(**more), world.transport, hello)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"term": 1}', '{"term": -1}', '{"term": "x"}'])
def test_a_file_that_is_damaged_grants_nothing_at_once(tmp_path: Path, text: str) -> None:
    (tmp_path / "term.json").write_text(text)
    assert Kept(tmp_path / "term.json").read() == Vow(is_free=False)


def test_no_two_epochs_of_neighbouring_terms_are_one() -> None:
    numbers = (0, 1, 65_535, 65_536, 1 << 31)
    epochs = {epoch_of(term, n) for term in (1, 2, 3) for n in numbers[:3]}
    assert len(epochs) == 9
    assert all(0 <= epoch_of(term, n) < 1 << 32 for term in (0, 1 << 53) for n in numbers)
