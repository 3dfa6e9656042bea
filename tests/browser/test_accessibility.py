"""axe-core objects to nothing: each page and dialog, light and dark, on a desktop and a phone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

ALL = {"resultTypes": ["violations"]}
ANSWER = """# Title

1. one
2. two

| Recommendation | Electricity | Processor | Memory | Consumption | Bandwidth |
|:--|--:|---|---|---|---|
| straightforward | consumption | Cortex | 10 | 12 | unrecommendable |

```python
def f(): return "LONG"  # a comment that is wider than a phone
```

- [x] done

> [!NOTE]
> So.

<details><summary>More</summary>

Hidden.

</details>

\\[ x = \\frac{a}{b} + LONGFORMULA \\]

<kbd>Ctrl</kbd> <mark>m</mark> ~~s~~ `code` [link](https://a.invalid)
""".replace("LONGFORMULA", " + ".join("abcdefghij" * 3)).replace("LONG", "x" * 90)


def chat(page: Page, url: str) -> None:
    messages = [
        {"id": "1", "role": "user", "text": "question"},
        {"id": "2", "role": "assistant", "text": ANSWER, "state": "cut", "stats": "12 tokens/s"},
        {"id": "3", "role": "assistant", "text": "<think>a</think>b", "state": "stopped"},
    ]
    page.goto(url)
    page.evaluate(
        """(messages) => localStorage.setItem("bramble.chat.v1.x",
             JSON.stringify({ id: "x", title: "Chat", changed: 1, messages }))""",
        messages,
    )
    page.goto(f"{url}/#x")
    page.reload()
    expect(page.locator("article math")).to_be_visible()


def writing(page: Page, url: str) -> None:
    page.goto(url)
    page.get_by_label("Message", exact=True).fill("slow")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("article.assistant")).to_contain_text("w1")


def settings(page: Page, url: str) -> None:
    page.goto(url)
    page.get_by_role("button", name="Settings").click()


def shortcuts(page: Page, url: str) -> None:
    page.goto(url)
    page.get_by_role("button", name="Keyboard shortcuts").click()


def drawer(page: Page, url: str) -> None:
    chat(page, url)
    page.locator("#menu").click()


def status(page: Page, url: str) -> None:
    page.goto(f"{url}/status")
    expect(page.locator("#stages tr")).to_have_count(4)


def welcome(page: Page, url: str) -> None:
    page.goto(url)
    expect(page.get_by_role("button", name="What is a ring?")).to_be_visible()


VIEWS = (welcome, chat, writing, settings, shortcuts, drawer, status)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1100])
def test_axe_objects_to_nothing(page: Page, serve: Any, width: int, theme: Any) -> None:
    url = serve(num_stages=4, failed=2, hot=1)[0]
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 700})
    found = {view.__name__: objections(page, view, url) for view in VIEWS}
    assert found == {view.__name__: [] for view in VIEWS}


def objections(page: Page, view: Callable[[Page, str], None], url: str) -> list[str]:
    view(page, url)
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    violations = Axe().run(page, options=ALL).response["violations"]
    return [f"{one['id']}: {node['html'][:160]}" for one in violations for node in one["nodes"]]
