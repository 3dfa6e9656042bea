/** System prompt and sampling, per browser; only what was set is sent. */
import { byId } from "./element.js";
import { put, storage } from "./storage.js";

const KEY = "bramble.settings.v1";
const NUMBERS = ["temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "seed"];

function stored() {
  try { return JSON.parse(storage.getItem(KEY)) ?? {}; } catch { return {}; }
}

/** The members of a request body, and the system message if there is one. */
export function forRequest() {
  const { system, ...sampling } = stored();
  return { sampling, system: system ? [{ role: "system", content: system }] : [] };
}

export function bind() {
  const dialog = byId("settings-dialog");
  const form = dialog.querySelector("form");
  const note = form.querySelector("p");
  const words = note.textContent;
  byId("settings").onclick = () => {
    note.textContent = words;
    for (const field of form.querySelectorAll("[name]")) field.value = stored()[field.name] ?? "";
    dialog.showModal();
  };
  byId("reset").onclick = () => { for (const name of NUMBERS) form.elements[name].value = ""; };
  byId("cancel").onclick = () => dialog.close();
  form.onsubmit = (event) => {
    const entries = [...new FormData(form)].filter(([, value]) => value.trim() !== "");
    const chosen = Object.fromEntries(entries.map(([name, value]) => [name, NUMBERS.includes(name) ? Number(value) : value]));
    try { put(KEY, JSON.stringify(chosen)); } catch (error) {
      event.preventDefault();
      note.textContent = error.message;
    }
  };
}

export function showDefaults(defaults) {
  for (const name of NUMBERS) {
    byId("settings-dialog").querySelector(`[name=${name}]`).placeholder = defaults?.[name] ?? "default";
  }
}
