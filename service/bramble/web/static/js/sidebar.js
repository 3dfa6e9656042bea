/** The list of conversations: search, rename, delete, export and import. */
import { button, byId, element } from "./element.js";
import { isComposing } from "./keyboard.js";
import { guard, toast } from "./notice.js";
import * as store from "./store.js";

let page = null; // {current(), select(id), removing(id), removed(id)}

export function show() {
  byId("conversations").querySelector("input")?.blur(); // a name being written is taken first
  const wanted = byId("search").value.trim().toLowerCase();
  const matches = (c) => [c.title, ...c.messages.map((m) => m.text)].some((text) => text.toLowerCase().includes(wanted));
  byId("conversations").replaceChildren(...store.list().filter(matches).map(row));
}

/** @param {{current: () => string|null, select: (id: string|null) => void, removing: (id: string) => void, removed: (id: string) => void}} callbacks */
export function bind(callbacks) {
  page = callbacks;
  byId("search").oninput = show;
  byId("export-all").onclick = () => save(store.list());
  byId("import").onclick = () => byId("file").click();
  byId("file").onchange = importFile;
}

function row(conversation) {
  const open = button(conversation.title, () => page.select(conversation.id), "open");
  const item = element("li", { className: conversation.id === page.current() ? "current" : "" }, open);
  const act = (sign, name, action) => Object.assign(button(sign, action), { title: name, ariaLabel: `${name} ${conversation.title}` });
  item.append(act("✎", "Rename", () => rename(item, conversation)), act("⤓", "Export", () => save([store.read(conversation.id) ?? conversation])), act("✕", "Delete", () => remove(conversation)));
  return item;
}

function rename(item, conversation) {
  const input = element("input", { value: conversation.title, ariaLabel: "Title" });
  input.onblur = () => {
    const stored = store.read(conversation.id);
    const title = input.value.trim();
    if (stored && title && title !== stored.title) guard(() => store.write({ ...stored, title }));
    item.replaceWith(...[store.read(conversation.id)].filter(Boolean).map(row)); // the other rows stay: one of them may be being clicked
  };
  input.onkeydown = (event) => {
    if (isComposing(event) || !["Enter", "Escape"].includes(event.key)) return;
    event.stopPropagation(); // to the page, Escape means to stop the answer
    if (event.key === "Escape") input.value = "";
    input.blur();
  };
  item.replaceChildren(input);
  input.select();
}

function remove({ id }) {
  page.removing(id);
  const conversation = store.read(id); // as it is now, not as it was when its row was drawn
  store.remove(id);
  page.removed(id);
  show();
  if (conversation) toast("Deleted.", "Undo", () => { guard(() => store.write(conversation)); show(); });
}

function save(conversations) {
  const url = URL.createObjectURL(new Blob([store.toFile(conversations)], { type: "application/json" }));
  element("a", { href: url, download: "bramble-chats.json" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

async function importFile(event) {
  const [file] = event.target.files;
  try {
    const conversations = store.fromFile(await file.text());
    store.writeAll(conversations);
    toast(`Imported ${conversations.length}.`);
  } catch (error) { toast("Not imported. " + error.message); }
  event.target.value = "";
  show();
}
