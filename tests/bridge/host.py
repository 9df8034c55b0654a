"""A bridge of the test's own, and clients for it: HTTP (http.client) and WebSocket (RFC 6455 by hand, so that a test
sees every frame, and can send wrong ones)."""
import base64
import collections
import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

import harness
from harness import ROOT, SANITIZERS, alive, children_of, eventually
from wire import BINARY, CONT, PING, PONG, TEXT, WS_CLOSE, Timeout, WsReader, ready, ws_encode

Response = collections.namedtuple("Response", "status headers body")


class Reply(Response):
    def json(self):
        return json.loads(self.body)

    def error(self):
        return self.json()["error"]


def binary(name):
    return harness.binary(name)


def static_agentd():
    """The agent for sandboxes: the static one, or the dev build's where that is not there."""
    path = ROOT / os.environ.get("AGENTD_STATIC", "build/static/bin/agentd")
    return str(path) if path.exists() else binary("agentd")


# ------------------------------------------------------------------------------------------- WebSocket

class HandshakeRefused(Exception):
    def __init__(self, reply):
        super().__init__(f"HTTP {reply.status}: {reply.body[:500]!r}")
        self.reply = reply
        self.status = reply.status


class Closed(Exception):
    """The other side has closed, or is gone (code 1006)."""

    def __init__(self, code, reason):
        super().__init__(f"closed with {code} {reason!r}")
        self.code, self.reason = code, reason


class WebSocket:
    """Messages in and out. Pings are answered while reading, unless `deaf`."""

    def __init__(self, sock, rest=b"", deaf=False):
        self.sock = sock
        self.reader = WsReader()
        self.reader.feed(rest)
        self.deaf = deaf
        self.pings, self.pongs = [], []
        self.parts = None  # (opcode, bytearray) of a fragmented message
        self.closed = None

    # out

    def send(self, data, opcode=BINARY, fin=True):
        if isinstance(data, str):
            data = data.encode()
        self.sock.sendall(ws_encode(opcode, data, fin, key=os.urandom(4)))

    def send_text(self, text):
        self.send(text, TEXT)

    def close(self, code=1000, reason=""):
        """Says goodbye and waits for the answer; gives its code."""
        try:
            self.send(code.to_bytes(2, "big") + reason.encode(), WS_CLOSE)
            while True:
                self.recv()
        except Closed as closed:
            return closed.code
        except OSError:
            return 1006
        finally:
            self.cut()

    def cut(self):
        """Hangs up without a word."""
        self.sock.close()

    # in

    def frame(self, timeout=15.0):
        """The next frame as it came."""
        deadline = time.monotonic() + timeout
        while not (frame := self.reader.next()):
            left = deadline - time.monotonic()
            if left <= 0 or not ready(self.sock, left)[0]:
                raise Timeout(f"no WebSocket frame within {timeout}s")
            data = self.sock.recv(1 << 18)
            if not data:
                self.closed = self.closed or Closed(1006, "")
                raise self.closed
            self.reader.feed(data)
        assert frame.key is None and frame.rsv == 0, f"a server's frame is masked, or has reserved bits: {frame}"
        return frame

    def message(self, timeout=15.0):
        """(opcode, payload) of the next message."""
        while True:
            frame = self.frame(timeout)
            if frame.opcode == PING:
                self.pings.append(frame.payload)
                if not self.deaf:
                    self.send(frame.payload, PONG)
            elif frame.opcode == PONG:
                self.pongs.append(frame.payload)
            elif frame.opcode == WS_CLOSE:
                code = int.from_bytes(frame.payload[:2], "big") if len(frame.payload) >= 2 else 1005
                self.closed = Closed(code, frame.payload[2:].decode())
                raise self.closed
            else:
                if self.parts is None:
                    assert frame.opcode in (TEXT, BINARY), frame
                    self.parts = (frame.opcode, bytearray())
                else:
                    assert frame.opcode == CONT, frame
                self.parts[1].extend(frame.payload)
                if frame.fin:
                    (opcode, payload), self.parts = self.parts, None
                    return opcode, bytes(payload)

    def recv(self, timeout=15.0):
        """The payload of the next message; Closed when there is none any more."""
        return self.message(timeout)[1]

    def expect_close(self, timeout=15.0):
        """Reads to the end; gives (code, reason)."""
        try:
            while True:
                self.recv(timeout)
        except Closed as closed:
            self.cut()
            return closed.code, closed.reason


# ------------------------------------------------------------------------------------------------ HTTP

