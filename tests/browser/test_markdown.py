"""What models write, as Markdown, HTML and formulas, and what of it is shown."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page

# Shows each text in a box of its own below the answers; returns what LOOK says of each.
SHOW = """async ([texts, isGrown]) => {
  const { GrowingMarkdown, show } = await import("/static/js/markdown.js");
  const seen = [];
  for (const text of texts) {
    const box = document.createElement("div");
    document.getElementById("transcript").append(box);
    if (isGrown) {
      const growing = new GrowingMarkdown(box);
      for (let i = 1; i < text.length; i += 1) { growing.show(text.slice(0, i)); seen.push(LOOK); }
      growing.show(text);
    } else show(box, text);
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    seen.push(LOOK);
  }
  return seen;
}"""
FOLD = """<details>
<summary>More <b>here</b></summary>

Hidden **bold**.

- a

</details>

After."""
FOLDS = f"<details><summary>Outside</summary>\n\n{FOLD[:-8]}\n\n- d\n\n</details>\n\nAfter."


@pytest.fixture
def show(page: Page, serve: Any) -> Any:
    """Return a function: texts, and an expression over `box`, to that expression's values."""
    page.goto(serve()[0])

    def see(texts: list[str], look: str, is_grown: bool = False) -> list[Any]:
        seen: list[Any] = page.evaluate(SHOW.replace("LOOK", look), [texts, is_grown])
        return seen

    return see


def test_lists_tables_and_code_keep_what_markdown_says_of_them(show: Any, page: Page) -> None:
    text = (
        "1. one\n2. two\n\ntext\n\n3. three\n4. four\n\n   7) seven\n\ntext\n\n0. zero\n\n"
        "| a | b | c | d |\n|:--|:-:|--:|---|\n| 1 | 2 | 3 | 4 |\n\n"
        '```python title="x.py"\nx = 1\n```\n\n```c++\nint x;\n```\n\n```\nplain\n```\n\n'
        "- [ ] todo\n- [x] done\n\n> [!WARNING]\n> Hot.\n\n> quoted\n\n"
        "[a](https://a.invalid 'b') ~~c~~"
    )
    seen = show(
        [text],
        """({
          starts: [...box.querySelectorAll("ol")].map((list) => list.start),
          align: [...box.querySelectorAll("td")].map((td) => td.align),
          languages: [...box.querySelectorAll(".bar span")].map((span) => span.textContent),
          colours: box.querySelectorAll(".hljs-number, .hljs-type").length,
          tasks: [...box.querySelectorAll("li:has(.task)")].map((li) => li.innerText),
          quotes: [...box.querySelectorAll("blockquote")].map((quote) => quote.innerText),
          struck: box.querySelector("del").textContent, link: box.querySelector("a").href,
        })""",
    )[0]
    assert seen == {
        "starts": [1, 3, 7, 0],
        "align": ["left", "center", "right", ""],
        "languages": ["python", "c++", ""],
        "colours": 2,
        "tasks": ["☐ todo", "☑ done"],
        "quotes": ["Warning\n\nHot.", "quoted"],
        "struck": "c",
        "link": "https://a.invalid/",
    }


def test_html_that_formats_is_obeyed_and_all_other_is_shown(show: Any, page: Page) -> None:
    shown = {
        "H<sub>2</sub>O": "H<sub>2</sub>O",
        "m<SUP>2</SUP>, <kbd>Esc</kbd>, <mark>m</mark>, <u>u</u>": (
            "m<sup>2</sup>, <kbd>Esc</kbd>, <mark>m</mark>, <u>u</u>"
        ),
        "<b onclick='x()'>b</b>": "&lt;b onclick='x()'&gt;b",
        "<img src=x onerror=x()>": "&lt;img src=x onerror=x()&gt;",
        "a <div>b</div> <!-- c -->": "a &lt;div&gt;b&lt;/div&gt; &lt;!-- c --&gt;",
        "one<br>two<br/>": "one<br>two<br>",
        "x < y <z> & &amp;": "x &lt; y &lt;z&gt; &amp; &amp;",
    }
    seen = show(list(shown), "box.querySelector('p').innerHTML")
    assert dict(zip(shown, seen, strict=True)) == shown
    assert page.evaluate("window.hit") is None


def test_a_fold_holds_what_stands_in_it_while_it_is_written_and_then(show: Any) -> None:
    look = """[...box.children, "", ...(box.querySelector("details")?.children ?? [])]
                .map((node) => node.tagName).join(" ")"""
    whole = "DETAILS P  SUMMARY P UL"
    assert show([FOLD, FOLDS], look) == [whole, "DETAILS P  SUMMARY DETAILS UL"]
    assert show([FOLD], look, is_grown=True)[-1] == whole


