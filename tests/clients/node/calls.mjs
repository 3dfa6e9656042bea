// The calls of one client: run, each prints as a line of JSON whether it did what it shows.
// URL of a ring and URL of a scripted head in argv.

import { readFileSync } from "node:fs";

const server = (url, model) => ({ url, v1: `${url}/v1`, model });

export const RING = server(process.argv[2], "bramble-demo"); // the embedded model
export const SCRIPTED = server(process.argv[3], "scripted"); // see scripted_client.py

// What its model calls the first tool of a request with; it knows one city
export const ARGUMENTS = { city: "Paris", unit: "celsius" };
export const WEATHER = {
  name: "get_weather",
  description: "The weather in a city.",
  parameters: {
    type: "object",
    properties: {
      city: { type: "string", description: "where" },
      unit: { type: "string", enum: ["celsius", "fahrenheit"] },
    },
    required: ["city"],
  },
};
export const QUESTION = "What is the weather in Paris?";
export const RESULT = "21 degrees";
export const ANSWER = `The result is ${RESULT}.`;

export class Calls {
  #client;
  #calls = [];

  constructor(client, name) {
    const file = new URL(`node_modules/${name}/package.json`, import.meta.url);
    this.#client = `${client} ${JSON.parse(readFileSync(file)).version}`;
  }

  /** Register a function that throws unless the call does what it shows. */
  add(call, shows, run) {
    this.#calls.push({ call, shows, run });
  }

  async run() {
    console.log = console.error; // stdout has verdicts alone
    for (const { call, shows, run } of this.#calls) {
      const trouble = await run().then(
        () => null,
        (error) => `${error.stack ?? error}`,
      );
      const verdict = { client: this.#client, call, shows, trouble };
      process.stdout.write(`${JSON.stringify(verdict)}\n`);
    }
  }
}
