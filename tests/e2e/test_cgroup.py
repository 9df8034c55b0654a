"""cgroups: each session in one of its own, where there is cgroup v2 (section 10, `to`; config `cgroup`)."""
import os
import pathlib
import re
import subprocess
import tempfile

import pytest

from harness import alive, binary, eventually, program_env

pytestmark = pytest.mark.own_agent


def cgroup2_mount():
    """Where cgroup v2 is mounted and can be written, or None."""
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        left, right = line.split(" - ")
        if right.split()[0] == "cgroup2" and os.access(left.split()[4], os.W_OK):
            return left.split()[4]
    return None


@pytest.fixture
def folder():
    """An empty cgroup for an agent."""
    mount = cgroup2_mount()
    if mount is None or os.geteuid() != 0:
        pytest.skip("no cgroup v2 that can be written")
    path = tempfile.mkdtemp(prefix="agentd-e2e-", dir=mount)
    yield pathlib.Path(path)
    remove(pathlib.Path(path))


def remove(path):
    """Ends what is left in a cgroup and removes it and those below."""
    def gone():
        for below, _, _ in os.walk(path, topdown=False):
            try:
                pathlib.Path(below, "cgroup.kill").write_text("1")
                os.rmdir(below)
            except OSError:
                pass
        return not path.exists()
    eventually(gone, f"{path} to be removed")


@pytest.fixture
def agent(start_agent, folder):
    return start_agent(cgroup=folder)


def cgroup_of(pid):
    """The path below the mount point."""
    text = pathlib.Path(f"/proc/{pid}/cgroup").read_text()
    return re.search(r"^0::(.*)$", text, re.M).group(1)


def below(folder):
    return [path for path in folder.rglob("*") if path.is_dir()]


def test_info_tells_the_cgroup(agent, folder):
    assert agent.connect().request("info")["cgroup"].startswith(str(folder))


def test_none(start_agent):
    agent = start_agent(cgroup="none")
    link = agent.connect()
    assert link.request("info")["cgroup"] is None
    channel = link.open(start={"cmd": ["sleep", "100"]})
    assert cgroup_of(channel.opened["pid"]) == cgroup_of(agent.pid)
    link.request("kill", id=channel.id, signal="KILL", to="tree")
    assert channel.finish().end["state"] == "killed"


def test_each_session_has_its_own(agent, folder):
    link = agent.connect()
    pids = [link.open(start={"cmd": ["sleep", "100"]}).opened["pid"] for _ in range(3)]
    groups = {cgroup_of(pid) for pid in pids}
    assert len(groups) == 3 and cgroup_of(agent.pid) not in groups
    assert all(folder.name in group for group in groups)


def test_the_first_child_is_inside_already(agent):
    """Contract A20: the original moved the leader late, after it could have forked."""
    link = agent.connect()
    channel = link.sh("cat /proc/self/cgroup; (cat /proc/self/cgroup)")
    groups = {line for line in channel.out.splitlines() if line.startswith(b"0::")}
    assert len(groups) == 1 and groups != {b"0::" + cgroup_of(agent.pid).encode()}


def test_tree_reaches_what_escaped_by_setsid(agent):
    link = agent.connect()
    script = "setsid sh -c 'echo $$; (setsid sleep 300 & echo $!) ; exec sleep 300' & wait"
    channel = link.open(start={"cmd": ["sh", "-c", script]})
    link.wait(lambda: channel.out.count(b"\n") == 2, "two pids")
    family = [int(line) for line in channel.out.split()]
    link.request("kill", id=channel.id, signal="KILL", to="tree")
    assert channel.finish().end["state"] == "killed"
    eventually(lambda: not any(alive(pid) for pid in family), "the tree to end", 5)


def test_term_to_the_tree_reaches_what_escaped(agent):
    """cgroup.kill knows KILL only; other signals have to go to each process."""
    link = agent.connect()
    script = "setsid sh -c 'trap \"echo caught\" TERM; echo up; for i in 1 2 3 4 5 6 7 8 9; do sleep 0.1; done' & wait"
    channel = link.open(start={"cmd": ["sh", "-c", script]})
    channel.wait_out(b"up\n")
    link.request("kill", id=channel.id, signal="TERM", to="tree")
    channel.finish()
    assert channel.out == b"up\ncaught\n"


def test_timeout_reaches_what_escaped(agent):
    link = agent.connect()
    script = "setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 0.1; done' & wait"
    channel = link.open(start={"cmd": ["sh", "-c", script], "timeout_ms": 500, "kill_grace_ms": 300})
    channel.wait_out(b"\n")
    pid = int(channel.out)
    assert channel.finish().end["state"] == "timed_out"
    eventually(lambda: not alive(pid), "the escaped process to end", 5)


def test_tree_kill_does_not_touch_others(agent):
    link = agent.connect()
    other = link.open(start={"cmd": ["sleep", "100"]})
    channel = link.open(start={"cmd": ["sleep", "100"]})
    link.request("kill", id=channel.id, signal="KILL", to="tree")
    channel.finish()
    assert link.entry(other.id)["state"] == "running"
    link.request("ping")


def test_shutdown_ends_what_escaped(agent):
    link = agent.connect()
    channel = link.open(start={"cmd": ["sh", "-c", "setsid sh -c 'echo $$; exec sleep 300' & wait"]})
    channel.wait_out(b"\n")
    pid = int(channel.out)
    agent.terminate()
    assert agent.proc.wait(15) == 0
    eventually(lambda: not alive(pid), "the escaped process to end", 5)


def test_cgroups_go_with_their_sessions(agent, folder):
    """A directory per run that stays would be a leak in the kernel."""
    link = agent.connect()
    link.run(["true"])
    before = len(below(folder))
    for _ in range(100):
        link.run(["true"])
    eventually(lambda: len(below(folder)) <= before + 16, "the cgroups to be removed", 10)


def test_nothing_is_left_after_sigterm(agent, folder):
    link = agent.connect()
    link.run(["true"])
    link.open(start={"cmd": ["sleep", "100"]})
    agent.terminate()
    assert agent.proc.wait(15) == 0
    agent_only = [path for path in below(folder) if (path / "cgroup.procs").read_text().strip()]
    assert agent_only == []


def test_cgroups_survive_an_upgrade(agent):
    link = agent.connect()
    channel = link.open(start={"cmd": ["sh", "-c", "setsid sh -c 'echo $$; exec sleep 300' & wait"]})
    channel.wait_out(b"\n")
    pid = int(channel.out)
    link = agent.upgrade()
    link.request("kill", id=channel.id, signal="KILL", to="tree")
    assert link.wait_end(channel.id)["state"] == "killed"
    eventually(lambda: not alive(pid), "the escaped process to end", 5)


def test_folder_that_is_none(tmp_path):
    """Said at the start, not found out at the first kill."""
    (tmp_path / "conf").write_text("cgroup = /no/such/cgroup\n")
    command = [binary("agentd"), "--listen", f"unix:{tmp_path}/s", "--config", str(tmp_path / "conf")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=15, env=program_env())
    assert done.returncode > 0 and "/no/such/cgroup" in done.stderr
