"""Local sandboxes as their users and their host see them, through the bridge. What a box leaves behind at any moment is in
unit/test_local*.c, the life of sandboxes in test_sandboxes.py.
"""
import os
import pathlib
import shutil
import signal
import stat

import pytest

import host
from host import eventually


def out(bridge, sandbox, script, code=0):
    result = bridge.run(sandbox, script)
    assert result["exitCode"] == code, result
    return result["stdout"]


def processes_of(bridge):
    """Command lines that name a box of this bridge."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        line = host.command_line(pid)
        if f"{bridge.dir}/boxes/" in line:
            found[int(pid)] = line
    return found


def pids_of(bridge, sandbox):
    """PID 1 of the sandbox and its agent, as the host counts."""
    words = (bridge.dir / "boxes" / sandbox / "pids").read_text().split()
    return int(words[2]), int(words[4])


def test_user(bridge, sandbox):
    """Section 6 of the API: who one is, where, and with what."""
    assert out(bridge, sandbox, "id -u; id -g; id -un; pwd; hostname") == f"1000\n1000\nsandbox\n/home/sandbox\n{sandbox}\n"
    env = dict(line.split("=", 1) for line in out(bridge, sandbox, "env").splitlines())
    assert env["PATH"] == "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert env["HOME"] == "/home/sandbox" and env["USER"] == env["LOGNAME"] == "sandbox"
    assert out(bridge, sandbox, "cd /workspace; pwd; touch f; stat -c %U f; df --output=target . | tail -1") == \
        "/workspace\nsandbox\n/workspace\n"
    for name in ("bash", "sh", "python3", "git", "curl", "sudo", "ps", "df", "seq"):
        out(bridge, sandbox, f"command -v {name}")


def test_sudo(bridge, sandbox):
    """bubblewrap forbids its children new privileges for good; the agent is not one of them."""
    assert out(bridge, sandbox, "sudo -n id -u; sudo -n sh -c 'echo x > /opt/f; stat -c %U /opt/f'") == "0\nroot\n"
    assert not os.path.exists("/opt/f")


def test_a_crowd(bridge):
    """Eight at once, each with files, processes and a name of its own; the end of one touches no other."""
    sandboxes = [bridge.create() for _ in range(8)]
    for sandbox in sandboxes:
        out(bridge, sandbox, "echo $(hostname) | tee ~/f /tmp/f /workspace/f | sudo -n tee /usr/f; sleep 1000 >/dev/null 2>&1 &")
    assert bridge.delete(f"/sandboxes/{sandboxes.pop()}").status == 204
    for sandbox in sandboxes:
        assert out(bridge, sandbox, "cat ~/f /tmp/f /workspace/f /usr/f; pgrep -c sleep") == f"{sandbox}\n" * 4 + "1\n"


def test_nothing_of_the_bridge_inside(bridge, sandbox):
    """Neither its keys nor its environment."""
    assert out(bridge, sandbox, f"sudo -n ls -A {bridge.dir} 2>/dev/null", 2) == ""
    seen = out(bridge, sandbox, "sudo -n cat /proc/1/environ /proc/2/environ /proc/3/environ | tr '\\0' '\\n' | cut -d= -f1")
    assert set(seen.split()) <= {"PATH", "PWD"}
    assert out(bridge, sandbox, "sudo -n ls -A /root /home /tmp").split() == ["/home:", "sandbox", "/root:", "/tmp:"]


@pytest.mark.parametrize("which", [0, 1])
def test_its_processes_are_killed(bridge, sandbox, which):
    """PID 1 of the namespace, or the agent: the sandbox stops, nothing of it goes on, and it can be used again."""
    out(bridge, sandbox, "echo kept > ~/f; setsid sleep 1000 >/dev/null 2>&1 &")
    os.kill(pids_of(bridge, sandbox)[which], signal.SIGKILL)
    eventually(lambda: not processes_of(bridge), "its processes to be gone", 10)
    assert out(bridge, sandbox, "cat ~/f; pgrep sleep || true") == "kept\n"


def test_bridge_and_agent_are_killed(bridge, sandbox):
    """The next bridge finds a namespace without an agent, and clears it away."""
    out(bridge, sandbox, "echo kept > ~/f; setsid sleep 1000 >/dev/null 2>&1 &")
    agent = pids_of(bridge, sandbox)[1]
    bridge.kill()
    os.kill(agent, signal.SIGKILL)
    bridge.start()
    eventually(lambda: bridge.get(f"/sandboxes/{sandbox}").json()["status"] == "stopped", "the end to be seen", 10)
    eventually(lambda: not processes_of(bridge), "its processes to be gone", 10)
    assert out(bridge, sandbox, "cat ~/f; pgrep sleep || true") == "kept\n"


def test_the_same_processes(bridge, sandbox):
    """A bridge that comes again takes what is there; it starts nothing anew."""
    before = pids_of(bridge, sandbox)
    for end in (bridge.kill, bridge.terminate):
        end()
        if end == bridge.terminate:
            assert bridge.wait_end() == 0
        bridge.start()
        assert out(bridge, sandbox, "hostname") == f"{sandbox}\n" and pids_of(bridge, sandbox) == before


def test_another_root(start_bridge, tmp_path):
    """A root of next to nothing, with busybox for everything; it is not written to."""
    root = tmp_path / "a root"
    for name in ("bin", "etc"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin" / "busybox")
    for name in ("sh", "id", "cat", "ls"):
        (root / "bin" / name).symlink_to("busybox")
    before = sorted(str(p) for p in root.rglob("*"))
    bridge = start_bridge(root=root)
    sandbox = bridge.create()
    assert out(bridge, sandbox, "id; ls /") == \
        "uid=1000(sandbox) gid=1000(sandbox) groups=1000(sandbox)\n" + \
        "".join(f"{d}\n" for d in ("bin", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "workspace"))
    assert sorted(str(p) for p in root.rglob("*")) == before


def test_no_bubblewrap(start_bridge):
    """It is said what is missing; the bridge serves on."""
    bridge = start_bridge(env={"PATH": "/nowhere"})
    reply = bridge.post("/sandboxes", {})
    assert reply.status == 500 and "bubblewrap (bwrap) is not installed" in reply.error()
    assert bridge.get("/sandboxes").json() == [] and not list((bridge.dir / "boxes").glob("*"))


def test_no_agent(tmp_path):
    """A bridge that could not start one sandbox does not start itself."""
    code, _, err = host.bridge_command("--port", "0", "--state", str(tmp_path), "--agentd", "/no/such/agentd")
    assert code == 1 and "/no/such/agentd is no program: local sandboxes need a static agentd" in err


def test_ordinary_user(start_bridge, monkeypatch):
    """A bridge without any rights: a user namespace with one user, and all else as ever."""
    home = pathlib.Path("/var/tmp") / f"bridge-user-{os.getpid()}"
    home.mkdir()
    os.chown(home, 65534, 65534)
    program = home / "bridge"
    shutil.copy(host.binary("bridge"), program)  # where it was built he may not look
    shutil.copy(host.static_agentd(), home / "agentd")
    wrapper = home / "as-nobody"
    wrapper.write_text(f'#!/bin/sh\nexec setpriv --reuid 65534 --regid 65534 --clear-groups {program} "$@"\n')
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(host, "binary", lambda name: str(wrapper))
    try:
        state = home / "state"
        state.mkdir()
        os.chown(state, 65534, 65534)
        bridge = start_bridge(state=state, agentd=home / "agentd")
        sandbox = bridge.create()
        assert out(bridge, sandbox, "id -un; pwd; echo x > ~/f; cat ~/f") == "sandbox\n/home/sandbox\nx\n"
        bridge.kill()
        bridge.start()
        assert out(bridge, sandbox, "cat ~/f; echo x > /etc/from-sandbox") == "x\n"
        assert not os.path.exists("/etc/from-sandbox")
        assert bridge.delete(f"/sandboxes/{sandbox}").status == 204
        assert not list((state / "boxes").glob("*")) and not processes_of(bridge)
        bridge.stop()
    finally:
        shutil.rmtree(home)
