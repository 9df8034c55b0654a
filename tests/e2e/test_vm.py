"""What only a machine of its own can show: PID 1, the kernel's memory and power, a clean journal.

ctest: timeout=900

It boots the images of `./dev image`; without hardware virtualisation the machine is emulated.
"""
import base64
import errno
import hashlib
import io
import random
import subprocess
import tarfile
import threading
import time

import pytest

import lines
from dialing import Dial
from file_channel import FileChannel, read_file, write_file
from harness import LONG, eventually
from outputs import check_seq, seq_bytes, seq_script
from resuming import Resuming
from vms import IMAGE, guest, modules, out  # noqa: F401, a fixture
from wire import AgentError, HttpRefused, LinkClosed

KEPT = 0.5  # seconds after which a session is surely kept (KEEP_AFTER_MS is 50), in a machine that has half a processor

pytestmark = [pytest.mark.own_agent, pytest.mark.seconds(240)]


def test_a_small_initramfs():
    assert (IMAGE / "initramfs.img").stat().st_size < 4 << 20


def test_pid_1(guest):  # noqa: F811
    """Mounts, controllers for the sandbox, agentd protected and in a cgroup of its own, nothing unreaped."""
    link = guest().link()
    assert link.hello["boot_id"] == out(link, "cat /proc/sys/kernel/random/boot_id").strip()
    assert out(link, "cat /proc/1/comm") in ("agentd-init\n", "init\n")
    info = link.request("info")
    assert 0 < info["boot"]["init_ms"] <= info["boot"]["agent_ms"] <= info["boot"]["ready_ms"]
    agent = info["pid"]
    assert out(link, f"cat /proc/{agent}/oom_score_adj /proc/{agent}/cgroup; cat /proc/self/oom_score_adj") == \
        "-1000\n0::/agentd\n0\n"
    assert out(link, "cat /proc/self/cgroup").startswith("0::/sandbox/")
    for controller in ("memory", "pids", "cpu"):
        assert controller in out(link, "cat /sys/fs/cgroup/sandbox/cgroup.subtree_control").split()
    mounts = out(link, "cat /proc/mounts")
    for where in ("/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/run", "/tmp", "/sys/fs/cgroup", "/sys/kernel/tracing"):
        assert f" {where} " in mounts
    out(link, f"i=0; while [ $i -lt {5000 if LONG else 1000} ]; do (true & ); i=$((i+1)); done", timeout=120)
    eventually(lambda: out(link, "grep -l '^State:.Z' /proc/[0-9]*/status || true") == "", "no zombies")


def disk_state(vm):
    """What the ext4 on the VM's disk says of itself, and what e2fsck says of it."""
    raw = vm.dir / "raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", vm.disk, raw], check=True)
    head = subprocess.run(["dumpe2fs", "-h", raw], capture_output=True, text=True, check=True).stdout
    check = subprocess.run(["e2fsck", "-fn", raw], capture_output=True, text=True)
    return head, check


@pytest.mark.parametrize("how", ["TERM", "off", "reboot"])
def test_power_off_and_reboot(guest, how):  # noqa: F811
    """In order: sessions end with grace, the journal is clean, what was written is there."""
    box = guest()
    link = box.link()
    link.request("start", id="writer", start={"cmd": ["sh", "-c",
                 "trap 'echo bye >/root/said; exit' TERM; i=0; while true; do i=$((i+1)); echo $i >/root/f$((i%50)); done"]})
    time.sleep(0.5)
    if how == "TERM":
        link.request("start", id="end", start={"cmd": ["kill", "-TERM", "1"]})
    else:
        link.ask("power", how=how)
    box.vm.wait_off(60)
    assert ("rebooting" if how == "reboot" else "powering off") in box.vm.log()
    head, check = disk_state(box.vm)
    assert "needs_recovery" not in head and check.returncode == 0, head + check.stdout
    assert "said" in subprocess.run(["debugfs", "-R", "ls /root", box.vm.dir / "raw"], capture_output=True,
                                    text=True).stdout


