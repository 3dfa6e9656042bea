/** Formulas in Markdown: `\(…\)`, `$…$` in a line, `\[…\]`, `$$…$$` and `\begin{…}` on their own; drawn as MathML by Temml. */
import { watch } from "./scroller.js";

const ENVIRONMENTS = "equation|align|aligned|alignat|gather|gathered|multline|split|cases|array|[bBpvV]?matrix|eqnarray|flalign|CD";
const BEGIN = new RegExp(`^\\\\begin\\{((?:${ENVIRONMENTS})\\*?)\\}`);
const BLOCK = new RegExp(`(?:^|\\n) {0,3}(?:\\$\\$|\\\\\\[|\\\\begin\\{(?:${ENVIRONMENTS})\\*?\\})`);
const INLINE = /(?<![\w\\$])\$|\\[([]/;

/** How a formula that begins `text` is delimited, or null. */
function delimiters(text) {
  const opening = /^(?:\$\$?|\\[([])/.exec(text)?.[0];
  if (opening) return { opening, closing: { "\\(": "\\)", "\\[": "\\]" }[opening] ?? opening };
  const name = BEGIN.exec(text)?.[1];
  return name ? { opening: `\\begin{${name}}`, closing: `\\end{${name}}` } : null;
}

/**
 * Find the formula that begins `text`: {raw, tex, isDisplayed}, null if there is none,
 * or "unfinished" if its end may be yet to come.
 */
function find(text) {
  const found = delimiters(text);
  if (!found) return null;
  const { opening, closing } = found;
  const stop = end(text, opening.length, closing);
  const inside = text.slice(opening.length, stop < 0 ? undefined : stop);
  if (/\n[ \t]*\n/.test(inside.trim())) return null;
  if (stop < 0) return opening === "$" ? null : "unfinished";
  const raw = text.slice(0, stop + closing.length);
  if (!isFormula(opening, inside, text.slice(raw.length))) return null;
  return { raw, tex: BEGIN.test(opening) ? raw : inside.trim(), isDisplayed: opening !== "$" && opening !== "\\(" };
}

/** The index of the first `closing` behind `from` that no backslash escapes, or -1. */
function end(text, from, closing) {
  for (let at = text.indexOf(closing, from); at >= 0; at = text.indexOf(closing, at + 1)) {
    const backslashes = /\\*$/.exec(text.slice(from, at))[0].length;
    if (backslashes % 2 === 0) return at;
  }
  return -1;
}

/** Tell a formula from two prices ("$5 and $10", "5$/month"), variables ("$HOME/$USER") and escaped brackets around prose. */
function isFormula(opening, inside, after) {
  if (!inside.trim()) return false;
  const words = inside.replace(/\\[a-zA-Z]+(?:\s*\{[a-zA-Z ,.']*\})?/g, " ");
  const isProse = /[a-zA-Z]{2,}[,.]?\s+[a-zA-Z]{2,}/.test(words);
  if (opening === "$") {
    const isTight = !/^\s|\s$|[\n`]/.test(inside) && !/^[\w$]/.test(after);
    const isPrice = /^\d/.test(inside) && /[a-zA-Z]{2,}/.test(words);
    return isTight && !isPrice && !isProse;
  }
  if (opening === "$$") return /[\\^_=<>≤≥≈+*/|(-]|^\s*\w\s*$/.test(inside) && !inside.startsWith("$") && !after.startsWith("$");
  return !isProse || /[\\^_=]/.test(inside);
}

const escape = (text) => text.replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);
const html = ({ raw, kind }) => `<span class="formula ${kind}">${escape(raw.trim())}</span>`;

function token(type, text, isGrowing) {
  const found = find(text);
  if (found === "unfinished") return isGrowing ? { type, raw: text.split(/\n[ \t]*\n/)[0], kind: "unfinished" } : undefined;
  return found ? { type, raw: found.raw, kind: found.isDisplayed ? "displayed" : "inline" } : undefined;
}

/**
 * What Marked needs to leave formulas as they are.
 * @param {boolean} isGrowing  whether a formula without its end is one that is being written
 */
export function formulas(isGrowing, Tokenizer) {
  return {
    extensions: [
      {
        name: "formulaBlock",
        level: "block",
        start: (text) => { const found = BLOCK.exec(text); return found ? found.index + Number(found[0].startsWith("\n")) : undefined; },
        tokenizer: (text) => {
          const indent = /^ {0,3}(?=\$\$|\\\[|\\begin\{)/.exec(text)?.[0];
          const found = indent === undefined ? undefined : token("formulaBlock", text.slice(indent.length), isGrowing);
          const rest = found && /^[ \t]*(?:\n+|$)/.exec(text.slice(indent.length + found.raw.length))?.[0];
          return rest === undefined ? undefined : { ...found, raw: indent + found.raw + rest };
        },
        renderer: (found) => `<p>${html(found)}</p>`,
      },
      {
        name: "formula",
        level: "inline",
        start: (text) => INLINE.exec(text)?.index,
        tokenizer: (text) => (/^(?:\$|\\[([])/.test(text) ? token("formula", text, isGrowing) : undefined),
        renderer: html,
      },
    ],
    tokenizer: {
      emStrong(text, masked, before) { return Tokenizer.prototype.emStrong.call(this, text, hide(text, masked), before); },
    },
  };
}

/** Have no star or underscore of a formula end an emphasis: `masked` ends with `text`, in which Marked looks for them. */
function hide(text, masked) {
  const offset = masked.length - text.length;
  let from = 0;
  for (let found; (found = INLINE.exec(text.slice(from))); ) {
    const at = from + found.index;
    const raw = find(text.slice(at))?.raw ?? found[0];
    if (raw !== found[0]) masked = masked.slice(0, offset + at) + "+".repeat(raw.length) + masked.slice(offset + at + raw.length);
    from = at + raw.length;
  }
  return masked;
}

/** Draw the formulas below `root`; one that Temml cannot read stays the text that it is. */
export function draw(root) {
  for (const span of root.querySelectorAll(".formula:not(.unfinished)")) {
    const found = find(span.textContent);
    const drawn = document.createElement("span");
    try {
      globalThis.temml.render(found.tex, drawn, { displayMode: found.isDisplayed, throwOnError: true, trust: false, maxSize: [20, 100], maxExpand: 500 });
    } catch { continue; } // no TeX: a ParseError; nested deeper than the stack: a RangeError; Temml did not load: a TypeError
    span.title = span.textContent;
    span.replaceChildren(...drawn.childNodes);
    if (found.isDisplayed) watch(span, "Formula");
  }
}
