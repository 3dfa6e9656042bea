"""What stays of a conversation when its page is reloaded, left or closed."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

CUT = "This answer was cut off: its page was closed for too long."
WHOLE = "".join(f"w{i} " for i in range(100)).strip()
OLD = """() => {
  for (const key of Object.keys(localStorage).filter((k) => k.startsWith("bramble.chat"))) {
    const text = localStorage.getItem(key);
    localStorage.setItem(key, text.replace(/"since":\\d+/, '"since":1'));
  }
}"""  # as if what is being written was begun long ago


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


def test_a_reload_amid_an_answer_goes_on_with_it(page: Page, serve: Any) -> None:
    url, client = serve()
    page.goto(url)
    ask(page, "slow")
    expect(page.locator("article.assistant")).to_contain_text("w9")
    page.reload()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(page.locator("article.assistant footer")).to_contain_text("87")
    expect(page.locator("article.assistant .body")).to_have_text(WHOLE)
    first, again = client.asked
    assert first.request == again.request and again.received > 9
    page.reload()
    expect(page.locator("article.assistant .body")).to_have_text(WHOLE)
    page.wait_for_timeout(700)  # longer than other tabs are asked
    assert len(client.asked) == 2


def test_a_connection_that_breaks_is_made_again_and_no_word_is_lost_or_doubled(
    page: Page, serve: Any
) -> None:
    url, client = serve()
    page.goto(url)
    ask(page, "broken")
    expect(page.get_by_text("The connection broke.")).to_be_visible()
    expect(page.locator("article.assistant footer")).to_contain_text("87")
    expect(page.locator("article.assistant .body")).to_have_text(WHOLE)
    assert [each.received for each in client.asked] == [0, 10]


def test_to_stop_ends_the_request_for_good_also_after_a_reload(page: Page, serve: Any) -> None:
    url, client = serve()
    page.goto(url)
    ask(page, "slow")
    expect(page.locator("article.assistant")).to_contain_text("w3")
    page.reload()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    expect(page.locator("article.assistant footer")).to_contain_text("stopped")
    for _ in range(50):
        if client.ended:
            break
        page.wait_for_timeout(50)
    assert client.ended[0] == client.asked[0].request


@pytest.mark.parametrize("then", ["Continue", "Ask again"])
def test_an_answer_that_was_left_for_too_long_keeps_what_had_come(
    page: Page, serve: Any, then: str
) -> None:
    url, client = serve()
    page.goto(url)
    ask(page, "slow")
    expect(page.locator("article.assistant")).to_contain_text("w9")
    page.goto("about:blank")
    page.goto(f"{url}/static/logo.svg")
    page.evaluate(OLD)
    page.go_back()
    page.go_back()
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
        assert client.asked[0].request != client.asked[-1].request


def test_an_answer_whose_tab_was_closed_goes_on_in_one_other_tab(page: Page, serve: Any) -> None:
    url, client = serve()
    page.goto(url)
    other, third = page.context.new_page(), page.context.new_page()
    other.goto(url)
    ask(other, "slow")
    expect(other.locator("article.assistant")).to_contain_text("w9")
    for each in (page, third):
        each.goto(other.url)
        each.reload()
        expect(each.locator("article.assistant")).to_contain_text("being written in another tab")
    other.close()  # as a phone ends a tab: the page hears nothing of it
    for each in (page, third):
        expect(each.locator("article.assistant footer")).to_contain_text("87", timeout=15_000)
        expect(each.locator("article.assistant .body")).to_have_text(WHOLE)
    assert len({each.request for each in client.asked}) == 1 and len(client.asked) == 2


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
