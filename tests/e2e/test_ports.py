"""Who listens on TCP: net.ports, service ports, agentctl ports. docs/protocol.md section 16."""
import json
import os
import resource
import select
import shutil
import socket
import subprocess
import sys
import time

import pytest

from channel import Channel
from dialing import Peer, echo
from harness import Tool, binary, eventually, program_env, programs
from wire import AgentError

pytestmark = pytest.mark.same_machine

SERVER = "import socket, time; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); time.sleep(60)"


class Watch(Channel):
    """A channel of service ports; keeps what is open by (proto, address, port, inode), and checks that it fits."""

    def __init__(self, link, **spec):
        number = link.next_channel
        link.next_channel += 1
        super().__init__(link, number, service="ports", **spec)
        link.channels[number] = self
        self.now = {}
        self.send_open()
        self.wait_opened()

    def _on_opened(self, opened):
        assert opened["window"] == 0
        self.opened = opened

    def _on_event(self, event):
        super()._on_event(event)
        key = tuple(event.get(name) for name in ("proto", "address", "port", "inode"))
        if event["event"] == "open":
            assert key not in self.now, f"{key} opened twice"
            self.now[key] = event
        elif event["event"] == "close":
            assert set(event) == {"event", "proto", "address", "port", "inode"}
            del self.now[key]

    def server(self):
        """The entry of the one SERVER that runs, or None. (Other programs open ports, too.)"""
        found = [event for event in self.now.values() if SERVER in event.get("cmd", [])]
        assert len(found) <= 1, found
        return found[0] if found else None

    def ports(self):
        return {key[2] for key in self.now}

    def wait_for(self, done, what, timeout=10):
        self.link.wait(lambda: done(self.ports()), what, timeout)


def listen(address="127.0.0.1", port=0):
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    sock.listen()
    return sock


def port_of(sock):
    return sock.getsockname()[1]


def all_ports(link):
    """Every page of net.ports."""
    found, after = [], {}
    while True:
        page = link.request("net.ports", **after)
        found += page["ports"]
        if "next" not in page:
            return found
        after = {"after": page["next"]}


def entry(link, port):
    found = [e for e in all_ports(link) if e["port"] == port]
    assert len(found) <= 1, found
    return found[0] if found else None


def test_an_entry(link):
    """Address, holder and user are what we know of our own sockets; v4, v6 and any address."""
    socks = {"127.0.0.1": listen(), "::1": listen("::1"), "0.0.0.0": listen("0.0.0.0"), "::": listen("::")}
    for address, sock in socks.items():
        found = entry(link, port_of(sock))
        assert found["address"] == address and found["proto"] == ("tcp6" if ":" in address else "tcp")
        assert found["pid"] == os.getpid() and found["uid"] == os.getuid() and found["user"] == "root"
        argv = open("/proc/self/cmdline", "rb").read().decode().split("\0")[:-1]
        assert found["cmd"] == argv or found["cmd_cut"]
        assert found["inode"] == os.fstat(sock.fileno()).st_ino and "session" not in found
        sock.close()
    assert entry(link, port_of(bound := socket.create_server(("127.0.0.1", 0)))) is not None
    bound.close()


def test_only_who_listens(link):
    """Neither end of a connection, nor a socket that is only bound, is a port that is open."""
    server = Peer(echo)
    client = socket.create_connection(("127.0.0.1", server.port))
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    found = {e["port"] for e in all_ports(link)}
    assert server.port in found and not found & {port_of(client), port_of(bound)}
    for sock in (client, bound, server):
        sock.close()


def test_session(link):
    """A port is its session's: of the command itself, of its child, of one that left for a session of its own."""
    watch = Watch(link)
    for script in ('exec "$0" -c "$1"', '"$0" -c "$1"; true', 'setsid "$0" -c "$1"; true'):
        run = link.open(start={"cmd": ["sh", "-c", script, sys.executable, SERVER]})
        link.wait(watch.server, "the server's port")
        found = watch.server()
        assert found["session"] == run.id and found["cmd"][0] == sys.executable, found
        link.request("kill", id=run.id, signal="KILL", to="tree")
        link.wait(lambda: not watch.server(), "the port to close")
        run.wait_end()


