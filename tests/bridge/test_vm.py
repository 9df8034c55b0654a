"""Sandboxes that are machines: created from a golden snapshot, asleep and woken, kept and forked, through HTTP, and a bridge
that is killed meanwhile. Needs an image: packaging/image/build --flavour minimal.

ctest: timeout=900 vm
"""
import concurrent.futures
import contextlib
import http.client
import http.server
import os
import pathlib
import random
import signal
import subprocess
import threading
import time

import pytest

from harness import ROOT
from host import eventually

VM = pytest.mark.bridge(driver="vm", image_dir=ROOT / "build/image")
pytestmark = [VM, pytest.mark.seconds(240)]
COUNTER = "(while :; do echo x >>/tmp/count; sleep 0.05; done) >/dev/null 2>&1 & echo $! >/tmp/pid"


def create(bridge, **fields):
    reply = bridge.post("/sandboxes", {"templateID": "minimal", "memoryMB": 256, "cpuCount": 1, "timeout": 0, **fields}, timeout=120)
    assert reply.status == 201, reply.body
    return reply.json()["sandboxID"]


def sh(bridge, sandbox, text):
    done = bridge.run(sandbox, "/bin/sh", "-c", text)
    assert done["exitCode"] == 0, done
    return done["stdout"].strip()


def counts(bridge, sandbox):
    """Does the counter of then go on, as the same process?"""
    before = int(sh(bridge, sandbox, "kill -0 $(cat /tmp/pid) && wc -l </tmp/count"))
    eventually(lambda: int(sh(bridge, sandbox, "wc -l </tmp/count")) > before, "the counter to count", 5)


def status(bridge, sandbox):
    return bridge.get(f"/sandboxes/{sandbox}").json()["status"]


def processes(bridge):
    """Those of machines of this bridge, by their working directory: {box: {name: pid}}."""
    found = {}
    for proc in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            cwd = os.readlink(proc / "cwd")
            if cwd.startswith(f"{bridge.dir}/boxes/"):
                found.setdefault(os.path.basename(cwd), {})[(proc / "comm").read_text().strip()] = int(proc.name)
        except OSError:
            pass
    return found


def keep(bridge, sandbox, name, kind="full"):
    reply = bridge.post(f"/sandboxes/{sandbox}/checkpoints", {"name": name, "kind": kind})
    assert reply.status == 201 and reply.json()["status"] == "processing", reply.body
    made = reply.json()["id"]

    def done():
        one = [c for c in bridge.get(f"/sandboxes/{sandbox}/checkpoints").json() if c["id"] == made][0]
        assert one["status"] != "failed", one
        return one["status"] == "ready" and one
    one = eventually(done, "the checkpoint", 30)
    assert one["sizeBytes"] > 0 and one["rootfsS3Key"] and one["workspaceS3Key"]
    return made


def fork(bridge, checkpoint, **fields):
    reply = bridge.post(f"/sandboxes/from-checkpoint/{checkpoint}", fields, timeout=120)
    assert reply.status == 201, reply.body
    return reply.json()


@pytest.fixture(autouse=True)
def nothing_left(bridge):
    yield
    for one in bridge.get("/sandboxes", query={"status": "all"}).json():
        bridge.delete(f"/sandboxes/{one['sandboxID']}")
    assert processes(bridge) == {} and list((bridge.dir / "boxes").iterdir()) == []


def test_sleep(bridge):
    """Processes go on after a sleep, no process is left in it, any use wakes, and the clock is right."""
    sandbox = create(bridge)
    sh(bridge, sandbox, COUNTER)
    for _ in range(2):
        reply = bridge.post(f"/sandboxes/{sandbox}/hibernate")
        assert reply.status == 200 and reply.json()["sizeBytes"] > 1 << 20
        assert status(bridge, sandbox) == "hibernated" and processes(bridge) == {}
        time.sleep(1.5)  # it is what is tested: the guest's clock stands still meanwhile
        counts(bridge, sandbox)
        assert abs(int(sh(bridge, sandbox, "date +%s")) - time.time()) < 1.5
    assert status(bridge, sandbox) == "running"


