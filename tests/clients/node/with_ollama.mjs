// The ollama package of npm.

import assert from "node:assert/strict";

import { Ollama } from "ollama";

import { ANSWER, ARGUMENTS, Calls, QUESTION, RESULT, RING, SCRIPTED, WEATHER } from "./calls.mjs";

const calls = new Calls("ollama (npm)", "ollama");
const clientOf = (server) => new Ollama({ host: server.url });
const HELLO = [{ role: "user", content: "Hello" }];
const ASKED = [{ role: "user", content: QUESTION }];
const tools = [{ type: "function", function: WEATHER }];

calls.add("`list`, `ps`, `version`", "the served model and a version", async () => {
  const client = clientOf(RING);
  assert.equal((await client.list()).models[0].name.split(":")[0], RING.model);
  assert.equal((await client.ps()).models.length, 1);
  assert.ok((await client.version()).version);
});

calls.add("`chat`", "a reply with its counts", async () => {
  const reply = await clientOf(RING).chat({ model: RING.model, messages: HELLO });
  assert.ok(reply.message.content);
  assert.ok(reply.eval_count > 0);
});

calls.add("`chat({stream: true})`", "a reply in pieces", async () => {
  const asked = { model: RING.model, messages: HELLO, stream: true };
  const parts = [];
  for await (const part of await clientOf(RING).chat(asked)) parts.push(part);
  assert.ok(parts.map((part) => part.message.content).join(""));
  assert.equal(parts.at(-1).done_reason, "stop");
});

calls.add("`chat({tools})`", "a call, its result, and the answer behind it", async () => {
  const client = clientOf(SCRIPTED);
  const asked = { model: SCRIPTED.model, messages: ASKED, tools };
  const { message } = await client.chat(asked);
  assert.deepEqual(message.tool_calls[0].function.arguments, ARGUMENTS);
  const result = { role: "tool", tool_name: WEATHER.name, content: RESULT };
  const answer = await client.chat({ ...asked, messages: [...ASKED, message, result] });
  assert.equal(answer.message.content, ANSWER);
});

calls.add("`chat({format})`", "a document that fits a schema", async () => {
  const asked = { model: SCRIPTED.model, messages: ASKED, format: WEATHER.parameters };
  const { message } = await clientOf(SCRIPTED).chat(asked);
  assert.deepEqual(JSON.parse(message.content), ARGUMENTS);
});

await calls.run();
