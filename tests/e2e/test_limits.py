"""Limits: what is exceeded is refused, and everybody else goes on (section 9)."""
import contextlib
import errno
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

import pytest

from client import Link
from harness import LONG, Agent, accepts, binary, eventually, program_env
from wire import NO_CLOSE_FRAME, AgentError, HttpRefused, LinkClosed, Timeout

CROWD = 10000 if LONG else 1000


def half_open(agent, first_bytes=b""):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(5)
    sock.connect(str(agent.socket))
    sock.sendall(first_bytes)
    return sock


# connections

@pytest.mark.own_agent
@pytest.mark.parametrize("first_bytes", [b"", b"GET /v1 HTTP/1.1\r\nHost: a"])
def test_a_crowd_of_half_open_connections(agent, first_bytes):
    """A good client gets in however many there are that never finish their handshake."""
    veteran = agent.connect()
    running = veteran.open(start={"cmd": ["cat"], "stdin": True}, attach={"input": True})
    crowd = []
    for number in range(CROWD):
        try:
            crowd.append(half_open(agent, first_bytes))
        except (ConnectionError, BrokenPipeError):
            pass  # dropped for a younger one
        if number % 100 == 99:
            assert agent.connect().sh("echo in").out == b"in\n"
            agent.links.pop().close()
    assert agent.fds() < 300
    running.write(b"undisturbed", fin=True)
    assert running.finish().out == b"undisturbed"
    for sock in crowd:
        sock.close()
    eventually(lambda: agent.settled_fds() < 40, "the descriptors of the crowd to be gone")


@pytest.mark.agentd(max_connections=4)
def test_full_of_real_connections(agent):
    links = [agent.connect() for _ in range(4)]
    with pytest.raises(HttpRefused) as refused:
        agent.connect()
    assert refused.value.status == 503
    assert all(link.request("ping") == {} for link in links)
    links[0].close()
    eventually(lambda: connects(agent), "room for a new connection", 5)


@pytest.mark.agentd(max_connections=4)
def test_a_silent_link_makes_room(agent):
    """A link whose other end vanished without a word stayed, and kept others out for ever."""
    links = [agent.connect() for _ in range(3)]
    silent = agent.connect()

    def comes_in():
        assert all(link.request("ping") == {} for link in links)  # and they answer the agent's pings
        return connects(agent)
    assert not comes_in()
    eventually(comes_in, "room in the place of the silent one", 20)
    assert all(link.request("ping") == {} for link in links)
    assert silent.expect_close(5) == NO_CLOSE_FRAME


def connects(agent):
    try:
        agent.connect().request("ping")
        return True
    except HttpRefused:
        return False


@pytest.mark.agentd(max_connections=4)
def test_the_oldest_handshake_makes_room(agent):
    links = [agent.connect() for _ in range(2)]
    oldest, younger = half_open(agent), half_open(agent)
    time.sleep(0.1)
    new = agent.connect()
    assert new.request("ping") == {}
    oldest.settimeout(5)
    assert not oldest.recv(1000).startswith(b"HTTP/1.1 101"), "dropped, with or without a word"
    younger.setblocking(False)
    with pytest.raises(BlockingIOError):
        younger.recv(1)
    assert all(link.request("ping") == {} for link in links)
    oldest.close()
    younger.close()


# channels and viewers