def test_idle(bridge):
    """One that nobody uses goes to sleep by itself; an attached command keeps it awake."""
    sandbox = create(bridge, timeout=1)
    eventually(lambda: status(bridge, sandbox) == "hibernated", "it to fall asleep", 10)
    assert sh(bridge, sandbox, "sleep 2; echo awake") == "awake"
    eventually(lambda: status(bridge, sandbox) == "hibernated", "it to fall asleep", 10)


def test_reboot(bridge):
    """A reboot keeps the disk, and what was not written yet, too."""
    sandbox = create(bridge)
    sh(bridge, sandbox, f"{COUNTER}; echo kept >/home/sandbox/file")
    assert bridge.post(f"/sandboxes/{sandbox}/reboot", timeout=90).status == 204
    assert sh(bridge, sandbox, "cat /home/sandbox/file; kill -0 $(cat /tmp/pid) 2>/dev/null || echo new") == "kept\nnew"


def test_fork(bridge):
    """Four forks at once are apart and need neither their source nor the checkpoint; restoring works twice."""
    source = create(bridge, envs={"A": "1", "B": "1"}, metadata={"m": "1"})
    sh(bridge, source, f"{COUNTER}; echo then >/home/sandbox/file")
    checkpoint = keep(bridge, source, "first")
    assert bridge.post(f"/sandboxes/{source}/checkpoints", {"name": "first"}).status == 409
    counts(bridge, source)
    sh(bridge, source, "echo later >/home/sandbox/file")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        forks = list(pool.map(lambda i: fork(bridge, checkpoint, envs={"B": str(i)}, timeout=60 + i), range(4)))
    assert len({f["sandboxID"] for f in forks}) == 4 and len({f["token"] for f in forks}) == 4
    names = set()
    for i, one in enumerate(forks):
        assert one["fromCheckpointId"] == checkpoint and one["timeout"] == 60 + i and one["metadata"] == {"m": "1"}
        assert sh(bridge, one["sandboxID"], "cat /home/sandbox/file; echo $A $B") == f"then\n1 {i}"
        sh(bridge, one["sandboxID"], f"echo {i} >/home/sandbox/file")
        counts(bridge, one["sandboxID"])
        names.add(sh(bridge, one["sandboxID"], "hostname"))
    assert len(names) == 4, "each has a name of its own"
    for _ in range(2):
        reply = bridge.post(f"/sandboxes/{source}/checkpoints/{checkpoint}/restore")
        assert reply.status == 200 and reply.json()["status"] == "restoring", reply.body
        assert sh(bridge, source, "cat /home/sandbox/file") == "then"
        counts(bridge, source)
        sh(bridge, source, "echo again >/home/sandbox/file")
    assert bridge.delete(f"/sandboxes/{source}").status == 204
    late = fork(bridge, checkpoint)["sandboxID"]
    assert bridge.delete(f"/sandboxes/{late}").status == 204
    assert bridge.delete(f"/sandboxes/{source}/checkpoints/{checkpoint}").status == 204
    assert bridge.post(f"/sandboxes/from-checkpoint/{checkpoint}").status == 404
    eventually(lambda: list((bridge.dir / "checkpoints").iterdir()) == [], "its files to go", 5)
    for i, one in enumerate(forks):
        assert bridge.post(f"/sandboxes/{one['sandboxID']}/hibernate").status == 200
        assert sh(bridge, one["sandboxID"], "cat /home/sandbox/file") == str(i)


