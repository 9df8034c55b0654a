"""The public side against clients that are hostile, slow or many, and what is the same for every route: ids of
requests, CORS, methods, credentials."""
import concurrent.futures
import pathlib
import random
import re
import resource
import socket
import ssl
import subprocess
import time

import pytest

from host import PING, Closed, HandshakeRefused, Timeout, eventually, read_head, read_reply

pytestmark = pytest.mark.bridge(driver="external")


def ask(client, text, timeout=15):
    """What comes for these bytes: the answer, or None when the connection is just closed."""
    with client.raw(timeout) as sock:
        sock.sendall(text if isinstance(text, bytes) else text.encode())
        try:
            return read_reply(sock, *read_head(sock))
        except (ConnectionError, BrokenPipeError):
            return None


def hung_up(sock):
    try:
        return sock.recv(65536) == b""
    except ConnectionResetError:
        return True


# ---- hostile

SMUGGLED = [
    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "Content-Length: 5, 5\r\n\r\nhello",
    "Content-Length: +5\r\n\r\nhello",
    "Content-Length: 0x5\r\n\r\nhello",
    "Content-Length : 5\r\n\r\nhello",
    "Content-Length\t: 5\r\n\r\nhello",
    " Content-Length: 5\r\n\r\nhello",
    "X: y\r\n Content-Length: 5\r\n\r\nhello",
    "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n0\r\n\r\n",
    "X Y: z\r\n\r\n",
    "No colon here\r\nContent-Length: 5\r\n\r\nhello",
]


@pytest.mark.parametrize("shape", SMUGGLED)
def test_smuggling(bridge, shape):
    """What two readers may understand differently is refused, and nothing behind it is a request."""
    reply = ask(bridge, f"POST /sandboxes HTTP/1.1\r\nHost: h\r\nX-API-Key: {bridge.key}\r\n{shape}"
                        f"GET /health HTTP/1.1\r\nHost: h\r\n\r\n")
    assert reply is None or reply.status in (400, 501), reply
    assert reply is None or reply.headers["Connection"] == "close"
    assert bridge.get("/sandboxes").json() == []


