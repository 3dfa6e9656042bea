"""What a person sees of Bramble, in real headless Chromium."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect


def ask(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def test_answer_streams_and_stop_keeps_it(page: Page, serve: Any) -> None:
    page.goto(serve()[0])
    ask(page, "slow")
    expect(page.locator("article.assistant")).to_contain_text("w5")
    expect(page.locator("article.assistant")).not_to_contain_text("w99")
    page.keyboard.press("Escape")
    expect(page.locator("article.assistant")).to_contain_text("stopped")
    expect(page.locator("article.assistant")).to_contain_text("w5")


def test_markdown_is_rendered_with_figures_below(page: Page, serve: Any) -> None:
    page.goto(serve()[0])
    ask(page, "rich")
    expect(page.locator("article h1")).to_have_text("Title")
    expect(page.locator(".hljs-keyword").first).to_have_text("def")
    footer = page.locator("article.assistant footer")
    expect(footer).to_contain_text("tokens/s · first token 0.")
    expect(footer).to_contain_text("87 tokens · bramble-demo")


def test_hostile_output_never_runs(page: Page, serve: Any) -> None:
    page.goto(serve()[0])
    ask(page, "nasty")
    expect(page.locator("article.assistant footer")).to_contain_text("87 tokens")
    assert page.evaluate("window.hit") is None
    assert page.locator("article img, article script, a[href^=javascript]").count() == 0


@pytest.mark.parametrize("word", ["429", "503", "400", "drop"])
def test_an_error_says_what_to_do_and_retries(page: Page, serve: Any, word: str) -> None:
    url, app = serve()
    page.goto(url)
    ask(page, word)
    expect(page.get_by_role("alert")).to_be_visible()
    if word == "drop":
        expect(page.locator("article.assistant .body")).to_contain_text("reply to drop")
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert len(app.config["BODIES"]) == 2


def test_progress_of_a_long_prompt_shows(page: Page, serve: Any) -> None:
    page.goto(serve()[0])
    ask(page, "progress")
    expect(page.get_by_text("Reading your prompt… 512 of 1,900 tokens")).to_be_visible()


def test_rename_delete_undo_and_search(page: Page, serve: Any) -> None:
    page.goto(serve()[0])
    ask(page, "hello")
    expect(page.locator("article.assistant footer")).to_contain_text("87")
    page.get_by_title("Rename").click()
    page.get_by_label("Title").fill("<b>mine</b>")
    page.keyboard.press("Enter")
    expect(page.locator("#conversations .open")).to_have_text("<b>mine</b>")
    page.get_by_label("Search conversations").fill("nothing")
    expect(page.locator("#conversations li")).to_have_count(0)
    page.get_by_label("Search conversations").fill("reply to")
    page.get_by_title("Delete").click()
    expect(page.locator("#conversations li")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#conversations li")).to_have_count(1)


def test_export_returns_by_import(page: Page, serve: Any, tmp_path: Path) -> None:
    page.goto(serve()[0])
    ask(page, "hello")
    expect(page.locator("article.assistant footer")).to_contain_text("87")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export all").click()
    path = tmp_path / "chats.json"
    download.value.save_as(path)
    assert json.loads(path.read_text())["conversations"][0]["title"] == "hello"
    page.locator("#file").set_input_files(path)
    expect(page.locator("#conversations li")).to_have_count(2)
    path.write_text("{}")
    page.locator("#file").set_input_files(path)
    expect(page.locator("#toast")).to_contain_text("not an export")


def test_edit_resends_with_settings(page: Page, serve: Any) -> None:
    url, app = serve()
    page.goto(url)
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("System prompt").fill("be brief")
    page.get_by_label("Temperature").fill("0.5")
    page.get_by_role("button", name="Save").click()
    ask(page, "one")
    page.locator("article.user").get_by_role("button", name="Edit").click()
    page.get_by_label("Edit message").fill("two")
    page.locator("article").get_by_role("button", name="Send").click()
    expect(page.locator("article.assistant")).to_contain_text("reply to two")
    body = app.config["BODIES"][-1]
    assert body["temperature"] == 0.5
    assert [m["content"] for m in body["messages"]] == ["be brief", "two"]


def test_a_phone_and_the_dark_need_no_sideways_scroll(page: Page, serve: Any) -> None:
    url, _ = serve()
    page.set_viewport_size({"width": 360, "height": 700})
    for path in ("/", "/status"):
        page.goto(url + path)
        page.get_by_label("Theme").click(click_count=1)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("num_stages", [1, 3, 10])
def test_status_draws_every_stage(page: Page, serve: Any, num_stages: int) -> None:
    page.goto(serve(num_stages=num_stages, failed=0)[0] + "/status")
    expect(page.locator("#ring g")).to_have_count(num_stages + 1)
    expect(page.locator("#stages")).to_contain_text("failed: checksum differs")
    expect(page.locator("#state")).to_have_text("Not serving")


def test_a_hostile_file_never_runs(page: Page, serve: Any, tmp_path: Path) -> None:
    page.goto(serve()[0])
    evil = "<img src=x onerror='window.hit=1'><script>window.hit=1</script>"
    messages = [{"id": "1", "role": "assistant", "text": evil, "stats": evil}]
    chat = {"id": "x", "title": evil, "changed": 1, "messages": messages}
    path = tmp_path / "evil.json"
    path.write_text(json.dumps({"format": "bramble-chats", "version": 1, "conversations": [chat]}))
    page.locator("#file").set_input_files(path)
    page.locator("#conversations .open").click()
    expect(page.locator("article.assistant")).to_contain_text("onerror")
    assert page.evaluate("window.hit") is None


def test_keyboard_reaches_search_help_and_new_chat(page: Page, serve: Any) -> None:
    page.goto(serve()[0])
    page.keyboard.press("Control+k")
    expect(page.get_by_label("Search conversations")).to_be_focused()
    page.keyboard.press("Alt+n")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    page.get_by_role("button", name="Keyboard shortcuts").click()
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
