"""What a person sees of Bramble, in real headless Chromium."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bramble.config import WebConfig
from playwright.sync_api import Page, expect

# Texts whose contrast with what is behind them is under 4.5 (WCAG 2 AA), with the contrast.
FAINT_TEXT = """() => {
  const rgb = (color) => {
    const context = new OffscreenCanvas(1, 1).getContext("2d");
    context.fillStyle = color; context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    const color = rgb(getComputedStyle(node).backgroundColor);
    return color[3] === 255 || !node.parentElement ? color : behind(node.parentElement);
  };
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const text = [...node.childNodes].filter((c) => c.nodeType === 3 && c.data.trim());
    if (!text.length || !node.checkVisibility()) continue;
    const box = node.getBoundingClientRect();
    if (box.width < 2 || node.closest("svg, style, script")) continue;
    const [a, b] = [light(rgb(getComputedStyle(node).color)), light(behind(node))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) found.push(`${text[0].data.trim().slice(0, 30)}: ${contrast.toFixed(2)}`);
  }
  return found;
}"""


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


def test_escape_meant_for_something_else_does_not_stop_the_answer(page: Page, serve: Any) -> None:
    page.goto(serve()[0])
    ask(page, "slow")
    page.get_by_label("Search conversations").press("Escape")
    page.get_by_title("Rename").click()
    page.get_by_label("Title").press("Escape")
    expect(page.get_by_label("Title")).to_be_hidden()
    page.get_by_label("Message", exact=True).dispatch_event(
        "keydown", {"key": "Escape", "isComposing": True}
    )
    page.wait_for_timeout(100)
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    page.get_by_label("Message", exact=True).press("Escape")
    expect(page.locator("article.assistant")).to_contain_text("stopped")


def test_a_name_half_composed_is_not_taken(page: Page, serve: Any) -> None:
    page.goto(serve()[0])
    ask(page, "hello")
    page.get_by_title("Rename").click()
    for key in ("Enter", "Escape"):
        page.get_by_label("Title").dispatch_event("keydown", {"key": key, "isComposing": True})
    expect(page.get_by_label("Title")).to_be_focused()


def test_markdown_is_rendered_with_figures_below(page: Page, serve: Any) -> None:
    page.goto(serve()[0])
    ask(page, "rich")
    expect(page.locator("article h1")).to_have_text("Title")
    expect(page.locator(".hljs-keyword").first).to_have_text("def")
    footer = page.locator("article.assistant footer")
    expect(footer).to_contain_text("tokens/s · first token 0.")
    expect(footer).to_contain_text("87 tokens · bramble-demo")


def test_copy_works_over_plain_http(page: Page, serve: Any) -> None:
    page.add_init_script("delete Navigator.prototype.clipboard")  # as on a LAN, without https
    page.goto(serve()[0])
    ask(page, "hello")
    footer = page.locator("article.assistant footer")
    expect(footer).to_contain_text("87")
    footer.get_by_role("button", name="Copy").click()
    expect(footer.get_by_role("button", name="Copied")).to_be_focused()
    page.get_by_label("Message", exact=True).press("Control+v")
    expect(page.get_by_label("Message", exact=True)).to_have_value("reply to hello ")


@pytest.mark.parametrize("is_inline", [False, True])
def test_what_a_model_thinks_is_folded_away_and_neither_copied_nor_sent_back(
    page: Page, serve: Any, is_inline: bool
) -> None:
    page.add_init_script(
        "navigator.clipboard.writeText = async (text) => { window.copied = text; }"
    )
    url, client = serve(WebConfig(inline_thoughts=is_inline))
    page.goto(url)
    ask(page, "thinking")
    thought = page.locator("article.assistant details")
    expect(thought.locator("summary")).to_have_text("Thinking…")
    expect(thought.get_by_text("Then <b>I</b> see.")).to_be_visible()
    expect(thought.locator("summary")).to_have_text("Thought")
    expect(thought.locator(".plain")).to_be_hidden()
    footer = page.locator("article.assistant footer")
    expect(footer).to_contain_text("87")
    thought.locator("summary").click()
    expect(thought.locator(".plain")).to_have_text("First I look.\n\nThen <b>I</b> see.")
    expect(page.locator("article.assistant .body > p")).to_have_text("reply to thinking")
    footer.get_by_role("button", name="Copy").click()
    expect(footer).to_contain_text("Copied")
    assert page.evaluate("window.copied") == "reply to thinking "
    ask(page, "next")
    expect(page.locator("article.assistant").last).to_contain_text("reply to next")
    assert client.messages() == ["thinking", "reply to thinking ", "next"]


def test_a_thought_that_was_stopped_is_shown_and_not_sent_back(page: Page, serve: Any) -> None:
    url, client = serve()
    page.goto(url)
    ask(page, "thinking")
    expect(page.locator("article.assistant summary")).to_have_text("Thinking…")
    page.keyboard.press("Escape")
    expect(page.locator("article.assistant summary")).to_have_text("Thought")
    expect(page.locator("article.assistant .plain")).to_be_visible()
    ask(page, "next")
    expect(page.locator("article.assistant").last).to_contain_text("reply to next")
    assert client.messages() == ["next"]


def test_breaks_raw_html_and_tasks_are_shown_as_meant(page: Page, serve: Any) -> None:
    page.goto(serve()[0])
    ask(page, "raw")
    expect(page.locator("article.assistant footer")).to_contain_text("87")
    shown = page.locator("article td, article.assistant p")
    assert shown.all_inner_texts() == ["x\ny", "<center>\none\n**two**\n</center>"]
    assert page.locator("article li").all_inner_texts() == ["☐ todo", "☑ done"]


def test_text_from_right_to_left_is_laid_out_so(page: Page, serve: Any) -> None:
    page.goto(serve()[0])
    ask(page, "rtl")
    expect(page.locator("article li").last).to_have_text("اثنان")
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    ask(page, "שלום!")
    expect(page.locator("article.assistant").last).to_contain_text("reply to")
    directions = page.evaluate(
        """() => [...document.querySelectorAll("article.user .body, article :is(p, ul)")]
             .map((node) => `${node.tagName} ${getComputedStyle(node).direction}`)"""
    )
    assert directions == ["DIV ltr", "P rtl", "UL rtl", "P ltr", "DIV rtl", "P ltr"]


@pytest.mark.parametrize("text", [">" * 200, ">" * 2000, "> " * 3000, "1. " * 2000])
def test_an_answer_nested_too_deep_is_shown_plainly(page: Page, serve: Any, text: str) -> None:
    page.goto(serve()[0])
    put_conversation(page, 2, text)
    page.get_by_role("button", name="long", exact=True).click()
    expect(page.locator("article.assistant .plain")).to_have_text(text)
    page.evaluate(
        """async (text) => { const { GrowingMarkdown } = await import("/static/js/markdown.js");
             const growing = new GrowingMarkdown(document.querySelector(".user .body"));
             growing.show("# Title\\n\\n");
             growing.show("# Title\\n\\n" + text); }""",
        text,
    )
    expect(page.locator("article.user .plain")).to_have_text("# Title\n\n" + text)


def test_what_comes_while_the_page_draws_is_drawn_without_waiting_for_more(
    page: Page, serve: Any
) -> None:
    page.goto(serve()[0])
    ask(page, "burst")
    expect(page.locator("article.assistant .body")).to_contain_text("the_end", timeout=3000)
    expect(page.get_by_role("button", name="Stop")).to_be_visible()


def test_an_answer_that_comes_all_at_once_has_the_speed_it_was_written_with(
    page: Page, serve: Any
) -> None:
    page.goto(serve()[0])
    ask(page, "at once")
    expect(page.locator("article.assistant footer")).to_contain_text("86.0 tokens/s")


def test_hostile_output_never_runs(page: Page, serve: Any) -> None:
    page.goto(serve()[0])
    ask(page, "nasty")
    expect(page.locator("article.assistant footer")).to_contain_text("87 tokens")
    assert page.evaluate("window.hit") is None
    assert page.locator("article img, article script, a[href^=javascript]").count() == 0


@pytest.mark.parametrize("word", ["429", "503", "400", "fails"])
def test_an_error_says_what_to_do_and_retries(page: Page, serve: Any, word: str) -> None:
    url, client = serve()
    page.goto(url)
    ask(page, word)
    expect(page.get_by_role("alert")).to_be_visible()
    if word == "fails":
        expect(page.locator("article.assistant .body")).to_contain_text("reply to fails")
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert len(client.asked) == 2


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


def test_a_new_name_leaves_the_order_and_the_click_that_ends_it(page: Page, serve: Any) -> None:
    page.goto(serve()[0])
    page.evaluate(
        """() => { for (const i of [1, 2, 3]) localStorage.setItem(`bramble.chat.v1.${i}`,
             JSON.stringify({ id: `${i}`, title: `chat ${i}`, changed: 9 - i,
                              messages: [{ role: "user", text: `text ${i}` }] })); }"""
    )
    page.reload()
    page.get_by_label("Rename chat 2").click()
    page.get_by_label("Title").press("Escape")
    page.get_by_label("Rename chat 3").click()
    page.get_by_label("Title").fill("new")
    page.get_by_role("button", name="chat 1", exact=True).click(delay=80)
    expect(page.locator("article.user")).to_contain_text("text 1")
    expect(page.locator("#conversations .open")).to_have_text(["chat 1", "chat 2", "new"])
    page.get_by_label("Rename new").click()
    page.get_by_label("Title").fill("newer")
    page.keyboard.press("Alt+n")
    expect(page.locator("#conversations .open")).to_have_text(["chat 1", "chat 2", "newer"])


def test_the_newest_answer_is_exported_and_comes_back_by_undo(
    page: Page, serve: Any, tmp_path: Path
) -> None:
    page.goto(serve()[0])
    ask(page, "hello")
    expect(page.locator("article.assistant footer")).to_contain_text("87")
    with page.expect_download() as download:
        page.get_by_title("Export").click()
    download.value.save_as(tmp_path / "chat.json")
    messages = json.loads((tmp_path / "chat.json").read_text())["conversations"][0]["messages"]
    assert [message["text"] for message in messages] == ["hello", "reply to hello "]
    page.get_by_title("Delete").click()
    page.get_by_role("button", name="Undo").click()
    page.locator("#conversations .open").click()
    expect(page.locator("article.assistant")).to_contain_text("reply to hello")


def test_a_conversation_deleted_amid_its_answer_comes_back_with_what_was_said(
    page: Page, serve: Any
) -> None:
    page.goto(serve()[0])
    ask(page, "slow")
    expect(page.locator("article.assistant")).to_contain_text("w5")
    page.get_by_title("Delete").click()
    page.get_by_role("button", name="Undo").click()
    page.locator("#conversations .open").click()
    expect(page.locator("article.assistant")).to_contain_text("w5")


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


def test_a_file_is_imported_whole_or_not_at_all(page: Page, serve: Any, tmp_path: Path) -> None:
    page.goto(serve()[0])
    messages = [{"id": "1", "role": "user", "text": "x" * 2_000_000}]
    chats = [{"id": "x", "title": "big", "changed": 1, "messages": messages}] * 4
    path = tmp_path / "big.json"
    path.write_text(json.dumps({"format": "bramble-chats", "version": 1, "conversations": chats}))
    page.locator("#file").set_input_files(path)
    expect(page.locator("#toast")).to_contain_text("Not imported. This browser's storage is full.")
    expect(page.locator("#conversations li")).to_have_count(0)


def test_a_file_made_by_hand_can_be_opened_and_edited(
    page: Page, serve: Any, tmp_path: Path
) -> None:
    url, client = serve()
    page.goto(url)
    roles = ("user", "assistant", "user", "assistant")
    odd = {"id": "same", "problem": True, "stats": {}, "state": {}}
    messages = [{**odd, "role": role, "text": f"text {i}"} for i, role in enumerate(roles)]
    chat = {"id": "x", "title": " ", "messages": messages}
    path = tmp_path / "hand.json"
    path.write_text(json.dumps({"format": "bramble-chats", "version": 1, "conversations": [chat]}))
    page.locator("#file").set_input_files(path)
    page.get_by_role("button", name="Untitled", exact=True).click()
    expect(page.locator("article footer").last).to_have_text("CopyRegenerate")
    expect(page.get_by_role("alert")).to_have_count(0)
    page.locator("article.user").last.get_by_role("button", name="Edit").click()
    page.get_by_label("Edit message").fill("new")
    page.locator("article").get_by_role("button", name="Send").click()
    expect(page.locator("article.assistant").last).to_contain_text("reply to new")
    assert client.messages() == ["text 0", "text 1", "new"]


def test_edit_resends_with_settings(page: Page, serve: Any) -> None:
    url, client = serve()
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
    assert client.asked[-1].sampling.temperature == 0.5
    assert client.messages() == ["be brief", "two"]


def test_settings_can_be_left_as_they_were_and_reset_without_the_system_prompt(
    page: Page, serve: Any
) -> None:
    page.set_viewport_size({"width": 360, "height": 640})
    page.goto(serve()[0])
    dialog = page.get_by_role("dialog", name="Settings")
    page.get_by_role("button", name="Settings").click()
    for name in ("Cancel", "Save"):
        expect(dialog.get_by_role("button", name=name)).to_be_in_viewport(ratio=1)
    page.get_by_label("System prompt").fill("be brief")
    page.get_by_label("Temperature").fill("0.5")
    page.get_by_role("button", name="Save").click()
    for leave in ("Cancel", "Escape"):
        page.get_by_role("button", name="Settings").click()
        page.get_by_label("Temperature").fill("0.9")
        if leave == "Cancel":
            dialog.get_by_role("button", name="Cancel").click()
        else:
            page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
    page.get_by_role("button", name="Settings").click()
    expect(page.get_by_label("Temperature")).to_have_value("0.5")
    page.get_by_role("button", name="Reset to the model's defaults").click()
    expect(page.get_by_label("Temperature")).to_have_value("")
    expect(page.get_by_label("System prompt")).to_have_value("be brief")


def test_regenerate_asks_the_same_again(page: Page, serve: Any) -> None:
    url, client = serve()
    page.goto(url)
    ask(page, "one")
    expect(page.locator("article.assistant footer")).to_contain_text("87")
    page.get_by_role("button", name="Regenerate").click()
    expect(page.locator("article.assistant footer")).to_contain_text("87")
    expect(page.locator("article")).to_have_count(2)
    assert len(client.asked) == 2 and client.messages() == ["one"]


@pytest.mark.parametrize("is_amid", [True, False])
def test_what_a_regeneration_drops_can_be_had_back(page: Page, serve: Any, is_amid: bool) -> None:
    page.goto(serve()[0])
    for word in ("slow", "two", "three"):
        ask(page, word)
        expect(page.locator("article.assistant").last).to_contain_text(
            "w2" if word == "slow" else word
        )
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    page.get_by_role("button", name="Regenerate").first.click()
    expect(page.locator("article")).to_have_count(2)
    expect(page.locator("article.assistant")).to_contain_text("w2")
    if not is_amid:
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("article.assistant")).to_have_count(3)
    expect(page.locator("article.assistant").last).to_contain_text("reply to three")


def test_a_question_during_another_answer_waits_with_a_word(page: Page, serve: Any) -> None:
    page.goto(serve()[0])
    ask(page, "slow")
    expect(page.locator("article.assistant")).to_contain_text("w2")
    page.get_by_role("button", name="New chat").click()
    ask(page, "two")
    expect(page.locator("#toast")).to_contain_text("One answer at a time")
    expect(page.get_by_label("Message", exact=True)).to_have_value("two")


def test_a_question_without_an_answer_is_not_sent_again(page: Page, serve: Any) -> None:
    url, client = serve()
    page.goto(url)
    for word in ("one", "503", "two"):
        ask(page, word)
        expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    expect(page.locator("article.assistant").last).to_contain_text("reply to two")
    assert client.messages() == ["one", "reply to one ", "two"]


def test_two_tabs_see_each_others_conversations(page: Page, serve: Any) -> None:
    page.goto(serve()[0])
    other = page.context.new_page()
    other.goto(page.url)
    ask(page, "from the first")
    ask(other, "from the second")
    for tab in (page, other):
        expect(tab.locator("#conversations li")).to_have_count(2)
        expect(tab.locator("article.assistant")).to_have_count(1)
    other.close()


@pytest.mark.parametrize("is_deleted", [False, True])
def test_an_edit_of_what_another_tab_replaced_drops_nothing(
    page: Page, serve: Any, is_deleted: bool
) -> None:
    url, client = serve()
    page.goto(url)
    ask(page, "one")
    expect(page.locator("article.assistant footer")).to_contain_text("87")
    page.get_by_label("Message", exact=True).fill("draft")
    page.get_by_role("button", name="Edit").click()
    page.get_by_label("Edit message").fill("mine")
    other = page.context.new_page()
    other.goto(url)
    other.locator("#conversations .open").click()
    if is_deleted:
        other.get_by_title("Delete").click()
    else:
        other.get_by_role("button", name="Edit").click()
        other.get_by_label("Edit message").fill("theirs")
        other.locator("article").get_by_role("button", name="Send").click()
        expect(other.locator("article.assistant footer")).to_contain_text("87")
        expect(other.locator("article.assistant")).to_contain_text("theirs")
    page.locator("article").get_by_role("button", name="Send").click()
    expect(page.locator("#toast")).to_contain_text("changed in another tab")
    expect(page.get_by_label("Message", exact=True)).to_have_value("draft\n\nmine")
    expect(page.locator("article")).to_have_count(0 if is_deleted else 2)
    if not is_deleted:
        expect(page.locator("article.assistant")).to_contain_text("reply to theirs")
    assert len(client.asked) == (1 if is_deleted else 2)
    other.close()


def put_conversation(page: Page, num_messages: int, text: str = "line\n" * 20) -> None:
    """Store a conversation with the title "long", each of whose messages is `text`."""
    page.evaluate(
        """([count, text]) => {
             const messages = [...Array(count).keys()].map((i) =>
               ({ id: `${i}`, role: i % 2 ? "assistant" : "user", text, state: "done" }));
             const chat = { id: "long", title: "long", changed: 1, messages };
             localStorage.setItem("bramble.chat.v1.long", JSON.stringify(chat)); }""",
        [num_messages, text],
    )
    page.reload()


def place_of(page: Page) -> Any:
    return page.evaluate("document.getElementById('transcript').scrollTop")


def test_an_answer_that_ends_leaves_the_reader_and_the_rest_where_they_are(
    page: Page, serve: Any
) -> None:
    page.goto(serve()[0])
    put_conversation(page, 20)
    page.get_by_role("button", name="long", exact=True).click()
    assert place_of(page) > 1000
    page.evaluate("document.querySelector('article').isTheSame = true")
    ask(page, "slow")
    expect(page.locator("article.assistant").last).to_contain_text("w5")
    page.evaluate("document.getElementById('transcript').scrollTop = 40")
    page.keyboard.press("Escape")
    expect(page.locator("article.assistant").last).to_contain_text("stopped")
    assert place_of(page) == 40
    assert page.evaluate("document.querySelector('article').isTheSame")


def test_an_answer_in_another_tab_disturbs_neither_reading_nor_renaming(
    page: Page, serve: Any
) -> None:
    url = serve()[0]
    page.goto(url)
    put_conversation(page, 20)
    page.get_by_role("button", name="long", exact=True).click()
    page.evaluate("document.getElementById('transcript').scrollTop = 40")
    page.get_by_title("Rename").click()
    page.get_by_label("Title").fill("half a na")
    other = page.context.new_page()
    other.goto(url)
    ask(other, "hello")
    expect(other.locator("article.assistant footer")).to_contain_text("87")
    page.wait_for_timeout(200)
    assert place_of(page) == 40
    expect(page.get_by_label("Title")).to_have_value("half a na")
    other.close()


def test_an_edit_begun_stays_while_another_question_is_answered(page: Page, serve: Any) -> None:
    page.goto(serve()[0])
    ask(page, "one")
    expect(page.locator("article.assistant footer")).to_contain_text("87")
    page.locator("article.user").get_by_role("button", name="Edit").click()
    page.get_by_label("Edit message").fill("half a sen")
    ask(page, "two")
    expect(page.locator("article.assistant").last).to_contain_text("reply to two")
    expect(page.get_by_label("Edit message")).to_have_value("half a sen")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("article.user .body").first).to_have_text("one")


def test_a_draft_outlives_an_example_and_an_edit(page: Page, serve: Any) -> None:
    page.goto(serve()[0])
    page.get_by_label("Message", exact=True).fill("a long draft")
    page.get_by_role("button", name="What is a ring?").click()
    expect(page.locator("article.assistant footer")).to_contain_text("87")
    expect(page.get_by_label("Message", exact=True)).to_have_value("a long draft")
    page.locator("article.user").get_by_role("button", name="Edit").click()
    page.locator("article").get_by_role("button", name="Send").click()
    expect(page.get_by_label("Edit message")).to_be_hidden()
    expect(page.get_by_label("Message", exact=True)).to_have_value("a long draft")


def test_an_answer_that_no_longer_fits_the_storage_stays_on_the_page(
    page: Page, serve: Any
) -> None:
    page.goto(serve()[0])
    ask(page, "slow")
    expect(page.locator("article.assistant")).to_contain_text("w5")
    fill_storage(page)
    expect(page.locator("article.assistant")).to_contain_text("w40")
    page.keyboard.press("Escape")
    expect(page.locator("article.assistant footer")).to_contain_text("stopped")
    expect(page.locator("article.assistant")).to_contain_text("w40")
    expect(page.locator("#toast")).to_contain_text("storage is full")


def fill_storage(page: Page) -> None:
    page.evaluate(
        """() => { for (let size = 1 << 21; size > 0; size >>= 1)
             try { for (let i = 0; ; i++) localStorage.setItem(`x${size}.${i}`, "x".repeat(size)); }
             catch { continue; } }"""
    )


def test_a_full_storage_is_told_and_loses_nothing(page: Page, serve: Any) -> None:
    page.goto(serve()[0])
    ask(page, "kept")
    expect(page.locator("article.assistant footer")).to_contain_text("87")
    fill_storage(page)
    ask(page, "too much")
    expect(page.locator("#toast")).to_contain_text("storage is full")
    expect(page.get_by_label("Message", exact=True)).to_have_value("too much")
    page.reload()
    page.locator("#conversations .open").click()
    expect(page.locator("article.assistant")).to_contain_text("reply to kept")


def test_a_full_storage_keeps_settings_open_and_lets_the_theme_change(
    page: Page, serve: Any
) -> None:
    page.goto(serve()[0])
    fill_storage(page)
    page.get_by_label("Theme").click()
    expect(page.get_by_label("Theme")).to_have_text("Light")
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("System prompt").fill("be kind")
    page.get_by_role("button", name="Save").click()
    dialog = page.get_by_role("dialog", name="Settings")
    expect(dialog.get_by_role("status")).to_contain_text("storage is full")
    expect(page.get_by_label("System prompt")).to_have_value("be kind")


def test_a_browser_that_keeps_nothing_is_told_and_can_talk(page: Page, serve: Any) -> None:
    page.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException(); } })"
    )
    url, client = serve()
    page.goto(url)
    expect(page.locator("#toast")).to_contain_text("keeps nothing")
    for word in ("one", "two"):
        ask(page, word)
        expect(page.locator("article.assistant").last).to_contain_text(f"reply to {word}")
        expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    expect(page.locator("#conversations li")).to_have_count(1)
    assert client.messages() == ["one", "reply to one ", "two"]
    page.goto(url + "/status")
    expect(page.locator("#state")).to_have_text("Serving")


def test_the_theme_is_remembered_and_everything_can_be_read(page: Page, serve: Any) -> None:
    url = serve(failed=2)[0]
    page.goto(url)
    for theme in ("Light", "Dark"):
        page.get_by_label("Theme").click()
        for path in ("/", "/status"):
            page.goto(url + path)
            expect(page.get_by_label("Theme")).to_have_text(theme)
            if path == "/":
                ask(page, "503")
                expect(page.get_by_role("alert")).to_be_visible()
            else:
                expect(page.locator("#stages td").first).to_be_visible()
            assert page.evaluate(FAINT_TEXT) == []
        page.goto(url)


def test_the_drawer_of_a_phone_opens_and_closes(page: Page, serve: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 700})
    page.goto(serve()[0])
    ask(page, "wide")
    expect(page.locator("article.assistant footer")).to_contain_text("87")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    expect(page.get_by_label("Search conversations")).to_be_hidden()
    page.locator("#menu").click()
    expect(page.get_by_label("Search conversations")).to_be_visible()
    page.locator("#conversations .open").click()
    expect(page.get_by_label("Search conversations")).to_be_hidden()


def test_a_phone_and_the_dark_need_no_sideways_scroll(page: Page, serve: Any) -> None:
    url, _ = serve()
    page.set_viewport_size({"width": 360, "height": 700})
    for path in ("/", "/status"):
        page.goto(url + path)
        page.get_by_label("Theme").click(click_count=1)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_silent_head_is_said_and_what_was_known_is_marked(page: Page, serve: Any) -> None:
    url, client = serve()
    page.goto(url + "/status")
    expect(page.locator("#state")).to_have_text("Serving")
    client.is_silent = True
    reason = "the head does not answer; see the journal"
    expect(page.locator("#summary")).to_have_text(f"{reason}. What stands below is from before.")
    expect(page.locator("body.stale")).to_be_visible()
    page.context.set_offline(True)
    expect(page.locator("#state")).to_have_text("Bramble cannot be reached")
    page.context.set_offline(False)
    client.is_silent = False
    expect(page.locator("#state")).to_have_text("Serving")
    expect(page.locator("body.stale")).to_have_count(0)
    client.is_silent = True
    page.wait_for_timeout(1100)  # the document is asked for once a second
    page.goto(url)
    expect(page.locator("#model")).to_have_text(reason)


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


def test_a_screen_reader_hears_who_speaks_and_what_is_set(page: Page, serve: Any) -> None:
    url = serve()[0]
    page.goto(url)
    ask(page, "hello")
    expect(page.get_by_role("article", name="You")).to_contain_text("hello")
    expect(page.get_by_role("article", name="Answer")).to_contain_text("reply to hello")
    expect(page.get_by_role("button", name="Theme: Auto")).to_be_visible()
    page.goto(url + "/status")
    expect(page.get_by_role("heading", name="Serving")).to_be_visible()


def test_the_drawer_opens_and_closes_by_keyboard(page: Page, serve: Any) -> None:
    page.set_viewport_size({"width": 640, "height": 380})  # a laptop at 200 %
    page.goto(serve()[0])
    page.locator("#menu").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="New chat")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_label("Search conversations")).to_be_hidden()
    expect(page.locator("#menu")).to_be_focused()
