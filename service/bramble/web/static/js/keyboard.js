/** Keys: what Enter does, the shortcuts, and the list of conversations as a drawer. */
import { byId } from "./element.js";

/** A key that belongs to a word being composed (Chinese, Japanese, accents); Safari tells of the last one by its code alone. */
export const isComposing = (event) => event.isComposing || event.keyCode === 229;

/** True on a phone or tablet: its keyboard has no Shift+Enter, so Enter makes a new line and the button sends. */
export const isTouch = () => matchMedia("(pointer: coarse)").matches;

/** Call `submit` when Enter is pressed to send `area`'s text. */
export function onSend(area, submit) {
  area.enterKeyHint = isTouch() ? "enter" : "send";
  area.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || isComposing(event)) return;
    if (!event.ctrlKey && !event.metaKey && (event.shiftKey || isTouch())) return;
    event.preventDefault();
    submit();
  });
  if (!CSS.supports("field-sizing", "content")) area.addEventListener("input", () => { area.rows = Math.min(8, area.value.split("\n").length); });
}

const isNarrow = () => matchMedia("(max-width: 720px)").matches; // as in chat.css: there the list is a drawer

function toggleList() {
  if (!isNarrow()) document.body.classList.toggle("folded");
  else byId(document.body.classList.toggle("drawer") ? "new" : "menu").focus(); // what it covers is out of reach
}

/** @param {{stop: () => boolean, begin: () => void}} page  stop ends the answer, if one is being written; begin opens a new chat */
export function bind(page) {
  byId("menu").onclick = toggleList;
  byId("shade").onclick = () => document.body.classList.remove("drawer");
  byId("help").onclick = () => byId("help-dialog").showModal();
  document.onkeydown = (event) => { if (!isComposing(event)) press(event, page); };
}

function press(event, page) {
  const isTyping = event.target.matches("input, textarea");
  if (event.key === "Escape" && isNarrow() && document.body.classList.contains("drawer")) toggleList();
  else if (event.key === "Escape" && (!isTyping || event.target.id === "prompt") && !document.querySelector("dialog[open]")) page.stop();
  else if (event.key === "k" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); document.body.classList.remove("folded"); document.body.classList.add("drawer"); byId("search").focus(); }
  else if (event.code === "KeyN" && event.altKey) { event.preventDefault(); page.begin(); }
  else if (event.key === "?" && !isTyping) byId("help-dialog").showModal();
}