def test_out_of_memory(guest):  # noqa: F811
    """A hog is killed by the kernel and its end says so; the agent and other sessions stay well."""
    link = guest().link()
    link.request("start", id="other", start={"cmd": ["sh", "-c", "while true; do sleep 1; done"]})
    done = link.sh("tail /dev/zero", timeout=120)
    assert done.end["state"] == "oom_killed", done.end
    assert link.entry("other")["state"] == "running"
    assert out(link, "echo well") == "well\n"


def test_full_disk(guest):  # noqa: F811
    """Commands go on, and so do their streams."""
    link = guest().link()
    assert link.sh("dd if=/dev/zero of=/root/fill bs=1M", timeout=120).end["code"] == 1
    done = link.sh("echo x >/root/more; echo still here; seq 1 100000 | tail -1", timeout=30)
    assert done.out == b"still here\n100000\n"
    out(link, "rm /root/fill; echo x >/root/more")


def test_clock_step(guest):  # noqa: F811
    """Times that are waited for are not on the wall clock."""
    link = guest().link()
    link.request("start", id="sleeper", start={"cmd": ["sleep", "3"], "timeout_ms": 20000})
    out(link, "date -s @2000000000 >/dev/null")
    entry = link.wait_entry("sleeper", lambda e: e["state"] != "running", "its end", 15)
    assert entry["state"] == "exited" and 2500 < entry["end"]["wall_ms"] < 10000


def test_guest_cannot_reach_the_agent(guest):  # noqa: F811
    """A process in the VM dials the agent over vsock loopback: turned away without a word."""
    box = guest("base", memory=512)
    link = box.link()
    version = out(link, "uname -r").strip()
    path = modules(version) / "net/vmw_vsock/vsock_loopback.ko"
    data = path.read_bytes()
    channel = link.open(start={"cmd": ["sh", "-c", "cat >/tmp/l.ko; insmod /tmp/l.ko"], "stdin": True}, attach={"input": True})
    while channel.offset < len(data):
        channel.write(data[channel.offset:channel.offset + 32768])
    channel.write(b"", fin=True)
    assert channel.finish(20).end["code"] == 0, channel.err
    script = ("import socket; s = socket.socket(socket.AF_VSOCK); s.settimeout(5); s.connect((1, 1024)); "
              "s.sendall(b'GET /v1 HTTP/1.1\\r\\n'); print('got', len(s.recv(100)))")
    done = link.run(["python3", "-c", script], timeout=30)
    assert done.out == b"got 0\n" or b"Broken pipe" in done.err or b"Connection reset" in done.err, done.err
    assert link.request("info")["refused"] >= 1


def stream_through(box, count, disturb, clients=2):
    """Clients with output and clients with input and output, while something happens to the agent or the machine."""
    data = seq_bytes(0, count)
    all_of_them = [Resuming(box, {"cmd": ["sh", "-c", f"sleep 0.3; {seq_script(0, count)}; exit 3"]}, window=65536)
                   for _ in range(clients)]
    all_of_them += [Resuming(box, {"cmd": ["cat"], "stdin": True}, data, window=65536) for _ in range(clients)]
    failures, gate = [], threading.Event()
    gate.set()

    def run(client):
        try:
            while client.channel is None or client.channel.closed is None:
                gate.wait()
                try:
                    client.attempt(None)
                except (LinkClosed, HttpRefused, OSError):
                    time.sleep(0.05)
        except BaseException as failure:  # noqa: B902, told below
            failures.append(failure)
    threads = [threading.Thread(target=run, args=(client,), daemon=True) for client in all_of_them]
    for thread in threads:
        thread.start()
    # One that has only begun is lost with the agent; under load one began as late as that.
    eventually(lambda: all(client.channel and client.channel.opened for client in all_of_them), "all of them to run", 60)
    time.sleep(KEPT)
    disturb(lambda: any(thread.is_alive() for thread in threads), gate)
    for thread in threads:
        thread.join(180)
    assert not failures, failures
    assert not any(thread.is_alive() for thread in threads)
    for client in all_of_them[:clients]:
        assert client.channel.end["state"] == "exited" and client.channel.end["code"] == 3
        if not client.channel.stdout.gaps:
            check_seq(client.channel.stdout)
    for client in all_of_them[clients:]:
        doubt = box.link().entry(client.id)["stdin"].get("in_doubt", 0)
        if not client.channel.stdout.gaps and not doubt:
            assert client.channel.stdout.hash() == hashlib.sha256(data).hexdigest()
    return all_of_them