def test_checkpoints(bridge):
    """Names, kinds, limits and errors."""
    sandbox = create(bridge)
    route = f"/sandboxes/{sandbox}/checkpoints"
    for body, why in (({}, "name is required"), ({"name": ""}, "name is required"), ({"name": "x", "kind": "half"}, "kind"),
                      ({"name": "x", "retentionPolicy": {"mode": "some"}}, "mode"),
                      ({"name": "x", "retentionPolicy": {"maxCount": 0}}, "maxCount")):
        reply = bridge.post(route, body)
        assert reply.status == 400 and why in reply.error(), reply.body
    assert bridge.get(route).json() == []
    sh(bridge, sandbox, "echo then >/home/sandbox/file")
    disk = keep(bridge, sandbox, "disk", "disk_only")
    sh(bridge, sandbox, "echo later >/home/sandbox/file")
    booted = fork(bridge, disk, memoryMB=384)
    assert booted["memoryMB"] == 384 and sh(bridge, booted["sandboxID"], "cat /home/sandbox/file") == "then"
    for i in range(3):
        reply = bridge.post(route, {"name": f"r{i}", "retentionPolicy": {"mode": "delete_oldest", "maxCount": 2}})
        assert reply.status == 201, reply.body
        eventually(lambda: all(c["status"] == "ready" for c in bridge.get(route).json()), "the checkpoint", 30)
    assert [c["name"] for c in bridge.get(route).json()] == ["disk", "r1", "r2"]
    reply = bridge.post(route, {"name": "r3", "retentionPolicy": {"maxCount": 2}})
    assert reply.status == 400 and "as many as may be" in reply.error()
    for wrong, code in (("nonsense", 400), ("00000000-0000-4000-8000-000000000000", 404)):
        assert bridge.delete(f"{route}/{wrong}").status == code
        assert bridge.post(f"{route}/{wrong}/restore").status == code
        assert bridge.post(f"/sandboxes/from-checkpoint/{wrong}").status == code
        assert bridge.get(f"/sandboxes/checkpoints/{wrong}/patches").status == code
    # What a fork may have is what any sandbox may have, its source's included.
    many = {f"F{i}": "x" * 50 for i in range(1000)}
    full = fork(bridge, disk, envs=many)["sandboxID"]
    again = keep(bridge, full, "full", "disk_only")
    reply = bridge.post(f"/sandboxes/from-checkpoint/{again}", {"envs": {"MORE": "1"}})
    assert reply.status == 400 and "envs" in reply.error(), reply.body
    assert sh(bridge, fork(bridge, again, envs={"F1": "new"})["sandboxID"], "echo $F1 $F999") == f"new {'x' * 50}"
    bridge.post(f"/sandboxes/{sandbox}/hibernate")
    reply = bridge.post(route, {"name": "asleep"})
    assert reply.status == 400 and reply.error() == "sandbox is not running"


def total(bridge, sandbox):
    return int(sh(bridge, sandbox, "head -n 1 /proc/meminfo").split()[1]) // 1024


def test_scale(bridge):
    """Memory is given back and had again under running programs; a sleep, a fork and a killed bridge keep how much it is."""
    sandbox = create(bridge)
    sh(bridge, sandbox, COUNTER)
    whole = total(bridge, sandbox)
    scale = f"/sandboxes/{sandbox}/scale"
    assert bridge.post(scale, {"memoryMB": 192}).json() == {
        "sandboxID": sandbox, "workerID": bridge.get(f"/sandboxes/{sandbox}").json()["workerID"], "memoryMB": 192,
        "cpuPercent": 100, "migrated": False, "ok": True, "autoscaleDisabled": False}

    def scaled(one):
        assert bridge.get(f"/sandboxes/{one}").json()["memoryMB"] == 192
        assert whole - 72 <= total(bridge, one) <= whole - 56
    scaled(sandbox)
    counts(bridge, sandbox)
    scaled(fork(bridge, keep(bridge, sandbox, "small"))["sandboxID"])
    bridge.kill()
    bridge.start()
    scaled(sandbox)
    assert bridge.post(f"/sandboxes/{sandbox}/hibernate").status == 200
    for wrong in ({}, {"memoryMB": 127}, {"memoryMB": 257}, {"memoryMB": -1}, {"memoryMB": "all"}):
        assert bridge.post(scale, wrong).status == 400, wrong
    scaled(sandbox)
    assert bridge.post(scale, {"memoryMB": 256}).json()["memoryMB"] == 256
    assert whole - 8 <= total(bridge, sandbox) <= whole
    counts(bridge, sandbox)


