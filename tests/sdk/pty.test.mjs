// Terminals.
import { assert, eventually, raw, sandbox, test, text } from "./common.mjs";

const box = await sandbox();

// The SDK resolves before its socket is open, and throws when something is sent before.
async function type(session, words) {
  await eventually(() => { try { session.send(words); return true; } catch { return false; } }, "the socket to open");
}

test("a shell that answers", async () => {
  const out = [];
  const pty = await box.pty.create({ cols: 100, rows: 30, onOutput: (data) => out.push(data) });
  await type(pty, "echo $((6*7)) $TERM $(stty size)\n");
  await eventually(() => text(out).includes("42 xterm-256color 30 100"), "the answer");
  pty.send(new TextEncoder().encode("exit\n"));
  await eventually(async () => (await raw("DELETE", `/sandboxes/${box.sandboxId}/pty/nosuch`)).status === 404, "404");
});

test("two terminals are apart", async () => {
  const outs = [[], []];
  const ptys = await Promise.all(outs.map((out) => box.pty.create({ onOutput: (data) => out.push(data) })));
  await type(ptys[0], "X=one; echo is-$X\n");
  await type(ptys[1], "echo is-$X-\n");
  await eventually(() => text(outs[0]).includes("is-one") && text(outs[1]).includes("is--"), "both answers");
  ptys.forEach((pty) => pty.close());
});

test("resize and delete", async () => {
  const out = [];
  const pty = await box.pty.create({ onOutput: (data) => out.push(data) });
  await type(pty, "echo ready-$((1+1))\n");
  await eventually(() => text(out).includes("ready-2"), "the shell");
  assert.equal((await raw("POST", `/sandboxes/${box.sandboxId}/pty/${pty.sessionId}/resize`, { cols: 132, rows: 50 })).status, 200);
  pty.send("stty size\n");
  await eventually(() => text(out).includes("50 132"), "the new size");
  assert.equal((await raw("DELETE", `/sandboxes/${box.sandboxId}/pty/${pty.sessionId}`)).status, 204);
  await eventually(async () => (await box.exec.run("pgrep -f '[b]ash$' | wc -l; true")).exitCode === 0, "a command");
});
