"""Streams into the guest: docs/protocol.md section 16, from the independent client, to real sockets."""
import contextlib
import hashlib
import os
import resource
import socket
import subprocess
import sys
import threading
import time

import pytest

from dialing import RESET, Dial, Peer, echo, hear_all, noise
from harness import eventually
from wire import CLOSE, DATA, FIN, AgentError

pytestmark = pytest.mark.same_machine

MIB = 1 << 20


@pytest.fixture
def peer(request):
    """Starts peers: peer(serve, address)."""
    started = []

    def start(*args, **how):
        started.append(Peer(*args, **how))
        return started[-1]
    yield start
    for one in started:
        one.close()


def refused(link, to, **spec):
    with pytest.raises(AgentError) as caught:
        Dial(link, to, **spec)
    return caught.value


def test_every_kind_of_address(link, peer, tmp_path):
    """TCP on both IPs, localhost for what listens on only one of them, a unix path, an abstract name."""
    v4, v6 = peer(echo), peer(echo, ("::1", 0))
    path, name = str(tmp_path / "s"), f"\0agentd-e2e-{os.getpid()}"
    for to in (v4.to, f"tcp:localhost:{v4.port}", v6.to, f"tcp:localhost:{v6.port}", peer(echo, path).to,
               peer(echo, name).to):
        stream = Dial(link, to)
        stream.write(b"to " + to.encode(), fin=True)
        stream.wait_ended()
        assert stream.wait_closed() == {}
        assert stream.out == b"to " + to.encode()


def test_hello_names_it(link):
    """A client looks in caps before it dials."""
    assert {"dial", "ports"} <= set(link.hello["caps"])