def test_scale_below_what_is_used(bridge):
    """A guest that cannot let go of it keeps it: nothing is killed in it."""
    sandbox = create(bridge, memoryMB=512)
    whole = total(bridge, sandbox)
    hog = {"cmd": "sh", "args": ["-c", "dd if=/dev/zero bs=340M count=1 | sleep 600"]}
    assert bridge.post(f"/sandboxes/{sandbox}/exec", hog).status == 201
    eventually(lambda: int(sh(bridge, sandbox, "grep MemAvailable /proc/meminfo").split()[1]) < 140000, "memory to be used", 30)
    reply = bridge.post(f"/sandboxes/{sandbox}/scale", {"memoryMB": 128}, timeout=120)
    assert reply.status == 409 and reply.json()["code"] == "oom_floor", reply.body
    eventually(lambda: total(bridge, sandbox) >= whole - 8, "it to have its memory again", 20)
    assert bridge.get(f"/sandboxes/{sandbox}").json()["memoryMB"] == 512
    assert sh(bridge, sandbox, "pidof dd")


def test_guest_of_others(bridge, agent):
    """Beside machines there may be guests that others have started: of these no checkpoint can be made."""
    guest = bridge.adopt(agent)
    reply = bridge.post(f"/sandboxes/{guest}/checkpoints", {"name": "x"})
    assert reply.status == 501 and "external" in reply.error(), reply.body
    assert bridge.run(guest, "echo yes")["stdout"] == "yes\n"


def test_ten_full_checkpoints(bridge):
    """As many as may be: each has the memory and the disk of its moment, whatever happened to the others since."""
    sandbox = create(bridge)
    route = f"/sandboxes/{sandbox}/checkpoints"
    sh(bridge, sandbox, COUNTER)
    kept = []
    for i in range(10):
        sh(bridge, sandbox, f"echo {i} >/home/sandbox/disk; echo {i} >/dev/shm/memory")
        kept.append(keep(bridge, sandbox, f"full {i}"))
    counts(bridge, sandbox)
    reply = bridge.post(route, {"name": "one too many"})
    assert reply.status == 400 and "as many as may be" in reply.error()
    for i in (9, 0, 5):
        assert bridge.post(f"{route}/{kept[i]}/restore").status == 200
        assert sh(bridge, sandbox, "cat /home/sandbox/disk /dev/shm/memory") == f"{i}\n{i}"
        counts(bridge, sandbox)
    for i in (0, 2, 4, 6, 8):
        assert bridge.delete(f"{route}/{kept[i]}").status == 204
    assert bridge.delete(f"/sandboxes/{sandbox}").status == 204
    for i in (1, 9):
        one = fork(bridge, kept[i])["sandboxID"]
        assert sh(bridge, one, "cat /home/sandbox/disk /dev/shm/memory") == f"{i}\n{i}"
        counts(bridge, one)
    for i in (1, 3, 5, 7, 9):
        assert bridge.delete(f"{route}/{kept[i]}").status == 204
    eventually(lambda: list((bridge.dir / "checkpoints").iterdir()) == [], "their files to go", 10)


def test_size(bridge):
    """As many processors and as much memory as were asked for."""
    sandbox = create(bridge, cpuCount=2, memoryMB=512)
    cpus, kib = sh(bridge, sandbox, "nproc; sed -n 's/MemTotal: *//p' /proc/meminfo").split()[:2]
    assert int(cpus) == 2 and 400 << 10 < int(kib) <= 512 << 10


def test_user(bridge):
    """Commands run as the user 1000 of the image, in his home, and not as root, as they did."""
    assert sh(bridge, create(bridge), "id -u; id -g; pwd; echo $HOME $USER") == "1000\n1000\n/home/sandbox\n/home/sandbox sandbox"


