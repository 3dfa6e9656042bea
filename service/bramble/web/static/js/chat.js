/** The chat page: the transcript, and one answer at a time. */
import { bindTheme, button, byId, element } from "./element.js";
import { figures } from "./figures.js";
import * as keyboard from "./keyboard.js";
import { GrowingMarkdown, show as showMarkdown, spoken } from "./markdown.js";
import { copy, guard, toast } from "./notice.js";
import * as presence from "./presence.js";
import * as running from "./running.js";
import * as settings from "./settings.js";
import * as sidebar from "./sidebar.js";
import { isLasting } from "./storage.js";
import * as store from "./store.js";
import { complete, lost, Problem } from "./stream.js";

const EXAMPLES = ["How do I add a Pi?", "What is a ring?", "How do I use the API from Python?", "Which model can my Pis run?"];
const CONTINUE = "Please continue where you stopped.";
const SAVE_MS = 1000; // how often a growing answer is stored
const LOOK_MS = 3000; // how often it is asked whether another tab still writes one
const settling = new Set(); // ids of answers of which it is being found out who writes them
let current = null; // id of the shown conversation; the address has it too, so that a reload shows it again
let run = null; // {conversation, message, answer, abort, …} while an answer is written
let model = "";
const transcript = byId("transcript");

function select(id) {
  address(id);
  document.body.classList.remove("drawer");
  sidebar.show();
  showTranscript();
  toEnd();
  if (!keyboard.isTouch()) byId("prompt").focus(); // there it would raise the keyboard over what was opened
}

/** Make a conversation the current one, and the address its own. */
function address(id) {
  current = id;
  const place = id ? `#${id}` : location.pathname;
  if (id !== addressed()) history.pushState(null, "", place);
}

const addressed = () => location.hash.slice(1) || null;

/** Show what the address says: after a reload, and by the browser's Back. */
function restoreAddressed() {
  const id = addressed();
  if (id && !store.read(id)) history.replaceState(null, "", location.pathname); // deleted, or of another browser
  select(addressed());
}

function removing(id) {
  if (run?.conversation !== id) return;
  run.keep();
  run.abort.abort();
}

function removed(id) {
  if (current === id) select(null);
}

// ---- transcript
const isAtEnd = () => transcript.scrollHeight - transcript.scrollTop - transcript.clientHeight < 80;
const toEnd = () => { transcript.scrollTop = transcript.scrollHeight; };

/** Show the conversation from the first message that is not shown as it is stored; who reads further up stays there. */
function showTranscript() {
  const messages = (current && store.read(current))?.messages;
  messages?.forEach(settle);
  if (!messages) { transcript.replaceChildren(welcome()); return; }
  const [sticks, place] = [isAtEnd(), transcript.scrollTop];
  let kept = 0;
  while (kept < messages.length && transcript.children[kept]?.message === JSON.stringify(messages[kept])) kept += 1;
  while (transcript.children.length > kept) transcript.lastElementChild.remove();
  transcript.append(...messages.slice(kept).map(article));
  if (sticks) toEnd(); else transcript.scrollTop = place;
}

/** An answer that is stored as being written, by no tab that lives: write it on here, or say that it was cut off. */
async function settle({ id, state }) {
  if (state !== "writing" || presence.isOwn(id) || settling.has(id) || run) return;
  settling.add(id);
  const conversation = current;
  const isOurs = await presence.take(id);
  if (!isOurs) await new Promise((done) => setTimeout(done, LOOK_MS));
  settling.delete(id);
  if (isOurs) takeOver(conversation, id);
  else if (conversation === current && !run) showTranscript(); // its tab may be gone by now
}

function takeOver(conversation, id) {
  const message = store.read(conversation)?.messages.find((m) => m.id === id);
  if (message?.state === "writing" && running.canGoOn(message) && conversation === current && !run) { write(message, true); return; }
  presence.end(id);
  if (message?.state !== "writing" || running.canGoOn(message)) return; // it waits until its conversation is shown again
  guard(() => store.update(conversation, (c) => c.messages.forEach((m) => { if (m.id === id) Object.assign(m, { state: "cut" }, running.ended); })));
  if (conversation === current && !run) showTranscript();
}

function welcome() {
  const examples = element("div", { className: "examples" }, ...EXAMPLES.map((text) => button(text, () => send(text))));
  return element("div", { className: "welcome" }, element("img", { src: "/static/logo.svg", alt: "", width: 72, height: 72 }), element("h2", { textContent: "What shall we talk about?" }), examples);
}

