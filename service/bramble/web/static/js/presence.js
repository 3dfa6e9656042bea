/** Which answers are being written, and in which tab: one whose tab is gone is not. */

const WAIT_MS = 500; // another tab answers within some ms, a busy one later
const channel = new BroadcastChannel("bramble.answers");
const own = new Set();
const heard = new Set();

channel.onmessage = ({ data }) => {
  if (data.asked && own.has(data.asked)) channel.postMessage({ written: data.asked });
  if (data.written) heard.add(data.written);
};

export const begin = (id) => own.add(id);
export const end = (id) => own.delete(id);
export const isOwn = (id) => own.has(id);

/** Ask the other tabs whether one of them writes the answer. */
export async function isWrittenElsewhere(id) {
  heard.delete(id);
  channel.postMessage({ asked: id });
  await new Promise((done) => setTimeout(done, WAIT_MS));
  return heard.has(id);
}
