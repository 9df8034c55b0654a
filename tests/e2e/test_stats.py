"""Figures, limits and the log: `sys.stats`, `sys.limits`, `sys.log` (section 17)."""
import json
import os
import pathlib
import subprocess
import tempfile
import time

import pytest

from harness import Tool, eventually
from test_cgroup import cgroup2_mount
from wire import AgentError

pytestmark = pytest.mark.own_agent

MIB = 1 << 20


def stats(link, **how):
    return link.request("sys.stats", **how)


def one(link, session):
    (found,) = stats(link, sessions=[session])["sessions"]
    return found


def test_the_machine(agent, link):
    """What is told is what the kernel says."""
    got = stats(link, mounts=["/proc", "/nonexistent"])
    meminfo = {line.split(":")[0]: int(line.split()[1]) << 10
               for line in pathlib.Path("/proc/meminfo").read_text().splitlines()}
    memory = got["memory"]
    assert memory["total"] == meminfo["MemTotal"]
    assert memory["used"] == memory["total"] - memory["available"]
    assert abs(memory["available"] - meminfo["MemAvailable"]) < memory["total"] // 4
    assert got["cpu"]["count"] == os.cpu_count()
    idle = [int(x) for x in pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    tick = os.sysconf("SC_CLK_TCK")
    assert abs(got["cpu"]["idle_ms"] - idle[3] * 1000 / tick) < 60000
    assert abs(got["cpu"]["user_ms"] - (idle[0] + idle[1]) * 1000 / tick) < 60000
    assert len(got["load"]) == 3 and abs(got["load"][2] - os.getloadavg()[2]) < 5
    assert got["tasks"]["threads"] >= got["tasks"]["processes"] > 1
    assert abs(got["time_ms"] / 1000 - time.time()) < 30
    assert abs(got["uptime_ms"] / 1000 - time.clock_gettime(time.CLOCK_BOOTTIME)) < 30
    root, proc, missing = got["disk"]
    assert root["path"] == "/" and root["size"] == os.statvfs("/").f_blocks * os.statvfs("/").f_frsize
    assert proc["path"] == "/proc" and missing == {"path": "/nonexistent", "error": "No such file or directory"}
    assert {net["name"] for net in got["net"]} == set(os.listdir("/sys/class/net")) - {"bonding_masters"}
    if os.path.exists("/proc/pressure/cpu"):
        assert set(got["pressure"]) == {"cpu", "memory", "io"}
        assert 0 <= got["pressure"]["cpu"]["some"]["avg10"] <= 100
        assert got["pressure"]["io"]["full"]["total_us"] >= 0


def test_the_agent_itself(agent, link):
    link.run(["true"])
    me = stats(link)["agent"]
    assert me["pid"] == agent.pid and me["connections"] == 1
    assert abs(me["rss"] - agent.rollup("Rss") * 1024) < 8 * MIB and 0 < me["pss"] <= me["rss"]
    assert abs(me["descriptors"] - agent.fds()) <= 2
    assert me["threads"] >= 2, "the one that answers is among them"
    assert me["sessions"] == {"live": 0, "ended": 1, "draining": 0}
    lag = me["lag"]
    assert lag["turns"] >= 2 and 0 < lag["max_us"] <= lag["busy_us"] and lag["average_us"] <= lag["max_us"]
    over = [bucket["n"] for bucket in lag["turns_over"]]
    assert over == sorted(over, reverse=True) and over[0] <= lag["turns"]


def test_a_loop_that_stood_still_is_seen(agent, link):
    """The loop waits for a binary it is to be replaced by; the longest turn tells, seen from a thread beside it."""
    slow = agent.dir / "slow"
    slow.write_text("#!/bin/sh\nsleep 0.5\n")
    slow.chmod(0o755)
    with pytest.raises(AgentError):
        link.request("upgrade", path=str(slow))
    lag = stats(link)["agent"]["lag"]
    assert lag["max_us"] >= 400000 and lag["busy_us"] >= 400000
    assert {bucket["us"]: bucket["n"] for bucket in lag["turns_over"]}[100000] >= 1


SPIN = ["sh", "-c", "sleep 300 & i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; wait"]


@pytest.mark.parametrize("cgroup", ["auto", "none"])
def test_a_session(start_agent, cgroup):
    """Processes, CPU and memory of all a session started, with a cgroup and without."""
    if cgroup == "auto" and cgroup2_mount() is None:
        pytest.skip("no cgroup v2 that can be written")
    link = start_agent(cgroup=cgroup).connect()
    channel = link.open(start={"cmd": SPIN}, window=1000)
    link.wait(lambda: channel.out == b"done\n", "the work to be done")
    got = one(link, channel.opened["id"])
    assert got["state"] == "running" and got["pids"] == 2
    assert got["cpu"]["user_us"] + got["cpu"]["system_us"] >= 30000
    memory = got["memory"].get("current") or got["memory"]["rss"]
    assert 64 << 10 < memory < 64 * MIB
    assert ("pressure" in got) == (cgroup == "auto" and os.path.exists("/proc/pressure/cpu"))
    link.request("kill", id=channel.opened["id"], signal="KILL", to="tree")
    link.wait_end(channel.opened["id"])
    ended = one(link, channel.opened["id"])
    assert ended["state"] == "killed" and ended.get("pids", 0) == 0


def test_many_sessions_and_unknown_ones(link):
    ids = []
    for _ in range(20):
        ids.append(link.open(start={"cmd": ["sleep", "100"]}, window=1000).opened["id"])
    got = stats(link, sessions=[*ids, "nobody"])["sessions"]
    assert [entry["id"] for entry in got] == ids and all(entry["pids"] == 1 for entry in got)
    with pytest.raises(AgentError) as failed:
        stats(link, sessions=[f"x{i}" for i in range(257)])
    assert failed.value.code == "bad_message"
    with pytest.raises(AgentError):
        stats(link, mounts=["/"] * 17)
    for session in ids:
        link.request("kill", id=session, signal="KILL")


def test_the_link_may_go_meanwhile(agent):
    """The answer then goes nowhere, and nothing is left (ASan, descriptors)."""
    before = agent.settled_fds()
    for _ in range(20):
        link = agent.connect()
        link.ask("sys.stats", sessions=["a"])
        link.ask("sys.limits")
        link.cut()
    link = agent.connect()
    assert stats(link)["agent"]["connections"] >= 1
    link.cut()
    eventually(lambda: agent.fds() <= before, "the descriptors to be closed")


def test_an_idle_agent_has_no_thread(agent, link):
    stats(link)
    eventually(lambda: len(os.listdir(f"/proc/{agent.pid}/task")) == 1, "the worker to go")


# ---- limits

def has_controllers():
    mount = cgroup2_mount()
    return mount and {"memory", "pids", "cpu"} <= set(pathlib.Path(mount, "cgroup.controllers").read_text().split())


@pytest.mark.parametrize("limits, missing", [({"memory": 64 * MIB}, "memory"), ({"pids": 10}, "pids"),
                                             ({"cpu_percent": 50}, "cpu"), ({"pids": None}, "pids")])
def test_limits_where_there_are_no_controllers(start_agent, limits, missing):
    """Refused with a clear word, and nothing has started; never a silent start without the limit."""
    agent = start_agent(cgroup="none")
    link = agent.connect()
    for how in (lambda: link.request("sys.limits", **limits), lambda: link.run(["true"], limits=limits),
                lambda: link.request("start", start={"cmd": ["true"], "limits": limits})):
        with pytest.raises(AgentError) as failed:
            how()
        assert failed.value.code == "failed" and failed.value.error["errno"] == 95
        assert failed.value.error["message"] == f"the {missing} controller is not available here"
    assert link.request("list")["sessions"] == []
    assert link.request("sys.limits") == {}
    assert link.run(["true"], limits={}).end["state"] == "exited"


@pytest.mark.parametrize("bad", [{"memory": 1000}, {"memory": "1G"}, {"pids": 0}, {"pids": -1}, {"cpu_percent": 0},
                                 {"cpu_percent": 1.5}, {"memory": True}])
def test_bad_limits(link, bad):
    for how in (lambda: link.request("sys.limits", **bad), lambda: link.run(["true"], limits=bad)):
        with pytest.raises(AgentError) as failed:
            how()
        assert failed.value.code == "bad_message"


def test_limits_hold(start_agent):
    """Where there are controllers (in the VM): of all sessions together, and of one. Elsewhere they are refused."""
    agent = start_agent()
    link = agent.connect()
    if not has_controllers():
        with pytest.raises(AgentError):
            link.request("sys.limits", pids=100)
        return
    assert link.request("sys.limits", memory=512 * MIB, pids=64, cpu_percent=150) == {
        "memory": 512 * MIB, "pids": 64, "cpu_percent": 150}
    assert link.request("sys.limits", memory=None)["memory"] is None
    channel = link.run(["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; echo unlimited"],
                       limits={"pids": 4, "memory": 64 * MIB})
    assert b"unlimited" not in channel.out and channel.end["code"] != 0
    hog = link.run(["/usr/bin/python3", "-c", "x = b'x' * (200 << 20)"], limits={"memory": 64 * MIB})
    assert hog.end["state"] == "oom_killed"
    assert link.run(["true"]).end["code"] == 0, "the next one has no part in that"


# ---- log

def test_log(agent, link):
    lines = link.request("sys.log")["lines"]
    assert lines == agent.log().splitlines() and "listening on" in lines[0]
    for _ in range(300):
        link.request("sys.log", lines=1)
    agent.proc.send_signal(10)  # debug on
    for _ in range(200):
        agent.connect().cut()
    eventually(lambda: agent.log().count("connection closed") == 200, "the links to be gone")
    told = link.request("sys.log", lines=1000)["lines"]
    assert 13000 < sum(len(line) + 1 for line in told) <= 16384
    assert agent.log().endswith("\n".join(told) + "\n")
    assert link.request("sys.log", lines=3)["lines"] == told[-3:]
    assert link.request("sys.log", lines=0)["lines"] == []


@pytest.fixture
def full_disk():
    folder = tempfile.mkdtemp(prefix="agentd-full-")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=True)
    with open(f"{folder}/fill", "wb", buffering=0) as fill:
        try:
            while fill.write(b"x" * 4096):
                pass
        except OSError:
            pass
    yield folder
    subprocess.run(["umount", folder], check=True)
    os.rmdir(folder)


