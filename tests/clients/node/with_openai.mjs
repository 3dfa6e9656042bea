// The openai package of npm.

import assert from "node:assert/strict";

import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

import { ANSWER, ARGUMENTS, Calls, QUESTION, RESULT, RING, SCRIPTED, WEATHER } from "./calls.mjs";

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

const ASKED = [{ role: "user", content: QUESTION }];
const asked = { model: SCRIPTED.model, messages: ASKED };

calls.add("`chat.completions.runTools`", "a tool is called, and the answer follows", async () => {
  const run = async (args) => (assert.deepEqual(args, ARGUMENTS), RESULT);
  const tools = [{ type: "function", function: { ...WEATHER, parse: JSON.parse, function: run } }];
  const runner = clientOf(SCRIPTED).chat.completions.runTools({ ...asked, tools });
  assert.equal(await runner.finalContent(), ANSWER);
});

calls.add("`chat.completions.runTools({stream: true})`", "the same, streamed", async () => {
  const run = async (args) => (assert.deepEqual(args, ARGUMENTS), RESULT);
  const tools = [{ type: "function", function: { ...WEATHER, parse: JSON.parse, function: run } }];
  const runner = clientOf(SCRIPTED).chat.completions.runTools({ ...asked, tools, stream: true });
  assert.equal(await runner.finalContent(), ANSWER);
});

calls.add("`chat.completions.parse`", "an object that fits a zod schema", async () => {
  const schema = z.object({ city: z.string(), degrees: z.array(z.number()) });
  const response_format = zodResponseFormat(schema, "weather");
  const reply = await clientOf(SCRIPTED).chat.completions.parse({ ...asked, response_format });
  assert.deepEqual(reply.choices[0].message.parsed, { city: "Paris", degrees: [7.5] });
});

calls.add("`responses.create`", "a text", async () => {
  const reply = await clientOf(RING).responses.create({ model: RING.model, input: "Hello" });
  assert.ok(reply.output_text);
});

calls.add("`responses.stream({tools})`", "a streamed call, put together", async () => {
  const tools = [{ type: "function", strict: false, ...WEATHER }];
  const input = { model: SCRIPTED.model, input: QUESTION, tools };
  const reply = await clientOf(SCRIPTED).responses.stream(input).finalResponse();
  assert.deepEqual(JSON.parse(reply.output[0].arguments), ARGUMENTS);
});

await calls.run();