def test_agent_killed_again_and_again(guest):  # noqa: F811
    """kill -9 in mid-stream: every session goes on, hashes are equal, or the gap is marked."""
    kills = 100 if LONG else 25
    box = guest()

    def disturb(alive, _):
        for _ in range(kills):
            if not alive():
                break
            try:
                link = box.link()
                pid = link.request("info")["pid"]
                link.ask("start", id=box.new_id("kill"), start={"cmd": ["kill", "-9", str(pid)]})
                link.wait_eof()
            except (LinkClosed, OSError):
                pass
            time.sleep(0.1)
    stream_through(box, 1 << 17, disturb)


def test_hibernate_in_mid_stream(guest):  # noqa: F811
    """Saved to files and woken, again and again: commands, scrollback, stdin, terminals and timers go on."""
    box = guest()
    link = box.link()
    link.request("start", id="grace", start={"cmd": ["sleep", "1000"], "disconnect_ms": 60000})
    link.request("start", id="term", start={"pty": {"shell": "/bin/sh"}})
    term = link.open(id="term", attach={"input": True})
    term.write(b"x=kept\n")
    before = link.entry("grace")["disconnect_left_ms"]
    cycles = 20 if LONG else 4

    def disturb(alive, gate):
        for _ in range(cycles):
            if not alive():
                break
            time.sleep(0.5)
            gate.clear()  # links are cut by the unplugging, and nobody dials a machine that is not there
            box.vm.save()
            time.sleep(1)
            box.vm.wake()
            box.vm.wait_agent()
            gate.set()
    stream_through(box, 1 << 17, disturb, clients=1)
    link = box.link()
    left = link.entry("grace")["disconnect_left_ms"]
    assert before - 60000 < left <= before
    term = link.open(id="term", attach={"input": True})
    term.write(b"echo still $x; exit 4\n")
    assert b"still kept" in term.finish().out and term.end["code"] == 4


def test_forks_are_apart(guest):  # noqa: F811
    """Two machines from one saved one, side by side."""
    box = guest()
    link = box.link()
    link.request("start", id="counter", start={"cmd": ["sh", "-c", "i=0; while true; do i=$((i+1)); echo $i; sleep 0.1; done"]})
    link.close()
    box.vm.save()
    one, two = guest.fork(box), guest.fork(box)
    first, second = one.link(), two.link()
    assert first.entry("counter")["state"] == second.entry("counter")["state"] == "running"
    out(first, "echo one >/root/which")
    assert second.sh("cat /root/which").end["code"] != 0
    for link in (first, second):
        at = link.entry("counter")["out"]["head"]
        eventually(lambda: link.entry("counter")["out"]["head"] > at, "it to count on")


def test_limits(guest):  # noqa: F811
    """A fork bomb and a memory hog, each in its own limits: others and the agent do not feel them."""
    link = guest().link()
    link.request("start", id="other", start={"cmd": ["sh", "-c", "while true; do sleep 1; done"]})
    link.request("start", id="bomb", start={"cmd": ["sh", "-c", "f() { f | f & }; while true; do f; sleep 0.1; done"],
                                            "limits": {"pids": 50, "cpu_percent": 50}})
    hog = link.run(["sh", "-c", "tail /dev/zero"], limits={"memory": 32 << 20}, timeout=60)
    assert hog.end["state"] == "oom_killed" or hog.end.get("code") == 137, hog.end
    assert link.entry("other")["state"] == "running"
    assert out(link, "echo well") == "well\n"
    link.request("kill", id="bomb", signal="KILL", to="tree")
    link.wait_end("bomb", 30)
    assert out(link, "ls /proc | grep -c '^[0-9]'") != ""
    assert link.request("sys.limits", pids=200, memory=100 << 20) == {"memory": 100 << 20, "pids": 200, "cpu_percent": None}
    together = link.sh("tail /dev/zero", timeout=60)
    assert together.end["state"] == "oom_killed"
    assert link.entry("other")["state"] in ("running", "oom_killed")


