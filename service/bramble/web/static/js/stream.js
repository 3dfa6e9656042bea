/** One streamed completion: an HTTP request in, events out. Knows no page. */

/** What went wrong, as a title and what to do about it. */
export class Problem extends Error {
  constructor(title, advice) { super(title); this.advice = advice; }
}

/**
 * Yield {progress}, {text}, {usage} and {timings} objects.
 * @param {object} body @param {AbortSignal} signal
 */
export async function* complete(body, signal) {
  const response = await request(body, signal);
  let isComplete = false;
  for await (const line of lines(response.body)) {
    if (line.startsWith(": progress ")) yield { progress: JSON.parse(line.slice(11)) };
    if (!line.startsWith("data:")) continue;
    const data = line.slice(5).trim();
    if (data === "[DONE]") { isComplete = true; break; }
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Problem(chunk.error.message, "What was shown is kept. Retry to ask again.");
    yield { text: chunk.choices?.[0]?.delta?.content ?? "", usage: chunk.usage, timings: chunk.bramble };
  }
  if (!isComplete) throw lost();
}

export const lost = () => new Problem("The connection was lost.", "What was shown is kept. Check the network, then retry.");

async function request(body, signal) {
  let response;
  try {
    response = await fetch("/v1/chat/completions", { method: "POST", signal, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Problem("Bramble cannot be reached.", "Check the network and that the head node is on, then retry.");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const document = await response.json().catch(() => ({}));
  const message = document.error?.message ?? `HTTP ${response.status}`;
  const wait = response.headers.get("Retry-After");
  if (response.status === 429) return new Problem("Bramble is busy: " + message, `Retry in ${wait ?? "a few"} seconds.`);
  if (response.status === 503) return new Problem("Bramble is not ready: " + message, `Retry in ${wait ?? "a few"} seconds; the status page tells more.`);
  if (response.status < 500) return new Problem("The request was refused: " + message, "Change the message or the settings, then retry.");
  return new Problem("Bramble failed: " + message, "Retry; the status page tells more.");
}

async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    yield* parts;
  }
}
