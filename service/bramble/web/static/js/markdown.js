/** Markdown to safe nodes: raw HTML stays text but for what only formats it, images become links, DOMPurify has the last word. */

import DOMPurify from "../vendor/dompurify/purify.es.js";
import hljs from "../vendor/highlight/highlight.min.js";
import { Marked, Tokenizer } from "../vendor/marked/marked.esm.js";
import { button, element as make } from "./element.js";
import * as formula from "./formula.js";
import { watch } from "./scroller.js";

const FORMATS = ["b", "br", "del", "em", "i", "ins", "kbd", "mark", "q", "s", "small", "strong", "sub", "sup", "u"]; // may be written as HTML
const FOLDS = ["details", "summary"];
const ALLOWED = {
  ALLOWED_TAGS: [...FORMATS, ...FOLDS, "a", "p", "hr", "code", "pre", "span", "blockquote", "ul", "ol", "li", "h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"],
  ALLOWED_ATTR: ["href", "class", "start", "align", "open"],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  ADD_URI_SAFE_ATTR: ["start", "align", "open"], // else their values, too, have to be addresses
  RETURN_DOM_FRAGMENT: true,
};
const NOTES = { NOTE: "Note", TIP: "Tip", IMPORTANT: "Important", WARNING: "Warning", CAUTION: "Caution" };

const escape = (text) => text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
const FORMAT = new RegExp(`&lt;(/?(?:${FORMATS.join("|")})) */?&gt;`, "gi");
const FOLD = /<\/?details(?: open)? *>|<\/?summary *>/gi;

/** HTML that a model wrote: what only formats is kept, all else is shown as it was written. */
const inlineHtml = (text) => escape(text).replace(FORMAT, "<$1>");

function blockHtml(text) {
  const pieces = text.split(FOLD).map((piece) => inlineHtml(piece.trim()).replace(/(?:<br>\n?)|\n/g, "<br>"));
  const folds = text.match(FOLD) ?? [];
  const wrap = (piece, i) => (piece && !/^<summary/i.test(folds[i - 1] ?? "") ? `<p>${piece}</p>` : piece);
  return pieces.map((piece, i) => wrap(piece, i) + (folds[i] ?? "")).join("");
}

