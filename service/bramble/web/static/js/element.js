import { storage } from "./storage.js";

/** Make an element; children are nodes or texts, never HTML. */
export function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}
export const button = (text, onclick, className = "") => element("button", { type: "button", textContent: text, onclick, className });
export const byId = (id) => document.getElementById(id);

/** Cycle auto → light → dark; remembered in this browser. */
export function bindTheme(control) {
  const show = (theme) => {
    document.documentElement.dataset.theme = theme;
    control.textContent = theme[0].toUpperCase() + theme.slice(1);
    control.ariaLabel = `Theme: ${control.textContent}`;
  };
  control.onclick = () => {
    const themes = ["auto", "light", "dark"];
    const theme = themes[(themes.indexOf(document.documentElement.dataset.theme) + 1) % 3];
    show(theme);
    try { storage.setItem("bramble.theme", theme); } catch { /* full: it holds for this page */ }
  };
  show(storage.getItem("bramble.theme") ?? "auto");
}