def test_patches(bridge):
    """Run in order as root before the answer to a fork, and after a wake; the first that fails stops it and is told."""
    source = create(bridge)
    checkpoint = keep(bridge, source, "cp")
    route = f"/sandboxes/checkpoints/{checkpoint}/patches"
    assert bridge.post(route, {}).error() == "script is required"
    for script in ("echo one >>/root/order; id -u >>/root/order", "echo two >>/root/order"):
        reply = bridge.post(route, {"script": script, "description": "d"})
        assert reply.status == 201 and reply.json()["patch"]["strategy"] == "on_wake", reply.body
    assert [p["sequence"] for p in bridge.get(route).json()] == [1, 2]
    made = fork(bridge, checkpoint)
    sandbox = made["sandboxID"]
    assert "patchError" not in made and sh(bridge, sandbox, "cat /root/order") == "one\n0\ntwo"
    bad = bridge.post(route, {"script": "echo three >>/root/order; echo sorry >&2; exit 7"}).json()["patch"]["id"]
    bridge.post(route, {"script": "echo four >>/root/order"})
    bridge.post(f"/sandboxes/{sandbox}/hibernate")
    sh(bridge, sandbox, "true")
    error = eventually(lambda: bridge.get(f"/sandboxes/{sandbox}").json().get("patchError"), "the patch to fail", 10)
    assert "exit code 7" in error and "sorry" in error
    assert sh(bridge, sandbox, "cat /root/order") == "one\n0\ntwo\nthree"
    assert "sorry" in fork(bridge, checkpoint)["patchError"]
    assert bridge.delete(f"{route}/{bad}").status == 204 and bridge.delete(f"{route}/{bad}").status == 404
    bridge.post(f"/sandboxes/{sandbox}/hibernate")
    sh(bridge, sandbox, "true")
    eventually(lambda: sh(bridge, sandbox, "tail -1 /root/order") == "four", "the patch after it", 10)
    eventually(lambda: "patchError" not in bridge.get(f"/sandboxes/{sandbox}").json(), "its end to be known", 10)


def test_bridge_killed(bridge):
    """Machines survive it, running and asleep; checkpoints too."""
    awake, asleep = create(bridge), create(bridge)
    for sandbox in (awake, asleep):
        sh(bridge, sandbox, COUNTER)
    checkpoint = keep(bridge, awake, "cp")
    assert bridge.post(f"/sandboxes/{asleep}/hibernate").status == 200
    bridge.kill()
    bridge.start()
    assert status(bridge, asleep) == "hibernated"
    for sandbox in (awake, asleep):
        counts(bridge, sandbox)
        assert status(bridge, sandbox) == "running"
    counts(bridge, fork(bridge, checkpoint)["sandboxID"])


def test_qemu_killed(bridge):
    """It is noticed, and the sandbox comes up again from its disk when it is used."""
    sandbox = create(bridge)
    sh(bridge, sandbox, "echo kept >/home/sandbox/file; sync")
    os.kill(processes(bridge)[sandbox]["qemu-system-x86"], signal.SIGKILL)
    eventually(lambda: status(bridge, sandbox) != "running", "it to be noticed", 10)
    assert sh(bridge, sandbox, "cat /home/sandbox/file") == "kept"


