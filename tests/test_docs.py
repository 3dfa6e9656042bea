"""The first page and those below docs/ say what is there, and no more."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from bramble.cli import COMMANDS, main
from bramble.config import WebConfig
from bramble.web import rules
from bramble.web.app import create_app

from tests.bench.__main__ import parser as bench_parser
from tests.pages import (
    PAGES,
    ROOT,
    anchors_of,
    code_of,
    commands_of,
    links_of,
    rows_of,
)
from tests.web.fake_client import FakeClient

README = ROOT / "README.md"
TEXT = {page: page.read_text(encoding="utf-8") for page in PAGES}
GROUPS = ("Added", "Changed", "Fixed", "Security")
FOLDERS = "ansible|docs|inventory|roles|service|systemd|tests"
LINKED = (*PAGES, *ROOT.glob("service/*.md"), *ROOT.glob("roles/*/README.md"))
MADE = ("inventory/home", "ansible/support")  # by those who follow the pages
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def docs(name: str) -> str:
    return TEXT[ROOT / "docs" / name]


def parser_of(command: str) -> argparse.ArgumentParser:
    commands = argparse.ArgumentParser().add_subparsers()
    importlib.import_module(COMMANDS[command]).add_parser(commands)
    parser = commands.choices[command]
    assert isinstance(parser, argparse.ArgumentParser)
    return parser


def check_flags(parser: argparse.ArgumentParser, words: list[str]) -> None:
    known = {flag for action in parser._actions for flag in action.option_strings}
    shown = {word.partition("=")[0] for word in words if re.match(r"-{1,2}[a-z]", word)}
    assert shown <= known, f"{parser.prog} has no {', '.join(sorted(shown - known))}"


def test_the_first_page_is_short() -> None:
    assert len(TEXT[README].splitlines()) <= 250


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_images_lead_somewhere(page: Path) -> None:
    for target in links_of(page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{target} leads nowhere"
        if anchor:
            assert anchor in anchors_of(found.read_text(encoding="utf-8")), target


def test_every_page_is_reached_from_the_first() -> None:
    reached, left = set(), [README]
    while left:
        page = left.pop()
        reached.add(page)
        paths = [
            (page.parent / target.partition("#")[0]).resolve() for target in links_of(TEXT[page])
        ]
        left += [path for path in paths if path in TEXT and path not in reached]
    assert reached == set(PAGES)


@each_page
def test_files_that_are_named_exist(page: Path) -> None:
    if page.name == "tree.md":
        return  # held to git's own list, in test_project.py
    for piece in code_of(TEXT[page]):
        for name in re.findall(rf"(?<![\w./~-])(?:{FOLDERS})/[\w.*/@-]+", piece):
            assert name.startswith(MADE) or any(ROOT.glob(name.rstrip("/"))), f"no {name}"


def test_the_changelog_has_releases_in_groups_and_a_sentence_a_line() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for release in re.split(r"(?m)^## ", text)[1:]:
        assert re.match(r"\d+\.\d+\.\d+ \((unreleased|\d{4}-\d\d-\d\d)\)\n", release)
        groups = re.findall(r"(?m)^### (.*)$", release)
        assert groups == [one for one in GROUPS if one in groups]
        for line in filter(None, release.splitlines()[1:]):
            is_entry = line.startswith("- ") and line.endswith(".") and ". " not in line
            assert is_entry or not line.startswith(("- ", " ")), line


# --- commands -------------------------------------------------------------------------------------


@each_page
def test_commands_that_are_shown_know_their_flags(page: Path) -> None:
    for words in commands_of(TEXT[page], "bramble"):
        if not words or words[0] not in COMMANDS:
            assert not words or words[0].startswith("-"), f"no command: bramble {words[0]}"
            continue
        check_flags(parser_of(words[0]), words[1:])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_row(command: str) -> None:
    assert f"\n| `bramble {command}` | " in docs("commands.md")


@each_page
def test_targets_of_make_exist(page: Path) -> None:
    targets = re.findall(r"(?m)^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"))
    for words in commands_of(TEXT[page], "make"):
        for word in words:
            name, is_setting, value = word.partition("=")
            assert is_setting or word in targets, f"no target: make {word}"
            if name == "ARGS":
                tool = bench_parser() if "bench" in words else parser_of("run")
                check_flags(tool, value.split())


def test_every_target_has_a_word_in_the_list() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.findall(r"(?m)^\.PHONY: (help .*)$", makefile)
    assert re.findall(r"(?m)^([a-z0-9-]+):.* ## ", makefile) == phony[0].split()


@each_page
def test_pinned_packages_are_those_of_the_project(page: Path) -> None:
    project = tomllib.loads((ROOT / "service/pyproject.toml").read_text(encoding="utf-8"))
    pins = project["project"]["optional-dependencies"]["dev"]
    for pinned in re.findall(r"[\w-]+==[\w.]+", TEXT[page]):
        assert pinned in pins


# --- plays and settings ---------------------------------------------------------------------------


def test_every_play_has_a_row() -> None:
    table = "\n".join(" ".join(row) for row in rows_of(docs("operate.md"), "Running a cluster"))
    plays = {path.name for path in (ROOT / "ansible").glob("*.yml")}
    assert plays == set(re.findall(r"`([\w-]+\.yml)`", table.replace("site.yml` and", "")))


@each_page
def test_plays_and_variables_that_are_shown_exist(page: Path) -> None:
    sources = [*(ROOT / "ansible").rglob("*.yml"), *(ROOT / "roles").rglob("*.yml")]
    known = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    for words in commands_of(TEXT[page], "ansible-playbook"):
        assert (ROOT / "ansible" / words[0]).is_file(), words[0]
        for name in re.findall(r"-e (\w+)=", " ".join(words)):
            assert re.search(rf"\b{name}\b", known), f"nothing reads {name}"


def test_every_setting_of_the_inventory_is_explained() -> None:
    path = ROOT / "inventory/example/group_vars/bramble.yml"
    settings = [name for name in yaml.safe_load(path.read_text()) if name.startswith("bramble_")]
    explained = " ".join(row[0] for row in rows_of(docs("install.md"), "Settings"))
    assert settings == re.findall(r"`(\w+)`", explained)


# --- the API --------------------------------------------------------------------------------------


def test_every_route_has_a_row() -> None:
    app = create_app(WebConfig(), FakeClient())
    served = {
        f"`{method} {re.sub('<[a-z]+:', '<', rule.rule)}`"
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
        if method not in ("HEAD", "OPTIONS")
    }
    assert served == {row[0] for row in rows_of(docs("api.md"), "HTTP API")}


def test_every_parameter_has_a_row() -> None:
    explained = " ".join(row[0] for row in rows_of(docs("api.md"), "Parameters"))
    assert {*rules.CHAT, *rules.TEXT} <= set(re.findall(r"`(\w+)`", explained))


def test_every_other_name_of_a_parameter_is_told_and_what_has_no_effect() -> None:
    told = set(re.findall(r"`(\w+)`", docs("api.md").partition("## Parameters")[2]))
    assert {*rules.ALIASES, *rules.IGNORED} <= told


def test_every_metric_has_a_row() -> None:
    http = create_app(WebConfig(), FakeClient()).test_client()
    shown = re.findall(r"(?m)^# TYPE (\w+)", http.get("/metrics").get_data(as_text=True))
    explained = " ".join(row[0] for row in rows_of(docs("api.md"), "State"))
    assert len(shown) > 9
    created = [name for name in shown if not name.endswith("_created")]
    assert set(created) <= set(re.findall(r"`(\w+)`", explained))


# --- predictions ----------------------------------------------------------------------------------

MODELS = {"Llama-3.2-1B": "llama-3.2-1b", "Qwen3-4B": "qwen3-4b", "Llama-3.1-8B": "llama-3.1-8b"}
ROOM = 8192  # tokens of conversation that a model of the table leaves room for


def predict(boards: str, model: str, capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    """What the tables show of a prediction; nothing where the model does not fit."""
    code = main(["predict", "--nodes", boards, "--model", model, "--json"])
    said = capsys.readouterr().out
    if code != 0:
        return {}
    document = json.loads(said)
    together = {each["streams"]: each for each in document["streams"]}
    return {
        "one": document["tokens_s"],
        "four": together[4]["aggregate"],
        "sixteen": together[16]["aggregate"],
        "watts": together[16]["watts"],
        "first_s": document["first_token_s"],
        "room": document["cache_tokens"],
    }


def test_what_boards_give_is_what_the_predictor_says(capsys: pytest.CaptureFixture[str]) -> None:
    for count, *cells, watts in rows_of(TEXT[README], "What N boards give"):
        found = {m: predict(f"{count}x pi5-8gb", m, capsys) for m in MODELS.values()}
        told = [
            f"{one['one']:.1f} → {one['sixteen']:.1f}" if one else "does not fit"
            for one in found.values()
        ]
        assert cells == told
        assert watts == f"{found['llama-3.2-1b']['watts']:.0f}"


def lone_reply(boards: str, model: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """A prediction for one reply, in groups where they pay."""
    words = ("predict", "--nodes", boards, "--model", model, "--objective=latency", "--json")
    assert main([*words]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_what_a_group_gives_is_what_the_predictor_says(capsys: pytest.CaptureFixture[str]) -> None:
    for shape, *told in rows_of(docs("speed.md"), "Groups"):
        found = [lone_reply(f"{n}x pi5-16gb", shape.strip("`"), capsys) for n in (1, 2, 4)]
        assert told == [f"{each['tokens_s']:.1f}" for each in found]
    for shape, *told in rows_of(docs("speed.md"), "A token's time in a group"):
        found_s = lone_reply("4x pi5-16gb", shape.strip("`"), capsys)["terms_s"]
        sums = (
            ("weights_s", "head_s"),
            ("cache_s",),
            ("exchange_s",),
            ("stages_s", "hops_s"),
            found_s,
        )
        assert told == [f"{1000 * sum(found_s[name] for name in each):.1f}" for each in sums]


def test_the_output_of_the_predictor_is_quoted_as_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (block,) = re.findall(r"(?ms)^```\n\$ bramble (predict .*?)\n(.*?)^```", TEXT[README])
    assert main(block[0].split()) == 0
    said = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert said == [line.rstrip() for line in block[1].splitlines()]


def test_the_table_of_models_is_what_the_predictor_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for boards, name, one, four, first in rows_of(TEXT[README], "Models"):
        count, size = re.fullmatch(r"(\d) × (\d+) GB", boards).groups()  # type: ignore[union-attr]
        shape = name.strip("`").split("/")[1].lower().removesuffix("-instruct")
        found = predict(f"{count}x pi5-{size}gb", shape, capsys)
        assert found["room"] >= ROOM
        told = (f"{found['one']:.1f}", f"{found['four']:.1f}", f"{found['first_s']:.0f} s")
        assert (one, four, first) == told, f"{boards}: {told}"
    largest = predict("4x pi5-16gb", "llama-3.1-70b", capsys)
    assert f"16 GB, at {largest['one']:.1f} tokens/s" in " ".join(TEXT[README].split())
    assert largest["room"] >= ROOM
    fewer = predict("3x pi5-16gb", "llama-3.1-70b", capsys)
    assert not fewer or fewer["room"] < ROOM
