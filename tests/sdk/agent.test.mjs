// Agent sessions with the real claude on a loopback Messages API.
import fs from "node:fs";
import { Readable } from "node:stream";
import { assert, eventually, raw, sandbox, test } from "./common.mjs";

const CLAUDE = "/home/sandbox/claude";
const box = await sandbox({
  envs: {
    ANTHROPIC_API_KEY: "key", ANTHROPIC_BASE_URL: process.env.MESSAGES_URL, AGENTD_CLAUDE: CLAUDE, NO_PROXY: "*", DISABLE_TELEMETRY: "1",
    DISABLE_AUTOUPDATER: "1", DISABLE_ERROR_REPORTING: "1", CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
  },
});
await box.files.write(CLAUDE, Readable.toWeb(fs.createReadStream(process.env.CLAUDE)));
assert.equal((await box.exec.run(`chmod +x ${CLAUDE} && ${CLAUDE} --version`)).exitCode, 0);

async function start(opts = {}) {
  const events = [], errors = [];
  const session = await box.agent.start({ ...opts, onEvent: (event) => events.push(event), onError: (data) => errors.push(data) });
  const of = (type) => events.filter((event) => event.type === type);
  return { session, events, errors, of, wait: (type, n = 1) => eventually(() => of(type).length >= n, `${n} × ${type}; have ${JSON.stringify(events)} ${errors.join("")}`, 60) };
}

test("a turn, another in the same conversation, and the end", async () => {
  const agent = await start({ prompt: "say hello", systemPrompt: "be short", maxTurns: 3 });
  await agent.wait("turn_complete");
  assert.equal(agent.events[0].type, "ready");
  assert.ok(agent.of("configured").length === 1);
  const result = agent.of("result")[0];
  assert.equal(result.is_error, false);
  assert.ok(agent.of("turn_complete")[0].claude_session_id);
  agent.session.sendPrompt("say it again");
  await agent.wait("turn_complete", 2);
  const list = await box.agent.list();
  assert.ok(list.some((entry) => entry.sessionID === agent.session.sessionId && entry.running));
  await agent.session.kill();
  assert.notEqual(await agent.session.done, 0);
  await eventually(async () => (await box.agent.list()).some((entry) => entry.sessionID === agent.session.sessionId && !entry.running), "the list to say that it ended");
});

test("attach replays what was said", async () => {
  const agent = await start({ prompt: "say hello" });
  await agent.wait("turn_complete");
  agent.session.close();
  const events = [];
  const again = await box.agent.attach(agent.session.sessionId, { onEvent: (event) => events.push(event) });
  await eventually(() => events.some((event) => event.type === "turn_complete"), "the replay");
  assert.deepEqual(events.map((event) => event.type), agent.events.map((event) => event.type));
  await again.kill();
});

test("prompt and interrupt by HTTP", async () => {
  const agent = await start();
  await agent.wait("ready");
  const path = `/sandboxes/${box.sandboxId}/agent/${agent.session.sessionId}`;
  assert.equal((await raw("POST", `${path}/prompt`, {})).status, 400);
  assert.equal((await raw("POST", `${path}/prompt`, { text: "say hello" })).status, 204);
  await agent.wait("turn_complete");
  assert.equal((await raw("POST", `${path}/interrupt`)).status, 204);
  await agent.wait("interrupted");
  assert.equal((await raw("POST", `/sandboxes/${box.sandboxId}/agent/a000000000000/prompt`, { text: "x" })).status, 404);
  await agent.session.kill();
});
