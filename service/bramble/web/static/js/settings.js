/** System prompt and sampling, per browser; only what was set is sent. */
import { byId } from "./element.js";

const KEY = "bramble.settings.v1";
const NUMBERS = ["temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "seed"];

function stored() {
  try { return JSON.parse(localStorage.getItem(KEY)) ?? {}; } catch { return {}; }
}

/** The members of a request body, and the system message if there is one. */
export function forRequest() {
  const { system, ...sampling } = stored();
  return { sampling, system: system ? [{ role: "system", content: system }] : [] };
}

export function bind() {
  const dialog = byId("settings-dialog");
  const form = dialog.querySelector("form");
  byId("settings").onclick = () => {
    for (const field of form.querySelectorAll("[name]")) field.value = stored()[field.name] ?? "";
    dialog.showModal();
  };
  byId("reset").onclick = () => form.reset();
  form.onsubmit = () => {
    const entries = [...new FormData(form)].filter(([, value]) => value.trim() !== "");
    localStorage.setItem(KEY, JSON.stringify(Object.fromEntries(entries.map(([name, value]) => [name, NUMBERS.includes(name) ? Number(value) : value]))));
  };
}

export function showDefaults(defaults) {
  for (const name of NUMBERS) {
    byId("settings-dialog").querySelector(`[name=${name}]`).placeholder = defaults?.[name] ?? "default";
  }
}
