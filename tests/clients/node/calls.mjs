// The calls of one client: run, each prints as a line of JSON whether it did what it shows.
// URL of a ring and URL of a scripted head in argv.

import { readFileSync } from "node:fs";

const server = (url, model) => ({ url, v1: `${url}/v1`, model });

export const RING = server(process.argv[2], "bramble-demo"); // the embedded model
export const SCRIPTED = server(process.argv[3], "scripted"); // see scripted_client.py

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
