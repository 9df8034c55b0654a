"""Images that start otherwise: one that knows nothing of agentd, busybox's init, systemd. In a VM, as test_vm.py.

ctest: timeout=400
"""
import time

import pytest

from harness import eventually
from vms import guest, out  # noqa: F401, a fixture
from wire import AgentError

pytestmark = [pytest.mark.own_agent, pytest.mark.seconds(150)]

KEPT = 0.2  # seconds after which a session is surely kept (KEEP_AFTER_MS is 50)


def kill_agent(box):
    """kill -9, and a link to the next one."""
    link = box.link()
    hello, pid = link.hello, link.request("info")["pid"]
    link.ask("start", id=box.new_id("kill"), start={"cmd": ["sh", "-c", f"kill -9 {pid}"]})
    link.wait_eof()
    link = box.link()
    assert link.request("info")["pid"] != pid
    return hello, link


def test_an_image_that_knows_nothing_of_agentd(guest):  # noqa: F811
    """init and agentd of the initramfs come along; the sandbox is as in an image of our own."""
    box = guest("plain")
    link = box.link()
    assert link.sh("ls /usr/sbin/agentd* /sbin/init").end["code"] != 0
    assert out(link, "cat /proc/1/comm; readlink /proc/1/exe") == "init\n/run/agentd/init\n"
    info = link.request("info")
    assert out(link, f"readlink /proc/{info['pid']}/exe") == "/run/agentd/agentd\n"
    assert info["boot"]["init_ms"] <= info["boot"]["ready_ms"]
    assert out(link, "cat /proc/self/cgroup").startswith("0::/sandbox/")
    # What is left of the initramfs would be memory nobody can reach.
    assert out(link, "awk '$2 == \"/\"' /proc/mounts | tail -1").startswith("/dev/vd")
    channel = link.open(start={"cmd": ["sh", "-c", "echo up; read x; echo $x; exit 6"], "stdin": True},
                        attach={"viewer": "me", "input": True, "hold_ms": 30000})
    channel.wait_out(b"up\n")
    time.sleep(KEPT)
    _, link = kill_agent(box)
    channel = channel.resume(link)
    channel.write(b"more\n")
    assert channel.finish().out == b"up\nmore\n" and channel.end["code"] == 6
    link.ask("power", how="off")
    box.vm.wait_off(60)


def test_busybox_init(guest):  # noqa: F811
    """init= is obeyed; agentd is a line of inittab, and started again when it dies."""
    box = guest("busybox", append="init=/sbin/init")
    link = box.link()
    assert out(link, "readlink /proc/1/exe; cat /proc/1/comm") == "/bin/busybox\ninit\n"
    info = link.request("info")
    assert "boot" not in info
    assert out(link, f"cat /proc/{info['pid']}/oom_score_adj /proc/self/oom_score_adj") == "-1000\n0\n"
    assert "/agentd-" in out(link, "cat /proc/self/cgroup")
    assert out(link, "echo $((6 * 7))") == "42\n"
    before, link = kill_agent(box)
    assert link.hello["instance"] != before["instance"]  # nobody kept anything
    assert out(link, "echo again") == "again\n"
    with pytest.raises(AgentError, match="PID 1"):
        link.request("power", how="off")


def test_systemd(guest):  # noqa: F811
    """agentd.service as it is in packaging/: systemd's store brings the sessions through a kill -9."""
    box = guest("systemd", memory=512)
    link = box.link()
    assert out(link, "cat /proc/1/comm") == "systemd\n"
    eventually(lambda: out(link, "systemctl is-active agentd || true") == "active\n", "READY", 60)
    script = "echo before; i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done; read x; echo after $x; exit 5"
    first = link.open(start={"cmd": ["sh", "-c", script], "stdin": True},
                      attach={"viewer": "me", "input": True, "hold_ms": 60000})
    expected = b"before\n" + b"".join(b"%d\n" % i for i in range(2000))
    first.wait_out(expected)
    first.write(b"12")
    first.wait_acked(2)
    time.sleep(KEPT)
    before, link = kill_agent(box)
    assert link.hello["instance"] == before["instance"] and link.hello["epoch"] == before["epoch"] + 1
    again = first.resume(link)
    assert again.opened["new"] is False and again.opened["pid"] == first.opened["pid"]
    assert link.entry(first.id)["state"] == "running"
    assert int(out(link, "systemctl show agentd -p NFileDescriptorStore --value")) >= 4
    assert out(link, f"cat /proc/{again.opened['pid']}/comm") == "sh\n"
    again.write(b"34\n")
    again.finish(30)
    assert again.out == expected + b"after 1234\n" and not again.stdout.gaps
    # systemd has reaped it by now and tells nobody: honestly unknown, never exit 0.
    assert again.end["state"] == "agent_lost"
    for _ in range(6):  # more often than systemd's usual limit
        _, link = kill_agent(box)
    assert out(link, "echo well") == "well\n"
