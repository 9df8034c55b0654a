"""What init does for the machine: mounts, settings, reaping, starting agentd again, the orderly end."""
import re
import subprocess
import time

import pytest

from harness import eventually
from machine import machine  # noqa: F401, a fixture

pytestmark = pytest.mark.own_agent


def out(link, script):
    done = link.sh(script)
    assert done.end["state"] == "exited" and done.end["code"] == 0, (done.end, done.err)
    return done.out.decode()


def lowest_oom_score():
    """-1000, or 0 where root has not the right to protect anybody (CAP_SYS_RESOURCE)."""
    script = "echo -1000 2>/dev/null >/proc/self/oom_score_adj; cat /proc/self/oom_score_adj"
    return subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True).stdout


def test_a_system(machine):
    """What programs expect is there: file systems, a name, an identity, loopback, links in /dev."""
    link = machine().connect()
    mounts = dict(re.findall(r"^\S+ on (\S+) type (\S+)", out(link, "mount"), re.M))
    for where, kind in {"/proc": "proc", "/sys": "sysfs", "/dev": "devtmpfs", "/dev/pts": "devpts",
                        "/dev/shm": "tmpfs", "/run": "tmpfs", "/tmp": "tmpfs", "/sys/fs/cgroup": "cgroup2"}.items():
        assert mounts.get(where) == kind, where
    assert out(link, "hostname") == "machine-of-a-test\n"
    assert re.fullmatch(r"[0-9a-f]{32}\n", out(link, "cat /etc/machine-id"))
    assert "inet 127.0.0.1/8" in out(link, "ip addr show lo")
    assert out(link, "readlink /dev/fd") == "/proc/self/fd\n"
    assert out(link, "ulimit -n; cat /proc/self/oom_score_adj") == "1024\n0\n"
    assert out(link, "cat /proc/2/oom_score_adj") == lowest_oom_score()
    assert "/agentd" in out(link, "cat /proc/2/cgroup") and "/sandbox/" in out(link, "cat /proc/self/cgroup")


def test_orphans_are_reaped(machine):
    """5000 children of nobody leave no zombie."""
    link = machine().connect()
    out(link, "i=0; while [ $i -lt 5000 ]; do (true & ) ; i=$((i+1)); done")
    eventually(lambda: out(link, "grep -l '^State:.Z' /proc/[0-9]*/status || true") == "", "no zombies")


def test_agentd_is_started_again(machine):
    """It dies, and another is there; also when it dies many times."""
    box = machine()
    for _ in range(5):
        link = box.connect()
        pid = link.request("info")["pid"]
        link.ask("start", id=box.new_id(), start={"cmd": ["/bin/kill", "-9", str(pid)]})
        link.wait_eof()

        def again():
            try:
                return box.connect().request("info")["pid"] != pid
            except Exception:  # between two agents nobody answers
                return False
        eventually(again, "another agentd", 15)
    assert box.log().count("agentd ended signal=9") == 5


@pytest.mark.parametrize("sig, how", [("TERM", "off"), ("PWR", "off"), ("INT", "reboot")])
def test_the_end(machine, sig, how):
    """Sessions are ended with grace, others get TERM; then the machine ends as asked, in time."""
    box = machine("agentd.stop_ms=4000")
    link = box.connect()
    polite = "trap 'echo bye >/srv/said; exit 0' TERM; echo up >/srv/up; while true; do sleep 0.1; done"
    link.request("start", id="polite", start={"cmd": ["/bin/sh", "-c", polite]})
    link.request("start", id="deaf", start={"cmd": ["/bin/sh", "-c", "trap '' TERM; while true; do sleep 1; done"]})
    eventually((box.root / "srv/up").exists, "the session")
    began = time.monotonic()
    link.request("start", id="end", start={"cmd": ["/bin/kill", f"-{sig}", "1"]})
    assert box.wait() == how
    assert time.monotonic() - began < 6
    assert (box.root / "srv/said").read_text() == "bye\n"
    assert "stopped" in box.log()


def test_a_hung_agent_does_not_hold_up_the_end(machine):
    box = machine("agentd.stop_ms=1000")
    link = box.connect()
    link.ask("start", id="end", start={"cmd": ["/bin/sh", "-c", "kill -STOP 2; kill -TERM 1"]})
    assert box.wait() == "off"


def test_options_of_the_kernel_command_line(machine):
    """agentd.KEY=VALUE are agentd's settings; a wrong one is said, and tried again only now and then."""
    box = machine("agentd.max_channels=7", "quiet", "agentd.stop_ms=500")
    assert box.connect().hello["limits"]["channels"] == 7

    bad = machine("agentd.no_such=1", wait=False)
    eventually(lambda: "no_such" in bad.log(), "the reason")
    time.sleep(1)
    assert 2 <= bad.log().count("agentd ended code=2") <= 8
