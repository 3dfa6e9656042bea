/** The status page: polls the status document; any number in it may be null. */
import { bindTheme, byId, element } from "./element.js";
import { draw } from "./ring.js";
import { watch } from "./scroller.js";
import { layers, mebi, number, percent, SIGNS } from "./stage.js";

const POLL_MS = 1000;
const STATES = { serving: "Serving", loading: "Loading the model", waiting: "Waiting for stages", failed: "Not serving" };
const COLUMNS = ["Node", "State", "Board", "Layers", "Load", "Tokens/s", "Memory", "KV cache", "Compute / wait / Python"];
const history = { writing: [], reading: [] }; // tokens/s, newest last
let rings = [];

/** Change a text that a screen reader reads out, if it is another. */
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function board(stage) {
  const lines = (stage.troubles ?? []).map(({ level, sentence }) => element("div", { className: level, textContent: `⚠ ${sentence}` }));
  return [number(stage.temperature_c, " °C"), ...lines];
}

function rowOf(stage) {
  const times = [stage.compute_ms, stage.waiting_ms, stage.python_ms].map((ms) => number(ms, "")).join(" / ") + " ms";
  const cells = [
    [stage.node], [`${SIGNS[stage.state] ?? ""} ${stage.state}${stage.reason ? ": " + stage.reason : ""}`], board(stage), [layers(stage)],
    [percent(stage.busy)], [number(stage.tokens_s, "")], [mebi(stage.resident_bytes ?? stage.weight_bytes)], [`${mebi(stage.kv_used_bytes)} of ${mebi(stage.kv_bytes)}`], [times],
  ];
  const row = element("tr", { className: stage.state, role: "row" });
  row.append(...cells.map((content, i) => {
    const cell = element(i ? "td" : "th", i ? { role: "cell" } : { role: "rowheader", scope: "row" }, element("span", {}, ...content));
    cell.dataset.name = COLUMNS[i];
    return cell;
  }));
  return row;
}

/** "pi-2: too hot (85 °C), so it is slowed down. Fit …" */
function troublesOf(stage) {
  return (stage.troubles ?? []).map(({ level, sentence, advice }) => element("li", {},
    element("strong", { className: level, textContent: `⚠ ${stage.node}: ${sentence}.` }), ` ${advice[0].toUpperCase()}${advice.slice(1)}.`));
}

function showSpeed(name, speed, about) {
  const past = history[name];
  past.push(speed ?? 0);
  past.splice(0, past.length - 120);
  const top = Math.max(1, ...past);
  const tile = byId(name);
  tile.querySelector("polyline").setAttribute("points", past.map((v, i) => `${120 - past.length + i},${29 - (28 * v) / top}`).join(" "));
  tile.querySelector("b").textContent = number(speed, "");
  tile.querySelector(".about").textContent = about;
}

/** How far the prompts are that are being read; before a first part of one is read, there is no speed to tell. */
function showReading(requests, speed) {
  const num = requests?.reading ?? 0;
  const [read, all] = [requests?.prompt_tokens_read ?? 0, requests?.prompt_tokens ?? 0].map((n) => n.toLocaleString("en"));
  const about = num ? `${read} of ${all} tokens of ${num === 1 ? "a prompt" : `${num} prompts`}` : "";
  showSpeed("reading", num && !speed ? null : speed, about);
}

function work({ running, queued, completed, reading }) {
  const parts = [`${running} running`, `${queued} queued`, `${completed} done`];
  if (reading) parts.unshift(reading === 1 ? "reading a prompt" : `reading ${reading} prompts`);
  return parts.join(", ");
}

function show(status) {
  const { model, requests, speed } = status;
  say(byId("state"), STATES[status.state] ?? status.state);
  byId("summary").textContent = [status.reason, model?.name, requests && work(requests)].filter(Boolean).join(" · ");
  rings = status.plan?.rings ?? [];
  const members = rings.flatMap((ring) => ring.stages).flatMap((stage) => stage.members ?? [stage]);
  const troubles = [{ node: "head", troubles: status.troubles }, ...members].flatMap(troublesOf);
  byId("troubles").hidden = !troubles.length;
  byId("troubles").replaceChildren(...troubles);
  draw(byId("ring"), rings);
  byId("stages").replaceChildren(...members.map(rowOf));
  const writing = (requests?.running ?? 0) - (requests?.reading ?? 0);
  showSpeed("writing", speed?.decode_tokens_s, writing > 1 ? `${writing} at once` : "");
  showReading(requests, speed?.prefill_tokens_s);
}

async function poll() {
  if (document.hidden) return;
  const response = await fetch("/api/status").catch(() => null);
  const status = await response?.json().catch(() => null);
  document.body.classList.toggle("stale", !response?.ok || !status);
  if (!response) miss("Bramble cannot be reached", "Check the network and that the head node is on");
  else if (!response.ok || !status) miss("No word from the head", status?.error?.message ?? `HTTP ${response.status}`);
  else show(status);
}

function miss(state, reason) {
  say(byId("state"), state);
  byId("summary").textContent = `${reason}. What stands below is from before.`;
}

bindTheme(byId("theme"));
byId("columns").append(...COLUMNS.map((textContent) => element("th", { textContent, scope: "col", role: "columnheader" })));
watch(document.querySelector(".table"), "Stages");
addEventListener("resize", () => draw(byId("ring"), rings));
document.addEventListener("visibilitychange", poll);
poll();
setInterval(poll, POLL_MS);
