// The AI SDK with its provider for servers that speak OpenAI's chat protocol.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";

import { addCallsOf } from "./ai_sdk.mjs";
import { Calls } from "./calls.mjs";

const calls = new Calls("@ai-sdk/openai-compatible", "@ai-sdk/openai-compatible");
const settings = { name: "bramble", includeUsage: true, supportsStructuredOutputs: true };
addCallsOf(calls, "`createOpenAICompatible`", (server) =>
  createOpenAICompatible({ ...settings, baseURL: server.v1 })(server.model),
);

await calls.run();
