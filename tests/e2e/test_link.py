"""The link: HTTP upgrade, who may connect, hello, pings, and how a link ends (sections 1 and 3)."""
import base64
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time

import pytest

import harness
import vectors
from client import Link
from wire import BINARY, HELLO, NO_CLOSE_FRAME, PING, PONG, REQ, WS_CLOSE, HttpRefused, LinkClosed, frame, ws_encode

HEAD = next(request for name, _, request in vectors.http() if name == "plain")


def ask_http(agent, request):
    """The status an HTTP head is answered with."""
    link = agent.bare()
    link.send_raw(request)
    try:
        return link.read_head()[0], link
    except HttpRefused as refused:
        return refused.status, refused


# hello

def test_hello(link):
    hello = link.hello
    assert hello["agent"] == "agentd" and hello["proto"] == 1
    assert {"exec", "upgrade"} <= set(hello["caps"])
    assert re.fullmatch(r"[0-9a-f]{16}", hello["instance"])
    assert isinstance(hello["epoch"], int) and hello["epoch"] >= 0
    assert re.match(r"\d+\.\d+", hello["version"])
    limits = {"frame": 65536, "channels": 1024, "ring_max": 67108864, "stdin_window": 262144, "viewers": 64,
              "writers": 8}
    assert {name: hello["limits"][name] for name in limits} == limits
    assert hello["limits"]["sessions"] > 0


@pytest.mark.own_agent
def test_hello_boot_id_is_the_kernels(link):
    with open("/proc/sys/kernel/random/boot_id") as file:
        assert link.hello["boot_id"] == file.read().strip()
    assert link.hello["limits"]["sessions"] == 10240


def test_hello_is_the_same_on_every_link(agent):
    one, two = agent.connect(), agent.connect()
    assert one.hello == two.hello


def test_hello_needs_only_proto_and_ignores_the_rest(agent):
    link = agent.bare()
    link.upgrade(os.environ.get("E2E_TOKEN"))
    link.send(HELLO, payload={"proto": 1, "shoe_size": 44, "nested": {"a": [1, 2]}})
    link.wait(lambda: link.hello, "HELLO")
    link.request("ping")


def test_client_need_not_wait_for_hello(agent):
    """Head, HELLO and a request in one write: nothing of it may be lost at the hand-over from HTTP to WebSocket."""
    link = agent.bare()
    ping = frame(REQ, arg=5, payload={"op": "ping"})
    token = os.environ.get("E2E_TOKEN")
    head = HEAD if token is None else HEAD[:-2] + f"Authorization: Bearer {token}\r\n\r\n".encode()
    hello = frame(HELLO, payload={"proto": 1})
    link.send_raw(head + ws_encode(BINARY, hello.pack()) + ws_encode(BINARY, ping.pack()))
    link.read_head()
    assert link.answer(5) == {}


@pytest.mark.own_agent
def test_two_agents_are_two_instances(start_agent):
    one, two = start_agent().connect(), start_agent().connect()
    assert one.hello["instance"] != two.hello["instance"]


# HTTP

@pytest.mark.own_agent
@pytest.mark.parametrize("status, request_", [pytest.param(*row[1:], id=row[0]) for row in vectors.http()])
def test_http(agent, status, request_):
    got, answer = ask_http(agent, request_)
    assert got == status
    if status == 101:
        answer.send(HELLO, payload={"proto": 1})
        answer.wait(lambda: answer.hello, "HELLO")
    else:
        line = answer.body.strip()
        assert line and b"\n" not in line, "refusals have a one-line text body"
        assert "close" in answer.head.get("connection", "close").lower()


