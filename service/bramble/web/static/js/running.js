/** What is stored of an answer while it is written, so that it goes on after a reload and in another tab. */
import { newId } from "./store.js";

const KEPT_MS = 600_000; // the head knows an answer for so long after its end

/** The members of a message that is about to be written; `asked` is what settings.forRequest gives. */
export const begun = (asked) => ({ state: "writing", key: newId(), since: Date.now(), asked: JSON.stringify(asked) });

/** The same, once it has ended in whichever way. */
export const ended = { key: undefined, since: undefined, asked: undefined, event: undefined, isThinking: undefined };

export const canGoOn = (message) => Boolean(message.key && message.asked) && Date.now() - message.since < KEPT_MS;

/** The body of its request, always the same: the head tells by it that the request is the same too. */
export function bodyOf(message, said) {
  const { sampling, system } = JSON.parse(message.asked);
  return { messages: [...system, ...said], stream: true, stream_options: { include_usage: true }, ...sampling };
}

/** Add what came next to a message. A thought that came beside the text is put where others stand, in <think>…</think>. */
export function grow(message, { text, thought }) {
  if (thought) {
    message.text += (message.isThinking ? "" : "<think>\n") + thought;
    message.isThinking = true;
  }
  if (text) {
    message.text += (message.isThinking ? "\n</think>\n\n" : "") + text;
    message.isThinking = false;
  }
}