def test_bytes_behind_a_body(bridge):
    """A request behind a body that had its length is another request or nothing, never a part of the first."""
    with bridge.raw() as sock:
        sock.sendall(f"POST /sandboxes/x/timeout HTTP/1.1\r\nHost: h\r\nX-API-Key: {bridge.key}\r\n"
                     "Content-Length: 2\r\n\r\n{}GET /whoami HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        reply = read_reply(sock, *read_head(sock))
        assert reply.status == 404 and reply.error() == "sandbox not found"
        rest = b""
        while data := sock.recv(65536):
            rest += data
        assert b"200" not in rest


def test_endless_header(bridge):
    """A head without end is cut at its limit, and costs no memory."""
    before = bridge.memory_kib()
    for line in (b"X-Long: " + b"a" * (1 << 20), b"X: y\r\n" * (1 << 18), b"a" * (1 << 20)):
        with bridge.raw() as sock:
            sent = 0
            with pytest.raises((ConnectionError, BrokenPipeError)):
                sock.sendall(b"GET /health HTTP/1.1\r\nHost: h\r\n")
                while sent < 10 << 30:
                    sent += sock.send(line)
            assert sent < 64 << 20
    assert bridge.get("/health").status == 200
    assert bridge.memory_kib() - before < 16 << 10


def test_long_url(bridge):
    """A head over its limit is told so: it was cut without a word. One with parameters without end is cut."""
    assert ask(bridge, f"GET /health?x={'a' * 15000} HTTP/1.1\r\nHost: h\r\n\r\n").status == 200
    for text in f"GET /health?x={'a' * 20000} HTTP/1.1\r\nHost: h", f"GET /health HTTP/1.1\r\nHost: h\r\nX-Big: {'a' * 20000}":
        reply = ask(bridge, text + "\r\n\r\n")
        assert reply.status == 431 and "too long" in reply.error() and reply.headers["Connection"] == "close"
    with pytest.raises(HandshakeRefused) as refused:
        bridge.websocket("/sandboxes/x/exec/y", headers={"X-Big": "a" * 20000})
    assert refused.value.status == 431
    reply = ask(bridge, f"GET /health?{'a&' * 5000} HTTP/1.1\r\nHost: h\r\n\r\n")
    assert reply is None or reply.status in (200, 400)
    assert bridge.get("/health").status == 200


@pytest.mark.seconds(90)
def test_slow_loris(bridge):
    """Heads that come a byte a second end after ten; so do bodies that stop, later. Others do not notice."""
    slow = [bridge.raw() for _ in range(200)]
    for sock in slow:
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: h\r\n")
    began, open_ones = time.monotonic(), list(slow)
    while open_ones and time.monotonic() - began < 30:
        asked = time.monotonic()
        assert bridge.get("/health").status == 200
        assert time.monotonic() - asked < 2
        for sock in list(open_ones):
            try:
                sock.sendall(b"X")
                sock.setblocking(False)
                if sock.recv(1) == b"":
                    open_ones.remove(sock)
            except BlockingIOError:
                pass
            except OSError:
                open_ones.remove(sock)
        eventually(lambda: time.monotonic() - asked >= 1, "a second", 5)
    for sock in slow:
        sock.close()
    assert not open_ones
    assert 5 < time.monotonic() - began < 25


def test_json_bomb(bridge):
    """Nesting without end, an endless number, a body past its limit: refused, at once."""
    bombs = [(b"[" * 1000000, 400), (b'{"a":' * 150000, 400), (b'{"a":' + b"1" * 1000000 + b"}", None),
             (b'{"a":"' + b"x" * (2 << 20) + b'"}', 413), (b"[]", 400), (b"null", 400), (b"{", 400), (b"\xff", 400),
             (b'{"a":"\xff"}', 400), (b"{}{}", 400)]
    for body, status in bombs:
        began = time.monotonic()
        reply = bridge.request("POST", "/sandboxes", body)
        assert reply.status == status if status else reply.status < 500, (body[:20], reply)
        assert time.monotonic() - began < 5
        assert "error" in reply.json()


def test_413_is_seen(bridge):
    """A client that sends a large body without waiting still reads why it was refused."""
    with bridge.raw() as sock:
        sock.sendall(f"POST /sandboxes HTTP/1.1\r\nHost: h\r\nX-API-Key: {bridge.key}\r\n"
                     f"Content-Length: {4 << 20}\r\n\r\n".encode())
        sock.sendall(b"x" * (4 << 20))
        reply = read_reply(sock, *read_head(sock))
    assert reply.status == 413 and reply.headers["Connection"] == "close"


def test_chunked_json(bridge):
    """Bodies in chunks are bodies, and have the same limit."""
    def chunks(total):
        for at in range(0, total, 50000):
            yield b"x" * min(50000, total - at)
    with bridge.raw() as sock:
        sock.sendall(f"POST /sandboxes/x/timeout HTTP/1.1\r\nHost: h\r\nX-API-Key: {bridge.key}\r\n"
                     "Transfer-Encoding: chunked\r\n\r\n8\r\n{\"timeou\r\n6\r\nt\": 5}\r\n0\r\n\r\n".encode())
        assert read_reply(sock, *read_head(sock)).status == 404
    own = bridge.connection()
    own.request("POST", bridge.path("/sandboxes"), chunks(3 << 20), {"X-API-Key": bridge.key}, encode_chunked=True)
    assert own.getresponse().status == 413
    own.close()


@pytest.mark.seconds(120)
def test_idle_sockets(bridge):
    """10 000 connections that do nothing leave the others well, and are let go."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 30000), hard))
    idle = []
    try:
        before = bridge.fds()
        for i in range(10000):
            sock = socket.socket()
            sock.connect((bridge.host, bridge.port))
            idle.append(sock)
        took = []
        for _ in range(100):
            began = time.monotonic()
            assert bridge.get("/health").status == 200
            took.append(time.monotonic() - began)
        assert sorted(took)[98] < 1
        for sock in idle:
            sock.close()
        idle = []
        eventually(lambda: bridge.fds() <= before + 8, "the connections to be let go", 30)
    finally:
        for sock in idle:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_no_descriptors(bridge):
    """A client for whom there is no descriptor waits, and is not asked for again and again; later it comes in."""
    def ticks():
        return sum(int(n) for n in pathlib.Path(f"/proc/{bridge.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13])
    soft, hard = resource.prlimit(bridge.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(bridge.pid, resource.RLIMIT_NOFILE, (3, hard))
    with bridge.raw(1) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n")
        before = ticks()
        with pytest.raises(socket.timeout):
            sock.recv(1)
        assert ticks() - before < 30  # of 100 in that second
        resource.prlimit(bridge.pid, resource.RLIMIT_NOFILE, (soft, hard))
        sock.settimeout(10)
        assert b"200 OK" in read_head(sock)[0]


# ---- the same for every route

def test_request_id(bridge):
    """Echoed when it is sane, else made; on every answer."""
    assert bridge.get("/health", headers={"X-Request-Id": "abc-1:2"}).headers["X-Request-Id"] == "abc-1:2"
    for bad in ("a" * 65, 'a"b', "a b", "<x>"):
        made = bridge.get("/nowhere", headers={"X-Request-Id": bad}).headers["X-Request-Id"]
        assert re.fullmatch("[0-9a-f]{32}", made)
    ids = {bridge.get("/health").headers["X-Request-Id"] for _ in range(10)}
    assert len(ids) == 10


def test_cors(bridge):
    """A page from anywhere may call: preflights for any route, and the headers on any answer."""
    for path in ("/sandboxes", "/sandboxes/x/files", "/nowhere"):
        reply = bridge.request("OPTIONS", path, key=None, headers={"Origin": "http://a"})
        assert reply.status == 204 and reply.body == b""
        assert reply.headers["Access-Control-Allow-Origin"] == "*"
        assert {"GET", "POST", "PUT", "DELETE"} <= set(reply.headers["Access-Control-Allow-Methods"].split(", "))
        assert {"X-API-Key", "Authorization", "Content-Type", "Range", "X-OSB-Async-Wake"} <= set(
            reply.headers["Access-Control-Allow-Headers"].split(", "))
    for reply in (bridge.get("/sandboxes"), bridge.get("/sandboxes", key=None), bridge.get("/nowhere")):
        assert reply.headers["Access-Control-Allow-Origin"] == "*"
        assert "X-Request-Id" in reply.headers["Access-Control-Expose-Headers"]


def test_no_route(bridge):
    """404 and 405 in the API's form; a route answers below /api and at the root."""
    reply = bridge.get("/nothing/here")
    assert reply.status == 404 and reply.json() == {"error": "no such route"}
    reply = bridge.request("PATCH", "/sandboxes")
    assert reply.status == 405 and set(reply.headers["Allow"].split(", ")) == {"GET", "HEAD", "POST"}
    bridge.prefix = ""
    assert bridge.get("/sandboxes").status == 200
    assert bridge.get("/api/api/sandboxes").status == 404
    assert bridge.get("/apisandboxes").status == 404


def test_keep_alive(bridge):
    """Many requests on one connection, with errors among them."""
    own = bridge.connection()
    for _ in range(20):
        assert bridge.get("/sandboxes", connection=own).status == 200
        assert bridge.get("/nowhere", connection=own).status == 404
        assert bridge.post("/sandboxes/x/timeout", {"timeout": 1}, connection=own).status == 404
        assert bridge.request("HEAD", "/sandboxes", connection=own).body == b""
        sock = own.sock
    assert own.sock is sock
    own.close()


def test_credentials(bridge, agent, start_agent):
    """Keys in their two slots, sandbox tokens in all four and for their sandbox only; no key as bearer."""
    a, b = bridge.adopt(agent), bridge.adopt(start_agent())
    token = bridge.get(f"/sandboxes/{a}").json()["token"]

    def status(path, header=None, **query):
        reply = bridge.get(path, query=query, key=None, headers=header)
        return reply.status, reply.json().get("error") if reply.status != 200 else None
    one, other, all_of_them = f"/sandboxes/{a}/exec", f"/sandboxes/{b}/exec", "/sandboxes"
    assert status(all_of_them) == (401, "missing API key")
    assert status(all_of_them, {"X-API-Key": "wrong"}) == (403, "invalid API key")
    assert status(all_of_them, api_key="wrong") == (403, "invalid API key")
    assert status(all_of_them, {"X-API-Key": bridge.key})[0] == 200
    assert status(all_of_them, api_key=bridge.key)[0] == 200
    assert status(all_of_them, {"Authorization": f"Bearer {bridge.key}"})[0] == 401
    assert status(one, {"Authorization": f"Bearer {bridge.key}"})[0] == 401
    for header, query in (({"Authorization": f"Bearer {token}"}, {}), ({"authorization": f"bearer {token}"}, {}),
                          ({"X-API-Key": token}, {}), ({}, {"token": token}), ({}, {"api_key": token})):
        assert status(one, header, **query)[0] == 200, (header, query)
        assert status(other, header, **query)[0] == 403, (header, query)
        assert status(all_of_them, header, **query)[0] in (401, 403), (header, query)
    assert status(one, {"Authorization": "Bearer x.y.z"})[0] == 403
    assert status("/sandboxes/sb-none/exec")[0] == 401
    assert status("/sandboxes/sb-none/exec", {"X-API-Key": bridge.key}) == (404, "sandbox not found")


def test_upgrade_refused(bridge, agent):
    """A WebSocket that will not be is told so by a status, and what is none is asked for by 426."""
    sandbox = bridge.adopt(agent)
    cases = [(f"/sandboxes/{sandbox}/exec/none", True, 404), (f"/sandboxes/{sandbox}/exec/none", None, 401),
             (f"/sandboxes/{sandbox}/exec/none", "wrong", 403), ("/sandboxes/sb-none/exec/none", True, 404),
             ("/health", True, 400), ("/nowhere", True, 404)]
    for path, key, want in cases:
        with pytest.raises(HandshakeRefused) as refused:
            bridge.websocket(path, key=key)
        assert refused.value.status == want, path
        assert "error" in refused.value.reply.json()
    assert bridge.get(f"/sandboxes/{sandbox}/exec/none").status == 426


def test_sandbox_goes_while_a_body_comes(bridge, tmp_path):
    """It came to nothing, and may be forgotten before the rest of a slow body is there."""
    address = f"unix:{tmp_path}/nobody"
    with concurrent.futures.ThreadPoolExecutor() as aside, bridge.raw() as sock:
        creating = aside.submit(bridge.post, "/admin/guests", {"id": "mine", "address": address})
        eventually(lambda: bridge.get("/sandboxes/mine").status == 200, "the sandbox")
        sock.sendall(f"POST /sandboxes/mine/exec HTTP/1.1\r\nHost: h\r\nX-API-Key: {bridge.key}\r\n"
                     "Content-Length: 14\r\n\r\n{".encode())
        assert creating.result().status == 503
        sock.sendall(b'"cmd":"true"}')
        reply = read_reply(sock, *read_head(sock))
        assert reply.status == 404 and reply.error() == "sandbox not found"


@pytest.mark.bridge("--access-log", driver="external")
def test_access_log(bridge):
    """A line a request, with neither query nor credentials."""
    bridge.get("/whoami", query={"api_key": bridge.key, "secret": "hidden"}, headers={"X-Request-Id": "mine-1"})
    line = eventually(lambda: re.search(r".*id=mine-1.*", bridge.log()), "the line", 5).group()
    assert "method=GET" in line and "path=/whoami" in line and "status=200" in line and re.search(r"ms=\d", line)
    assert "hidden" not in bridge.log() and bridge.key not in bridge.log()
    bridge.get("/a%0d%0ab\"c")
    assert '\r' not in bridge.log()


@pytest.fixture
def secure(start_bridge, tmp_path):
    """A bridge that speaks TLS."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out",
                    cert, "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
                   check=True, stderr=subprocess.DEVNULL)
    return start_bridge(driver="external", tls_cert=cert, tls_key=key, tls=ssl.create_default_context(cafile=cert))


def test_much_through_tls(secure, agent, tmp_path):
    """Megabytes up and down, as a file and through a WebSocket: what TLS keeps in its own buffers is not forgotten."""
    sandbox, data = secure.adopt(agent), random.Random(1).randbytes(8 << 20)
    path = {"path": str(tmp_path / "file")}
    assert secure.put(f"/sandboxes/{sandbox}/files", data, query=path).status in (200, 201, 204)
    assert (tmp_path / "file").read_bytes() == data
    assert secure.get(f"/sandboxes/{sandbox}/files", query=path).body == data
    session = secure.post(f"/sandboxes/{sandbox}/exec", {
        "cmd": "sh", "args": ["-c", "cat; head -c 4000000 /dev/zero"], "cwd": "/"}).json()["sessionID"]
    ws, got, data = secure.websocket(f"/sandboxes/{sandbox}/exec/{session}"), bytearray(), data[:200000]
    for at in range(0, len(data), 60000):
        ws.send(b"\0" + data[at:at + 60000])
    ws.send(b"\5")
    assert ws_end(ws, got) == (1000, "exec completed")
    assert got == data + bytes(4000000)


def ws_end(ws, got):
    """Reads an exec WebSocket to its end, stdout into `got`."""
    try:
        while True:
            message = ws.recv()
            if message[:1] == b"\1":
                got += message[1:]
    except Closed as closed:
        ws.cut()
        return closed.code, closed.reason


@pytest.mark.bridge("--ping-interval", "1", driver="external")
def test_pings(bridge, agent):
    """WebSockets from which nothing comes are pinged, and one that does not answer, as it does not read, is kept."""
    sandbox = bridge.adopt(agent)
    session = bridge.post(f"/sandboxes/{sandbox}/exec", {"cmd": "sleep", "args": ["300"]}).json()["sessionID"]
    deaf = bridge.websocket(f"/sandboxes/{sandbox}/exec/{session}", deaf=True)
    good = bridge.websocket(f"/sandboxes/{sandbox}/exec/{session}")
    while len(good.pings) < 4:
        for ws in (deaf, good):
            try:
                ws.recv(0.2)
            except Timeout:
                pass
    assert len(deaf.pings) >= 1
    deaf.send(b"", PING)
    deaf.send(b"", PING)
    while not deaf.pongs:
        with pytest.raises(Timeout):
            deaf.recv(0.2)
    for ws in (deaf, good):
        ws.cut()
