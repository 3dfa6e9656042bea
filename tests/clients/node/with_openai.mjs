// The openai package of npm.

import assert from "node:assert/strict";

import OpenAI from "openai";

import { Calls, RING, SCRIPTED } from "./calls.mjs";

const calls = new Calls("openai (npm)", "openai");
const clientOf = (server) => new OpenAI({ baseURL: server.v1, apiKey: "none", maxRetries: 0 });
const HELLO = [{ role: "user", content: "Hello" }];

calls.add("`models.list`", "the served model, and nothing else", async () => {
  const found = [];
  for await (const model of clientOf(RING).models.list()) found.push(model.id);
  assert.deepEqual(found, [RING.model]);
});

calls.add("`chat.completions.create`", "a reply and its usage", async () => {
  const asked = { model: RING.model, messages: HELLO };
  const reply = await clientOf(RING).chat.completions.create(asked);
  assert.ok(reply.choices[0].message.content);
  assert.ok(reply.usage.completion_tokens > 0);
});

calls.add("`chat.completions.stream`", "a reply in pieces, put together", async () => {
  const stream = clientOf(RING).chat.completions.stream({ model: RING.model, messages: HELLO });
  let text = "";
  stream.on("content", (piece) => (text += piece));
  assert.equal(await stream.finalContent(), text);
  assert.ok(text);
});

await calls.run();
