/** What this browser keeps for us; where it denies that (all cookies blocked), this tab's memory. */

class Memory {
  getItem(key) { return this[key] ?? null; }
  setItem(key, text) { this[key] = text; }
  removeItem(key) { delete this[key]; }
}

export class StoreFull extends Error {}

export const storage = open();
export const isLasting = !(storage instanceof Memory);

function open() {
  try { return window.localStorage ?? new Memory(); } catch { return new Memory(); }
}

export function put(key, text) {
  try { storage.setItem(key, text); } catch {
    throw new StoreFull("This browser's storage is full. Export and delete some conversations.");
  }
}
