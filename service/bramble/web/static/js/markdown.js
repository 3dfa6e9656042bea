/** Markdown to safe nodes: raw HTML stays text, images become links, DOMPurify has the last word. */

import DOMPurify from "../vendor/dompurify/purify.es.js";
import hljs from "../vendor/highlight/highlight.min.js";
import { Marked } from "../vendor/marked/marked.esm.js";
import { element as make } from "./element.js";

const ALLOWED = { ALLOWED_TAGS: ["a", "p", "br", "hr", "em", "strong", "del", "code", "pre", "span", "blockquote", "ul", "ol", "li", "h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"], ALLOWED_ATTR: ["href", "class", "start", "align"], ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i, RETURN_DOM_FRAGMENT: true };

const escape = (text) => text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);

const marked = new Marked({ gfm: true, breaks: true, renderer: {
  html: ({ text, block }) => {
    const lines = escape(block ? text.trim() : text).replace(/&lt;br\s*\/?&gt;\n?|\n/gi, "<br>");
    return block ? `<p>${lines}</p>` : lines;
  },
  checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  image: ({ href, text }) => `<a href="${escape(href)}">${escape(text || href)}</a>`,
  code: ({ text, lang }) => `<pre><code>${hljs.getLanguage(lang) ? hljs.highlight(text, { language: lang }).value : escape(text)}</code></pre>`,
} });

/** @returns {DocumentFragment} */
function render(tokens) {
  const fragment = DOMPurify.sanitize(marked.parser(tokens), ALLOWED);
  for (const link of fragment.querySelectorAll("a")) { link.target = "_blank"; link.rel = "noopener noreferrer"; }
  for (const node of fragment.querySelectorAll("p, ul, ol, blockquote, table, h1, h2, h3, h4, h5, h6")) node.dir = "auto"; // right to left where its text is
  for (const node of fragment.querySelectorAll("pre, table")) frame(node);
  return fragment;
}

function frame(node) {
  const box = document.createElement("div");
  node.replaceWith(box);
  box.append(node);
  box.className = node.tagName === "TABLE" ? "table" : "framed";
  if (node.tagName === "TABLE") return;
  const button = document.createElement("button");
  button.className = "copy";
  button.textContent = "Copy";
  box.append(button);
}

/** What a model thinks before it answers ("<think>…</think>"), and what it says; without its end it thinks still. */
function parts(text) {
  const [, thought, said] = /^\s*<think>([^]*?)(?:<\/think>\s*([^]*))?$/.exec(text) ?? [, "", text];
  return { thought: thought.trim(), said: said ?? "", isThinking: said === undefined };
}

/** An answer without what was thought before it: what is copied, read aloud and sent back. */
export const spoken = (text) => parts(text).said;

/** Renders a text that only grows: finished blocks stay, only the last one is rendered again. */
export class GrowingMarkdown {
  constructor(element) {
    this.element = element;
    this.settled = 0; // characters whose nodes are final
    this.tail = [];
  }

  /** @param {string} text the whole text so far */
  show(text) {
    try { this.#grow(text); } catch { // nested deeper than the stack: a RangeError, in Firefox an InternalError, out of a regular expression a SyntaxError
      const plain = make("div", { className: "plain", textContent: text });
      this.element.replaceChildren(plain);
      this.settled = 0;
      this.tail = [plain];
    }
  }

  #grow(text) {
    const { thought, said, isThinking } = parts(text.replaceAll("\r", ""));
    if (thought) this.#showThought(thought, isThinking);
    const tokens = marked.lexer(said.slice(this.settled));
    for (const node of this.tail) node.remove();
    const last = tokens.findLastIndex((token) => token.type !== "space");
    const done = tokens.slice(0, Math.max(0, last));
    this.element.append(render(done));
    this.settled += done.reduce((sum, token) => sum + token.raw.length, 0);
    const fragment = render(tokens.slice(Math.max(0, last)));
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
  new GrowingMarkdown(element).show(text);
  const summary = element.querySelector("summary");
  if (summary) summary.textContent = "Thought";
}
