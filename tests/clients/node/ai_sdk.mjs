// What the AI SDK does with a model, whichever provider it comes from.

import assert from "node:assert/strict";

import { Output, generateText, isStepCount, streamText, tool } from "ai";
import { z } from "zod";

import { ANSWER, QUESTION, RESULT, RING, SCRIPTED } from "./calls.mjs";

const city = z.object({ city: z.string() });
const tools = {
  get_weather: tool({
    description: "The weather in a city.",
    inputSchema: city,
    execute: async ({ city }) => (assert.equal(city, "Paris"), RESULT),
  }),
};

/** Add the calls of one way to make a model. */
export function addCallsOf(calls, name, modelOf) {
  calls.add(`${name}, \`generateText\``, "a reply and its usage", async () => {
    const { text, usage } = await generateText({ model: modelOf(RING), prompt: "Hello" });
    assert.ok(text);
    assert.ok(usage.outputTokens > 0);
  });

  calls.add(`${name}, \`streamText\``, "a reply in pieces, then its usage", async () => {
    const reply = streamText({ model: modelOf(RING), prompt: "Hello" });
    let text = "";
    for await (const piece of reply.textStream) text += piece;
    assert.ok(text);
    assert.ok((await reply.usage).outputTokens > 0);
  });

  const asked = { prompt: QUESTION, tools, stopWhen: isStepCount(3) };

  calls.add(`${name}, \`generateText({tools})\``, "a tool is called, the answer follows", async () => {
    const { text, steps } = await generateText({ model: modelOf(SCRIPTED), ...asked });
    assert.equal(steps.length, 2);
    assert.equal(text, ANSWER);
  });

  calls.add(`${name}, \`streamText({tools})\``, "the same, streamed", async () => {
    const reply = streamText({ model: modelOf(SCRIPTED), ...asked });
    let text = "";
    for await (const piece of reply.textStream) text += piece;
    assert.equal(text, ANSWER);
  });

  calls.add(`${name}, \`Output.object\``, "an object, by a schema", async () => {
    const output = Output.object({ schema: city });
    const found = await generateText({ model: modelOf(SCRIPTED), prompt: QUESTION, output });
    assert.deepEqual(found.output, { city: "Paris" });
  });
}
