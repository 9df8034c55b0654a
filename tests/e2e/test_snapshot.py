"""Before and after a snapshot: `sys.prepare` and `sys.resume` (section 18)."""
import base64
import ctypes
import json
import os
import pathlib
import socket
import subprocess
import time

import pytest

from harness import Tool, eventually
from system import Disk, crash, env_of, private_etc
from wire import AgentError, Timeout

pytestmark = pytest.mark.own_agent


def steps_of(answer):
    for step in answer["steps"]:
        assert step["ok"] == ("error" not in step) and 0 <= step["ms"] < 60000
    return [step["step"] for step in answer["steps"]]


def failures(answer):
    return {step["step"]: step["error"] for step in answer["steps"] if not step["ok"]}


def prepare(link, **members):
    """The answer; then the link is closed in order."""
    request = link.ask("sys.prepare", **members)
    assert link.expect_close(15) == 1012
    assert link.notices == ["preparing"]
    (answer,) = link.replies.pop((0, request))
    if "error" in answer:
        raise AgentError(answer["error"], "prepare")
    return answer


@pytest.fixture
def disk():
    disk = Disk()
    yield disk
    disk.close()


def hold_main_thread(pid):
    """Stops one thread of a process, its first, by ptrace; gives the function that lets it go."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    seize, interrupt, detach = 0x4206, 0x4207, 17
    assert libc.ptrace(seize, pid, None, None) == 0, os.strerror(ctypes.get_errno())
    assert libc.ptrace(interrupt, pid, None, None) == 0
    os.waitpid(pid, 0x40000000)  # __WALL

    def let_go():
        assert libc.ptrace(detach, pid, None, None) == 0
    return let_go


# ---- prepare

def test_prepare_closes_all_links_and_no_session(agent, link):
    """Who comes back finds its session as it was, without a byte missing; the listeners were never away."""
    others = [agent.connect() for _ in range(5)]
    script = "i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); sleep 0.005; done"
    channel = others[0].open(start={"cmd": ["sh", "-c", script]}, id="s", window=1 << 20,
                             attach={"viewer": "v", "hold_ms": 10000})
    others[0].wait(lambda: len(channel.out) > 50, "some output")
    answer = prepare(link)
    assert steps_of(answer) == ["sync"] and not failures(answer)
    for other in others:
        assert other.expect_close(5) == 1012 and other.notices == ["preparing"]
    again = agent.connect()
    assert again.hello["instance"] == link.hello["instance"] and again.hello["epoch"] == link.hello["epoch"]
    rest = again.open(id="s", window=1 << 20, attach={"viewer": "v", "since": [len(channel.out), 0]},
                      since=[len(channel.out), 0])
    rest.finish(20)
    assert bytes(channel.out) + bytes(rest.out) == b"".join(b"%d\n" % i for i in range(300))


def test_freeze_and_thaw_by_resume(agent, link, disk):
    """Writers wait while it is frozen; the agent goes on, and its log with it."""
    answer = prepare(link, freeze=[str(disk.mount)], thaw_ms=60000)
    assert steps_of(answer) == ["sync", f"freeze {disk.mount}"] and not failures(answer)
    assert disk.frozen()
    link = agent.connect()
    writer = link.open(start={"cmd": ["sh", "-c", f"echo begin; echo x > {disk.mount}/f; echo done"]}, window=1000)
    link.wait(lambda: writer.out == b"begin\n", "the writer to begin")
    assert link.run(["echo", "others go on"]).out == b"others go on\n"
    assert writer.out == b"begin\n"
    answer = link.request("sys.resume")
    assert steps_of(answer) == ["thaw"] and not failures(answer)
    link.wait(lambda: writer.out == b"begin\ndone\n", "the writer to get on")
    assert not disk.frozen()
    assert steps_of(link.request("sys.resume")) == [], "there is nothing left to thaw"


def test_the_watchdog_thaws(agent, link, disk):
    """Nobody comes back: the time alone decides."""
    began = time.monotonic()
    prepare(link, freeze=[str(disk.mount)], thaw_ms=1500, sync=False)
    assert disk.frozen()
    disk.stuck.wait(10)
    assert 1.0 < time.monotonic() - began < 6
    assert not disk.frozen()


def test_the_watchdog_needs_no_loop(agent, link, disk):
    """The agent's loop stands still when the time is up: stopped in a debugger's way, it would thaw all the same."""
    prepare(link, freeze=[str(disk.mount)], thaw_ms=1500, sync=False)
    assert disk.frozen()
    hold = hold_main_thread(agent.pid)
    try:
        disk.stuck.wait(10)
        assert not disk.frozen()
        with pytest.raises(Timeout):
            agent.connect(timeout=0.3)
    finally:
        hold()
    assert agent.connect().request("ping") == {}


def test_the_end_of_the_agent_thaws(start_agent, disk):
    agent = start_agent()
    prepare(agent.connect(), freeze=[str(disk.mount)], thaw_ms=600000, sync=False)
    assert disk.frozen()
    agent.terminate()
    disk.stuck.wait(5)
    assert not disk.frozen()


def test_an_agent_that_dies_leaves_nothing_frozen(agent, link, disk, start_agent):
    """The watch dies with it; the agent that comes after finds the note in the arena, and thaws."""
    prepare(link, freeze=["/proc", str(disk.mount)], thaw_ms=600000, sync=False)
    assert disk.frozen()
    after = crash(agent, start_agent)
    disk.stuck.wait(5)
    assert not disk.frozen()
    assert "left file systems frozen" in after.log()
    prepare(after.connect(), freeze=[str(disk.mount)], thaw_ms=600000, sync=False)
    assert steps_of(after.connect().request("sys.resume")) == ["thaw"]
    after = crash(after, start_agent)
    assert "left file systems frozen" not in after.log(), "what was thawed is forgotten"


def test_what_cannot_be_frozen(agent, link, disk):
    """Each is told by itself and stops nothing; a mount point named twice is busy the second time."""
    paths = ["/proc", "/nonexistent", "/etc/passwd", str(disk.mount), str(disk.mount)]
    answer = prepare(link, freeze=paths, sync=False, thaw_ms=60000)
    assert steps_of(answer) == [f"freeze {path}" for path in paths]
    errnos = [step.get("error", {}).get("errno") for step in answer["steps"]]
    assert errnos == [95, 2, 20, None, 16]
    assert disk.frozen()
    link = agent.connect()
    link.request("sys.resume")
    disk.stuck.wait(5)
    assert not disk.frozen()


def test_nothing_frozen_leaves_no_watch(agent, link):
    """When every freeze failed the watch ends at once: an upgrade is possible."""
    prepare(link, freeze=["/proc"], sync=False, thaw_ms=600000)
    agent.upgrade()


def test_one_freeze_at_a_time_and_no_upgrade(agent, link, disk):
    prepare(link, freeze=[str(disk.mount)], sync=False, thaw_ms=60000)
    link = agent.connect()
    with pytest.raises(AgentError) as failed:
        link.request("upgrade", path=str(agent.command[0]))
    assert failed.value.code == "failed" and failed.value.error["errno"] == 16
    answer = prepare(link, freeze=[str(disk.mount)], sync=False)
    assert [step["error"]["errno"] for step in answer["steps"]] == [16]
    assert disk.frozen(), "the first freeze is as it was"
    link = agent.connect()
    assert steps_of(link.request("sys.resume", thaw=False)) == []
    assert steps_of(link.request("sys.resume", thaw=True)) == ["thaw"]
    disk.stuck.wait(5)
    eventually(lambda: link.request("sys.resume")["steps"] == [], "the watch to end")
    agent.upgrade()


def test_a_log_on_a_frozen_disk(start_agent, disk):
    """The agent's own log lies there: it waits in memory, the loop does not block, and it is complete afterwards."""
    log = disk.mount / "agentd.log"
    agent = start_agent(wrapper=["sh", "-c", f'exec "$@" 2>>{log}', "sh"])
    agent.proc.send_signal(10)  # debug: every link is a line
    prepare(agent.connect(), freeze=[str(disk.mount)], sync=False, thaw_ms=60000)
    for _ in range(20):
        agent.connect().cut()
    link = agent.connect()
    assert link.run(["echo", "x"]).out == b"x\n"
    held = link.request("sys.log")["lines"]
    assert len(held) > 20
    link.request("sys.resume")
    eventually(lambda: "\n".join(held) in log.read_text(), "the log to be written")
    agent.proc.send_signal(10)
    link.cut()
    agent.terminate()
    agent.proc.wait(15)


