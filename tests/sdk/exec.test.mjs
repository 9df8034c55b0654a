// Commands: run, start, attach, background, list, kill, shell.
import { assert, eventually, sandbox, sdk, test, text } from "./common.mjs";

const box = await sandbox();

test("run gives code, stdout and stderr", async () => {
  assert.deepEqual(await box.exec.run("echo out; echo err >&2; exit 3"), { exitCode: 3, stdout: "out\n", stderr: "err\n" });
});

test("run with cwd, env and unicode", async () => {
  assert.equal((await box.exec.run("pwd", { cwd: "/tmp" })).stdout, "/tmp\n");
  assert.equal((await box.exec.run("echo $A", { env: { A: "ä€𐍈" } })).stdout, "ä€𐍈\n");
});

test("run of 10 000 lines loses none", async () => {
  const { stdout } = await box.exec.run("seq 1 10000");
  assert.equal(stdout, Array.from({ length: 10000 }, (_, i) => `${i + 1}\n`).join(""));
});

test("run of 5 MiB is whole", async () => {
  const { stdout } = await box.exec.run("head -c 5242880 /dev/zero | tr '\\0' x");
  assert.equal(stdout.length, 5242880);
});

test("run longer than the inline hold", async () => {
  assert.equal((await box.exec.run("sleep 1.5; echo late")).stdout, "late\n");
});

test("a command that times out comes back", async () => {
  const began = Date.now();
  const result = await box.exec.run("sleep 60", { timeout: 1 });
  assert.equal(result.exitCode, -1);
  assert.match(result.stderr, /timed out/);
  assert.ok(Date.now() - began < 20000);
});

test("the client's own time-out leaves it running", async () => {
  const error = await box.exec.run("sleep 3; echo x > /tmp/went-on", { timeoutMs: 500 }).then(() => null, (e) => e);
  assert.ok(error instanceof sdk.ExecTimeoutError && error.execId);
  await eventually(() => box.files.exists("/tmp/went-on"), "the command to go on");
});

test("an aborted run goes on and is found again by its id", async () => {
  const gone = new AbortController(), run = box.exec.run("echo before; until [ -e /tmp/go ]; do sleep 0.1; done; echo after", { signal: gone.signal });
  setTimeout(() => gone.abort(), 700);
  const error = await run.then(() => null, (e) => e);
  assert.ok(error instanceof sdk.ExecTimeoutError && error.execId);
  const out = [];
  const again = await box.exec.attach(error.execId, { onStdout: (chunk) => out.push(chunk) });
  await box.files.write("/tmp/go", "");
  assert.equal(await again.done, 0);
  assert.equal(text(out), "before\nafter\n");
});

test("what runs in the background does not hold the call and survives", async () => {
  const began = Date.now();
  await box.exec.run("(sleep 2; echo done > /tmp/bg) &");
  assert.ok(Date.now() - began < 1900);
  await eventually(() => box.files.exists("/tmp/bg"), "the child's file");
});

test("start streams, in order, and tells the exit", async () => {
  const out = [], err = [];
  let exit = null, replayed = false;
  const session = await box.exec.start("sh", {
    args: ["-c", "for i in 1 2 3; do echo $i; sleep 0.1; done; echo e >&2; exit 4"],
    onStdout: (chunk) => out.push(chunk), onStderr: (chunk) => err.push(chunk),
    onExit: (code) => { exit = code; }, onScrollbackEnd: () => { replayed = true; },
  });
  assert.equal(await session.done, 4);
  assert.equal(text(out), "1\n2\n3\n");
  assert.equal(text(err), "e\n");
  assert.equal(exit, 4);
  assert.ok(replayed);
});

test('start("node server.js") style: blanks and no args mean a shell', async () => {
  const out = [];
  const session = await box.exec.start("echo one two; exit 5", { onStdout: (chunk) => out.push(chunk) });
  assert.equal(await session.done, 5);
  assert.equal(text(out), "one two\n");
});

test("start with cwd, env and a timeout", async () => {
  const out = [];
  const session = await box.exec.start("sh", {
    args: ["-c", "pwd; echo $A; sleep 1000"], cwd: "/tmp", env: { A: "ä" }, timeout: 1, onStdout: (chunk) => out.push(chunk),
  });
  assert.equal(await session.done, -1);
  assert.equal(text(out), "/tmp\nä\n");
});

test("start of what is not there fails with the reason", async () => {
  await assert.rejects(box.exec.start("/no/such/program", { args: [] }), /400.*no such|400.*No such/i);
});

test("stdin", async () => {
  const out = [];
  const session = await box.exec.start("head", { args: ["-n", "2"], onStdout: (chunk) => out.push(chunk) });
  session.sendStdin("first\n");
  session.sendStdin(new TextEncoder().encode("second\n"));
  assert.equal(await session.done, 0);
  assert.equal(text(out), "first\nsecond\n");
});

