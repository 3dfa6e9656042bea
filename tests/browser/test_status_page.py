"""What the status page tells of rings, boards and work, from a phone to a wide screen."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

# What cannot be read: cards over one another, cut texts, and parts beyond the screen's edge.
HIDDEN = """() => {
  const boxes = [...document.querySelectorAll(".card")].map((card) => card.getBoundingClientRect());
  const over = boxes.filter((a, i) => boxes.some((b, j) => i < j &&
    a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom)).length;
  const isCut = (node) =>
    node.scrollWidth > node.clientWidth || node.scrollHeight > node.clientHeight + 2;
  const texts = [...document.querySelectorAll(".card > span:not(.name), .table")];
  const cut = texts.filter(isCut).length;
  return [over, cut, Math.max(0, document.documentElement.scrollWidth - innerWidth)];
}"""


@pytest.mark.parametrize(
    ("num_stages", "num_rings"), [(1, 1), (2, 1), (3, 1), (4, 1), (7, 1), (12, 1), (16, 1), (4, 3)]
)
def test_every_ring_and_stage_can_be_read_on_every_screen(
    page: Page, serve: Any, num_stages: int, num_rings: int
) -> None:
    page.goto(serve(num_stages=num_stages, num_rings=num_rings, hot=0)[0] + "/status")
    expect(page.locator(".ring")).to_have_count(num_rings)
    expect(page.locator(".card")).to_have_count(num_rings * (num_stages + 1))
    for width in (320, 360, 768, 961, 1100, 1920, 2560):
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        assert page.evaluate(HIDDEN) == [0, 0, 0], width
    if num_rings > 1:
        expect(page.locator(".card.head").last).to_have_text("headring 2: serving1 running")


def test_a_failed_stage_is_named_with_its_reason(page: Page, serve: Any) -> None:
    page.goto(serve(failed=0)[0] + "/status")
    expect(page.locator("#stages")).to_contain_text("failed: checksum differs")
    expect(page.locator("#state")).to_have_text("Not serving")


def test_a_board_that_is_slowed_down_is_named_with_the_cause_and_what_helps(
    page: Page, serve: Any
) -> None:
    page.goto(serve(hot=1)[0] + "/status")
    said = "⚠ pi-1: too hot (85 °C), so it is slowed down. Fit the active cooler."
    expect(page.locator("#troubles li")).to_have_text([said])
    expect(page.locator(".card").nth(2)).to_contain_text("85 °C⚠ too hot")
    row = page.locator("#stages tr").nth(1)
    for width in (320, 1100):
        page.set_viewport_size({"width": width, "height": 900})
        expect(row).to_contain_text("85.0 °C⚠ too hot (85 °C), so it is slowed down")
        row.locator(".bad").scroll_into_view_if_needed()
        expect(row.locator(".bad")).to_be_in_viewport(ratio=1)
    expect(page.locator("#stages tr").first).not_to_contain_text("⚠")


def test_a_prompt_that_is_being_read_is_work_with_a_speed(page: Page, serve: Any) -> None:
    page.goto(serve(is_reading=True)[0] + "/status")
    expect(page.locator("#reading")).to_contain_text("312.4 tokens/s")
    expect(page.locator("#reading")).to_contain_text("512 of 1,900 tokens of a prompt")
    expect(page.locator("#summary")).to_contain_text("reading a prompt")