@pytest.mark.own_agent
def test_1024_channels_on_a_link(agent):
    link = agent.connect(timeout=30)
    sessions = [link.request("start", start={"cmd": ["sleep", "100"]})["id"] for _ in range(17)]
    channels = [link.open(wait=False, id=sessions[number // 64], window=0) for number in range(1024)]
    for channel in channels:
        channel.wait_opened()
    with pytest.raises(AgentError) as refused:
        link.open(id=sessions[16])
    assert refused.value.code == "too_many"
    other = agent.connect()
    other.open(id=sessions[16]).wait_live()
    channels[0].close()
    link.open(id=sessions[16]).wait_live()
    for session in sessions:
        link.request("kill", id=session, signal="KILL")


@pytest.mark.own_agent
def test_64_viewers_of_a_session(agent):
    link = agent.connect()
    first = link.open(start={"cmd": ["sh", "-c", "read x; echo for all"], "stdin": True}, attach={"input": True})
    others = [link.open(id=first.id) for _ in range(63)]
    with pytest.raises(AgentError) as refused:
        link.open(id=first.id)
    assert refused.value.code == "too_many"
    assert link.entry(first.id)["viewers"] == 64
    others.pop().close()
    others.append(link.open(id=first.id))
    first.write(b"\n")
    assert all(channel.finish().out == b"for all\n" for channel in others)


@pytest.mark.own_agent
def test_refused_channels_leave_nothing(agent):
    link = agent.connect()
    link.run(["true"])

    def refused(times):
        for _ in range(times):
            with pytest.raises(AgentError):
                link.open(id="nobody-has-this")
    refused(4000)
    fds, memory = agent.settled_fds(), agent.memory_kib()
    refused(4000)
    assert agent.settled_fds() <= fds and agent.memory_kib() - memory < 8192


# descriptors

@pytest.mark.agentd(rlimits={"NOFILE": 48})
def test_out_of_descriptors_for_commands(agent):
    """Each start succeeds or says EMFILE; afterwards all is as before."""
    link = agent.connect()
    link.run(["true"])
    before = agent.settled_fds()
    channels = [link.open(start={"cmd": ["sleep", "100"], "stdin": True}) for _ in range(40)]
    link.request("ping")
    link.idle(0.3)
    failed = [channel.end for channel in channels if channel.end]
    assert 0 < len(failed) < 40
    for end in failed:
        assert (end["state"], end["errno"], end["error"]) == ("start_failed", errno.EMFILE, "EMFILE"), end
        assert end["stage"] in ("pipe", "clone", "limits", "exec")
    for channel in channels:
        if not channel.end:
            link.request("kill", id=channel.id, signal="KILL")
            channel.finish()
    assert link.sh("echo recovered").out == b"recovered\n"
    eventually(lambda: agent.settled_fds() <= before, "the descriptors to be as before")


def held_ends(agent):
    """Descriptors of the agent that are writing ends of pipes."""
    found = []
    for fd in os.listdir(f"/proc/{agent.pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            flags = pathlib.Path(f"/proc/{agent.pid}/fdinfo/{fd}").read_text().split("flags:")[1].split()[0]
            if os.readlink(f"/proc/{agent.pid}/fd/{fd}").startswith("pipe:") and int(flags, 8) & 3 == os.O_WRONLY:
                found.append(int(fd))
    return found


@pytest.mark.agentd(rlimits={"NOFILE": 96})
def test_ends_of_pipes_are_held_while_descriptors_are_plenty(agent):
    """The ends that a command writes to: two a command, but not in the upper half of what there is."""
    link = agent.connect()
    link.run(["true"])
    before, own = agent.settled_fds(), held_ends(agent)
    channels = [link.open(start={"cmd": ["sleep", "100"]}) for _ in range(12)]
    link.request("ping")
    assert not [channel for channel in channels if channel.end]
    held = set(held_ends(agent)) - set(own)
    assert 2 <= len(held) < 24 and max(held) < 48
    for channel in channels:
        link.request("kill", id=channel.id, signal="KILL")
        assert channel.finish().end["state"] == "killed"
    assert held_ends(agent) == own
    eventually(lambda: agent.settled_fds() <= before, "the descriptors to be as before")


@pytest.mark.agentd(rlimits={"NOFILE": 48})
def test_out_of_descriptors_for_connections(agent):
    """accept fails with EMFILE: those inside are served, the loop does not spin, and it recovers."""
    link = agent.connect()
    running = link.open(start={"cmd": ["cat"], "stdin": True}, attach={"input": True})
    crowd = []
    for _ in range(80):
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        if sock.connect_ex(str(agent.socket)) == 0:
            crowd.append(sock)
    link.idle(0.3)
    cpu = agent.cpu_seconds()
    link.idle(1)
    assert agent.cpu_seconds() - cpu < 0.5, "a busy loop around accept"
    running.write(b"served", fin=True)
    assert running.finish().out == b"served"
    for sock in crowd:
        sock.close()
    eventually(lambda: can_connect(agent), "a new connection after the crowd", 10)


def can_connect(agent):
    try:
        Link.connect(agent.target, timeout=2).cut()
        return True
    except (OSError, LinkClosed, HttpRefused, Timeout):
        return False


@pytest.mark.own_agent
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else, as the limit counts per user")
def test_no_process_can_be_made(start_agent, monkeypatch):
    """EAGAIN of clone is an answer to that client, as well."""
    monkeypatch.setenv("ASAN_OPTIONS", "detect_leaks=0")  # the leak check needs a process of its own
    agent = start_agent(user=65534, rlimits={"NPROC": 1})
    link = agent.connect()
    for _ in range(3):
        end = link.run(["true"]).end
        assert (end["state"], end["errno"], end["stage"]) == ("start_failed", errno.EAGAIN, "clone")
    link.request("ping")


@pytest.mark.own_agent
def test_full_disk_does_not_matter():
    """The log may have no room; nothing else of an agent is on a disk."""
    with open("/dev/full", "wb") as full, AgentLoggingTo(full) as agent:
        agent.serves_and_stops()


class AgentLoggingTo:
    """An agentd whose stderr goes somewhere special."""

    def __init__(self, stderr):
        self.stderr = stderr

    def __enter__(self):
        self.dir = tempfile.TemporaryDirectory(prefix="agentd-e2e-")
        path = f"{self.dir.name}/s"
        self.proc = subprocess.Popen([binary("agentd"), "--listen", f"unix:{path}"], stderr=self.stderr,
                                     env=program_env())
        self.target = f"unix:{path}"
        eventually(lambda: accepts(path), "the socket")
        return self

    def serves_and_stops(self):
        for _ in range(3):
            with Link.connect(self.target) as link:
                assert link.sh("echo fine").out == b"fine\n"
                with pytest.raises(AgentError):
                    link.open(id="nobody-has-this")
        self.proc.send_signal(signal.SIGTERM)
        assert self.proc.wait(15) == 0

    def __exit__(self, *_):
        self.proc.kill()
        self.proc.wait()
        self.dir.cleanup()


@pytest.mark.own_agent
def test_stderr_that_nobody_reads():
    """A log pipe that is full or closed must not stop the agent."""
    read_end, write_end = os.pipe()
    with AgentLoggingTo(write_end) as agent:
        os.close(write_end)
        os.close(read_end)  # now every write is an EPIPE, and a SIGPIPE if that is not ignored
        agent.serves_and_stops()


# memory

@pytest.mark.own_agent
def test_10000_attaches_leave_memory_flat(agent):
    link = agent.connect()
    session = link.sh("echo x").id

    def attach(times):
        for _ in range(times):
            assert link.open(id=session).finish().out == b"x\n"
    attach(2000)  # until allocators, and a sanitizer's quarantine, have what they want
    fds, memory = agent.settled_fds(), agent.memory_kib()
    attach(10000 if LONG else 2000)
    assert agent.settled_fds() <= fds
    assert agent.memory_kib() - memory < 4096


@pytest.mark.agentd(hello_timeout_ms=1000)
def test_half_messages_on_many_links(agent):
    """A 64 KiB message that is never finished costs its link's buffer only, and only while the link is there."""
    before = agent.memory_kib()
    links = [agent.connect() for _ in range(50)]
    for link in links:
        link.send_raw(b"\x82\xff" + (65536).to_bytes(8, "big") + bytes(4) + bytes(60000))
    agent.connect().request("ping")
    assert agent.memory_kib() - before < 50 * 256 + 8192
    for link in links:
        link.cut()
    eventually(lambda: agent.settled_fds() < 40, "the descriptors of cut links to be gone")


@pytest.mark.own_agent
def test_soft_descriptor_limit_is_raised_for_the_agent_and_kept_for_commands():
    """A soft limit of 256 would be the end after some 80 sessions; select(2) in a command breaks with more than 1024."""
    agent = Agent(wrapper=("prlimit", "--nofile=256:4096"))
    try:
        link = agent.connect()
        for _ in range(2):
            assert link.sh("ulimit -Sn; ulimit -Hn").out == b"256\n4096\n"
            channels = [link.open(start={"cmd": ["sleep", "100"]}) for _ in range(150)]
            assert {channel.opened["state"] for channel in channels} == {"running"}
            assert link.sh("ulimit -Sn", rlimits={"nofile": [64, 128]}).out == b"64\n"
            for channel in channels:
                link.request("kill", id=channel.id, signal="KILL")
            for channel in channels:
                channel.finish()
            link = agent.upgrade()
    finally:
        agent.stop()
