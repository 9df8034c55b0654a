"""agentctl forward: local ports and sockets that lead into the guest, with real programs at both ends."""
import contextlib
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from dialing import RESET, Peer, echo, hear_all, noise
from harness import Tool, binary, eventually, program_env, programs

pytestmark = pytest.mark.same_machine

MIB = 1 << 20


class Forward:
    """An agentctl forward that runs; `ports` are those it listens on, in order."""

    def __init__(self, target, *specs, options=()):
        command = [binary("agentctl"), "--connect", target, *options, "forward", *specs]
        self.proc = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=program_env())
        programs.add(self.proc)
        self.lines = [self.proc.stdout.readline().decode() for _ in specs]
        self.ports = [int(port) for line in self.lines for port in re.findall(r"[\d\]]:(\d+) for", line)]

    def connect(self, which=0):
        sock = socket.create_connection(("127.0.0.1", self.ports[which]), 10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def stop(self, sig=signal.SIGTERM):
        if self.proc.poll() is None:
            self.proc.send_signal(sig)
        _, err = self.proc.communicate(timeout=20)
        programs.discard(self.proc)
        assert b"Sanitizer" not in err and b"broken invariant" not in err, err.decode()
        return self.proc.returncode, err.decode()


@pytest.fixture
def forward(agent):
    """Starts forwards: forward(spec…)."""
    started = []

    def start(*specs, target=None, **how):
        started.append(Forward(target or agent.target, *specs, **how))
        return started[-1]
    yield start
    for one in started:
        one.stop()


@pytest.fixture
def peer(request):
    started = []

    def start(*args, **how):
        started.append(Peer(*args, **how))
        return started[-1]
    yield start
    for one in started:
        one.close()


def read_all(sock):
    parts = []
    while data := sock.recv(1 << 16):
        parts.append(data)
    return b"".join(parts)


def test_curl(forward, tmp_path):
    """A real client and a real server, over TCP, a unix socket, and stdin and stdout."""
    (tmp_path / "big").write_bytes(noise(3 * MIB))
    server = subprocess.Popen([sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory",
                               tmp_path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        port = int(server.stdout.readline().split(b" port ")[1].split()[0])
        run = forward(f"0:{port}", f"{tmp_path}/local:localhost:{port}", f"localhost:0:127.0.0.1:{port}")
        want = hashlib.sha256((tmp_path / "big").read_bytes()).digest()
        for how in ([f"http://127.0.0.1:{run.ports[0]}/big"], [f"http://127.0.0.1:{run.ports[1]}/big"],
                    ["--unix-socket", tmp_path / "local", "http://x/big"]):
            got = subprocess.run(["curl", "-sS", "--max-time", "20", *how], capture_output=True, check=True).stdout
            assert hashlib.sha256(got).digest() == want
        code, err = run.stop()
        assert code == 128 + signal.SIGTERM and err == ""
        assert not (tmp_path / "local").exists(), "the socket is removed"
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@pytest.mark.seconds(120)
def test_200_connections(forward, peer):
    """Two hundred at once, random bytes both ways, equal hashes; each is its own."""
    run = forward(f"0:{peer(echo).port}")
    failures = []

    def one(number):
        data = noise(50000 + 1009 * number)
        with contextlib.closing(run.connect()) as sock:
            sender = threading.Thread(target=lambda: (sock.sendall(data), sock.shutdown(socket.SHUT_WR)))
            sender.start()
            if hashlib.sha256(read_all(sock)).digest() != hashlib.sha256(data).digest():
                failures.append(number)
            sender.join()
    threads = [threading.Thread(target=one, args=(i,)) for i in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures and not any(thread.is_alive() for thread in threads)


def test_half_close(forward, peer):
    """An end in one direction leaves the other open, both ways round."""
    run = forward(f"0:{peer(hear_all).port}")
    with run.connect() as sock:
        data = noise(2 * MIB)
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock).decode() == hashlib.sha256(data).hexdigest()
    heard = []

    def serve(sock):
        sock.sendall(b"all")
        sock.shutdown(socket.SHUT_WR)
        heard.append(len(read_all(sock)))
    run = forward(f"0:{peer(serve).port}")
    with run.connect() as sock:
        assert read_all(sock) == b"all"
        sock.sendall(noise(MIB))
    eventually(lambda: heard == [MIB], "the rest to arrive")


def test_resets(forward, peer):
    """A reset goes through in both directions, and nothing becomes a clean end."""
    def serve(sock):
        sock.recv(1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    run = forward(f"0:{peer(serve).port}")
    with run.connect() as sock:
        sock.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            read_all(sock)
    ends, begun = [], threading.Event()

    def listen(sock):
        try:
            assert sock.recv(4) == b"half"
            begun.set()
            ends.append(read_all(sock))
        except ConnectionResetError:
            ends.append("reset")
    run = forward(f"0:{peer(listen).port}")
    sock = run.connect()
    sock.sendall(b"half")
    assert begun.wait(10)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()
    eventually(lambda: ends == ["reset"], "the server to be reset")


def test_refused(forward, agent, peer):
    """A server that is not there: the client is reset, the reason is told, the next connection is tried again."""
    free = socket.socket()
    free.bind(("127.0.0.1", 0))
    run = forward(f"0:{free.getsockname()[1]}")
    for _ in range(2):
        with pytest.raises(ConnectionResetError), run.connect() as sock:
            read_all(sock)
    free.listen()
    with run.connect() as sock:
        free.accept()[0].close()
        assert read_all(sock) == b""
    code, err = run.stop()
    assert code == 143 and err.count("Connection refused") == 2 and "tcp:localhost:" in err
    free.close()


def test_one_that_never_reads(forward, peer):
    """Its client is stopped by backpressure, and others go on."""
    gate = threading.Event()
    run = forward(f"0:{peer(lambda sock: gate.wait(30)).port}", f"0:{peer(echo).port}")
    stuck = run.connect()
    stuck.settimeout(0.5)
    sent = 0
    with pytest.raises(TimeoutError):
        while True:
            sent += stuck.send(noise(65536))
    assert sent < 32 * MIB
    with run.connect(1) as sock:
        sock.sendall(b"fine")
        assert sock.recv(4) == b"fine"
    gate.set()
    stuck.close()


def test_one_that_never_takes(forward, peer):
    """A local client that does not read holds up nobody; agentctl keeps at most its window."""
    size = 16 * MIB

    def serve(sock):
        block = noise(MIB)
        for _ in range(size // MIB):
            sock.sendall(block)
    run = forward(f"0:{peer(serve).port}", f"0:{peer(echo).port}")
    slow = run.connect()
    time.sleep(0.5)
    with run.connect(1) as sock:
        sock.sendall(b"fine")
        assert sock.recv(4) == b"fine"
    assert len(read_all(slow)) == size
    slow.close()


def test_link_comes_back(forward, agent, relay, peer):
    """Existing connections end with the link, by a reset; new ones work when it is back, those made meanwhile too."""
    line = relay(agent.target)
    server = peer(echo)
    run = forward(f"0:{server.port}", target=f"unix:{line.path}")
    old = run.connect()
    old.sendall(b"a")
    assert old.recv(1) == b"a"
    line.cut_all()
    with pytest.raises(ConnectionResetError):
        assert old.recv(1) != b""
    old.close()
    with run.connect() as sock:
        sock.sendall(b"again")
        assert sock.recv(5) == b"again"
    assert agent.upgrade()
    with run.connect() as sock:
        sock.sendall(b"again")
        assert sock.recv(5) == b"again"


@pytest.mark.own_agent
def test_link_lost(forward, agent):
    """An agent that does not come back ends the program, with 125."""
    run = forward("0:1", options=["--retry", "0.2"])
    agent.kill()
    assert run.proc.wait(10) == 125
    assert "lost" in run.stop()[1]


def test_client_killed(forward, agent, peer):
    """kill -9 of agentctl: the agent keeps no descriptor, the server is reset."""
    server = peer(echo)
    agent.connect().run(["true"])
    fds = agent.settled_fds()
    run = forward(f"0:{server.port}")
    socks = [run.connect() for _ in range(30)]
    for sock in socks:
        sock.sendall(noise(100))
        sock.recv(1)
    assert agent.fds() >= fds + 30
    run.proc.kill()
    run.proc.wait()
    eventually(lambda: agent.fds() <= fds, "the descriptors to go")
    for sock in socks:
        sock.close()


def test_stdio(agent, peer):
    """`forward - REMOTE` as ssh -W: any bytes, half-close, the exit code of how it ended."""
    data = noise(2 * MIB)
    server = peer(hear_all)
    code, out, err = Tool(agent.target, "forward", "-", str(server.port), stdin=subprocess.PIPE).finish(data)
    assert (code, out, err) == (0, hashlib.sha256(data).hexdigest().encode(), b"")
    server = peer(echo)
    code, out, err = Tool(agent.target, "forward", "-", f"127.0.0.1:{server.port}", stdin=subprocess.PIPE).finish(data)
    assert (code, err) == (0, b"") and out == data
    code, out, err = Tool(agent.target, "forward", "-", "/no/such/socket").finish()
    assert code == 125 and b"unix:/no/such/socket: cannot connect: No such file or directory" in err

    def serve(sock):
        sock.sendall(b"partial")
        sock.recv(2)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    tool = Tool(agent.target, "forward", "-", f"{peer(serve).port}", stdin=subprocess.PIPE)
    assert tool.proc.stdout.read(7) == b"partial"
    code, out, err = tool.finish(b"go")
    assert code == 125 and b"Connection reset" in err


def test_stdio_ends_stdout_first(agent, peer):
    """The server's end reaches who reads our stdout while our stdin goes on."""
    heard = []

    def serve(sock):
        sock.sendall(b"said")
        sock.shutdown(socket.SHUT_WR)
        heard.append(read_all(sock))
    tool = Tool(agent.target, "forward", "-", str(peer(serve).port), stdin=subprocess.PIPE)
    assert tool.proc.stdout.read() == b"said"
    tool.proc.stdin.write(b"more")
    tool.proc.stdin.close()
    assert tool.proc.wait(10) == 0
    assert heard == [b"more"]
    tool.proc.stderr.close()
    programs.discard(tool.proc)


def test_from_a_file(agent, peer, tmp_path):
    """stdin as a regular file, which has nothing to wait for, larger than any buffer."""
    (tmp_path / "file").write_bytes(noise(5 * MIB))
    with open(tmp_path / "file", "rb") as file:
        code, out, _ = Tool(agent.target, "forward", "-", str(peer(hear_all).port), stdin=file).finish()
    assert code == 0 and out.decode() == hashlib.sha256((tmp_path / "file").read_bytes()).hexdigest()


def test_bad_words(agent, tmp_path):
    """What is wrong is said before anything is done."""
    for args, words in ((["x"], "port"), (["70000"], "65535"), (["80:"], "remote port"), (["1:2:3:4:5"], "too many"),
                        (["-"], "wants one remote side"), (["-", "1", "2"], "wants one remote side"),
                        (["-", "example.com:80"], "remote host"), (["0:example.com:80"], "remote host"),
                        (["nohost:0:80"], "address to listen on"), (["/x"], "remote side is missing"), ([], "missing")):
        code, out, err = Tool(agent.target, "forward", *args).finish()
        assert (code, out) == (125, b"") and words in err.decode(), (args, err)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, _, err = Tool(agent.target, "forward", f"{taken.getsockname()[1]}:80").finish()
        assert code == 125 and b"already in use" in err
    (tmp_path / "file").write_text("mine")
    code, _, err = Tool(agent.target, "forward", f"{tmp_path}/file:80").finish()
    assert code == 125 and b"already in use" in err and (tmp_path / "file").read_text() == "mine"


def test_stale_socket(forward, agent, peer, tmp_path):
    """What a killed agentctl left is replaced; what somebody listens on is not."""
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "s"))
    stale.close()
    run = forward(f"{tmp_path}/s:{peer(echo).port}")
    code, _, err = Tool(agent.target, "forward", f"{tmp_path}/s:80").finish()
    assert code == 125 and b"already in use" in err
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(tmp_path / "s"))
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
    assert run.proc.poll() is None and os.path.exists(tmp_path / "s")


def test_ipv6(forward, peer):
    """Both sides on ::1."""
    server = peer(echo, ("::1", 0))
    run = forward(f"[::1]:0:[::1]:{server.port}")
    with socket.create_connection(("::1", run.ports[0]), 10) as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