def test_prepared_saved_resumed(guest):  # noqa: F811
    """The steps around a snapshot: links closed in order, file systems frozen; then clock, entropy, name, network."""
    box = guest()
    link = box.link()
    asked = link.ask("sys.prepare", sync=True, freeze=["/"], thaw_ms=20000)
    assert link.expect_close(10) == 1012 and link.notices == ["preparing"]
    steps = link.answer(asked)["steps"]
    assert all(step["ok"] for step in steps), steps
    box.vm.save()
    time.sleep(1.5)
    twins = [guest.fork(box), guest.fork(box)]
    names = []
    for number, twin in enumerate(twins):
        link = twin.link()
        now = time.time_ns()
        entropy = base64.b64encode(bytes([number]) * 64).decode()
        steps = link.request("sys.resume", clock_ns=str(now), entropy=entropy, hostname=f"twin-{number}",
                             machine_id=f"{number:032x}")["steps"]
        assert all(step["ok"] for step in steps), steps
        guest_now = int(out(link, "date +%s"))
        assert abs(guest_now - time.time()) <= 2
        names.append(out(link, "hostname; cat /etc/machine-id; echo written >/root/after; head -c 16 /dev/urandom | md5sum"))
    assert names[0].split()[0] == "twin-0" and names[1].split()[0] == "twin-1"
    assert names[0].split()[1] != names[1].split()[1]
    assert names[0].split()[2] != names[1].split()[2]


def test_files_over_vsock(guest):  # noqa: F811
    """Up and down with equal hashes, a tree as an archive, search and watch, in another machine's files."""
    link = guest("base", memory=512).link()
    data = random.Random(1).randbytes(24 << 20)
    up = write_file(link, "/root/data", data, sha256=True)
    assert up.done["sha256"] == hashlib.sha256(data).hexdigest()
    assert read_file(link, "/root/data").data == data
    assert out(link, "sha256sum /root/data").split()[0] == up.done["sha256"]
    packed = FileChannel(link, "tar", path="/etc").open().finish()
    names = tarfile.open(fileobj=io.BytesIO(packed.data)).getnames()
    assert "passwd" in names
    unpacked = FileChannel(link, "untar", path="/root/etc").open()
    unpacked.write(packed.data, fin=True).finish()
    assert out(link, "diff -r --no-dereference /etc /root/etc") == ""
    found, _ = lines.grep(link, "/root/etc", "^sandbox:")
    assert {line["path"] for line in found} >= {"passwd", "group"}
    watch = lines.Lines(link, "watch", "/root/etc")
    link.wait(lambda: watch.lines, "the watch to stand", 10)
    out(link, "echo x >/root/etc/new-file")
    link.wait(lambda: any(line.get("path") == "new-file" for line in watch.lines), "the event", 10)


def test_upload_on_a_full_disk(guest):  # noqa: F811
    """ENOSPC in the middle: said so, the target is as it was, and nothing is left of the upload."""
    link = guest().link()
    write_file(link, "/root/target", b"old")
    free = int(out(link, "df -k / | tail -1").split()[3])
    with pytest.raises(AgentError) as failed:
        upload = FileChannel(link, "write", path="/root/target").open()
        for _ in range(free // 1024 + 64):
            upload.write(b"x" * (1 << 20))
        upload.write(b"", fin=True).finish()
    assert failed.value.errno == errno.ENOSPC
    assert out(link, "cat /root/target; ls -A /root") == "oldtarget\n"
    assert int(out(link, "df -k / | tail -1").split()[3]) > free - 1024


def test_a_server_in_the_guest(guest):  # noqa: F811
    """Its port is told of, and can be reached."""
    link = guest("base", memory=512).link()
    link.request("start", id="server", start={"cmd": ["python3", "-m", "http.server", "8123"], "cwd": "/etc"})

    def listening():
        return [port for port in link.request("net.ports")["ports"] if port["port"] == 8123]
    (port,) = eventually(listening, "the port", 30)
    assert port["session"] == "server"
    stream = Dial(link, "tcp:localhost:8123")
    stream.write_some(b"GET /hostname HTTP/1.0\r\n\r\n")
    stream.wait_ended()
    assert stream.out.endswith(b"\r\n\r\nsandbox\n")
