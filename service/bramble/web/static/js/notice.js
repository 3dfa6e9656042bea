/** Short messages at the bottom of the page. */
import { button, byId, element } from "./element.js";
import { StoreFull } from "./storage.js";

let timer = 0;

/** Show a text for some seconds, with an action to take if there is one. */
export function toast(text, action, act) {
  const box = byId("toast");
  box.replaceChildren(text, " ");
  if (action) box.append(button(action, () => { act(); box.hidden = true; }));
  box.hidden = false;
  clearTimeout(timer);
  timer = setTimeout(() => { box.hidden = true; }, 8000);
}

/** Run what stores something; false, and a notice, if the browser's storage is full. */
export function guard(action) {
  try { action(); return true; } catch (error) {
    if (!(error instanceof StoreFull)) throw error;
    toast(error.message);
    return false;
  }
}

export async function copy(text, target) {
  try { await navigator.clipboard.writeText(text); } catch {
    if (!copySelected(text, target)) { toast("This browser does not let the page copy; select the text instead."); return; }
  }
  target.textContent = "Copied";
  setTimeout(() => { target.textContent = "Copy"; }, 2000);
}

/** Over plain http, as on a LAN, there is no navigator.clipboard. */
function copySelected(text, target) {
  const area = element("textarea", { value: text, readOnly: true, className: "hidden" }); // read-only: no keyboard on a phone
  document.body.append(area);
  area.focus({ preventScroll: true });
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  target.focus({ preventScroll: true });
  return isCopied;
}