function code({ text, lang }) {
  const language = /^[\w+#.-]+/.exec(lang ?? "")?.[0];
  const shown = hljs.getLanguage(language) ? hljs.highlight(text, { language }).value : escape(text);
  return `<pre${language ? ` class="${language}"` : ""}><code>${shown}</code></pre>`;
}

const parser = (isGrowing) => new Marked({ gfm: true, breaks: true, renderer: {
  html: ({ text, block }) => (block ? blockHtml(text) : inlineHtml(text)),
  checkbox: ({ checked }) => `<span class="task">${checked ? "☑" : "☐"}</span> `,
  image: ({ href, text }) => `<a href="${escape(href)}">${escape(text || href)}</a>`,
  code,
} }, formula.formulas(isGrowing, Tokenizer));
const PARSERS = { growing: parser(true), finished: parser(false) };

const MAX_DEPTH = 100; // of what stands in one another; what a browser's stack holds differs from run to run

function checkDepth(tokens) {
  for (let [level, depth] = [tokens, 0]; level.length; depth++) {
    if (depth > MAX_DEPTH) throw new RangeError("nested too deep");
    level = level.flatMap((token) => [...(token.items ?? []), ...(token.tokens ?? [])]);
  }
}

/** @returns {DocumentFragment} */
function render(marked, tokens) {
  checkDepth(tokens);
  const fragment = DOMPurify.sanitize(marked.parser(tokens), ALLOWED);
  for (const link of fragment.querySelectorAll("a")) { link.target = "_blank"; link.rel = "noopener noreferrer"; }
  for (const node of fragment.querySelectorAll("p, ul, ol, blockquote, table, h1, h2, h3, h4, h5, h6")) node.dir = "auto"; // right to left where its text is
  for (const quote of fragment.querySelectorAll("blockquote")) nameNote(quote);
  for (const node of fragment.querySelectorAll("pre, table")) frame(node);
  formula.draw(fragment);
  return fragment;
}

/** GitHub's "> [!NOTE]". */
function nameNote(quote) {
  const first = quote.querySelector("p")?.firstChild;
  const [mark, kind] = /^\[!([A-Z]+)\]\s*/.exec(first?.textContent ?? "") ?? [];
  if (!NOTES[kind] || first.nodeType !== Node.TEXT_NODE) return;
  first.textContent = first.textContent.slice(mark.length);
  quote.prepend(make("p", {}, make("strong", { textContent: NOTES[kind] })));
  if (first.nextSibling?.nodeName === "BR") first.nextSibling.remove();
}

/** A box around what may be wider than the page. */
function frame(node) {
  const box = make("div", { className: node.tagName === "TABLE" ? "table" : "framed" });
  node.replaceWith(box);
  if (node.tagName === "TABLE") {
    box.append(node);
    watch(box, "Table");
    return;
  }
  const copy = Object.assign(button("Copy", null, "copy"), { title: "Copy this code" });
  box.append(make("div", { className: "bar" }, make("span", { textContent: node.className }), copy), node);
  watch(node, "Code");
}

/** What a model thinks before it answers ("<think>…</think>"), and what it says; without its end it thinks still. */
function parts(text) {
  const [, thought, said] = /^\s*<think>([^]*?)(?:<\/think>\s*([^]*))?$/.exec(text) ?? [, "", text];
  return { thought: thought.trim(), said: said ?? "", isThinking: said === undefined };
}

/** An answer without what was thought before it: what is copied, read aloud and sent back. */
export const spoken = (text) => parts(text).said;

/** The number of blocks that no later text changes: all but the last, and none behind a fold that is open still. */
function numSettled(tokens) {
  const last = tokens.findLastIndex((token) => token.type !== "space");
  let [depth, outside] = [0, 0];
  for (const [i, token] of tokens.entries()) {
    if (depth === 0) outside = i;
    if (token.type === "html") for (const [tag] of token.raw.matchAll(/<\/?details\b/gi)) depth = Math.max(0, depth + (tag[1] === "/" ? -1 : 1));
  }
  return Math.max(0, Math.min(last, depth > 0 ? outside : last));
}

/** Renders a text that only grows: finished blocks stay, only the last one is rendered again. */
export class GrowingMarkdown {
  constructor(element, parser = PARSERS.growing) {
    this.element = element;
    this.parser = parser;
    this.settled = 0; // characters whose nodes are final
    this.tail = [];
  }

  /** @param {string} text the whole text so far */
  show(text) {
    try { this.#grow(text); } catch { // nested too deep, for us or for the stack: a RangeError, in Firefox an InternalError, out of a regular expression a SyntaxError
      const plain = make("div", { className: "plain", textContent: text });
      this.element.replaceChildren(plain);
      this.settled = 0;
      this.tail = [plain];
    }
  }

  #grow(text) {
    const { thought, said, isThinking } = parts(text.replaceAll("\r", ""));
    if (thought) this.#showThought(thought, isThinking);
    const tokens = this.parser.lexer(said.slice(this.settled));
    for (const node of this.tail) node.remove();
    const count = numSettled(tokens);
    const done = tokens.slice(0, count);
    this.element.append(render(this.parser, done));
    this.settled += done.reduce((sum, token) => sum + token.raw.length, 0);
    const fragment = render(this.parser, tokens.slice(count));
    this.tail = [...fragment.childNodes];
    this.element.append(fragment);
  }

  #showThought(thought, isThinking) {
    this.thought ??= make("details", {}, make("summary"), make("div", { className: "plain", dir: "auto" }));
    const [summary, box] = this.thought.children;
    const name = isThinking ? "Thinking…" : "Thought";
    if (summary.textContent !== name) this.thought.open = isThinking; // else it is as the reader has it
    summary.textContent = name;
    box.textContent = thought;
    if (this.thought.parentNode !== this.element) this.element.prepend(this.thought);
  }
}

/** Render a text that grows no more. */
export function show(element, text) {
  const growing = new GrowingMarkdown(element, PARSERS.finished);
  growing.show(text);
  const summary = growing.thought?.firstElementChild;
  if (summary) summary.textContent = "Thought";
}