@pytest.mark.parametrize("bad", [{"freeze": "x"}, {"freeze": [""]}, {"freeze": [1]}, {"freeze": ["/"] * 17},
                                 {"thaw_ms": 600001}, {"thaw_ms": -1}, {"sync": 1}])
def test_bad_prepare(link, bad):
    """Refused, and the link stays."""
    with pytest.raises(AgentError) as failed:
        link.request("sys.prepare", **bad)
    assert failed.value.code == "bad_message"
    link.request("ping")


# ---- resume

def test_clock_and_entropy(agent, link):
    """The time is set to what it is; the kernel takes the bytes."""
    answer = link.request("sys.resume", clock_ns=str(time.time_ns()), entropy=base64.b64encode(os.urandom(64)).decode())
    assert steps_of(answer) == ["clock", "entropy"] and not failures(answer)
    assert abs(answer["steps"][0]["by_ms"]) < 2000
    assert abs(link.request("sys.stats")["time_ms"] / 1000 - time.time()) < 2


def test_names(start_agent):
    """In namespaces of its own: the kernel's name and the files."""
    wrapper, etc = private_etc("--uts")
    before = socket.gethostname()
    link = start_agent(wrapper=wrapper).connect()
    machine = "0123456789abcdef" * 2
    answer = link.request("sys.resume", hostname="woken-7.example", machine_id=machine)
    assert steps_of(answer) == ["hostname", "machine_id"] and not failures(answer)
    assert link.run(["uname", "-n"]).out == b"woken-7.example\n"
    assert (etc / "hostname").read_text() == "woken-7.example\n"
    assert (etc / "machine-id").read_text() == machine + "\n"
    assert (etc / "machine-id").stat().st_mode & 0o777 == 0o444
    link.request("sys.resume", machine_id=machine[::-1])
    assert (etc / "machine-id").read_text() == machine[::-1] + "\n"
    assert socket.gethostname() == before and not list(etc.glob("*.agentd-*"))
    subprocess.run(["rm", "-r", etc], check=True)


