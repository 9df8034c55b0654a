// What only machines do: sleep and wake, checkpoints, forks, restores, patches.
import { Sandbox, assert, after, eventually, raw, sandbox, test, text } from "./common.mjs";

const COUNT = "(while :; do echo x >> /tmp/count; sleep 0.1; done) > /dev/null 2>&1 & echo $! > /tmp/pid";
const counted = async (box) => Number((await box.exec.run("kill -0 $(cat /tmp/pid) && wc -l < /tmp/count")).stdout);

async function counts(box) {
  const before = await counted(box);
  assert.ok(before > 0, "the counter is gone");
  await eventually(async () => (await counted(box)) > before, "the counter to go on");
}

async function ready(box, checkpoint) {
  return eventually(async () => {
    const found = (await box.listCheckpoints()).find((one) => one.id === checkpoint.id);
    assert.notEqual(found?.status, "failed", found?.errorMsg);
    return found?.status === "ready" && found;
  }, "the checkpoint to be ready", 60);
}

test("hibernate and wake: processes and an open shell go on", async () => {
  const box = await sandbox();
  await box.exec.run(COUNT);
  const shell = await box.exec.shell();
  await shell.run("X=kept; cd /tmp");
  await box.hibernate();
  assert.equal(await box.isRunning(), false);
  await box.wake();
  assert.equal(box.status, "running");
  await counts(box);
  const again = await box.exec.reattachShell(shell.sessionId);
  assert.equal((await again.run("echo $X $(pwd)")).stdout.trim(), "kept /tmp");
  const off = Math.abs(Date.now() / 1000 - Number((await box.exec.run("date +%s")).stdout));
  assert.ok(off < 5, `the clock is off by ${off} s`);
});

test("memory is scaled, unless that is locked", async () => {
  const box = await sandbox(), total = async () => Number((await box.exec.run("head -n 1 /proc/meminfo")).stdout.match(/\d+/)[0]) >> 10;
  const whole = await total(), given = (await (await raw("GET", `/sandboxes/${box.sandboxId}`)).json()).memoryMB;
  const scaled = await box.scale({ memoryMB: given - 64 });
  assert.deepEqual([scaled.ok, scaled.memoryMB, scaled.migrated], [true, given - 64, false]);
  assert.ok(Math.abs(whole - 64 - await total()) <= 8);
  assert.equal((await box.setScalingLock(true)).locked, true);
  await assert.rejects(box.scale({ memoryMB: given }), { name: "ScalingLockedError" });
  await box.setScalingLock(false);
  assert.equal((await box.getScalingLock()).locked, false);
  await assert.rejects(box.scale({ memoryMB: given * 2 }), /400/);
  assert.equal((await box.scale({ memoryMB: given })).memoryMB, given);
  assert.ok(whole - await total() <= 8);
});

test("each kind of operation wakes", async () => {
  const box = await sandbox();
  await box.files.write("/tmp/f", "here");
  const wakers = {
    "a command": async () => assert.equal((await box.exec.run("cat /tmp/f")).stdout, "here"),
    "a session": async () => assert.equal(await (await box.exec.start("true", { args: [] })).done, 0),
    "a file": async () => assert.equal(await box.files.read("/tmp/f"), "here"),
    "a listing": async () => assert.ok((await box.files.list("/tmp")).length > 0),
    "a terminal": async () => {
      const out = [];
      const pty = await box.pty.create({ onOutput: (data) => out.push(data) });
      await eventually(() => { try { pty.send("echo w$((1+1))\n"); return true; } catch { return false; } }, "the socket");
      await eventually(() => text(out).includes("w2"), "the terminal");
      pty.close();
    },
  };
  for (const [what, wake] of Object.entries(wakers)) {
    await box.hibernate();
    assert.equal(await box.isRunning(), false, what);
    await wake();
    assert.equal(await box.isRunning(), true, what);
  }
});

test("fork four times at once, each apart; the source may go", async () => {
  const box = await Sandbox.create({ envs: { FROM: "source", SAME: "s" } });
  after(() => box.kill().catch(() => {}));
  await box.exec.run(COUNT);
  await box.files.write("/tmp/mark", "before");
  const checkpoint = await box.createCheckpoint("one");
  await ready(box, checkpoint);
  await box.files.write("/tmp/mark", "after");
  await box.kill();
  const forks = await Promise.all([0, 1, 2, 3].map((n) => Sandbox.createFromCheckpoint(checkpoint.id, { envs: { FROM: `fork ${n}` } })));
  forks.forEach((fork) => after(() => fork.kill().catch(() => {})));
  for (const [n, fork] of forks.entries()) {
    assert.equal(await fork.files.read("/tmp/mark"), "before");
    assert.equal((await fork.exec.run("echo $FROM $SAME")).stdout, `fork ${n} s\n`);
    await counts(fork);
    await fork.files.write("/tmp/mark", `of ${n}`);
  }
  for (const [n, fork] of forks.entries()) assert.equal(await fork.files.read("/tmp/mark"), `of ${n}`);
});

test("restore twice", async () => {
  const box = await sandbox();
  await box.files.write("/tmp/state", "1");
  const checkpoint = await box.createCheckpoint("state one");
  await ready(box, checkpoint);
  for (let time = 0; time < 2; time++) {
    await box.files.write("/tmp/state", "2");
    await box.restoreCheckpoint(checkpoint.id);
    assert.equal(await box.files.read("/tmp/state"), "1");
  }
  assert.ok((await box.listCheckpoints()).length === 1);
  await box.deleteCheckpoint(checkpoint.id);
  await box.deleteCheckpoint(checkpoint.id);
  assert.deepEqual(await box.listCheckpoints(), []);
});

test("patches, in order, and one that fails", async () => {
  const box = await sandbox();
  const checkpoint = await box.createCheckpoint("patched");
  await ready(box, checkpoint);
  const ids = [];
  for (const script of ["echo 1 > /root/patches", "id -u >> /root/patches"])
    ids.push((await Sandbox.createCheckpointPatch(checkpoint.id, { script, description: "d" })).patch.id);
  assert.deepEqual((await Sandbox.listCheckpointPatches(checkpoint.id)).map((patch) => patch.id), ids);
  const fork = await Sandbox.createFromCheckpoint(checkpoint.id);
  after(() => fork.kill().catch(() => {}));
  assert.equal(await fork.files.read("/root/patches"), "1\n0\n");
  await Sandbox.createCheckpointPatch(checkpoint.id, { script: "echo broken >&2; exit 7" });
  const other = await Sandbox.createFromCheckpoint(checkpoint.id);
  after(() => other.kill().catch(() => {}));
  const info = await (await raw("GET", `/sandboxes/${other.sandboxId}`)).json();
  assert.match(info.patchError, /broken|7/);
  for (const id of ids) await Sandbox.deleteCheckpointPatch(checkpoint.id, id);
});

test("idle expiry sleeps, and a command is no idleness", async () => {
  const box = await sandbox({ timeout: 2 });
  assert.equal((await box.exec.run("sleep 4; echo through")).stdout, "through\n");
  await eventually(async () => !(await box.isRunning()), "it to fall asleep");
  assert.equal((await box.exec.run("echo awake")).stdout, "awake\n");
});
