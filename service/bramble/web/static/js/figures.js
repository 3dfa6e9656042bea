/** What stands under an answer: its speed, its wait, its length, and who gave it. */

/** @param {{start: number, first: number|null, last: number, tokens: number, timings: object|null}} clock times in ms */
export function figures({ start, first, last, tokens, timings }, model) {
  const count = tokens || timings?.completion_tokens || 0;
  const parts = [];
  const written = (timings?.total_s ?? 0) - (timings?.first_token_s ?? 0);
  const seconds = Math.max(written, first === null ? 0 : (last - first) / 1000); // it may come all at once, or from two heads
  if (count > 1 && seconds > 0) parts.push(`${((count - 1) / seconds).toFixed(1)} tokens/s`);
  const wait = first === null ? timings?.first_token_s : (first - start) / 1000;
  if (wait != null) parts.push(`first token ${wait.toFixed(2)} s`);
  if (count) parts.push(`${count} tokens`);
  return [...parts, model].join(" · ");
}