@pytest.mark.own_agent
def test_accept_key_is_that_of_the_rfc(agent):
    link = agent.bare()
    link.send_raw(HEAD)
    fields = link.read_head()[1]
    assert fields["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert fields["sec-websocket-protocol"] == "agentd.v1"


@pytest.mark.own_agent
def test_head_byte_by_byte(agent):
    link = agent.bare()
    for at in range(len(HEAD)):
        link.send_raw(HEAD[at:at + 1])
    assert link.read_head()[0] == 101


@pytest.mark.own_agent
@pytest.mark.parametrize("size, status", [(16384 - 64, 101), (16385, 431), (40000, 431)])
def test_head_size(agent, size, status):
    padding = b"X-Padding: " + b"a" * (size - len(HEAD) - len(b"X-Padding: \r\n")) + b"\r\n"
    request = HEAD[:-2] + padding + b"\r\n"
    assert len(request) == size
    assert ask_http(agent, request)[0] == status


@pytest.mark.own_agent
@pytest.mark.parametrize("shape", ["one long line", "many lines", "long target"])
def test_endless_head(agent, shape):
    """Refused when it is too large, not when it ends: a peer that never ends it must not fill the memory."""
    start = {"one long line": b"GET /v1 HTTP/1.1\r\nX: " + b"a" * 20000,
             "many lines": b"GET /v1 HTTP/1.1\r\n" + b"A: b\r\n" * 4000,
             "long target": b"GET /" + b"v" * 20000}[shape]
    assert ask_http(agent, start)[0] == 431


@pytest.mark.agentd(hello_timeout_ms=500)
def test_slow_head_is_cut_off(agent):
    """Bytes that trickle in do not buy more time (slowloris)."""
    link = agent.bare()
    began = time.monotonic()
    try:
        for at in range(len(HEAD) - 4):
            link.send_raw(HEAD[at:at + 1])
            if link.hung_up():
                break
            time.sleep(0.02)
    except LinkClosed:
        pass
    assert 0.3 < time.monotonic() - began < 3
    agent.connect().request("ping")


@pytest.mark.agentd(hello_timeout_ms=500)
def test_silent_connection_is_cut_off(agent):
    link = agent.bare()
    began = time.monotonic()
    link.wait_eof()
    assert 0.3 < time.monotonic() - began < 3


@pytest.mark.agentd(hello_timeout_ms=500)
def test_no_hello_in_time(agent):
    link = agent.bare()
    link.upgrade()
    assert link.expect_close(5) == 1008


@pytest.mark.agentd(hello_timeout_ms=500)
def test_hello_timeout_is_only_for_the_handshake(agent):
    link = agent.connect()
    link.idle(1.2)
    link.request("ping")


# who may connect

@pytest.mark.agentd(token="correct-horse-battery-staple")
def test_token(agent):
    token = "correct-horse-battery-staple"
    for wrong in (None, "", "x", token[:-1], token + "x", token.upper(), "Bearer " + token):
        with pytest.raises(HttpRefused) as refused:
            agent.connect(token=wrong)
        assert refused.value.status == 401, wrong
    agent.connect(token=token).request("ping")
    assert token not in agent.log(), "the log must never have the token"


@pytest.mark.agentd(token="s3cr3t-t0ken-0f-this-test")
def test_refused_token_is_not_logged(agent):
    """The log names the refusal, not what was offered: it might be the right token with a typing error."""
    with pytest.raises(HttpRefused):
        agent.connect(token="s3cr3t-t0ken-with-a-typo")
    agent.connect(token="s3cr3t-t0ken-0f-this-test").request("ping")
    assert "s3cr3t" not in agent.log()
    assert agent.log().strip(), "a refusal is logged"


@pytest.mark.agentd(token="abcdefgh")
def test_token_needs_the_bearer_scheme(agent):
    for value in (b"abcdefgh", b"Basic abcdefgh", b"Bearer", b"Bearerabcdefgh"):
        request = HEAD[:-2] + b"Authorization: " + value + b"\r\n\r\n"
        assert ask_http(agent, request)[0] == 401, value


@pytest.mark.own_agent
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_other_users_are_disconnected_without_an_answer(agent):
    os.chmod(agent.dir, 0o777)
    os.chmod(agent.socket, 0o777)  # the peer check must hold by itself, not by file modes
    script = ("import socket, sys\n"
              "s = socket.socket(socket.AF_UNIX)\n"
              "s.settimeout(10)\n"
              "s.connect(sys.argv[1])\n"
              "try:\n"
              "    s.sendall(bytes.fromhex(sys.argv[2]))\n"
              "    print(s.recv(100))\n"
              "except ConnectionError:\n"
              "    print(b'')\n")
    command = [sys.executable, "-c", script, str(agent.socket), HEAD.hex()]
    out = subprocess.run(command, user=65534, group=65534, extra_groups=[], cwd="/", capture_output=True, timeout=20)
    assert out.stdout.strip() == b"b''", out
    agent.connect().request("ping")


@pytest.mark.own_agent
def test_two_listeners(start_agent, tmp_path):
    agent = start_agent("--listen", f"unix:{tmp_path}/second.sock")
    one, two = agent.connect(), Link.connect(f"unix:{tmp_path}/second.sock")
    assert one.hello["instance"] == two.hello["instance"]
    assert len(one.request("info")["listen"]) == 2
    two.cut()


@pytest.mark.own_agent
def test_hybrid_target(agent, relay):
    """The CONNECT handshake of Firecracker is the host side's; the agent behind it sees a plain stream."""
    door = relay(agent.target, hybrid_port=1024)
    link = Link.connect(f"hybrid:{door.path}:1024")
    assert link.sh("echo through").out == b"through\n"
    link.cut()
    with pytest.raises((ConnectionRefusedError, ConnectionResetError)):
        Link.connect(f"hybrid:{door.path}:99")


# pings

def test_ping_gets_its_payload_back(link):
    for payload in (b"", b"x", os.urandom(125)):
        link.send_ws(PING, payload)
        link.wait(lambda: link.pongs, "a pong")
        assert link.pongs.pop() == payload


def test_many_pings_are_answered_at_the_latest_value(link):
    """Pongs may be merged, never queued: a peer that pings and does not read must not fill the agent's memory."""
    for number in range(1000):
        link.send_ws(PING, b"%d" % number)
    link.wait(lambda: link.pongs and link.pongs[-1] == b"999", "the pong of the last ping")
    assert len(link.pongs) <= 1000
    assert link.pongs == sorted(link.pongs, key=int)


def test_unasked_pong_is_ignored(link):
    link.send_ws(PONG, b"nobody asked")
    link.request("ping")


def test_ping_inside_a_fragmented_message(link):
    message = frame(REQ, arg=77, payload={"op": "ping"}).pack()
    link.send_ws(BINARY, message[:9], fin=False)
    link.send_ws(PING, b"between")
    link.wait(lambda: link.pongs == [b"between"], "the pong")
    link.send_ws(0, message[9:20], fin=False)
    link.send_ws(0, b"", fin=False)
    link.send_ws(0, message[20:])
    assert link.answer(77) == {}


def test_message_in_one_byte_fragments(link):
    message = frame(REQ, arg=78, payload={"op": "ping"}).pack()
    for at, byte in enumerate(message):
        last = at == len(message) - 1
        link.send_ws(BINARY if at == 0 else 0, bytes([byte]), fin=last)
    assert link.answer(78) == {}


def test_ping_is_answered_while_bulk_is_blocked(link):
    """rimz#87: pings that waited behind output made clients give the link up."""
    busy = link.open(start={"cmd": ["yes"]}, window=1 << 16, auto=False)
    link.wait(lambda: busy.received == 1 << 16, "the window to be used up")
    link.send_ws(PING, b"still there?")
    link.wait(lambda: link.pongs, "a pong", 2)
    link.request("kill", id=busy.id, signal="KILL")


def test_ping_is_answered_during_bulk(link):
    busy = link.open(start={"cmd": ["yes"]}, window=4 << 20, keep=False)
    busy.wait_bytes(1 << 20)
    for number in range(5):
        link.send_ws(PING, b"%d" % number)
        link.wait(lambda: link.pongs and link.pongs[-1] == b"%d" % number, "a pong during bulk", 5)
    link.request("kill", id=busy.id, signal="KILL")


# requests

def test_request_ids_are_the_clients_choice(link):
    for number in (0, 1, 2 ** 63, 2 ** 64 - 1):
        link.send(REQ, 0, number, {"op": "ping"})
        assert link.answer(number) == {}


def test_same_id_twice_is_answered_twice(link):
    for _ in range(2):
        link.send(REQ, 0, 9, {"op": "ping"})
    link.wait(lambda: len(link.replies.get((0, 9), [])) == 2, "two answers")


def test_info(link):
    info = link.request("info")
    for name in ("version", "instance", "epoch", "boot_id", "caps", "limits", "agent", "proto"):
        assert info[name] == link.hello[name]
    assert info["uptime_ms"] >= 0 and info["connections"] >= 1 and info["store_bytes"] >= 0
    assert info["sessions"]["live"] >= 0 and info["sessions"]["ended"] >= 0
    assert info["listen"] and all(isinstance(item, str) for item in info["listen"])
    assert info["cgroup"] is None or info["cgroup"].startswith("/")


@pytest.mark.own_agent
def test_info_counts(agent):
    link = agent.connect()
    link.run(["true"])
    link.request("start", start={"cmd": ["sleep", "100"]})
    other = agent.connect()
    info = other.request("info")
    assert info["pid"] == agent.pid and info["connections"] == 2
    assert (info["sessions"]["live"], info["sessions"]["ended"]) == (1, 1)


def test_unknown_members_are_ignored(link):
    assert link.request("ping", volume=11, nested={"deep": [1, {"er": None}]}) == {}
    channel = link.open(start={"cmd": ["true"], "colour": "blue"}, attach={"since": [0, 0], "smell": 1}, sound="loud")
    assert channel.finish().end["code"] == 0


# ends

def test_client_closes(link):
    assert link.close(1000) == 1000


def test_client_closes_without_a_code(link):
    link.close_sent = True
    link.send_ws(WS_CLOSE)
    assert link.expect_close() in (1000, 1005, NO_CLOSE_FRAME)


def test_sessions_outlive_their_link(agent):
    link = agent.connect()
    session = link.open(start={"cmd": ["sh", "-c", "sleep 0.3; echo done"]}).id
    link.cut()
    again = agent.connect().open(id=session)
    assert again.finish().out == b"done\n"


@pytest.mark.own_agent
def test_sigterm_says_stopping_ends_the_sessions_and_closes(agent):
    link = agent.connect()
    running = link.open(start={"cmd": ["sleep", "100"]})
    stubborn = link.open(start={"cmd": ["sh", "-c", "trap '' TERM; echo set; while :; do sleep 0.1; done"]})
    stubborn.wait_out(b"set\n")
    agent.terminate()
    assert link.expect_close(15) == 1001
    assert link.notices == ["stopping"]
    assert running.end["state"] == "killed" and running.end["by"] == "shutdown"
    assert stubborn.end["state"] == "killed" and stubborn.end["signal"] == 9
    assert agent.proc.wait(15) == 0
    assert not harness.alive(running.opened["pid"])


@pytest.mark.own_agent
def test_sigterm_while_stopping_nothing_new_starts(agent):
    link = agent.connect()
    stubborn = link.open(start={"cmd": ["sh", "-c", "trap '' TERM; echo set; while :; do sleep 0.1; done"]})
    stubborn.wait_out(b"set\n")
    agent.terminate()
    try:
        link.wait(lambda: link.notices, "the notice")
        late = link.open(start={"cmd": ["true"]}, wait=False)
        link.wait(lambda: late.refused, "REFUSED")
        assert late.refused["code"] == "stopping"
    except LinkClosed as closed:
        assert closed.code == 1001  # it was quicker than we were


@pytest.mark.own_agent
def test_sigterm_with_peers_that_do_not_read(agent):
    """A peer that never takes its close frame must not hold up the end."""
    link = agent.connect()
    link.open(start={"cmd": ["yes"]}, window=1 << 30)
    agent.bare()
    time.sleep(0.3)
    agent.terminate()
    assert agent.proc.wait(15) == 0


@pytest.mark.own_agent
def test_handshake_and_open_cut_at_every_byte(agent):
    """Whatever the byte at which a peer goes away, nothing is left of it but, perhaps, its session."""
    opening = frame(16, 1, 0, {"service": "exec", "start": {"cmd": ["true"]}, "window": 1000})
    whole = (HEAD + ws_encode(BINARY, frame(HELLO, payload={"proto": 1}).pack(), key=b"abcd")
             + ws_encode(BINARY, opening.pack(), key=b"efgh"))
    with agent.connect() as link:
        link.run(["true"])  # what a first session makes, the agent may keep
    before = agent.settled_fds()
    step = 1 if harness.LONG else 3
    for at in list(range(0, len(whole), step)) + [len(whole)]:
        link = agent.bare()
        link.send_raw(whole[:at])
        if at % 2 and at >= len(HEAD):
            link.read_head()
        link.cut()
    harness.eventually(lambda: agent.settled_fds() <= before, "the descriptors of cut links to be gone")
    assert agent.connect().sh("echo fine").out == b"fine\n"


@pytest.mark.own_agent
def test_half_close_by_the_peer(agent):
    """shutdown(SHUT_WR) is an end, too; it must neither spin nor leak."""
    before = agent.settled_fds()
    for _ in range(20):
        link = agent.connect()
        link.sock.shutdown(socket.SHUT_WR)
    harness.eventually(lambda: agent.settled_fds() <= before, "the descriptors of half-closed links to be gone")


@pytest.mark.own_agent
def test_connections_come_and_go(agent):
    agent.connect().close()
    before = agent.settled_fds()

    def come_and_go():
        for _ in range(25):
            link = Link.connect(agent.target)
            link.request("ping")
            link.close() if random.random() < 0.5 else link.cut()
    threads = [threading.Thread(target=come_and_go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert agent.settled_fds() <= before


@pytest.mark.own_agent
def test_idle_agent_sleeps(agent):
    """No timer ticks in an idle agent: peers wake up 10 to 47 times a second (figures.md)."""
    link = agent.connect()
    link.open(start={"cmd": ["sleep", "100"]})
    time.sleep(0.5)
    path = f"/proc/{agent.pid}/status"

    def switches():
        with open(path) as file:
            return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", file.read(), re.M).group(1))
    before = switches()
    time.sleep(2)
    assert switches() - before <= 2


def test_keys_that_are_not_canonical_base64_do_no_harm(agent):
    """16 bytes in base64 are 24 characters; a decoder that believes the padding reads past its buffer."""
    for key in (b"A" * 24, b"=" * 24, b"A" * 23 + b"=", base64.b64encode(b"x" * 16)[:-1]):
        request = HEAD.replace(b"dGhlIHNhbXBsZSBub25jZQ==", key)
        status, _ = ask_http(agent, request)
        assert status in (400, 401)
