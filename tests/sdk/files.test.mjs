// Files, and signed URLs.
import { createHash, randomBytes } from "node:crypto";
import { assert, sandbox, test } from "./common.mjs";

const box = await sandbox();
const hash = (data) => createHash("sha256").update(data).digest("hex");

test("write and read text and bytes", async () => {
  await box.files.write("/tmp/a/b/c.txt", "grüße\n");
  assert.equal(await box.files.read("/tmp/a/b/c.txt"), "grüße\n");
  const bytes = new Uint8Array(randomBytes(3 << 20));
  await box.files.write("/tmp/bytes", bytes);
  assert.equal(hash(await box.files.readBytes("/tmp/bytes")), hash(bytes));
});

test("an empty file is a file", async () => {
  await box.files.write("/tmp/empty", "");
  assert.equal(await box.files.read("/tmp/empty"), "");
  assert.equal(await box.files.exists("/tmp/empty"), true);
});

test("a stream of unknown length", async () => {
  const piece = randomBytes(1 << 20), sum = createHash("sha256");
  let left = 64;
  const stream = new ReadableStream({
    pull(controller) {
      if (left-- === 0) return controller.close();
      sum.update(piece);
      controller.enqueue(new Uint8Array(piece));
    },
  });
  await box.files.write("/tmp/streamed", stream);
  assert.equal(hash(await box.files.readBytes("/tmp/streamed")), sum.digest("hex"));
});

test("list, makeDir, remove, exists", async () => {
  await box.files.makeDir("/tmp/dir/deep");
  await box.files.write("/tmp/dir/file", "12345");
  const list = await box.files.list("/tmp/dir");
  assert.deepEqual(list.map(({ name, isDir }) => [name, isDir]), [["deep", true], ["file", false]]);
  assert.equal(list[1].size, 5);
  assert.equal(list[1].path, "/tmp/dir/file");
  await box.files.remove("/tmp/dir");
  assert.equal(await box.files.exists("/tmp/dir/file"), false);
  await box.files.remove("/tmp/dir");
  assert.equal(await box.files.exists("/tmp"), false);
});

test("a list of nothing said is that of /", async () => {
  const list = await box.files.list();
  assert.ok(list.some(({ name, isDir, path }) => name === "tmp" && isDir && path === "/tmp"));
});

test("what is missing is 404", async () => {
  await assert.rejects(box.files.read("/no/such/file"), /404/);
  await assert.rejects(box.files.list("/no/such/dir"));
});

test("files belong to the sandbox's user where it owns the directory", async () => {
  const home = (await box.exec.run("echo $HOME")).stdout.trim();
  await box.files.write(`${home}/made/by/upload.txt`, "mine");
  assert.equal((await box.exec.run(`echo more >> ${home}/made/by/upload.txt && cat ${home}/made/by/upload.txt`)).stdout, "minemore\n");
});

test("/proc is read to its end", async () => {
  assert.match(await box.files.read("/proc/self/status"), /Name:/);
});

test("signed URLs", async () => {
  await box.files.write("/tmp/signed file", "signed");
  const down = await box.downloadUrl("/tmp/signed file");
  const got = await fetch(down);
  assert.equal(got.status, 200);
  assert.equal(await got.text(), "signed");
  assert.equal((await fetch(down.replace(/signature=./, (found) => found.slice(0, -1) + (found.endsWith("0") ? "1" : "0")))).status, 403);
  assert.equal((await fetch(down.replace("/download", "/upload"), { method: "PUT", body: "x" })).status, 403);
  const up = await box.uploadUrl("/tmp/uploaded", { expiresIn: 60 });
  assert.equal((await fetch(up, { method: "PUT", body: "by url" })).status, 204);
  assert.equal(await box.files.read("/tmp/uploaded"), "by url");
});