def test_a_wide_table_scrolls_by_keyboard_and_breaks_no_word(page: Page, show: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 700})
    head = "| Recommendation | Electricity | Processor | Memory |\n|---|---|---|---|\n"
    wide, code = head + "| straightforward | consumption | Cortex | 10 |", f"```\n{'x' * 200}\n```"
    look = """(() => { const node = box.querySelector(".table, pre");
      const words = [...box.querySelectorAll("th, td")].filter((c) => c.offsetHeight > 50).length;
      return [node.scrollWidth > node.clientWidth, node.tabIndex, node.getAttribute("aria-label"),
              words]; })()"""
    assert show([wide, code, "| a |\n|---|\n| 1 |"], look) == [
        [True, 0, "Table", 0],
        [True, 0, "Code", 0],
        [False, -1, None, 0],
    ]
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


FORMULAS = {
    r"a \(x_1 + y_1\) b": [r"\(x_1 + y_1\)"],
    "$E = mc^2$, $a_1$ and $b_2$.": ["$E = mc^2$", "$a_1$", "$b_2$"],
    "*so $a*b*c$ is*": ["$a*b*c$"],
    "**so \\(a**b\\) is**": [r"\(a**b\)"],
    "中文\\(x\\)中文$y$中文": [r"\(x\)", "$y$"],
    "text\n\\[\nx = 1 \\\\[4pt]\n- y = 2\n\\]\nmore": ["\\[\nx = 1 \\\\[4pt]\n- y = 2\n\\]"],
    "$$\nx < \\&y\n$$": ["$$\nx < \\&y\n$$"],
    "so $$x^2$$.": ["$$x^2$$"],
    "1. one\n   $$x$$\n2. two \\[ y \\]": ["$$x$$", r"\[ y \]"],
    "| $x^n$ | \\(y\\) |\n|---|---|\n| $z$ | 1 |": ["$x^n$", r"\(y\)", "$z$"],
    "\\begin{align*}\nx &= 1 \\\\\ny &= 2\n\\end{align*}": [
        "\\begin{align*}\nx &= 1 \\\\\ny &= 2\n\\end{align*}"
    ],
    "> \\(x\\)\n\n# \\(y\\)": [r"\(x\)", r"\(y\)"],
    r"$3 \sin x$ and $2 \text{ apples}$ and $5$": [r"$3 \sin x$", r"$2 \text{ apples}$", "$5$"],
}
NO_FORMULAS = [
    "It costs $5 and $10.",
    "5$/month or 10$/month",
    "US$5 (A$7), $20,000-$30,000",
    "$5, or 6$.",
    "$1M–$2M; $5/$6",
    "echo $HOME/$USER and $PATH",
    r"\$5 and \$6",
    "`$x$` and `\\(y\\)`",
    "```\n$x$ \\(y\\)\n```",
    "$$ or $$$ for a dinner, $$–$$$",
    "one $ sign, $ two",
    "$x\ny$",
    "a $x`y$`",
    r"see \[the first note\] and array\\(0\\)",
    "$$\n\n$$",
]


def test_formulas_are_found_and_prices_are_not(show: Any) -> None:
    look = "[...box.querySelectorAll('.formula')].map((span) => span.title)"
    seen = show(list(FORMULAS), look)
    assert dict(zip(FORMULAS, seen, strict=True)) == FORMULAS
    seen = show(NO_FORMULAS, "box.querySelector('.formula, math')?.outerHTML ?? null")
    assert {text: one for text, one in zip(NO_FORMULAS, seen, strict=True) if one} == {}
    kept = show(["It costs $5 and $10.", r"\$5"], "box.innerText.trim()")
    assert kept == ["It costs $5 and $10.", "$5"]


def test_formulas_are_drawn_and_broken_ones_stay_text(show: Any, page: Page) -> None:
    broken = [
        r"$\frac{1}{$",
        r"\(\notacommand{x}\)",
        "$$\\begin{aligned} x$$",
        r"\(" + "{" * 9000 + r"x\)",
    ]
    look = "[box.querySelector('math') !== null, box.innerText.trim()]"
    assert show(broken, look) == [[False, text] for text in broken]
    drawn = show(
        [r"\[\frac{a}{\sqrt{b}} \neq \mathcal{L}\]"], "box.querySelector('math').outerHTML"
    )[0]
    assert "<mfrac" in drawn and "<msqrt" in drawn and 'display="block"' in drawn
    hostile = [
        r"\(\href{javascript:hit=1}{x}\)", r"\(\url{javascript:hit=1}\)", r"$\class{x}{y}$",
        r"\(\includegraphics{http://elsewhere.invalid/x.png}\)", r"$<img src=x onerror=hit=1>$",
        r"$\def\a{\a\a}\a$", r"$\rule{9999999em}{9999999em}$",
    ]  # fmt: skip
    assert show(hostile, "box.querySelector('a, img, [href], script, .x')") == [None] * len(hostile)
    assert page.evaluate("window.hit") is None


def test_a_formula_that_is_being_written_changes_once(show: Any) -> None:
    text = "So\n\n\\[\na = b\n- c_1 * d_1 * e\n\\]\n\nand \\(x_1 * y_1\\) end"
    look = "`${box.querySelectorAll('em, ul, hr').length} ${box.querySelectorAll('math').length}`"
    looks = show([text], look, is_grown=True)
    assert list(dict.fromkeys(looks)) == ["0 0", "0 1", "0 2"]
