/** How a stage's figures are written; any of them may be null. */

export const SIGNS = { ready: "✓", loading: "◌", waiting: "…", failed: "✕", lost: "⚠" };

export const number = (value, unit, digits = 1) => (value == null ? "–" : value.toFixed(digits) + unit);
export const mebi = (bytes) => number(bytes == null ? null : bytes / 2 ** 20, " MiB", 0);
export const percent = (share) => number(share == null ? null : share * 100, " %", 0);

export function layers(stage) {
  if (stage.start == null) return "not assigned";
  return [stage.has_embed && "embed", `${stage.start}–${stage.stop - 1}`, stage.has_lm_head && "lm_head"].filter(Boolean).join(" + ")
    + (stage.part ? `, ${stage.part}` : "");
}