class Client:
    """What talks to a bridge: each request on a connection of its own, unless one is given."""

    def __init__(self, host, port, key=None, tls=None, prefix="/api"):
        self.host, self.port, self.key, self.tls, self.prefix = host, port, key, tls, prefix

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    def connection(self, timeout=60):
        if self.tls:
            return http.client.HTTPSConnection(self.host, self.port, timeout=timeout, context=self.tls)
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout)

    def path(self, path, query=None):
        path = (self.prefix if path.startswith("/") else "/") + path
        return path + "?" + urllib.parse.urlencode(query) if query else path

    def headers(self, headers, key):
        """key: True: ours, None: none, else that one."""
        found = dict(headers or {})
        if key is True:
            key = self.key
        if key:
            found.setdefault("X-API-Key", key)
        return found

    def request(self, method, path, body=None, query=None, headers=None, key=True, connection=None, timeout=60):
        """A dict or list as body is sent as JSON."""
        headers = self.headers(headers, key)
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        own = connection or self.connection(timeout)
        try:
            own.request(method, self.path(path, query), body, headers)
            answer = own.getresponse()
            return Reply(answer.status, answer.headers, answer.read())
        finally:
            if not connection:
                own.close()

    def get(self, path, **how):
        return self.request("GET", path, **how)

    def post(self, path, body=None, **how):
        return self.request("POST", path, body, **how)

    def put(self, path, body=None, **how):
        return self.request("PUT", path, body, **how)

    def delete(self, path, **how):
        return self.request("DELETE", path, **how)

    def raw(self, timeout=15):
        """A bare connected socket, for what http.client would not send."""
        sock = socket.create_connection((self.host, self.port), timeout)
        return self.tls.wrap_socket(sock, server_hostname=self.host) if self.tls else sock

    def websocket(self, path, query=None, headers=None, key=True, deaf=False, timeout=60):
        """Opens one; HandshakeRefused with the answer when it is refused. The key goes into the query, as SDKs do."""
        query = dict(query or {})
        if key:
            query.setdefault("api_key", self.key if key is True else key)
        nonce = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {self.path(path, query)} HTTP/1.1", f"Host: {self.host}:{self.port}", "Upgrade: websocket",
                 "Connection: Upgrade", f"Sec-WebSocket-Key: {nonce}", "Sec-WebSocket-Version: 13"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        sock = self.raw(timeout)
        try:
            sock.sendall("\r\n".join(lines + ["", ""]).encode())
            head, rest = read_head(sock)
            if not head.startswith(b"HTTP/1.1 101"):
                raise HandshakeRefused(read_reply(sock, head, rest))
        except BaseException:
            sock.close()
            raise
        return WebSocket(sock, rest, deaf)


def read_head(sock):
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            raise ConnectionError(f"hung up within the head of an answer: {data!r}")
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def read_reply(sock, head, rest):
    """The answer whose head was read already."""
    class Rest:
        def __init__(self):
            self.file = sock.makefile("rb")

        def makefile(self, *_):
            import io
            return io.BytesIO(head + b"\r\n\r\n" + rest + self.body())

        def body(self):
            found = re.search(rb"(?im)^content-length: *(\d+)", head)
            return self.file.read(int(found.group(1)) - len(rest)) if found else self.file.read()
    answer = http.client.HTTPResponse(Rest())
    answer.begin()
    return Reply(answer.status, answer.headers, answer.read())


# ------------------------------------------------------------------------------------------- the program

