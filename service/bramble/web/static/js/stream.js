/** One streamed completion: an HTTP request in, events out; it goes on where it broke. Knows no page. */

const PLACE = "/v1/chat/completions";
const PATIENCE_MS = 120_000; // for so long the head goes on with a request that nobody reads
const PAUSE_MS = 1000;

/** What went wrong, as a title and what to do about it. It passes if the same request may succeed before long. */
export class Problem extends Error {
  constructor(title, advice, passes = false) {
    super(title);
    this.advice = advice;
    this.passes = passes;
  }
}

/**
 * Yield {progress}, {text, thought, event, usage, timings} and, when a connection broke, {broken} objects.
 * Aborting ends the request for all who read it.
 * @param {{body: object, key: string, event?: string, isOld: boolean}} asked  event: id of the last one that was read
 * @param {AbortSignal} signal
 */
export async function* complete({ body, key, event, isOld }, signal) {
  let hasAnswered = isOld; // who never reached the server is told so at once
  let [replyId, brokenAt] = [null, null];
  for (;;) {
    try {
      const response = await request(body, key, event, signal);
      hasAnswered = true;
      replyId = nameOf(response);
      let id;
      for await (const line of lines(response.body, signal)) {
        if (line.startsWith(": progress ")) yield { progress: JSON.parse(line.slice(11)) };
        if (line.startsWith("id:")) id = line.slice(3).trim();
        if (!line.startsWith("data:")) continue;
        const data = line.slice(5).trim();
        if (data === "[DONE]") return;
        const chunk = JSON.parse(data);
        if (chunk.error) throw new Problem(chunk.error.message, "What was shown is kept. Retry to ask again.");
        [event, brokenAt] = [id, null];
        const { content: text = "", reasoning_content: thought = "" } = chunk.choices?.[0]?.delta ?? {};
        yield { text, thought, event, usage: chunk.usage, timings: chunk.bramble };
      }
    } catch (error) {
      if (!(error instanceof Problem && error.passes && hasAnswered)) throw error;
    }
    if (brokenAt === null && !signal.aborted) yield { broken: true };
    brokenAt ??= performance.now();
    if (performance.now() - brokenAt > PATIENCE_MS) throw lost();
    if (!signal.aborted) await Promise.race([new Promise((done) => setTimeout(done, PAUSE_MS)), aborted(signal)]).catch(() => {});
    if (signal.aborted) {
      end(replyId);
      throw signal.reason;
    }
  }
}

export const lost = () => new Problem("The connection was lost.", "What was shown is kept. Check the network, then retry.");

async function request(body, key, event, signal) {
  const headers = { "Content-Type": "application/json", "Idempotency-Key": key, ...(event ? { "Last-Event-ID": event } : {}) };
  const answer = fetch(PLACE, { method: "POST", headers, body: JSON.stringify(body) });
  let response;
  try {
    response = await Promise.race([answer, aborted(signal)]);
  } catch (error) {
    if (signal.aborted) answer.then((late) => { end(nameOf(late)); late.body.cancel(); }).catch(() => {}); // only with it comes the id
    if (signal.aborted) throw error;
    throw new Problem("Bramble cannot be reached.", "Check the network and that the head node is on, then retry.", true);
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

const nameOf = (response) => response.headers.get("X-Request-Id");

/** Have a request end at the head: that its reader leaves would not do that. */
function end(replyId) {
  if (replyId) fetch(`${PLACE}/${replyId}`, { method: "DELETE", keepalive: true }).catch(() => {}); // it ends by itself later
}

const aborted = (signal) => new Promise((_, reject) => {
  if (signal.aborted) reject(signal.reason); else signal.addEventListener("abort", () => reject(signal.reason), { once: true });
});

async function refusal(response) {
  const document = await response.json().catch(() => ({}));
  const message = document.error?.message ?? `HTTP ${response.status}`;
  const wait = response.headers.get("Retry-After");
  if (response.status === 429) return new Problem("Bramble is busy: " + message, `Retry in ${wait ?? "a few"} seconds.`, true);
  if (response.status === 503) return new Problem("Bramble is not ready: " + message, `Retry in ${wait ?? "a few"} seconds; the status page tells more.`, true);
  if (response.status < 500) return new Problem("The request was refused: " + message, "Change the message or the settings, then retry.");
  return new Problem("Bramble failed: " + message, "Retry; the status page tells more.");
}

/** Yield whole lines until the stream ends, breaks or is aborted. */
async function* lines(stream, signal) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  const leave = () => reader.cancel().catch(() => {});
  signal.addEventListener("abort", leave, { once: true });
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch(() => ({ done: true }));
    if (done || signal.aborted) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    yield* parts;
  }
}