@pytest.mark.agentd(cgroup="none")
def test_session_without_cgroups(link):
    """The same by process group, session and parents."""
    test_session(link)


def test_user(link):
    """The user is the socket's owner's; an unknown uid has no name."""
    watch = Watch(link)
    for user, name in (("nobody", "nobody"), ("54321", None)):
        run = link.open(start={"cmd": [shutil.which("python3", path="/usr/bin"), "-c", SERVER], "user": user})
        link.wait(watch.server, "the server's port")
        found = entry(link, watch.server()["port"])
        assert found.get("user") == name and found["uid"] == (65534 if name else 54321), found
        link.request("kill", id=run.id, signal="KILL")
        link.wait(lambda: not watch.server(), "the port to close")


def test_events(agent, link):
    """What is open first, then live, then changes, to each watcher; the same address anew is another socket."""
    first = listen()
    watch, other = Watch(link), Watch(agent.connect())
    watch.wait_live()
    assert port_of(first) in watch.ports() and watch.events[-1] == {"event": "live"}
    second = listen("::1")
    for one in (watch, other):
        one.wait_for(lambda ports: port_of(second) in ports, "the new port")
    port, cpus = port_of(first), os.sched_getaffinity(0)
    for number in range(4):
        first.close()
        # Inodes come from a counter of each CPU: a later socket's may be the lower one, and once was told of first.
        os.sched_setaffinity(0, {sorted(cpus)[number % len(cpus)]})
        first = listen(port=port)
        inode = os.fstat(first.fileno()).st_ino
        watch.link.wait(lambda: ("tcp", "127.0.0.1", port, inode) in watch.now, "the next socket of that address", 10)
    os.sched_setaffinity(0, cpus)
    assert [e["event"] for e in watch.events if e.get("port") == port] == ["open"] + ["close", "open"] * 4
    first.close()
    second.close()
    other.close()
    watch.wait_for(lambda ports: port not in ports, "it to close")
    assert link.request("ping") == {}


@pytest.mark.seconds(120)
def test_1000_ports(link):
    """A thousand open and close; of those that stay long enough none is missed, and pages are whole."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
    watch = Watch(link)
    watch.wait_live()
    for _ in range(2):
        socks = [listen() for _ in range(1000)]
        mine = {port_of(sock) for sock in socks}
        watch.wait_for(lambda ports: mine <= ports, "a thousand ports", 20)
        page = link.request("net.ports")
        assert "next" in page and len(page["ports"]) < 1000
        listed = all_ports(link)
        assert mine <= {e["port"] for e in listed} and len(listed) == len({e["inode"] for e in listed})
        assert [(e["port"], e["inode"]) for e in listed] == sorted((e["port"], e["inode"]) for e in listed)
        assert all(e["pid"] == os.getpid() for e in listed if e["port"] in mine)
        for sock in socks:
            sock.close()
        watch.wait_for(lambda ports: not ports & mine, "all of them to close", 20)
    opened = [e for e in watch.events if e["event"] == "open" and e.get("pid") == os.getpid()]
    assert len(opened) == 2000


@pytest.mark.seconds(120)
def test_slow_watcher(agent):
    """One that does not read is told differences later, each consistent; it costs no memory that grows."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
    slow, quick = agent.connect(), agent.connect()
    sleepy, watch = Watch(slow), Watch(quick)
    sleepy.wait_live()
    watch.wait_live()
    memory, all_mine = None, set()
    for round_ in range(4):
        socks = [listen() for _ in range(800)]
        mine = {port_of(sock) for sock in socks}
        all_mine |= mine
        watch.wait_for(lambda ports: mine <= ports, "all to open", 20)
        for sock in socks:
            sock.close()
        watch.wait_for(lambda ports: not ports & mine, "all to close", 20)
        if round_ == 1:
            memory = agent.memory_kib()
    assert agent.memory_kib() - memory < 2000
    last = listen()
    sleepy.wait_for(lambda ports: port_of(last) in ports, "the newest", 20)
    sleepy.wait_for(lambda ports: not ports & (all_mine - {port_of(last)}), "the rest to be gone", 20)
    last.close()


