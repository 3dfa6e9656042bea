/** The status page: polls the status document and draws its rings; any number may be null. */
import { bindTheme, byId, element } from "./element.js";

const POLL_MS = 1000;
const SIGNS = { ready: "✓", loading: "◌", waiting: "…", failed: "✕", lost: "⚠" };
const history = []; // tokens/s, newest last

function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const number = (value, unit, digits = 1) => (value == null ? "–" : value.toFixed(digits) + unit);
const mebi = (bytes) => number(bytes == null ? null : bytes / 2 ** 20, " MiB", 0);
const percent = (share) => number(share == null ? null : share * 100, " %", 0);

function layers(stage) {
  if (stage.start == null) return "not assigned";
  return [stage.has_embed && "embed", `${stage.start}–${stage.stop - 1}`, stage.has_lm_head && "lm_head"].filter(Boolean).join(" + ");
}

function extent(numStages, isNarrow) {
  if (!isNarrow || numStages > 5) return [660, 500];
  return [370, numStages > 2 ? 560 : 300];
}

function drawRing({ stages, state, requests }, index, all) {
  const isNarrow = all.length > 1 || innerWidth < 560; // larger letters on a phone
  const [width, height] = extent(stages.length, isNarrow);
  const places = [null, ...stages].map((stage, i, all) => {
    const angle = (2 * Math.PI * i) / all.length - Math.PI / 2;
    return { stage, x: width / 2 + (width / 2 - 72) * Math.cos(angle), y: height / 2 + (height / 2 - 46) * Math.sin(angle) };
  });
  const loop = svg("path", { d: "M" + places.map(({ x, y }) => `${x} ${y}`).join("L") + "Z" });
  const about = all.length > 1 ? [`ring ${index}: ${state}`, `${requests?.running ?? 0} running`] : ["tokens in and out"];
  return svg("svg", { viewBox: `0 0 ${width} ${height}` }, loop, ...places.map((place) => card(place, about)));
}

function card({ stage, x, y }, about) {
  const group = svg("g", { transform: `translate(${x} ${y})`, class: stage?.state ?? "head" });
  group.append(svg("rect", { class: "card", x: -68, y: -36, width: 136, height: 78, rx: 12 }));
  const line = (text, dy, kind) => group.append(svg("text", { y: dy, class: kind }, text));
  line(stage ? stage.node : "head", stage ? -17 : -8, "name");
  if (!stage) {
    about.forEach((text, i) => line(text, 9 + 15 * i, "soft"));
    return group;
  }
  line(layers(stage), -2, "soft");
  line(`${SIGNS[stage.state] ?? ""} ${stage.state} ${number(stage.tokens_s, "/s")}`, 13, "soft");
  const cache = stage.kv_bytes && `KV ${percent((stage.kv_used_bytes ?? 0) / stage.kv_bytes)}`;
  const facts = [stage.temperature_c != null && number(stage.temperature_c, " °C", 0), stage.throttled ? "⚠ throttled" : cache];
  line(facts.filter(Boolean).join(" · "), 27, "soft");
  group.append(svg("rect", { class: "bar", x: -56, y: 33, width: 112 * Math.min(1, stage.busy ?? 0), height: 4, rx: 2 }));
  return group;
}

function rowOf(stage) {
  const times = [stage.compute_ms, stage.waiting_ms, stage.python_ms].map((ms) => number(ms, "")).join(" / ") + " ms";
  const cells = [stage.node, layers(stage), `${SIGNS[stage.state] ?? ""} ${stage.state}${stage.reason ? ": " + stage.reason : ""}`, percent(stage.busy), number(stage.tokens_s, ""), mebi(stage.resident_bytes ?? stage.weight_bytes), `${mebi(stage.kv_used_bytes)} of ${mebi(stage.kv_bytes)}`, times, number(stage.temperature_c, " °C") + (stage.throttled ? " ⚠ throttled" : "")];
  return element("tr", {}, ...cells.map((text) => element("td", { textContent: text })));
}

function drawSpeed(speed) {
  history.push(speed ?? 0);
  history.splice(0, history.length - 120);
  const top = Math.max(1, ...history);
  byId("spark").firstElementChild.setAttribute("points", history.map((v, i) => `${i},${29 - (28 * v) / top}`).join(" "));
  byId("speed").textContent = number(speed, "");
}

function show(status) {
  const { model, requests } = status;
  byId("state").textContent = { serving: "Serving", loading: "Loading the model", waiting: "Waiting for stages", failed: "Not serving" }[status.state] ?? status.state;
  byId("summary").textContent = [status.reason, model?.name, requests && `${requests.running} running, ${requests.queued} queued, ${requests.completed} done`].filter(Boolean).join(" · ");
  const rings = status.plan?.rings ?? [];
  const stages = rings.flatMap((ring) => ring.stages);
  byId("ring").replaceChildren(...rings.map(drawRing));
  byId("stages").replaceChildren(...stages.map(rowOf));
  drawSpeed(status.speed?.decode_tokens_s);
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
  byId("state").textContent = state;
  byId("summary").textContent = `${reason}. What stands below is from before.`;
}

bindTheme(byId("theme"));
poll();
setInterval(poll, POLL_MS);