test("attach replays, then follows", async () => {
  const first = [];
  const session = await box.exec.background("sh", { args: ["-c", "echo before; read x; echo after $x"], onStdout: (c) => first.push(c) });
  await eventually(() => text(first) === "before\n", "the first line");
  session.close();
  const again = [];
  let end = 0;
  const other = await box.exec.attach(session.sessionId, { onStdout: (c) => again.push(c), onScrollbackEnd: () => end++ });
  await eventually(() => end === 1, "the end of the replay");
  assert.equal(text(again), "before\n");
  other.sendStdin("it\n");
  assert.equal(await other.done, 0);
  assert.equal(text(again), "before\nafter it\n");
  assert.equal(end, 1);
});

test("attach after the exit", async () => {
  const session = await box.exec.start("sh", { args: ["-c", "echo gone; exit 9"] });
  await session.done;
  const out = [];
  const again = await box.exec.attach(session.sessionId, { onStdout: (c) => out.push(c) });
  assert.equal(await again.done, 9);
  assert.equal(text(out), "gone\n");
  await assert.rejects(box.exec.attach("x000000000000"), /WebSocket/);
});

test("list and kill", async () => {
  const session = await box.exec.start("sleep", { args: ["1000"] });
  const entry = (await box.exec.list()).find((one) => one.sessionID === session.sessionId);
  assert.equal(entry.running, true);
  assert.equal(entry.command, "sleep");
  assert.deepEqual(entry.args, ["1000"]);
  assert.equal(entry.attachedClients, 1);
  await session.kill();
  assert.equal(await session.done, 137);
  const term = await box.exec.start("sleep", { args: ["1000"] });
  await term.kill(15);
  assert.equal(await term.done, 143);
  await eventually(async () => (await box.exec.list()).find((one) => one.sessionID === term.sessionId)?.running === false, "the list to say so");
  await assert.rejects(box.exec.kill("x000000000000"), /404/);
});

test("maxRunAfterDisconnect", async () => {
  const session = await box.exec.start("sleep", { args: ["1000"], maxRunAfterDisconnect: 1 });
  session.close();
  await eventually(async () => (await box.exec.list()).find((one) => one.sessionID === session.sessionId)?.running === false, "it to be ended");
});

test("100 MiB through a WebSocket", async () => {
  let bytes = 0;
  const session = await box.exec.start("sh", { args: ["-c", "head -c 104857600 /dev/zero"], onStdout: (c) => { bytes += c.length; } });
  assert.equal(await session.done, 0);
  assert.equal(bytes, 104857600);
});

test("shell keeps its state", async () => {
  const shell = await box.exec.shell({ cwd: "/tmp", env: { WHO: "me" } });
  assert.equal((await shell.run("pwd; echo $WHO")).stdout.trim(), "/tmp\nme");
  await shell.run("cd / && export X=5 && f() { echo f$1; }");
  const result = await shell.run("pwd; echo $X; f 1; echo oops >&2; false");
  assert.equal(result.stdout.trim(), "/\n5\nf1");
  assert.equal(result.stderr.trim(), "oops");
  assert.equal(result.exitCode, 1);
  const big = await shell.run("seq 1 200000");
  assert.equal(big.stdout.trim().split("\n").length, 200000);
  await assert.rejects(Promise.all([shell.run("sleep 0.5"), shell.run("true")]), sdk.ShellBusyError);
  await eventually(async () => { try { await shell.run("true"); return true; } catch { return false; } }, "the shell to be free");
  const again = await box.exec.reattachShell(shell.sessionId);
  assert.equal((await again.run("echo $X")).stdout.trim(), "5");
  await again.close();
});

test("a shell streams, and ends with its bash", async () => {
  const shell = await box.exec.shell(), out = [], err = [];
  const result = await shell.run("echo one; echo two >&2", { onStdout: (c) => out.push(c), onStderr: (c) => err.push(c) });
  assert.deepEqual([text(out).trim(), text(err).trim()], ["one", "two"]);
  assert.equal(result.exitCode, 0);
  await assert.rejects(shell.run("exit 3"), (e) => e instanceof sdk.ShellClosedError && /code 3/.test(e.message));
  await assert.rejects(shell.run("true"), sdk.ShellClosedError);
  const other = await box.exec.shell();
  await other.close();
  await assert.rejects(other.run("true"), sdk.ShellClosedError);
});

test("many at once", async () => {
  const results = await Promise.all(Array.from({ length: 100 }, (_, i) => box.exec.run(`echo ${i}`)));
  results.forEach((result, i) => assert.deepEqual(result, { exitCode: 0, stdout: `${i}\n`, stderr: "" }));
});