def test_quiet_without_watchers(agent, link):
    """Nobody watches: no thread, no scan, no time."""
    watch = Watch(link)
    watch.wait_live()
    link.request("net.ports")
    watch.close()

    def threads():
        return len(os.listdir(f"/proc/{agent.pid}/task"))
    eventually(lambda: threads() == 1, "the worker to go")
    switches = f"/proc/{agent.pid}/status"

    def woken():
        return int(open(switches).read().split("\nvoluntary_ctxt_switches:")[1].split()[0])
    before = woken()
    time.sleep(1.5)
    assert woken() - before <= 2


def test_watchers_share_a_look(agent, link):
    """Twenty watchers cost what one does."""
    watches = [Watch(link) for _ in range(20)]
    for watch in watches:
        watch.wait_live()
    link.idle(0.6)
    used = agent.cpu_seconds()
    link.idle(2)
    assert agent.cpu_seconds() - used < 0.25


def test_bad_requests(link):
    """Each wrong word has its error, and the link stays."""
    for after in ("x", "80", "80.", "80.x", "70000.1", "80.1.2", 5, ""):
        with pytest.raises(AgentError) as caught:
            link.request("net.ports", after=after)
        assert caught.value.code == "bad_message", after
    with pytest.raises(AgentError) as caught:
        link.request("net.none")
    assert caught.value.code == "unknown_op"
    assert link.request("net.ports", after="65535.9000000000000000000") == {"ports": []}
    watch = Watch(link)
    with pytest.raises(AgentError) as caught:
        watch.request("none")
    assert caught.value.code == "unknown_op"
    watch.close()


def test_links_lost_while_asking(agent):
    """Answers and events for links that are gone go nowhere, and nothing is left of them."""
    agent.connect().run(["true"])
    fds = agent.settled_fds()
    for _ in range(20):
        link = agent.connect()
        for _ in range(5):
            link.ask("net.ports")
            Watch(link)
        link.cut()
    eventually(lambda: agent.fds() <= fds, "the descriptors to go")
    assert agent.connect().request("net.ports")["ports"] is not None


def test_tool(agent):
    """agentctl ports: a table, JSON, and the events as they come."""
    sock = listen()
    code, out, err = Tool(agent.target, "ports").finish()
    line = next(x for x in out.decode().splitlines() if x.startswith(f"127.0.0.1:{port_of(sock)} "))
    assert code == 0 and err == b"" and line.split()[1:3] == [str(os.getpid()), "root"]
    code, out, _ = Tool(agent.target, "ports", "--json").finish()
    assert code == 0 and port_of(sock) in {e["port"] for e in json.loads(out)}
    for options, opened, closed in (([], b"open   127.0.0.1:%d ", b"close  127.0.0.1:%d\n"),
                                    (["--json"], b'"event":"open","proto":"tcp","address":"127.0.0.1","port":%d,',
                                     b'"event":"close","proto":"tcp","address":"127.0.0.1","port":%d,')):
        watch = subprocess.Popen([binary("agentctl"), "--connect", agent.target, "ports", "--watch", *options],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=program_env())
        programs.add(watch)
        read_until(watch.stdout, opened % port_of(sock))
        new = listen()
        port = port_of(new)
        read_until(watch.stdout, opened % port)
        new.close()
        read_until(watch.stdout, closed % port)
        watch.terminate()
        watch.communicate(timeout=10)
        programs.discard(watch)
    sock.close()


def read_until(pipe, what, timeout=10):
    got, deadline = b"", time.monotonic() + timeout
    while what not in got:
        assert select.select([pipe], [], [], deadline - time.monotonic())[0], f"no {what!r} in {got!r}"
        data = os.read(pipe.fileno(), 65536)
        assert data, f"ended without {what!r}: {got!r}"
        got += data