@pytest.mark.parametrize("where", ["/dev/full", "disk"])
def test_a_log_that_cannot_be_written(full_disk, start_agent, where):
    """It goes on serving, and keeps what it could not write; with room again the next line says how many are missing."""
    path = where if where != "disk" else f"{full_disk}/log"
    agent = start_agent(wrapper=["sh", "-c", f'exec "$@" 2>>{path}', "sh"])
    link = agent.connect()
    agent.proc.send_signal(10)  # debug on
    for _ in range(5):
        agent.connect().cut()
    assert link.run(["head", "-c", "100000", "/dev/zero"]).out == bytes(100000)
    assert "listening on" in link.request("sys.log")["lines"][0]
    if where == "disk":
        os.unlink(f"{full_disk}/fill")

        def written():
            agent.connect().cut()
            return "log lines dropped" in pathlib.Path(path).read_text()
        eventually(written, "the next lines to be written")


# ---- agentctl

def test_agentctl(agent, link):
    session = link.open(start={"cmd": ["sleep", "100"]}, window=1000).opened["id"]
    code, out, err = Tool(agent.target, "stats", "--json", session).finish()
    assert (code, err) == (0, b"")
    assert json.loads(out)["sessions"][0]["id"] == session
    code, out, err = Tool(agent.target, "stats", session).finish()
    assert (code, err) == (0, b"")
    shown = dict(line.split(None, 1) for line in out.decode().splitlines())
    assert shown["cpu.count"] == str(os.cpu_count()) and shown[f"sessions.{session}.pids"] == "1"
    assert shown["memory.total"][-1] in "MG" and shown["agent.pid"] == str(agent.pid)
    code, out, err = Tool(agent.target, "log", "--lines", "1").finish()
    assert (code, err) == (0, b"") and out.decode().strip() == agent.log().splitlines()[-1]
    link.request("kill", id=session, signal="KILL")
