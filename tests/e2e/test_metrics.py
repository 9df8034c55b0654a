"""Plain HTTP on the listener: GET /healthz and GET /metrics (section 1)."""
import re
import socket

import pytest

from harness import eventually
from system import get, http, read_answer

pytestmark = pytest.mark.own_agent

HEAD = b"GET /healthz HTTP/1.1\r\nHost: agentd\r\n\r\n"


def figures(agent, **how):
    status, fields, body = get(agent.socket, "/metrics", **how)
    assert status == 200 and fields["content-type"].startswith("text/plain; version=0.0.4")
    found, types = {}, {}
    for line in body.decode().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types, "each name is announced once"
            types[name] = kind
        elif not line.startswith("# HELP "):
            name, value = re.fullmatch(r'([a-z_]+(?:\{[^}]*\})?) (\S+)', line).groups()
            base = re.sub(r"(_bucket|_sum|_count)?(\{.*)?$", "", name)
            assert base in types or re.sub(r"\{.*", "", name) in types, f"{name} is not announced"
            found[name] = float(value)
    return found


def test_health(agent):
    status, fields, body = get(agent.socket, "/healthz")
    assert (status, body) == (200, b"ok\n")
    assert fields["content-length"] == "3" and fields["connection"] == "close"
    assert get(agent.socket, "/healthz?verbose=1")[0] == 200
    status, fields, body = get(agent.socket, "/healthz", method="HEAD")
    assert (status, body, fields["content-length"]) == (200, b"", "3")
    pieces = [HEAD[i:i + 1] for i in range(len(HEAD))]
    assert http(agent.socket, None, pieces)[0] == 200


@pytest.mark.parametrize("request_line, extra, status", [
    ("POST /healthz", "", 405), ("DELETE /metrics", "", 405), ("GET /", "", 404), ("GET /healthzz", "", 404),
    ("GET /metrics/x", "", 404), ("GET /healthz", "Content-Length: 5\r\n", 400), ("GET /v1", "", 426),
    ("HEAD /v1", "", 405), ("GET /healthz", "Connection: upgrade\r\nUpgrade: websocket\r\n", 404)])
def test_refusals(agent, request_line, extra, status):
    """What is not one of the two is answered as before."""
    assert http(agent.socket, f"{request_line} HTTP/1.1\r\nHost: a\r\n{extra}\r\n".encode())[0] == status


def test_the_token_guards_them_too(start_agent):
    agent = start_agent(token="s3cret")
    for path in ("/healthz", "/metrics", "/nothing"):
        assert get(agent.socket, path)[0] == 401
        assert get(agent.socket, path, extra="Authorization: Bearer wrong\r\n")[0] == 401
    assert get(agent.socket, "/healthz", extra="Authorization: Bearer s3cret\r\n")[0] == 200
    assert figures(agent, extra="Authorization: Bearer s3cret\r\n")["agentd_connections"] == 1


def test_unhealthy_while_stopping(agent):
    """A connection that was there before the stop learns of it."""
    link = agent.connect()
    channel = link.open(start={"cmd": ["sh", "-c", "trap '' TERM; echo ready; sleep 60"]}, window=1000)
    link.wait(lambda: channel.out == b"ready\n", "the trap to be set")
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(10)
    sock.connect(str(agent.socket))
    eventually(lambda: figures(agent)["agentd_connections"] == 3, "the connection to be accepted")
    agent.terminate()
    eventually(lambda: not agent.socket.exists(), "the stop to begin")
    sock.sendall(HEAD)
    status, _, body = read_answer(sock)
    assert (status, body) == (503, b"stopping\n")
    sock.close()


def test_figures_move(agent):
    """The counters count what happened."""
    link = agent.connect()
    before = figures(agent)
    link.sh("exit 3")
    link.sh("kill -9 $$")
    link.run(["/nonexistent"])
    link.sh("head -c 200000 /dev/zero")
    channel = link.open(start={"cmd": ["sleep", "100"]}, window=1000)
    after = figures(agent)

    def grown(name):
        return after[name] - before[name]
    assert grown("agentd_sessions_started_total") == 5
    assert grown('agentd_sessions_ended_total{state="exited"}') == 2
    assert grown('agentd_sessions_ended_total{state="signaled"}') == 1
    assert grown('agentd_sessions_ended_total{state="start_failed"}') == 1
    assert after["agentd_sessions_live"] == 1 and after["agentd_sessions_ended"] == 4
    assert 200000 < grown("agentd_sent_bytes_total") < 230000
    assert 300 < grown("agentd_received_bytes_total") < 10000
    assert grown("agentd_connections_total") == 1 and after["agentd_connections"] == 2
    assert after["agentd_store_bytes"] > 0
    assert after["process_resident_memory_bytes"] > 1e6 and after["process_open_fds"] >= 15
    assert after["process_threads"] >= 1 and after["process_cpu_seconds_total"] > 0
    assert grown("agentd_loop_busy_seconds_count") >= 5
    buckets = [value for name, value in after.items() if name.startswith("agentd_loop_busy_seconds_bucket")]
    assert buckets == sorted(buckets) and buckets[-1] == after["agentd_loop_busy_seconds_count"]
    assert 0 < after["agentd_loop_busy_max_seconds"] < 5
    link.request("kill", id=channel.opened["id"], signal="KILL")