function article(message) {
  const body = element("div", { className: "body" });
  if (message.role === "user") Object.assign(body, { textContent: message.text, dir: "auto" }); else showMarkdown(body, message.text);
  const footer = element("footer", {}, message.stats ?? "", button("Copy", (event) => copy(message.role === "user" ? message.text : spoken(message.text), event.target)));
  const node = element("article", { className: message.role, ariaLabel: message.role === "user" ? "You" : "Answer", message: JSON.stringify(message) }, body, footer);
  if (message.role === "user") footer.append(button("Edit", () => edit(node, message)));
  else footer.append(button("Regenerate", () => regenerate(message)));
  const isElsewhere = message.state === "writing" && !presence.isOwn(message.id);
  if (message.state === "stopped" || isElsewhere) footer.prepend(element("em", { textContent: isElsewhere ? "being written in another tab" : "stopped" }));
  if (message.state === "stopped" && spoken(message.text)) footer.append(button("Continue", () => resume(message)));
  if (message.problem || message.state === "cut") body.after(problem(message));
  return node;
}

function problem(message) {
  const { title, advice } = message.problem ?? cut(message);
  const box = element("div", { className: "problem", role: "alert" }, element("strong", { textContent: title }), element("div", { textContent: advice }));
  if (spoken(message.text)) box.append(button("Continue", () => resume(message)), " ");
  box.append(button(message.problem ? "Retry" : "Ask again", () => regenerate(message)));
  return box;
}

const cut = (message) => ({
  title: "This answer was cut off: its page was closed for too long.",
  advice: message.text ? "What had come is kept." : "Nothing of it had come yet.",
});

/** Have the rest of an answer written, as a further turn: the head keeps nothing of a request that has ended long ago. */
function resume({ id }) {
  if (!isFree()) return;
  const messages = store.read(current)?.messages ?? [];
  if (messages.at(-1)?.id === id) send(CONTINUE);
  else toast("The conversation went on since; ask in your own words.");
}

function edit(node, message) {
  const area = element("textarea", { value: message.text, rows: 3, dir: "auto", ariaLabel: "Edit message" });
  const take = () => { if (area.value.trim()) resend(message, area.value.trim()); };
  area.onkeydown = (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !keyboard.isComposing(event)) take(); };
  node.replaceChildren(area, button("Send", take), button("Cancel", () => { node.replaceWith(article(message)); if (!run) showTranscript(); }));
  area.focus();
}

function resend(message, text) {
  if (!isFree()) return;
  if (truncate(message.id)) send(text);
  else byId("prompt").value = [byId("prompt").value, text].filter(Boolean).join("\n\n");
}

function regenerate(message) {
  if (isFree() && truncate(message.id)) answer();
}

function isFree() {
  if (run) toast("One answer at a time: wait for the other one, or stop it.");
  return !run;
}

/** Drop a message and all behind it; if that is more than its own turn, it can be had back. False if it is gone. */
function truncate(id) {
  const before = store.read(current);
  const index = before?.messages.findIndex((m) => m.id === id) ?? -1;
  if (index < 0) {
    showTranscript();
    toast("This conversation was changed in another tab. Nothing was sent.");
    return false;
  }
  if (before.messages.length - index > 2) toast("The messages after it are dropped.", "Undo", () => restore(before));
  return guard(() => store.update(current, (c) => c.messages.splice(index)));
}

function restore(conversation) {
  guard(() => store.write(conversation));
  if (run?.conversation === conversation.id) run.abort.abort(); // its end shows what is stored
  else if (current === conversation.id) showTranscript();
}

// ---- one answer
/** Store a question and have it answered; false if it could not be. */
function send(text) {
  if (!text.trim() || !isFree()) return false;
  const isStored = guard(() => {
    if (!current || !store.read(current)) {
      address(store.newId());
      store.write({ id: current, title: text.trim().split("\n")[0].slice(0, 60), changed: Date.now(), messages: [] });
    }
    store.update(current, (c) => c.messages.push({ id: store.newId(), role: "user", text: text.trim() }));
  });
  if (isStored) answer();
  return isStored;
}

function answer() {
  const message = { id: store.newId(), role: "assistant", text: "", ...running.begun(settings.forRequest()) };
  presence.begin(message.id);
  if (guard(() => store.update(current, (c) => c.messages.push(message)))) write(message, false);
  else presence.end(message.id);
}

/** Write an answer of the shown conversation from where it is to its end. */
async function write(message, isOld) {
  run = { conversation: current, message: message.id, answer: message, abort: new AbortController(), keep: () => keep(message), growing: null, progress: null };
  busy(true);
  sidebar.show();
  showTranscript();
  toEnd();
  const { messages } = store.read(current);
  const body = running.bodyOf(message, said(messages.slice(0, messages.findIndex((m) => m.id === message.id))));
  const ending = await consume({ body, key: message.key, event: message.event, isOld }, message);
  Object.assign(message, ending, running.ended);
  presence.end(message.id);
  const isKept = keep(message);
  const shown = run.conversation;
  run = null;
  busy(false);
  if (shown !== current) store.read(current)?.messages.forEach(settle); // those of the shown one had to wait
  else if (isKept) showTranscript();
  else transcript.lastElementChild.replaceWith(article(message)); // the storage is full: it is nowhere else
  byId("announcer").textContent = message.problem?.title ?? spoken(message.text);
}

