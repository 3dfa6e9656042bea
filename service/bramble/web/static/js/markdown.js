/** Markdown to safe nodes: raw HTML stays text, images become links, DOMPurify has the last word. */

import DOMPurify from "../vendor/dompurify/purify.es.js";
import hljs from "../vendor/highlight/highlight.min.js";
import { Marked } from "../vendor/marked/marked.esm.js";

const ALLOWED = { ALLOWED_TAGS: ["a", "p", "br", "hr", "em", "strong", "del", "code", "pre", "span", "blockquote", "ul", "ol", "li", "h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"], ALLOWED_ATTR: ["href", "class", "start", "align"], ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i, RETURN_DOM_FRAGMENT: true };

const escape = (text) => text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);

const marked = new Marked({ gfm: true, breaks: true, renderer: {
  html: ({ text }) => escape(text),
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

/** Renders a text that only grows: finished blocks stay, only the last one is rendered again. */
export class GrowingMarkdown {
  constructor(element) {
    this.element = element;
    this.settled = 0; // characters whose nodes are final
    this.tail = [];
  }

  /** @param {string} text the whole text so far */
  show(text) {
    try { this.#grow(text); } catch (error) {
      if (error.name !== "RangeError" && error.name !== "InternalError") throw error; // the stack is full; Firefox says the latter
      const plain = Object.assign(document.createElement("div"), { className: "plain", textContent: text });
      this.element.replaceChildren(plain);
      this.settled = 0;
      this.tail = [plain];
    }
  }

  #grow(text) {
    const tokens = marked.lexer(text.replaceAll("\r", "").slice(this.settled));
    for (const node of this.tail) node.remove();
    const last = tokens.findLastIndex((token) => token.type !== "space");
    const done = tokens.slice(0, Math.max(0, last));
    this.element.append(render(done));
    this.settled += done.reduce((sum, token) => sum + token.raw.length, 0);
    const fragment = render(tokens.slice(Math.max(0, last)));
    this.tail = [...fragment.childNodes];
    this.element.append(fragment);
  }
}

export const show = (element, text) => new GrowingMarkdown(element).show(text);
