"""What stays of a conversation when its page is reloaded, left or closed."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

CUT = "This answer was cut off: its page was closed or reloaded."


def ask(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.get_by_label("Message", exact=True).press("Enter")


def test_a_reload_shows_the_same_conversation_and_back_the_one_before(
    page: Page, serve: Any
) -> None:
    url = serve()[0]
    page.goto(url)
    ask(page, "first")
    expect(page.locator("article.assistant footer")).to_contain_text("87")
    page.get_by_role("button", name="New chat").click()
    expect(page.get_by_role("heading", name="What shall we talk about?")).to_be_visible()
    ask(page, "second")
    expect(page.locator("article.assistant footer")).to_contain_text("87")
    page.reload()
    expect(page.locator("article.user .body")).to_have_text("second")
    page.go_back()
    expect(page.get_by_role("heading", name="What shall we talk about?")).to_be_visible()
    page.go_back()
    expect(page.locator("article.user .body")).to_have_text("first")
    expect(page.locator("#conversations li.current")).to_have_text("first✎⤓✕")
    page.get_by_label("Delete first").click()
    page.reload()
    expect(page.get_by_role("heading", name="What shall we talk about?")).to_be_visible()
    page.goto(f"{url}/#no-such-conversation")
    expect(page.get_by_role("heading", name="What shall we talk about?")).to_be_visible()
    page.wait_for_url(f"{url}/")


@pytest.mark.parametrize("then", ["Continue", "Ask again"])
def test_a_reload_amid_an_answer_keeps_what_had_come(page: Page, serve: Any, then: str) -> None:
    url, client = serve()
    page.goto(url)
    ask(page, "slow")
    expect(page.locator("article.assistant")).to_contain_text("w9")
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text(CUT)
    expect(page.locator("article.assistant .body")).to_contain_text("w9")
    page.get_by_role("button", name=then).click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    if then == "Continue":
        expect(page.locator("article.assistant").last).to_contain_text("reply to Please continue")
        question, answer, asked = client.messages()
        assert (question, asked) == ("slow", "Please continue where you stopped.")
        assert answer.startswith("w0 w1") and "w9" in answer
    else:
        expect(page.get_by_role("alert")).to_have_count(0)
        assert client.messages() == ["slow"]


def test_a_tab_closed_amid_an_answer_leaves_what_had_come(page: Page, serve: Any) -> None:
    page.goto(serve()[0])
    other = page.context.new_page()
    other.goto(page.url)
    ask(other, "slow")
    expect(other.locator("article.assistant")).to_contain_text("w30")
    page.bring_to_front()
    page.locator("#conversations .open").click()
    expect(page.locator("article.assistant")).to_contain_text("being written in another tab")
    other.close()  # as a phone ends a tab: the page hears nothing of it
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text(CUT)
    expect(page.locator("article.assistant .body")).to_contain_text("w9")


def test_neither_the_status_nor_the_name_of_the_page_ends_an_answer(page: Page, serve: Any) -> None:
    page.goto(serve()[0])
    ask(page, "slow")
    expect(page.locator("article.assistant")).to_contain_text("w1")
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Status").click()
    opened.value.close()
    page.get_by_role("link", name="Bramble").click()
    expect(page.get_by_role("heading", name="What shall we talk about?")).to_be_visible()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()


@pytest.mark.parametrize("is_touch", [False, True])
def test_enter_sends_on_a_desktop_and_makes_a_new_line_on_a_phone(
    browser: Any, serve: Any, is_touch: bool
) -> None:
    context = browser.new_context(
        viewport={"width": 360, "height": 700}, has_touch=is_touch, is_mobile=is_touch
    )
    page = context.new_page()
    page.goto(serve()[0])
    area = page.get_by_label("Message", exact=True)
    expect(area).to_have_attribute("enterkeyhint", "enter" if is_touch else "send")
    area.fill("one")
    for composing in ({"isComposing": True}, {"keyCode": 229}):
        area.dispatch_event("keydown", {"key": "Enter", **composing})
    area.press("Shift+Enter")
    area.press_sequentially("two")
    expect(area).to_have_value("one\ntwo")
    area.press("Enter")
    if is_touch:
        area.press_sequentially("three")
        expect(area).to_have_value("one\ntwo\nthree")
        page.get_by_role("button", name="Send").tap()
    expect(page.locator("article.user .body")).to_contain_text("one\ntwo")
    expect(page.locator("article.assistant footer")).to_contain_text("87")
    area.fill("more")
    area.press("Control+Enter")
    expect(page.locator("article.user .body").last).to_have_text("more")
    context.close()