/** What the model is to read. A question that got no answer is left out, so that roles alternate. */
function said(messages) {
  const all = messages.map((m) => ({ role: m.role, content: m.role === "user" ? m.text : spoken(m.text) }));
  const isLost = (m, i) => !m.content || (all[i + 1]?.role === "assistant" && !all[i + 1].content);
  return all.filter((m, i) => !isLost(m, i));
}

/** Read the stream into `message`; returns how it ended. */
async function consume(asked, message) {
  const clock = { start: performance.now(), first: null, tokens: 0, timings: null };
  let savedAt = clock.start;
  try {
    for await (const event of complete(asked, run.abort.signal)) {
      if (event.progress) { showProgress(event.progress); continue; }
      if (event.broken) { toast("The connection broke. Bramble goes on writing; the page tries to reach it again."); continue; }
      message.event = event.event;
      clock.timings = event.timings ?? clock.timings;
      clock.tokens = event.usage?.completion_tokens ?? clock.tokens;
      if (!event.text && !event.thought) continue;
      clock.first ??= performance.now();
      clock.last = performance.now();
      running.grow(message, event);
      draw();
      if (clock.last - savedAt > SAVE_MS) { keep(message); savedAt = clock.last; }
    }
    return { state: "done", stats: figures(clock, model) };
  } catch (error) {
    if (run.abort.signal.aborted) return { state: "stopped", stats: model };
    const { message: title, advice } = error instanceof Problem ? error : lost();
    return { state: "failed", problem: { title, advice }, stats: model };
  }
}

let isDue = false;
let pausedUntil = 0; // rendering takes at most about a fifth of the time
function draw() {
  if (isDue || run?.conversation !== current) return;
  isDue = true;
  setTimeout(() => requestAnimationFrame((now) => {
    isDue = false;
    if (!run || run.conversation !== current) return;
    const sticks = isAtEnd();
    const body = transcript.lastElementChild.querySelector(".body");
    if (run.growing?.element !== body) { body.replaceChildren(); run.growing = new GrowingMarkdown(body); }
    run.growing.show(run.answer.text);
    pausedUntil = now + 4 * (performance.now() - now);
    if (sticks) toEnd();
  }), pausedUntil - performance.now());
}

function showProgress({ queue_position: queued, prefilled_tokens: read, prompt_tokens: all }) {
  if (run.conversation !== current || run.growing) return;
  const text = queued > 0 ? `Waiting: number ${queued} in the queue` : `Reading your prompt… ${read.toLocaleString("en")} of ${all.toLocaleString("en")} tokens`;
  transcript.lastElementChild.querySelector(".body").replaceChildren(text, element("progress", { max: all || 1, value: read, ariaLabel: "Prompt read" }));
}

function keep(message) {
  return guard(() => store.update(run.conversation, (c) => { c.messages = c.messages.map((m) => (m.id === message.id ? { ...message } : m)); }));
}

function busy(isBusy) {
  byId("send").hidden = isBusy;
  byId("stop").hidden = !isBusy;
  byId("to-status").target = isBusy ? "_blank" : ""; // else it would end the answer
  transcript.ariaBusy = String(isBusy);
}

// ---- page
async function showModel() {
  try {
    const status = await (await fetch("/api/status")).json();
    model = status.model?.name ?? model; // while the head is away, the one it had
    const state = status.state === "serving" ? "" : status.reason || status.state || status.error?.message;
    byId("model").textContent = [model, state].filter(Boolean).join(" · ");
    if (!status.model) return;
    byId("demo").hidden = !status.model.is_demo;
    settings.showDefaults(status.model.defaults);
  } catch { byId("model").textContent = "Bramble cannot be reached"; }
}

byId("composer").onsubmit = (event) => { event.preventDefault(); if (send(byId("prompt").value)) byId("prompt").value = ""; };
keyboard.onSend(byId("prompt"), () => byId("composer").requestSubmit());
keyboard.bind({ stop: () => run?.abort.abort(), begin: () => select(null) });
byId("stop").onclick = () => run?.abort.abort();
byId("new").onclick = () => select(null);
byId("home").onclick = (event) => { event.preventDefault(); select(null); };
transcript.onclick = (event) => { if (event.target.matches(".framed .copy")) copy(event.target.closest(".framed").querySelector("pre").textContent, event.target); };
addEventListener("pagehide", () => run?.keep()); // it goes on when the page is there again, or in another tab
addEventListener("popstate", restoreAddressed);
document.addEventListener("visibilitychange", () => { if (document.hidden) run?.keep(); }); // a phone may end a hidden tab without a word
store.watch(() => { if (!byId("conversations").querySelector("input")) sidebar.show(); if (!run && !transcript.querySelector("textarea")) showTranscript(); });
bindTheme(byId("theme"));
settings.bind();
sidebar.bind({ current: () => current, select, removing, removed });
showModel();
setInterval(() => { if (!document.hidden) showModel(); }, 15000);
restoreAddressed();
if (!isLasting) toast("This browser keeps nothing for this page: conversations end with this tab. Export what you need.");
