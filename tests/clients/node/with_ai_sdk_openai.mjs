// The AI SDK with OpenAI's own provider: the Responses API, unless `.chat` is asked for.

import { createOpenAI } from "@ai-sdk/openai";

import { addCallsOf } from "./ai_sdk.mjs";
import { Calls } from "./calls.mjs";

const calls = new Calls("@ai-sdk/openai", "@ai-sdk/openai");
const provider = (server) => createOpenAI({ baseURL: server.v1, apiKey: "none" });
addCallsOf(calls, "`openai(MODEL)`", (server) => provider(server)(server.model));
addCallsOf(calls, "`openai.chat(MODEL)`", (server) => provider(server).chat(server.model));

await calls.run();
