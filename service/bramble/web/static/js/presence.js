/** Which answers are being written, and in which tab: one whose tab is gone is not. */

const WAIT_MS = 500; // another tab answers within some ms, a busy one later
const WRITES = 2; // more than any claim
const channel = new BroadcastChannel("bramble.answers");
const own = new Set();
const claims = new Set();
const heard = new Map(); // answer → the strongest of what other tabs said
const claim = Math.random(); // of two tabs that want the same answer at once, the one with the greater gets it

channel.onmessage = ({ data }) => {
  if (data.asked && own.has(data.asked)) channel.postMessage({ written: data.asked, by: WRITES });
  else if (data.asked && claims.has(data.asked)) channel.postMessage({ written: data.asked, by: claim });
  if (data.written) heard.set(data.written, Math.max(data.by, heard.get(data.written) ?? 0));
};

export const begin = (id) => own.add(id);
export const end = (id) => own.delete(id);
export const isOwn = (id) => own.has(id);

/** Ask the other tabs whether one of them writes the answer; if none does, it is this one's. */
export async function take(id) {
  heard.delete(id);
  claims.add(id);
  channel.postMessage({ asked: id });
  await new Promise((done) => setTimeout(done, WAIT_MS));
  claims.delete(id);
  if ((heard.get(id) ?? 0) > claim) return false;
  own.add(id);
  return true;
}
