#!/usr/bin/env node
// load.sample: one call on the line protocol. The call is the first line, a cancel may be another one.
import { setTimeout as sleep } from "node:timers/promises";
import { createInterface } from "node:readline";
import { writeSync } from "node:fs";
import os from "node:os";

const cancel = new AbortController();

// console.log would get between the lines
console.log = console.error;

function say(message) {
  let rest = Buffer.from(JSON.stringify(message) + "\n");
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(1, rest));
    } catch (error) {
      if (error.code === "EPIPE") process.exit(0); // nobody listens any more
      if (error.code !== "EAGAIN") throw error;
    }
  }
}

async function loadSample({ samples = 5, interval_ms = 1000 }) {
  let [load, free] = [0, 0];
  for (let number = 1; number <= samples; number++) {
    const value = { load: os.loadavg()[0], free_bytes: os.freemem() };
    load += value.load;
    free += value.free_bytes;
    say({ value });
    say({ progress: { completed: number, total: samples } });
    if (number < samples) await sleep(interval_ms, undefined, { signal: cancel.signal });
  }
  return { samples, load: load / samples, free_bytes: Math.round(free / samples) };
}

function exception(error) {
  const { name, message, stack, ...state } = error;
  const known = Object.fromEntries(Object.entries(state).filter(([, value]) => ["string", "number"].includes(typeof value)));
  return { class: name ?? "Error", module: "node", message: String(message), trace: String(stack), args: [], state: known, data: null };
}

process.on("SIGTERM", () => cancel.abort());

let begun = false;
createInterface({ input: process.stdin }).on("line", async (line) => {
  const message = JSON.parse(line);
  if ("cancel" in message) return cancel.abort();
  if (begun) return;
  begun = true;
  try {
    say({ result: await loadSample(message.kwargs ?? {}) });
  } catch (error) {
    say({ exception: exception(error) });
  }
  process.exit(0);
});
