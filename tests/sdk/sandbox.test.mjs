// Sandboxes: create, connect, list, timeout, tags, kill; what is not built answers honestly.
import { Sandbox, assert, nodeSdk, raw, sandbox, sdk, test } from "./common.mjs";

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
  assert.match(box.getPreviewDomain(3000), new RegExp(`^${box.id}-p3000\\.`));
  assert.equal((await box.exec.run('echo "$FOO|$EMPTY|"')).stdout, "a b||\n");
  assert.equal((await box.exec.run("echo $FOO", { env: { FOO: "mine" } })).stdout, "mine\n");
  const info = await (await raw("GET", `/sandboxes/${box.sandboxId}`)).json();
  assert.equal(info.status, "running");
  assert.ok(info.token && info.connectURL && info.startedAt);
});

test("commands run as the user sandbox, at home, who may become root", async () => {
  const box = await sandbox();
  const { stdout, stderr } = await box.exec.run("id -un; id -u; pwd; echo $HOME $USER $LOGNAME; sudo -n id -u");
  assert.equal(stdout, "sandbox\n1000\n/home/sandbox\n/home/sandbox sandbox sandbox\n0\n");
  assert.equal(stderr, "", "sudo warns where the machine's own name is unknown");
  assert.equal((await box.exec.run("pwd", { cwd: "/workspace" })).stdout, "/workspace\n");
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

test("the address and the key can be given, with or without /api", async () => {
  const { OPENCOMPUTER_API_URL: apiUrl, OPENCOMPUTER_API_KEY: apiKey } = process.env;
  delete process.env.OPENCOMPUTER_API_URL;
  delete process.env.OPENCOMPUTER_API_KEY;
  try {
    const box = await Sandbox.create({ apiUrl: `${apiUrl}/`, apiKey });
    const again = await Sandbox.connect(box.sandboxId, { apiUrl: `${apiUrl}/api`, apiKey });
    assert.equal((await again.exec.run("echo here")).stdout, "here\n");
    await box.kill();
  } finally {
    Object.assign(process.env, { OPENCOMPUTER_API_URL: apiUrl, OPENCOMPUTER_API_KEY: apiKey });
  }
});

test("reboot and powerCycle: processes end, files and environment stay", async () => {
  const box = await sandbox({ envs: { COLOR: "red" } });
  for (const restart of ["reboot", "powerCycle"]) {
    await box.exec.run(`echo ${restart} > ~/file`);
    const session = await box.exec.background("sleep", { args: ["1000"] });
    await box[restart]();
    assert.notEqual(await session.done, 0);
    assert.equal((await box.exec.run("cat ~/file; echo $COLOR")).stdout, `${restart}\nred\n`);
    assert.ok(!(await box.exec.list()).some((entry) => entry.running));
  }
});

test("tags", async () => {
  const box = await sandbox(), tags = new sdk.Tags(process.env.OPENCOMPUTER_API_URL, process.env.OPENCOMPUTER_API_KEY);
  assert.deepEqual((await tags.get(box.sandboxId)).tags, {});
  assert.deepEqual((await tags.set(box.sandboxId, { team: "core", run: "7" })).tags, { team: "core", run: "7" });
  const got = await tags.get(box.sandboxId);
  assert.deepEqual(got.tags, { team: "core", run: "7" });
  assert.ok(Date.parse(got.tagsLastUpdatedAt) > 0);
  await assert.rejects(tags.set(box.sandboxId, { "oc:x": "1" }), /400/);
  const keys = await tags.listKeys();
  assert.equal(keys.find((entry) => entry.key === "team").sandboxCount, 1);
  assert.deepEqual((await tags.set(box.sandboxId, {})).tags, {});
});

test("bad requests are told what is wrong", async () => {
  await assert.rejects(Sandbox.create({ template: "no-such-template" }), /404.*template not found/);
  await assert.rejects(Sandbox.create({ memoryMB: 99999 }), /400/);
  await assert.rejects(Sandbox.create({ secretStore: "nope" }), /400|501/);
  await assert.rejects(Sandbox.create({ apiKey: "osb_wrong" }), /40[13]/);
});

// Each of these calls the SDK has; none may seem to work, or be told that there is no such thing.
test("what is not built says so", async () => {
  const { OPENCOMPUTER_API_URL: url, OPENCOMPUTER_API_KEY: key } = process.env;
  const box = await sandbox(), usage = new sdk.Usage(url, key), templates = new sdk.Templates(`${url}/api`, key);
  const { SecretStore } = sdk, hooks = new sdk.Webhooks(), snapshots = new nodeSdk.Snapshots(), image = nodeSdk.Image.base();
  const calls = {
    setAutoscale: () => box.setAutoscale({ enabled: true, minMemoryMB: 1024, maxMemoryMB: 4096 }),
    getAutoscale: () => box.getAutoscale(),
    getAllowedHosts: () => box.getAllowedHosts(),
    createPreviewURL: () => box.createPreviewURL({ port: 80 }),
    listPreviewURLs: () => box.listPreviewURLs(),
    deletePreviewURL: () => box.deletePreviewURL(80),
    rotatePreviewAuthToken: () => box.rotatePreviewAuthToken(),
    addMount: () => box.mounts.add({ path: "/mnt/data", remote: "s3:bucket", backend: "s3", creds: {} }),
    listMounts: () => box.mounts.list(),
    removeMount: () => box.mounts.remove("/mnt/data"),
    createWithImage: () => Sandbox.create({ image }),
    createWithSnapshot: () => Sandbox.create({ snapshot: "s" }),
    createWithPreviewAuth: () => Sandbox.create({ previewAuth: { token: "auto" } }),
    createWithWebhooks: () => Sandbox.create({ webhooks: [{ url: "http://127.0.0.1/" }] }),
    createSnapshot: () => snapshots.create({ name: "s", image }),
    listSnapshots: () => snapshots.list(),
    getSnapshot: () => snapshots.get("s"),
    deleteSnapshot: () => snapshots.delete("s"),
    buildTemplate: () => templates.build("t", "FROM debian"),
    listTemplates: () => templates.list(),
    getTemplate: () => templates.get("t"),
    deleteTemplate: () => templates.delete("t"),
    createStore: () => SecretStore.create({ name: "s" }),
    listStores: () => SecretStore.list(),
    getStore: () => SecretStore.get("s"),
    updateStore: () => SecretStore.update("s", { name: "t" }),
    deleteStore: () => SecretStore.delete("s"),
    setSecret: () => SecretStore.setSecret("s", "A", "1"),
    listSecrets: () => SecretStore.listSecrets("s"),
    deleteSecret: () => SecretStore.deleteSecret("s", "A"),
    usageBySandbox: () => usage.bySandbox(),
    usageByTag: () => usage.byTag("team"),
    usageForSandbox: () => usage.forSandbox(box.sandboxId),
    createWebhook: () => hooks.create({ url: "http://127.0.0.1/", eventTypes: ["sandbox.stopped"] }),
    listWebhooks: () => hooks.list(),
    getWebhook: () => hooks.get("w"),
    getWebhookSecret: () => hooks.getSecret("w"),
    updateWebhook: () => hooks.update("w", { enabled: false }),
    deleteWebhook: () => hooks.delete("w"),
    testWebhook: () => hooks.test("w"),
    listDeliveries: () => hooks.deliveries.list("w"),
    getDelivery: () => hooks.deliveries.get("w", "d"),
    redeliver: () => hooks.deliveries.redeliver("w", "d"),
  };
  for (const [name, call] of Object.entries(calls)) await assert.rejects(call(), /501/, name);
  assert.match((await (await raw("GET", "/secret-stores")).json()).error, /not built/);
});