def test_anything_killed(bridge):
    """Random kills of every process in the middle of operations: each sandbox is before or after, its files are there."""
    chance = random.Random(int(os.environ.get("SEED", "6")))
    sandboxes = [create(bridge) for _ in range(2)]
    for sandbox in sandboxes:
        sh(bridge, sandbox, "echo kept >/home/sandbox/file; sync")
    for turn in range(16):
        sandbox = chance.choice(sandboxes)
        what = chance.choice(["hibernate", "checkpoints", "reboot", "run"])
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            def act():
                try:
                    if what == "run":
                        bridge.run(sandbox, "true")
                    else:
                        bridge.post(f"/sandboxes/{sandbox}/{what}", {"name": f"t{turn}", "kind": "disk_only"})
                except (OSError, AssertionError, ValueError, Exception):
                    pass  # it is killed under our hands
            busy = pool.submit(act)
            time.sleep(chance.uniform(0, 0.4))
            victim = chance.choice(["bridge", "qemu-system-x86", "vhost-device-vs"])
            if victim == "bridge":
                bridge.kill()
            else:
                pid = processes(bridge).get(sandbox, {}).get(victim)
                if pid:
                    os.kill(pid, signal.SIGKILL)
            busy.result()
        if victim == "bridge":
            bridge.start()

        def works():
            reply = bridge.post(f"/sandboxes/{sandbox}/exec/run", {"cmd": "cat", "args": ["/home/sandbox/file"]})
            return reply.status == 200 and reply.json()["stdout"] == "kept\n"
        eventually(works, f"{sandbox} after {what} and the end of {victim}", 60)
    for sandbox in sandboxes:
        assert bridge.post(f"/sandboxes/{sandbox}/hibernate").status == 200
        for layer in (bridge.dir / "boxes" / sandbox).glob("*.qcow2"):
            done = subprocess.run(["qemu-img", "check", layer.name], cwd=layer.parent, capture_output=True, text=True)
            assert done.returncode in (0, 3), done.stdout + done.stderr  # 3: clusters that nobody uses, of a QEMU that was killed


@pytest.fixture
def server():
    """Address and port, as a machine sees them, of something here that answers."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"reached\n")

        def log_message(self, *_):
            pass
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield f"10.0.2.2 {one.server_port}"
        one.shutdown()


def fetch(server):
    """A command that prints "reached"; busybox's own wget looks for name services and dies."""
    return f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 10 {server} | tail -n 1"


def test_network(bridge, server):
    """A machine reaches others however it came up. None did: its agent was never told of the network."""
    def reaches(sandbox):
        assert sh(bridge, sandbox, fetch(server)) == "reached"
    sandbox = create(bridge)
    reaches(sandbox)
    assert sh(bridge, sandbox, "cat /etc/resolv.conf") == "nameserver 10.0.2.3"
    own = {"path": "/etc/resolv.conf"}
    assert bridge.put(f"/sandboxes/{sandbox}/files", b"nameserver 192.0.2.1\n", query=own).status == 204
    assert bridge.post(f"/sandboxes/{sandbox}/hibernate").status == 200
    reaches(sandbox)
    assert sh(bridge, sandbox, "cat /etc/resolv.conf") == "nameserver 192.0.2.1", "what the user set outlives a sleep"
    full, disk = keep(bridge, sandbox, "full"), keep(bridge, sandbox, "disk", "disk_only")
    for checkpoint in (full, disk):
        reaches(fork(bridge, checkpoint)["sandboxID"])
        assert bridge.post(f"/sandboxes/{sandbox}/checkpoints/{checkpoint}/restore").status == 200
        reaches(sandbox)
    assert bridge.post(f"/sandboxes/{sandbox}/reboot", timeout=90).status == 204
    reaches(sandbox)
    bridge.kill()
    bridge.start()
    reaches(sandbox)
    alone = create(bridge, networkEnabled=False)
    assert "unreachable" in bridge.run(alone, "/bin/sh", "-c", fetch(server))["stderr"]
    assert sh(bridge, alone, "ls /sys/class/net") == "lo"


def test_killed_while_it_boots(bridge, server):
    """The next bridge tells the machine what this one did not come to: it was left without network and names."""
    sandbox = create(bridge)

    def qemu():
        return processes(bridge).get(sandbox, {}).get("qemu-system-x86")

    def reboot():
        with contextlib.suppress(OSError, http.client.HTTPException):
            bridge.post(f"/sandboxes/{sandbox}/reboot", timeout=90)
    before = qemu()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        rebooting = pool.submit(reboot)
        eventually(lambda: qemu() not in (None, before), "another QEMU", 30)
        bridge.kill()
        rebooting.result()
    bridge.start()
    assert sh(bridge, sandbox, fetch(server)) == "reached"
    assert sh(bridge, sandbox, "hostname") == sandbox
