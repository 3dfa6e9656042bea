/** Conversations in the browser's storage, one key each, so that two tabs never overwrite each other's. */
import { put, storage } from "./storage.js";

const PREFIX = "bramble.chat.v1.";

/** @typedef {{id: string, role: "user"|"assistant", text: string, stats?: string, state?: string, problem?: {title: string, advice: string}, key?: string, event?: string, asked?: string, since?: number}} Message key and what follows: see running.js */
/** @typedef {{id: string, title: string, changed: number, messages: Message[]}} Conversation */

export const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(9)), (b) => b.toString(36).padStart(2, "0")).join("");

/** @returns {Conversation[]} newest first */
export function list() {
  return Object.keys(storage).filter((key) => key.startsWith(PREFIX))
    .map((key) => read(key.slice(PREFIX.length))).filter((c) => c !== null)
    .sort((a, b) => b.changed - a.changed);
}

/** @returns {Conversation|null} */
export function read(id) {
  try {
    return check(JSON.parse(storage.getItem(PREFIX + id)));
  } catch {
    return null; // absent, or altered by hand
  }
}

/** Apply `change` to the newest stored version and store it. */
export function update(id, change) {
  const conversation = read(id);
  if (!conversation) return null;
  change(conversation);
  conversation.changed = Date.now();
  write(conversation);
  return conversation;
}

/** @param {Conversation} conversation */
export const write = (conversation) => put(PREFIX + conversation.id, JSON.stringify(conversation));

/** Store all of them, or none and throw. */
export function writeAll(conversations) {
  try { conversations.forEach(write); } catch (error) {
    conversations.forEach((c) => remove(c.id));
    throw error;
  }
}

export const remove = (id) => storage.removeItem(PREFIX + id);

/** Call `listener` when another tab changed a conversation. */
export function watch(listener) {
  addEventListener("storage", (event) => {
    if (event.key === null || event.key.startsWith(PREFIX)) listener();
  });
}

export const toFile = (conversations) => JSON.stringify({ format: "bramble-chats", version: 1, conversations }, null, 1);

/** Validate an exported file. Throws an Error that says what is wrong; all ids are made anew. */
export function fromFile(text) {
  let file;
  try { file = JSON.parse(text); } catch { throw new Error("The file is not JSON."); }
  if (file?.format !== "bramble-chats" || !Array.isArray(file.conversations)) throw new Error("The file is not an export of Bramble's chats.");
  if (file.version !== 1) throw new Error(`The file has version ${file.version}; this page reads version 1.`);
  return file.conversations.map((c, i) => {
    try { return renewed(check(c)); } catch (error) { throw new Error(`Conversation ${i + 1}: ${error.message}.`); }
  });
}

const renewed = (c) => ({ ...c, id: newId(), messages: c.messages.map((m) => ({ ...m, id: newId() })) });

function check(c) {
  if (typeof c?.id !== "string" || typeof c.title !== "string" || !Array.isArray(c.messages)) throw new Error("needs id, title and messages");
  return { id: c.id, title: c.title.trim() || "Untitled", changed: Number(c.changed) || 0, messages: c.messages.map(checkMessage) };
}

function checkMessage(m) {
  if (!["user", "assistant"].includes(m?.role) || typeof m.text !== "string") throw new Error("a message needs a role and a text");
  const text = (value) => (typeof value === "string" ? value : undefined); // what else is malformed is left out
  const [title, advice] = [text(m.problem?.title), text(m.problem?.advice)];
  return { id: String(m.id ?? newId()), role: m.role, text: m.text, stats: text(m.stats), state: text(m.state), problem: title && advice && { title, advice }, key: text(m.key), event: text(m.event), asked: text(m.asked), since: Number(m.since) || undefined };
}
