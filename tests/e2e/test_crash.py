"""agentd killed with -9: the next one takes the sessions over from what init kept (docs/architecture.md, PID 1)."""
import hashlib
import os
import random
import signal
import threading
import time

import pytest

from harness import LONG, children_of, eventually, proc_text
from machine import machine  # noqa: F401, a fixture
from outputs import check_seq, seq_bytes, seq_script
from resuming import Resuming
from wire import HttpRefused, LinkClosed

pytestmark = pytest.mark.own_agent

KEPT = 0.2  # seconds after which a session is surely kept (KEEP_AFTER_MS is 50)


def connect(box):
    """A link, as soon as the next agent listens."""
    def attempt():
        try:
            return box.connect()
        except (OSError, LinkClosed, HttpRefused):
            return None
    return eventually(attempt, "a link", 15)


def test_a_session_goes_on(machine):
    """Output, input, offsets, pid and the exit state all survive."""
    box = machine()
    link = box.connect()
    first = link.open(start={"cmd": ["sh", "-c", "echo before; read x; echo after $x; echo error >&2; exit 5"],
                             "stdin": True}, attach={"viewer": "me", "input": True, "hold_ms": 30000})
    first.wait_out(b"before\n")
    first.write(b"12")
    first.wait_acked(2)
    time.sleep(KEPT)
    hello = link.hello
    box.kill_agent()
    link = connect(box)
    assert link.hello["instance"] == hello["instance"] and link.hello["epoch"] == hello["epoch"] + 1
    again = first.resume(link)
    assert again.opened["new"] is False and again.opened["pid"] == first.opened["pid"]
    again.write(b"34\n")
    again.finish()
    assert again.out == b"before\nafter 1234\n" and again.err == b"error\n"
    assert again.end["state"] == "exited" and again.end["code"] == 5
    assert again.end["maxrss_kb"] > 0


def test_ends_that_no_agent_saw(machine):
    """Children that end while no agent lives, or right after: PID 1 tells how."""
    box = machine()
    link = box.connect()
    for name, script in {"code": "read x; exit 7", "signal": "read x; kill -SEGV $$"}.items():
        link.request("start", id=name, start={"cmd": ["sh", "-c", script], "stdin": True})
        link.request("start", id=f"{name}-now", start={"cmd": ["sh", "-c", f"sleep 1; true; {script[8:]}"]})
    time.sleep(KEPT)
    box.kill_agent()
    link = connect(box)
    for name in ("code", "signal"):
        channel = link.open(id=name, attach={"input": True})
        channel.write(b"go\n")
        channel.finish()
    box.kill_agent()
    link = connect(box)
    ends = {entry["id"]: link.wait_end(entry["id"])["end"] for entry in link.request("list")["sessions"]}
    assert {name: end["state"] for name, end in ends.items()} == {
        "code": "exited", "code-now": "exited", "signal": "signaled", "signal-now": "signaled"}
    assert ends["code"]["code"] == ends["code-now"]["code"] == 7
    assert ends["signal"]["signal"] == ends["signal-now"]["signal"] == 11


def test_more_ends_than_the_socket_holds(machine):
    """PID 1 tells of all of them, although the agent takes a while to listen; some were lost once."""
    box = machine()
    link = box.connect()
    ids = [link.request("start", start={"cmd": ["sleep", "1000"]})["id"] for _ in range(1000)]
    time.sleep(KEPT)
    box.kill_agent()
    link = connect(box)
    pids = " ".join(str(link.entry(name)["pid"]) for name in ids)
    link.request("start", id="killer", start={"cmd": ["sh", "-c", f"sleep 1; kill -9 {pids}"]})
    agent = box.agent_pid()
    os.kill(agent, signal.SIGSTOP)
    eventually(lambda: not sleepers(box), "all of them to be reaped", 20)
    os.kill(agent, signal.SIGCONT)
    assert {link.wait_end(name)["end"]["state"] for name in ids} == {"signaled"}


def sleepers(box):
    """Whether a child of PID 1 still sleeps."""
    init = children_of(box.proc.pid)[0]
    return any(proc_text(pid, "comm") == "sleep\n" for pid in children_of(init))


def test_end_of_stdin_is_seen_at_once(machine):
    """The keeper has a copy of the pipe's end: it must not keep the child waiting for EOF."""
    box = machine()
    link = box.connect()
    channel = link.open(start={"cmd": ["cat"], "stdin": True}, attach={"input": True})
    channel.write(b"all")
    time.sleep(KEPT)
    channel.write(b" of it", fin=True)
    channel.finish(5)
    assert channel.out == b"all of it"


