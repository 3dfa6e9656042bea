/** Draws a ring as a loop of cards, the head first: as many side by side as fit, the way back below them. */
import { element } from "./element.js";
import { layers, number, percent, SIGNS } from "./stage.js";

const CARD_PX = 144; // the narrowest: two of them fit a phone of 320

/**
 * Place cards on a loop, clockwise from the upper left; where the way back has fewer, its end stays a line.
 * @param {number} count  cards
 * @param {number} widest  most cards in a row, 2 or more
 * @returns {{columns: number, rows: number, cards: {column: number, row: number, from: string}[]}}
 *   from is where the arrow comes in: left, above, right or below
 */
export function loop(count, widest) {
  const columns = count < 3 ? count : Math.min(widest, Math.ceil(count / 2));
  const right = Math.max(0, Math.ceil((count - 2 * widest) / 2));
  const bottom = Math.min(columns, count - columns - right);
  const left = count - columns - right - bottom;
  const rows = bottom ? right + 2 : 1;
  const span = (length, place) => Array.from({ length }, (_, i) => place(i));
  return { columns, rows, cards: [
    ...span(columns, (i) => ({ column: i, row: 0, from: i ? "left" : rows > 1 ? "below" : "right" })),
    ...span(right, (i) => ({ column: columns - 1, row: 1 + i, from: "above" })),
    ...span(bottom, (i) => ({ column: columns - 1 - i, row: rows - 1, from: i ? "right" : "above" })),
    ...span(left, (i) => ({ column: 0, row: rows - 2 - i, from: "below" })),
  ] };
}

/** @param {HTMLElement} box  gets a figure for each ring */
export function draw(box, rings) {
  const style = getComputedStyle(box);
  const [wide, gap] = [box.clientWidth, parseFloat(style.columnGap) || 0];
  const abreast = Math.max(1, Math.min(rings.length, Math.floor((wide + gap) / (2 * CARD_PX + 24 + gap))));
  const widest = Math.max(2, Math.floor((wide - gap * (abreast - 1)) / abreast / CARD_PX));
  box.style.setProperty("--abreast", abreast);
  box.replaceChildren(...rings.map((ring, index) => drawRing(ring, rings.length > 1 ? index : null, widest)));
}

function drawRing({ stages, state, requests }, index, widest) {
  const { columns, rows, cards } = loop(stages.length + 1, widest);
  const about = index === null ? ["tokens in and out"] : [`ring ${index}: ${state}`, `${requests?.running ?? 0} running`];
  const line = element("div", { className: "line" });
  const figure = element("figure", { className: "ring" }, line, ...[null, ...stages].map((stage, i) => placed(stage ? stageCard(stage) : headCard(about), cards[i])));
  figure.style.setProperty("--columns", columns);
  figure.style.setProperty("--rows", rows);
  return figure;
}

function placed(card, { column, row, from }) {
  card.classList.add(from);
  card.style.gridArea = `${row + 1} / ${column + 1}`;
  return card;
}

const line = (text, className = "soft") => element("span", { className, textContent: text });
const headCard = (about) => element("div", { className: "card head" }, line("head", "name"), ...about.map((text) => line(text)));

function stageCard(stage) {
  const [trouble] = stage.troubles ?? [];
  const cache = stage.kv_bytes && `KV ${percent((stage.kv_used_bytes ?? 0) / stage.kv_bytes)}`;
  const facts = [stage.temperature_c != null && number(stage.temperature_c, " °C", 0), trouble ? null : cache];
  const bar = element("span", { className: "bar" });
  bar.style.width = `${100 * Math.min(1, stage.busy ?? 0)}%`;
  return element("div", { className: `card ${stage.state}`, title: stage.node },
    line(stage.node, "name"), line(layers(stage)), line(`${SIGNS[stage.state] ?? ""} ${stage.state} ${number(stage.tokens_s, "/s")}`),
    line(facts.filter(Boolean).join(" · ")),
    ...(trouble ? [line(`⚠ ${/^[^,(]+/.exec(trouble.sentence)[0].trim()}`, trouble.level)] : []),
    element("span", { className: "load" }, bar));
}