class Bridge(Client):
    """A bridge in a state directory of its own. Options as on its command line: Bridge("--access-log", driver="local")."""

    def __init__(self, *options, driver="local", state=None, env=None, tls=None, wait=True, **settings):
        self.dir = pathlib.Path(state or tempfile.mkdtemp(prefix="bridge-test-"))
        self.owns_dir = state is None
        settings = {"agentd": static_agentd(), **settings}
        self.options = ["--port", "0", "--state", str(self.dir), "--driver", driver, *options]
        for name, value in settings.items():
            self.options += [f"--{name.replace('_', '-')}", str(value)]
        self.env = env or {}
        self.logs = []
        self.proc = None
        self.told_to_end = False
        super().__init__("127.0.0.1", 0, tls=tls)
        if wait:
            self.start()

    def start(self):
        """Starts it, also again, on the same state. It is up when this is over."""
        if self.port:  # clients come back to where they were
            self.options[1] = str(self.port)
        self.told_to_end = False
        self.logs.append(self.dir / f"log.{len(self.logs)}")
        with open(self.logs[-1], "wb") as log:
            self.proc = subprocess.Popen([binary("bridge"), *self.options], stdin=subprocess.DEVNULL, stdout=log,
                                         stderr=log, env={**harness.program_env(), **self.env}, start_new_session=True)
        harness.programs.add(self.proc)
        self.pid = self.proc.pid

        def listening():
            if self.proc.poll() is not None:
                raise AssertionError(f"the bridge ended with {self.proc.returncode} at its start:\n{self.log()}")
            return re.search(r"listening on https?://\S+:(\d+) ", self.logs[-1].read_text(errors="replace"))
        self.port = int(eventually(listening, "the bridge to listen", 30).group(1))
        key = self.dir / "api-key"
        self.key = key.read_text().strip() if key.exists() else None
        return self

    def log(self):
        return "".join(path.read_text(errors="replace") for path in self.logs if path.exists())

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory_kib(self):
        """What it has written to: Pss moves when other programs of the same file come and go."""
        text = pathlib.Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        return sum(int(kib) for kib in re.findall(r"^(?:Private|Shared)_Dirty:\s+(\d+)", text, re.M))

    # sandboxes

    def create(self, **fields):
        """A new sandbox, which is running; gives its id."""
        reply = self.post("/sandboxes", fields)
        assert reply.status == 201, reply
        return reply.json()["sandboxID"]

    def adopt(self, agent, name=None):
        """Registers an agent (harness.Agent) as a guest; gives the sandbox's id."""
        fields = {"address": agent.target, **({"id": name} if name else {})}
        reply = self.post("/admin/guests", fields)
        assert reply.status == 201, reply
        return reply.json()["sandboxID"]

    def run(self, sandbox, cmd, *args, **fields):
        """A command through exec/run: `run(id, "echo hi")` by a shell, `run(id, "echo", "hi")` without."""
        body = {"cmd": cmd, "args": list(args)} if args else {"cmd": "sh", "args": ["-c", cmd]}
        reply = self.post(f"/sandboxes/{sandbox}/exec/run", {**body, **fields}, timeout=300)
        assert reply.status == 200, reply
        return reply.json()

    # its end

    def terminate(self):
        self.told_to_end = True
        self.proc.send_signal(signal.SIGTERM)

    def wait_end(self, timeout=15):
        try:
            return self.proc.wait(timeout)
        finally:
            harness.programs.discard(self.proc)

    def kill(self):
        """An unclean end, as by the kernel. The sandboxes go on."""
        self.told_to_end = True
        self.proc.kill()
        self.proc.wait()
        harness.programs.discard(self.proc)

    def restart(self):
        """In order."""
        self.terminate()
        assert self.wait_end() == 0, self.log()
        return self.start()

    def remove_sandboxes(self):
        for sandbox in self.get("/sessions").json():
            self.delete(f"/sandboxes/{sandbox['sandboxID']}")

    def stop(self):
        """Removes the sandboxes, ends it by SIGTERM and checks how it went: exit 0 in time, nothing found by a
        sanitizer, no process and no box left behind."""
        if not self.proc:
            return self._forget()
        killed = self.proc.poll() == -signal.SIGKILL
        ended = self.proc.poll() is not None and not self.told_to_end
        left, code = [], self.proc.poll()
        try:
            if self.proc.poll() is None and not self.told_to_end:
                self.remove_sandboxes()
                self.terminate()
                left = [path.name for path in (self.dir / "boxes").glob("*")]
            code = self.wait_end(20)
        except subprocess.TimeoutExpired:
            self.kill()
            code = "still running 20 s after SIGTERM"
        finally:
            log = self.log()
            orphans = self._forget()
        found = SANITIZERS.search(log)
        assert not found, f"the bridge's log has {found.group()!r}:\n{log[-8000:]}"
        assert not ended, f"the bridge ended by itself, with {code}:\n{log[-4000:]}"
        assert code == 0 or killed, f"the bridge ended with {code}:\n{log[-4000:]}"
        if not killed:
            assert not left, f"boxes of removed sandboxes are left: {left}"
            assert not orphans, f"processes are left: {orphans}"
        if self.key:
            assert self.key not in log, "the API key is in the log"

    def _forget(self):
        """Ends what is left, takes down what is mounted; gives the command lines of what was left."""
        if self.proc and self.proc.poll() is None:
            self.kill()
        orphans = [command_line(pid) for pid in orphans_of_tests()]
        harness.reap_orphans()
        remove_cgroups(self.dir)
        if self.owns_dir:
            unmount_below(self.dir)
            shutil.rmtree(self.dir, ignore_errors=True)
        return orphans


def orphans_of_tests():
    """Processes that outlived what started them: rules.configure() makes us their parent."""
    mine = {program.pid for program in harness.programs}
    return [pid for pid in children_of(os.getpid()) if pid not in mine and alive(pid)]


def command_line(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200]
    except OSError:
        return str(pid)


def remove_cgroups(directory):
    """Those of boxes that nobody destroyed, because the test killed the bridge for good. Only empty ones can be removed."""
    for path in directory.glob("boxes/*/cgroup"):
        top = pathlib.Path(path.read_text())
        for group in [*sorted(top.rglob("*/"), reverse=True), top, top.parent]:
            with contextlib.suppress(OSError):
                group.rmdir()


def unmount_below(directory):
    """A directory is never removed with something mounted in it: what is mounted may be the machine's own files."""
    for _ in range(3):
        found = [line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
                 if line.split()[4].startswith(f"{directory}/")]
        if not found:
            return
        for path in reversed(found):
            subprocess.run(["umount", "-l", path], stderr=subprocess.DEVNULL, check=False)
    raise AssertionError(f"cannot unmount {found}")


def bridge_command(*args, env=None, timeout=30):
    """Runs `bridge ARGS` to its end; gives (exit code, stdout, stderr)."""
    done = subprocess.run([binary("bridge"), *args], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=timeout, env={**harness.program_env(), **(env or {})}, check=False)
    assert not SANITIZERS.search(done.stderr), done.stderr
    return done.returncode, done.stdout, done.stderr


def tls_context(certificate):
    return ssl.create_default_context(cafile=str(certificate))
