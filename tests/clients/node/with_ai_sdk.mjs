// The AI SDK with its provider for servers that speak OpenAI's chat protocol.

import assert from "node:assert/strict";

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";

import { Calls, RING, SCRIPTED } from "./calls.mjs";

const calls = new Calls("@ai-sdk/openai-compatible", "@ai-sdk/openai-compatible");
const modelOf = (server) =>
  createOpenAICompatible({ name: "bramble", baseURL: server.v1, includeUsage: true })(server.model);

calls.add("`generateText`", "a reply and its usage", async () => {
  const { text, usage } = await generateText({ model: modelOf(RING), prompt: "Hello" });
  assert.ok(text);
  assert.ok(usage.outputTokens > 0);
});

calls.add("`streamText`", "a reply in pieces, then its usage", async () => {
  const reply = streamText({ model: modelOf(RING), prompt: "Hello" });
  let text = "";
  for await (const piece of reply.textStream) text += piece;
  assert.ok(text);
  assert.ok((await reply.usage).outputTokens > 0);
});

await calls.run();