NETWORK = """
ip link add eth0 type veth peer name far0
ip addr add 10.9.0.7/24 dev eth0
ip addr add 10.9.0.8/24 dev eth0
ip link set far0 up
"""


@pytest.fixture
def net(start_agent):
    """(link, /etc): an agent with a network of its own, as another machine's snapshot left it."""
    wrapper, etc = private_etc("--net", "--uts", script=NETWORK)
    yield start_agent(wrapper=wrapper).connect(), etc
    subprocess.run(["rm", "-r", etc], check=True)


def ip(link, *args):
    return json.loads(link.run(["ip", "-json", *args], timeout=20).out or b"[]")


def addresses(link, family):
    (device,) = ip(link, "addr", "show", "dev", "eth0")
    return sorted(f"{a['local']}/{a['prefixlen']}" for a in device["addr_info"]
                  if a["family"] == family and a["scope"] == "global")


def test_network(net):
    """Old addresses go, new ones come, the link is up, the default route and the resolver are set; twice is the same."""
    link, etc = net
    (etc / "resolv.conf").symlink_to("elsewhere")
    assert addresses(link, "inet") == ["10.9.0.7/24", "10.9.0.8/24"]
    network = {"address": "10.9.1.20/24", "gateway": "10.9.1.1", "dns": ["10.9.1.1", "fd00::53"],
               "search": ["example.org", "test"], "mtu": 1400}
    for _ in range(2):
        answer = link.request("sys.resume", network=network)
        assert steps_of(answer) == ["address", "link", "route", "dns"] and not failures(answer)
        assert addresses(link, "inet") == ["10.9.1.20/24"]
        (device,) = ip(link, "link", "show", "dev", "eth0")
        assert "UP" in device["flags"] and device["mtu"] == 1400
        (route,) = ip(link, "route", "show", "default")
        assert route["gateway"] == "10.9.1.1" and route["dev"] == "eth0"
        (info,) = [a for a in ip(link, "addr", "show", "dev", "eth0")[0]["addr_info"] if a["family"] == "inet"]
        assert info["broadcast"] == "10.9.1.255"
    assert (etc / "resolv.conf").read_text() == "search example.org test\nnameserver 10.9.1.1\nnameserver fd00::53\n"
    assert not (etc / "resolv.conf").is_symlink()
    link.request("sys.resume", network={"address": ["10.8.0.2/16"], "gateway": "10.8.0.1"})
    assert addresses(link, "inet") == ["10.8.0.2/16"]
    (route,) = ip(link, "route", "show", "default")
    assert route["gateway"] == "10.8.0.1"


def test_network_of_both_families(net):
    link, _ = net
    answer = link.request("sys.resume", network={"address": ["fd00:1::2/64", "10.7.0.2/30"],
                                                 "gateway": ["10.7.0.1", "fd00:1::1"]})
    assert steps_of(answer) == ["address", "link", "route", "route"] and not failures(answer)
    assert addresses(link, "inet") == ["10.7.0.2/30"] and addresses(link, "inet6") == ["fd00:1::2/64"]
    answer = link.request("sys.resume", network={"address": "fd00:2::2/64"})
    assert addresses(link, "inet6") == ["fd00:2::2/64"]
    assert addresses(link, "inet") == ["10.7.0.2/30"], "the other family is not touched"


