// Agent sessions with the real claude on a loopback Messages API. It is started as rarely as can be, so most tests here go
// on with one conversation: in an emulated machine a start takes a minute.
import fs from "node:fs";
import { Readable } from "node:stream";
import { after, assert, eventually, raw, sandbox, test } from "./common.mjs";

const CLAUDE = "/home/sandbox/claude", ADDER = "/home/sandbox/mcp_adder.py";
const box = await sandbox({
  envs: {
    ANTHROPIC_API_KEY: "key", ANTHROPIC_BASE_URL: process.env.MESSAGES_URL, AGENTD_CLAUDE: CLAUDE, NO_PROXY: "*", DISABLE_TELEMETRY: "1",
    DISABLE_AUTOUPDATER: "1", DISABLE_ERROR_REPORTING: "1", CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
  },
});
await box.files.write(CLAUDE, Readable.toWeb(fs.createReadStream(process.env.CLAUDE)));
await box.files.write(ADDER, fs.readFileSync(new URL("../e2e/mcp_adder.py", import.meta.url)));
assert.equal((await box.exec.run(`chmod +x ${CLAUDE}`)).exitCode, 0);

// A session, and what came of it.
async function start(opts = {}, where = box) {
  const events = [], errors = [];
  const seen = { onEvent: (event) => events.push(event), onError: (data) => errors.push(data) };
  const session = await where.agent.start({ ...opts, ...seen });
  const of = (type) => events.filter((event) => event.type === type);
  const wait = (type, n = 1) =>
    eventually(() => of(type)[n - 1], () => `${n} × ${type}; have ${JSON.stringify(events)} ${errors.join("")}`, 60);
  return { session, events, errors, of, wait };
}

// One more prompt and its turn; gives what was its result.
async function turn(agent, text) {
  const n = agent.of("turn_complete").length + 1;
  agent.session.sendPrompt(text);
  await agent.wait("turn_complete", n);
  return agent.of("result").at(-1).result;
}

const listed = async (agent) => (await box.agent.list()).find((entry) => entry.sessionID === agent.session.sessionId);

const agent = await start({ prompt: "say hello", systemPrompt: "be short", maxTurns: 9, allowedTools: ["Bash"], model: "one-model", cwd: "/tmp" });
after(() => agent.session.close());

test("a turn", async () => {
  const end = await agent.wait("turn_complete");
  assert.deepEqual(agent.events.slice(0, 2).map((event) => event.type), ["ready", "configured"]);
  const [result] = agent.of("result"), [init] = agent.of("system").filter((event) => event.subtype === "init");
  assert.equal(result.is_error, false);
  assert.equal(result.result, "hello");
  assert.equal(init.cwd, "/tmp");
  assert.equal(agent.of("assistant")[0].message.model, "one-model");
  assert.ok(end.claude_session_id);
  assert.ok((await listed(agent)).running);
});

test("another turn of the same conversation", async () => {
  assert.equal(await turn(agent, "say it again"), "it again");
  const ids = agent.of("turn_complete").map((event) => event.claude_session_id);
  assert.equal(ids[0], ids[1]);
});

test("a tool", async () => {
  assert.match(await turn(agent, "bash id -un; pwd"), /^it said: sandbox\n\/tmp/);
});

test("configure changes what comes next", async () => {
  agent.session.configure({ model: "other-model" });
  await agent.wait("configured", 2);
  assert.equal(await turn(agent, "say changed"), "changed");
  assert.equal(agent.of("assistant").at(-1).message.model, "other-model");
});

test("interrupt ends a turn, and not the conversation", async () => {
  const turns = agent.of("turn_complete").length, begun = agent.of("assistant").length;
  agent.session.sendPrompt("hold this");
  await agent.wait("assistant", begun + 1);
  agent.session.interrupt();
  await agent.wait("interrupted");
  await agent.wait("turn_complete", turns + 1);
  assert.equal(await turn(agent, "say after that"), "after that");
});

test("attach replays what was said", async () => {
  const events = [];
  let replayed = 0;
  const again = await box.agent.attach(agent.session.sessionId, { onEvent: (event) => events.push(event), onScrollbackEnd: () => replayed++ });
  await eventually(() => replayed === 1, "the replay");
  assert.deepEqual(events, agent.events);
  again.close();
});

test("kill", async () => {
  await agent.session.kill();
  assert.notEqual(await agent.session.done, 0);
  await eventually(async () => !(await listed(agent)).running, "the list to say that it ended");
});

test("another session resumes it, prompted and interrupted by HTTP, with an MCP server", async () => {
  const conversation = agent.of("turn_complete")[0].claude_session_id;
  const other = await start({ resume: conversation, mcpServers: { adder: { command: "python3", args: [ADDER], env: { BIAS: "100" } } } });
  await other.wait("ready");
  const path = `/sandboxes/${box.sandboxId}/agent/${other.session.sessionId}`;
  assert.equal((await raw("POST", `${path}/prompt`, {})).status, 400);
  assert.equal((await raw("POST", `${path}/prompt`, { text: 'use mcp__adder__add {"a": 2, "b": 3}' })).status, 204);
  assert.equal((await other.wait("turn_complete")).claude_session_id, conversation);
  assert.equal(other.of("result")[0].result, "it said: 105");
  assert.equal((await raw("POST", `${path}/interrupt`)).status, 204);
  await other.wait("interrupted");
  assert.equal((await raw("POST", `/sandboxes/${box.sandboxId}/agent/a000000000000/prompt`, { text: "x" })).status, 404);
  await other.session.kill(15);
  assert.notEqual(await other.session.done, 0);
});

test("without a key it says what is missing, and ends", async () => {
  const bare = await sandbox();
  let code = null;
  const events = [];
  const session = await bare.agent.start({ prompt: "say x", onEvent: (event) => events.push(event), onExit: (exit) => { code = exit; } });
  assert.equal(await session.done, 1);
  assert.equal(code, 1);
  assert.match(events.find((event) => event.type === "error").message, /claude|ANTHROPIC_API_KEY/);
});
