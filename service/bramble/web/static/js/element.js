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
  const show = () => {
    const theme = localStorage.getItem("bramble.theme") ?? "auto";
    document.documentElement.dataset.theme = theme;
    control.textContent = theme[0].toUpperCase() + theme.slice(1);
  };
  control.onclick = () => {
    const themes = ["auto", "light", "dark"];
    localStorage.setItem("bramble.theme", themes[(themes.indexOf(document.documentElement.dataset.theme) + 1) % 3]);
    show();
  };
  show();
}