def test_nothing_is_left_in_the_store(machine):
    """What has ended is not kept: init holds as many descriptors as before."""
    box = machine()
    link = box.connect()
    pid = children_of(box.proc.pid)[0]

    def held():
        return len(os.listdir(f"/proc/{pid}/fd"))
    before = held()
    for number in range(20):
        link.request("start", id=f"s{number}", start={"cmd": ["sh", "-c", "read x; echo $x"], "stdin": True})
    eventually(lambda: held() == before + 20 * 4, "80 descriptors more")
    box.kill_agent()
    link = connect(box)
    for number in range(20):
        channel = link.open(id=f"s{number}", attach={"input": True})
        channel.write(b"end\n")
        channel.finish()
    eventually(lambda: held() == before, "as many as before")


def test_kept_sessions_come_and_go(machine):
    """Closing a descriptor that the keeper has too does not end its watch: events came for what was gone."""
    box = machine()
    link = box.connect()
    agent = box.agent_pid()
    for number in range(40):
        pty = {"pty": {}, "cmd": ["sh", "-c", "sleep 0.08; seq 1 3000"]}
        pipes = {"cmd": ["sh", "-c", f"sleep 0.0{number % 5 + 4}; seq 1 3000"], "stdin": True}
        channels = [link.open(start={**(pty if k % 2 else pipes), "retain_ms": 0}, keep=False) for k in range(10)]
        for channel in channels:
            channel.finish()
    assert box.agent_pid() == agent and "agentd ended" not in box.log()


def test_a_session_of_a_blink(machine):
    """Too young to have been kept: it is honestly lost, and never `exited 0`."""
    box = machine()
    for _ in range(5):
        link = connect(box)
        link.request("start", id=(name := box.new_id()), start={"cmd": ["sleep", "30"]})
        box.kill_agent()
        link = connect(box)
        state = link.entry(name)["state"]
        assert state in ("agent_lost", "running")


@pytest.mark.seconds(300)
def test_streams_through_many_kills(machine):
    """Killed again and again under load: every session goes on; hashes are equal, or a gap is marked."""
    kills = 100 if LONG else 20
    box = machine()
    rng = random.Random(7)
    count = (4 << 20) if LONG else (1 << 20)
    script = seq_script(0, count)
    clients = [Resuming(box, {"cmd": ["sh", "-c", f"sleep 0.3; {script}; exit 3"], "ring": 1 << 20}, window=65536)
               for _ in range(3)]
    data = seq_bytes(0, 1 << 18)
    clients += [Resuming(box, {"cmd": ["cat"], "stdin": True}, data, window=65536) for _ in range(2)]
    failures = []

    def run(client):
        try:
            while client.channel is None or client.channel.closed is None:
                try:
                    client.attempt(None)
                except (LinkClosed, HttpRefused, OSError):
                    time.sleep(0.02)
        except BaseException as failure:  # noqa: B902, told by the test
            failures.append(failure)
    threads = [threading.Thread(target=run, args=(client,), daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    time.sleep(0.6)
    done = 0
    while any(thread.is_alive() for thread in threads) and done < kills:
        time.sleep(rng.uniform(0, 0.15))
        box.kill_agent()
        done += 1
    for thread in threads:
        thread.join(120)
    assert not failures, failures
    assert not any(thread.is_alive() for thread in threads)
    for client in clients[:3]:
        assert client.channel.end["state"] == "exited" and client.channel.end["code"] == 3
        if not client.channel.stdout.gaps:
            check_seq(client.channel.stdout)
    for client in clients[3:]:
        channel = client.channel
        doubt = connect(box).entry(client.id).get("stdin", {}).get("in_doubt", 0)
        if not channel.stdout.gaps and not doubt:
            assert channel.stdout.hash() == hashlib.sha256(data).hexdigest()


def test_terminal_goes_on(machine):
    box = machine()
    link = box.connect()
    shell = link.open(id="term", start={"pty": {"shell": "/bin/sh"}},
                      attach={"viewer": "me", "input": True, "hold_ms": 30000})
    shell.write(b"x=kept; echo re''ady\n")
    shell.wait_out(b"ready")
    time.sleep(KEPT)
    box.kill_agent()
    again = shell.resume(connect(box))
    again.write(b"echo still $x; exit 4\n")
    again.finish()
    assert b"still kept" in again.out and again.end["code"] == 4
