// What every file of tests here needs. The SDK is as it comes from npm; it finds the bridge by OPENCOMPUTER_API_URL.
import fs from "node:fs";
import { pathToFileURL } from "node:url";
import assert from "node:assert/strict";
import { after, test } from "node:test";

// Installed elsewhere than we are, so its own package.json is asked what `import "@opencomputer/sdk"` would get.
const home = process.env.SDK_DIR + "/node_modules/@opencomputer/sdk/";
const entries = JSON.parse(fs.readFileSync(home + "package.json")).exports;
const load = (entry) => import(pathToFileURL(home + (entry.node?.import ?? entry.import ?? entry.default)));
export const sdk = await load(entries["."]);
export const nodeSdk = await load(entries["./node"]); // what it has for Node only: images, snapshots
export const { Sandbox } = sdk;
export { after, assert, test };

export const text = (chunks) => Buffer.concat(chunks.map((chunk) => Buffer.from(chunk))).toString();

// One sandbox for a file's tests.
export async function sandbox(opts = {}) {
  const box = await Sandbox.create(opts);
  after(() => box.kill().catch(() => {}));
  return box;
}

// How many times slower than this machine the sandboxes are: they may be emulated. Every wait is that much longer.
const slower = Number(process.env.SLOWER ?? 1);

// Polls until check() gives something true, and gives it back. what: what is waited for, or a function that says so.
export async function eventually(check, what, seconds = 20) {
  seconds *= slower;
  const until = Date.now() + seconds * 1000;
  for (;;) {
    const got = await check();
    if (got) return got;
    if (Date.now() > until) throw new Error(`waited ${seconds} s for ${what.call ? what() : what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

// A request that the SDK has no method for.
export async function raw(method, path, body, headers = {}) {
  return fetch(`${process.env.OPENCOMPUTER_API_URL}/api${path}`, {
    method,
    headers: { "X-API-Key": process.env.OPENCOMPUTER_API_KEY, ...(body ? { "Content-Type": "application/json" } : {}), ...headers },
    body: body && JSON.stringify(body),
  });
}