def test_a_failed_step_stops_no_other(net):
    """Each failure has the kernel's errno; what comes behind is done all the same."""
    link, etc = net
    answer = link.request("sys.resume", hostname="x", env={"A": "1"}, entropy="AAAA",
                          network={"interface": "nope0", "address": "10.0.0.1/8", "gateway": "10.0.0.2", "dns": "1.2.3.4"})
    assert steps_of(answer) == ["entropy", "hostname", "address", "link", "route", "dns", "env"]
    assert {step: error["errno"] for step, error in failures(answer).items()} == {"address": 19, "link": 19, "route": 19}
    assert (etc / "resolv.conf").read_text() == "nameserver 1.2.3.4\n"
    assert env_of(link)["A"] == "1"
    for network in ({"address": "10.0.0.1"}, {"address": "10.0.0.1/33"}, {"address": "x/8"}, {"address": "fd00::1/129"},
                    {"gateway": "10.0.0.1/8"}, {"gateway": ""}, {"dns": ["1.2.3.4\nevil"]}):
        try:
            errors = failures(link.request("sys.resume", network=network))
            assert [error["errno"] for error in errors.values()] == [22], network
        except AgentError as error:
            assert error.code == "bad_message"
    answer = link.request("sys.resume", network={"gateway": "10.200.0.1"})
    assert failures(answer)["route"]["errno"] == 101, "a gateway that is not to be reached"


def test_files_that_cannot_be_renamed_over(start_agent):
    """In containers /etc/resolv.conf and /etc/hostname are mounts of their own: written in place."""
    mounts = "for f in hostname resolv.conf; do echo old > /tmp/$$-$f; done"
    wrapper, etc = private_etc("--uts", "--net", script=mounts)
    for name in ("hostname", "resolv.conf", "a", "b"):
        (etc / name).write_text("old\n")
    wrapper[-2] = wrapper[-2].replace("exec ", "mount --bind /etc/a /etc/hostname && "
                                               "mount --bind /etc/b /etc/resolv.conf && exec ")
    wrapper[-2] = wrapper[-2].replace(mounts, "")
    link = start_agent(wrapper=wrapper).connect()
    answer = link.request("sys.resume", hostname="h", network={"interface": "lo", "dns": "1.1.1.1"})
    assert not failures(answer)
    assert (etc / "a").read_text() == "h\n" and (etc / "b").read_text() == "nameserver 1.1.1.1\n"
    subprocess.run(["rm", "-r", etc], check=True)


@pytest.mark.parametrize("bad", [
    {"clock_ns": 1}, {"clock_ns": "1x"}, {"clock_ns": "99999999999999999999"}, {"clock_ns": "-1"}, {"entropy": "!!"},
    {"entropy": base64.b64encode(bytes(1025)).decode()}, {"hostname": ""}, {"hostname": "a b"}, {"hostname": "x" * 65},
    {"machine_id": "xyz"}, {"machine_id": "0" * 33}, {"network": []}, {"network": {"interface": "x" * 16}},
    {"network": {"search": ["a b"]}}, {"network": {"dns": ["1.1.1.1"] * 9}}, {"network": {"mtu": 70000}},
    {"env": {"": "x"}}, {"thaw": "yes"}])
def test_bad_resume_does_nothing(link, bad):
    """A request that is wrong anywhere is refused as a whole."""
    with pytest.raises(AgentError) as failed:
        link.request("sys.resume", **{"env": {"A": "1"}, **bad})
    assert failed.value.code == "bad_message"
    assert link.request("sys.env")["env"] == []


def test_agentctl(agent, disk, tmp_path):
    code, out, err = Tool(agent.target, "prepare", "--no-sync", "--thaw", "60", str(disk.mount), "/proc").finish()
    assert code == 125 and err == b""
    first, second = out.decode().splitlines()
    assert first.startswith(f"freeze {disk.mount}: done in ") and second.startswith("freeze /proc: failed: ")
    assert disk.frozen()
    code, out, err = Tool(agent.target, "resume").finish()
    assert (code, err) == (0, b"")
    assert [line.split(":")[0] for line in out.decode().splitlines()] == ["clock", "entropy", "thaw"]
    disk.stuck.wait(5)
    file = pathlib.Path(tmp_path, "resume.json")
    file.write_text('  { "env": {"WOKEN": "1"},\n "clock_ns": "%d" }\n' % time.time_ns())
    code, out, err = Tool(agent.target, "resume", "--json", "--json-file", str(file)).finish()
    assert (code, err) == (0, b"") and steps_of(json.loads(out)) == ["clock", "env"]
    assert env_of(agent.connect())["WOKEN"] == "1"
    code, out, err = Tool(agent.target, "resume", "--json-file", "-").finish(b"[]")
    assert code == 125 and b"JSON object" in err
    code, out, err = Tool(agent.target, "prepare").finish()
    assert code == 0 and out.startswith(b"sync: done in ") and err == b""