def test_http_server(link, tmp_path):
    """A real server of somebody else's, keep-alive and half-close."""
    (tmp_path / "file").write_bytes(noise(300000))
    server = subprocess.Popen([sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory",
                               tmp_path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        port = int(server.stdout.readline().split(b" port ")[1].split()[0])
        stream = Dial(link, f"tcp:localhost:{port}")
        stream.write(b"GET /file HTTP/1.0\r\n\r\n", fin=True)
        stream.wait_ended()
        assert stream.wait_closed() == {}
        assert stream.out.partition(b"\r\n\r\n")[2] == (tmp_path / "file").read_bytes()
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def test_much_both_ways(link, peer):
    """Windows move in both directions at once; each byte is where it belongs."""
    data = noise(16 * MIB)
    stream = Dial(link, peer(echo).to, window=200000)
    stream.write(data, fin=True)
    stream.wait_ended(20)
    assert stream.wait_closed() == {}
    assert stream.stdout.hash() == hashlib.sha256(data).hexdigest()


def test_half_close_by_the_client(link, peer):
    """The peer answers only when it has seen the end: FIN went through, and the way back stayed open."""
    data = noise(3 * MIB)
    stream = Dial(link, peer(hear_all).to)
    stream.write(data)
    assert not stream.out
    stream.fin()
    stream.wait_ended()
    assert stream.out == hashlib.sha256(data).hexdigest().encode()
    assert stream.wait_closed() == {}


def test_half_close_by_the_peer(link, peer):
    """The peer says all and its end, and goes on to listen."""
    heard = []

    def serve(sock):
        sock.sendall(b"that was all")
        sock.shutdown(socket.SHUT_WR)
        while data := sock.recv(65536):
            heard.append(data)
        heard.append(b"")
    stream = Dial(link, peer(serve).to)
    stream.wait_ended()
    assert stream.out == b"that was all" and stream.closed is None
    stream.write(noise(MIB))
    stream.write(b"bye", fin=True)
    assert stream.wait_closed() == {}
    eventually(lambda: heard and heard[-1] == b"", "the peer to see the end")
    assert sum(map(len, heard)) == MIB + 3


def test_end_without_credit(link, peer):
    """FIN needs no credit: a client that only sends, with a window of 0, still learns of the end."""
    def serve(sock):
        sock.recv(5)
    stream = Dial(link, peer(serve).to, window=0, auto=False)
    stream.write(b"hello")
    stream.wait_ended()
    stream.fin()
    assert stream.wait_closed() == {}


def test_reset_by_the_peer(link, peer):
    """What came before the reset is delivered, then the channel fails with ECONNRESET; half a stream is no whole one."""
    def serve(sock):
        sock.sendall(b"half a stre")
        sock.recv(2)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    stream = Dial(link, peer(serve).to)
    stream.wait_out(b"half a stre")
    stream.write(b"go")
    error = stream.wait_closed()
    assert (error["code"], error["errno"]) == ("failed", 104) and not stream.ended


def test_reset_found_in_writing(link, peer):
    """A peer that closes with our bytes unread: what it said first arrives, whatever writing says."""
    said = noise(100000)

    def serve(sock):
        sock.recv(1)
        sock.sendall(said)
    stream = Dial(link, peer(serve).to, auto=False, window=0)
    while stream.closed is None and stream.tx_used < 64 * MIB:
        stream.write_some(noise(65536))
        link.idle(0.005)
        if stream.tx_used >= MIB and stream.tx_window > stream.tx_used:
            break
    stream.flow()
    error = stream.wait_closed()
    assert error["code"] == "failed" and error["errno"] in (32, 104)
    assert stream.out == said[:len(stream.out)]


def test_cut_short_is_reset(agent, peer):
    """Bug of many relays: the client is lost in the middle, and the server sees a clean end of half an upload."""
    ends = []

    def serve(sock):
        try:
            while sock.recv(65536):
                pass
            ends.append("clean")
        except ConnectionResetError:
            ends.append("reset")
    server = peer(serve)
    for how in ("close", "cut"):
        link = agent.connect()
        stream = Dial(link, server.to)
        stream.write(noise(100000))
        if how == "close":
            stream.close()
        link.cut()
    eventually(lambda: len(ends) == 2, "both connections to end")
    assert ends == ["reset", "reset"]


def test_refusals(link, tmp_path):
    """Every failure has its errno or its reason, and the id is free again."""
    free = socket.socket()
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
    error = refused(link, f"tcp:127.0.0.1:{port}")
    assert (error.code, error.errno) == ("failed", 111)
    assert refused(link, f"tcp:localhost:{port}").errno == 111
    assert refused(link, f"tcp:[::1]:{port}").errno == 111
    assert refused(link, f"unix:{tmp_path}/none").errno == 2
    (tmp_path / "file").write_text("")
    assert refused(link, f"unix:{tmp_path}/file").errno == 111
    for to in ("", "tcp:", "tcp:80", "tcp:localhost", "tcp:localhost:0", "tcp:localhost:65536", "tcp:localhost:+1",
               "tcp:example.com:80", "tcp:::1:80", "tcp:[::1:80", "tcp:1.2.3:80", "tcp:" + "9" * 300 + ":1", "unix:",
               "unix:relative", "unix:/", "unix:/" + "x" * 108, "udp:localhost:53", "tcp:[127.0.0.1]:80"):
        assert refused(link, to).code == "bad_message", to
    assert refused(link, 5).code == "bad_message"
    for timeout in (0, 600001, -1, "1", 1.5):
        assert refused(link, "tcp:localhost:1", timeout_ms=timeout).code == "bad_message", timeout
    assert link.request("ping") == {}
    free.close()


def full_listener():
    """A TCP listener that answers no more: its queue is full."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    waiting = []
    for _ in range(4):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(listener.getsockname())
        waiting.append(sock)
    return listener, waiting


def test_timeout(link, agent):
    """Nobody answers: ETIMEDOUT when it was asked for, while others are served; nothing is left."""
    listener, waiting = full_listener()
    link.run(["true"])  # what a first command opens stays
    fds = agent.settled_fds()
    begun = time.monotonic()
    late = Dial(link, f"tcp:127.0.0.1:{listener.getsockname()[1]}", wait=False, timeout_ms=700)
    assert link.run(["echo", "meanwhile"]).out == b"meanwhile\n"
    with pytest.raises(AgentError) as caught:
        late.wait_opened()
    assert caught.value.errno == 110 and 0.6 < time.monotonic() - begun < 3
    eventually(lambda: agent.fds() <= fds, "the descriptor to go")
    for sock in (listener, *waiting):
        sock.close()


def test_full_unix_queue(link, tmp_path):
    """A unix listener whose queue is full fails with EAGAIN at once and no event follows: it is tried again."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen(0)
    first = socket.socket(socket.AF_UNIX)
    first.connect(str(tmp_path / "s"))
    begun = time.monotonic()
    assert refused(link, f"unix:{tmp_path}/s", timeout_ms=300).errno == 110
    assert time.monotonic() - begun > 0.25
    stream = Dial(link, f"unix:{tmp_path}/s", wait=False)
    link.idle(0.1)
    assert stream.opened is None
    listener.accept()[0].close()
    stream.wait_opened()
    for sock in (first, listener):
        sock.close()


def test_closed_while_connecting(link, agent):
    """The client changes its mind, or is lost, before the answer: no descriptor stays, the id is free."""
    listener, waiting = full_listener()
    fds = agent.settled_fds()
    to = f"tcp:127.0.0.1:{listener.getsockname()[1]}"
    late = Dial(link, to, wait=False)
    late.close_sent = True
    late.on_frame = lambda got: setattr(late, "closed", got.type)
    link.send(CLOSE, late.number)
    assert late.wait_closed() == CLOSE
    other = agent.connect()
    Dial(other, to, wait=False)
    assert other.request("ping") == {}
    other.cut()
    eventually(lambda: agent.fds() <= fds, "the descriptors to go")
    for sock in (listener, *waiting):
        sock.close()


def test_fin_before_the_answer(link, tmp_path):
    """An end needs no credit, so it may come before OPENED; it is not lost. Bytes are one too many."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen(0)
    first = socket.socket(socket.AF_UNIX)
    first.connect(str(tmp_path / "s"))
    stream = Dial(link, f"unix:{tmp_path}/s", wait=False)
    stream.fin()
    hasty = Dial(link, f"unix:{tmp_path}/s", wait=False)
    link.send(DATA, hasty.number, 0, b"x")
    with pytest.raises(AgentError) as caught:
        hasty.wait_opened()
    assert caught.value.code == "credit_overrun"
    listener.accept()[0].close()
    stream.wait_opened()
    sock, _ = listener.accept()
    assert sock.recv(1) == b""
    sock.close()
    assert stream.wait_closed() == {}
    for sock in (first, listener):
        sock.close()


def test_broken_rules(link, peer):
    """Another stream, an offset that does not follow, more than the window: only that channel ends."""
    server = peer(echo)
    stream = Dial(link, server.to)
    link.send(DATA, stream.number, 0, b"x", 0, 1)
    assert stream.wait_closed()["code"] == "not_input"
    stream = Dial(link, server.to)
    stream.send_at(1, b"x")
    assert stream.wait_closed()["code"] == "bad_offset"
    stream = Dial(link, server.to)
    with pytest.raises(AgentError) as caught:
        stream.request("resize")
    assert caught.value.code == "unknown_op"
    stream.write(b"fine")
    stream.wait_out(b"fine")


def test_a_peer_that_never_reads(agent, link, peer):
    """Backpressure reaches the client and nobody else: its window stays shut, memory stays, others run."""
    gate = threading.Event()
    stuck = Dial(link, peer(lambda sock: gate.wait(30)).to)
    taken = -1
    while taken != stuck.tx_used:
        taken = stuck.tx_used
        stuck.write_some(noise(MIB))
        link.idle(0.2)
    assert stuck.tx_used == stuck.tx_window and taken < 16 * MIB
    other = Dial(link, peer(echo).to)
    data = noise(4 * MIB)
    other.write(data, fin=True)
    other.wait_ended()
    assert other.out == data
    used = agent.cpu_seconds()
    link.idle(0.5)
    assert agent.cpu_seconds() - used < 0.1, "it spins"
    gate.set()


def test_a_client_that_never_reads(agent, link, peer):
    """The peer is not read further than the window, and what is on its way is bounded; then all of it comes."""
    sent, size = [0], 32 * MIB
    data = noise(MIB)

    def serve(sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        for _ in range(size // MIB):
            sock.sendall(data)
            sent[0] += MIB
    stream = Dial(link, peer(serve).to, window=100000, auto=False, keep=False)
    stream.wait_bytes(100000)
    link.idle(0.5)
    before = sent[0]
    memory, cpu = agent.memory_kib(), agent.cpu_seconds()
    link.idle(0.5)
    assert stream.received == 100000 and sent[0] == before < size
    assert agent.memory_kib() - memory < 100 and agent.cpu_seconds() - cpu < 0.1
    stream.flow()
    stream.wait_ended(20)
    assert stream.received == size
    stream.fin()
    assert stream.wait_closed() == {}


def test_quiet_when_idle(agent, link, peer):
    """An idle connection, or one whose peer has hung up while the client does nothing, costs no time: no busy loop."""
    def serve(sock):
        sock.sendall(b"x")
        sock.shutdown(socket.SHUT_WR)
        time.sleep(3)
    idle = [Dial(link, peer(echo).to) for _ in range(20)]
    half = [Dial(link, peer(serve).to) for _ in range(20)]
    shut = [Dial(link, peer(lambda sock: None).to, window=0, auto=False) for _ in range(20)]
    for stream in half:
        stream.wait_ended()
    link.idle(0.3)
    used = agent.cpu_seconds()
    link.idle(1.5)
    assert agent.cpu_seconds() - used < 0.05
    assert all(stream.closed is None for stream in idle + half + shut)


def test_200_at_once(agent, link, peer):
    """Many connections of one link, random bytes both ways, each its own; descriptors and memory go back."""
    server = peer(echo)
    fds = agent.settled_fds()
    blocks = [noise(20000 + 97 * i) for i in range(200)]
    streams = [Dial(link, server.to, wait=False, window=30000) for _ in blocks]
    rests = list(blocks)
    for stream in streams:
        stream.wait_opened()
    for stream, block in zip(streams, blocks):
        stream.write(block, fin=True)
    for stream, block in zip(streams, blocks):
        stream.wait_ended()
        assert stream.out == block and stream.wait_closed() == {}
    assert len(rests) == server.count == 200
    eventually(lambda: agent.fds() <= fds, "the descriptors to go")


@pytest.mark.seconds(120)
def test_too_many(agent, peer):
    """1024 in the whole agent; over it too_many, and room again when one ends."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
    server = peer(lambda sock: sock.recv(1), backlog=1024)
    links = [agent.connect(), agent.connect()]
    streams = [Dial(links[i % 2], server.to, wait=False) for i in range(1024)]
    for stream in streams:
        stream.wait_opened()
    assert refused(links[0], server.to).code == "too_many"
    streams[0].close()
    again = Dial(links[0], server.to)
    again.write(b"x")
    assert links[1].run(["echo", "fine"]).out == b"fine\n"
    links[1].cut()
    eventually(lambda: agent.fds() < 600, "half of the descriptors to go")


def test_client_killed(agent, peer):
    """A client lost at any moment leaves no descriptor and no memory."""
    server = peer(echo)
    agent.connect().run(["true"])
    fds = agent.settled_fds()
    for round_ in range(8):
        link = agent.connect(cut_after=300000 * (round_ + 1))
        with contextlib.suppress(Exception):
            streams = [Dial(link, server.to, wait=False) for _ in range(30)]
            for stream in streams:
                stream.wait_opened()
                stream.write(noise(200000))
        link.cut()
        del agent.links[agent.links.index(link)]
    eventually(lambda: agent.fds() <= fds, "the descriptors to go")


def test_upgrade_ends_streams(agent, peer):
    """A stream lives no longer than its link: the peer is reset, the new agent dials anew."""
    ends = []

    def serve(sock):
        try:
            ends.append(sock.recv(10))
        except ConnectionResetError:
            ends.append("reset")
    server = peer(serve)
    link = agent.connect()
    Dial(link, server.to)
    again = agent.upgrade()
    eventually(lambda: ends, "the peer to be told")
    assert ends == ["reset"]
    Dial(again, server.to).close()


@pytest.mark.agentd(user=65534)
def test_with_the_agents_rights(agent, peer, tmp_path):
    """Unix sockets are dialled as agentd: what its user may not, a client may not."""
    os.chmod(tmp_path, 0o755)
    for parent in (tmp_path.parent, tmp_path.parent.parent):
        os.chmod(parent, 0o755)
    peer(echo, str(tmp_path / "mine"))
    os.chmod(tmp_path / "mine", 0o600)
    open_to_all = peer(echo, str(tmp_path / "all"))
    os.chmod(tmp_path / "all", 0o666)
    link = agent.connect()
    assert refused(link, f"unix:{tmp_path}/mine").errno == 13
    Dial(link, open_to_all.to).close()


def test_fin_flag_on_data(link, peer):
    """The end may come with the last bytes."""
    stream = Dial(link, peer(hear_all).to)
    link.send(DATA, stream.number, 0, b"abc", FIN, 0)
    stream.offset = stream.tx_used = 3
    stream.wait_ended()
    assert stream.out == hashlib.sha256(b"abc").hexdigest().encode()
