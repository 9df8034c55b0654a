// Sandboxes: create, connect, list, timeout, tags, kill; what is not built answers honestly.
import { Sandbox, assert, raw, sandbox, sdk, test } from "./common.mjs";

test("the README's quick start", async () => {
  const box = await Sandbox.create({ template: "base" });
  const result = await box.commands.run("echo hello");
  assert.equal(result.stdout, "hello\n");
  await box.files.write("/tmp/test.txt", "Hello, world!");
  assert.equal(await box.files.read("/tmp/test.txt"), "Hello, world!");
  await box.kill();
});

test("create gives what properties promise", async () => {
  const box = await sandbox({ metadata: { purpose: "test" }, envs: { FOO: "a b", EMPTY: "" }, timeout: 600 });
  assert.match(box.sandboxId, /^sb-[0-9a-f]{8,}$/);
  assert.equal(box.id, box.sandboxId);
  assert.equal(box.status, "running");
  assert.equal(await box.isRunning(), true);
  assert.equal((await box.exec.run('echo "$FOO|$EMPTY|"')).stdout, "a b||\n");
  assert.equal((await box.exec.run("echo $FOO", { env: { FOO: "mine" } })).stdout, "mine\n");
  const info = await (await raw("GET", `/sandboxes/${box.sandboxId}`)).json();
  assert.equal(info.status, "running");
  assert.ok(info.token && info.connectURL && info.startedAt);
});

test("running means that a command works at once", async () => {
  for (let number = 0; number < 3; number++) {
    const box = await Sandbox.create();
    assert.equal((await box.exec.run("echo at once")).stdout, "at once\n");
    await box.kill();
  }
});

test("connect finds it again", async () => {
  const box = await sandbox();
  await box.files.write("/tmp/mark", "x");
  const again = await Sandbox.connect(box.sandboxId);
  assert.equal(again.status, "running");
  assert.equal(await again.files.read("/tmp/mark"), "x");
  await assert.rejects(Sandbox.connect("sb-00000000"), /404/);
});

test("two sandboxes are apart", async () => {
  const [one, two] = await Promise.all([sandbox(), sandbox()]);
  await one.files.write("/tmp/only-in-one", "1");
  assert.equal(await two.files.exists("/tmp/only-in-one"), false);
  const list = await (await raw("GET", "/sandboxes")).json();
  for (const box of [one, two]) assert.ok(list.some((entry) => entry.sandboxID === box.sandboxId && entry.status === "running"));
});

test("setTimeout", async () => {
  const box = await sandbox();
  await box.setTimeout(300);
  await box.setTimeout(0);
  assert.equal((await raw("POST", `/sandboxes/${box.sandboxId}/timeout`, { timeout: -1 })).status, 400);
});

test("kill ends it for good", async () => {
  const box = await Sandbox.create();
  await box.kill();
  assert.equal(await box.isRunning(), false);
  await assert.rejects(box.exec.run("true"), /41[0]|404/);
});

test("tags", async () => {
  const box = await sandbox();
  const put = await raw("PUT", `/sandboxes/${box.sandboxId}/tags`, { team: "core", run: "7" });
  assert.equal(put.status, 200);
  const got = await (await raw("GET", `/sandboxes/${box.sandboxId}/tags`)).json();
  assert.deepEqual(got.tags, { team: "core", run: "7" });
  assert.equal((await raw("PUT", `/sandboxes/${box.sandboxId}/tags`, { "oc:x": "1" })).status, 400);
  const keys = await (await raw("GET", "/tags")).json();
  assert.ok(keys.keys.some((entry) => entry.key === "team"));
});

test("bad requests are told what is wrong", async () => {
  await assert.rejects(Sandbox.create({ template: "no-such-template" }), /404.*template not found/);
  await assert.rejects(Sandbox.create({ memoryMB: 99999 }), /400/);
  await assert.rejects(Sandbox.create({ secretStore: "nope" }), /400|501/);
  await assert.rejects(Sandbox.create({ apiKey: "osb_wrong" }), /40[13]/);
});

test("what is not built says so", async () => {
  const answer = await raw("GET", "/secret-stores");
  assert.ok([200, 501].includes(answer.status));
  if (answer.status === 501) assert.ok((await answer.json()).error.length > 10);
  assert.ok(typeof sdk.ExecTimeoutError === "function");
});
