"""A sandbox as commands see it: an agent of the test's own, which the bridge has adopted."""
import time

from harness import eventually
from host import Closed


class Box:
    """Short words for the routes of one sandbox."""

    def __init__(self, bridge, name, agent=None):
        self.bridge, self.name, self.agent = bridge, name, agent
        self.base = f"/sandboxes/{name}"

    def post(self, route, body=None, **how):
        return self.bridge.post(self.base + route, body, **how)

    def get(self, route, **how):
        return self.bridge.get(self.base + route, **how)

    def ok(self, route, body=None, status=200, **how):
        reply = self.post(route, body, **how)
        assert reply.status == status, reply
        return reply.json() if reply.body else None

    def sh(self, text, **fields):
        """exec/run of a shell command; the result."""
        return self.ok("/exec/run", {"cmd": "sh", "args": ["-c", text], **fields}, timeout=300)

    def run(self, cmd, *args, **fields):
        return self.ok("/exec/run", {"cmd": cmd, "args": list(args), **fields}, timeout=300)

    def begin(self, text, **fields):
        """exec/run-async of a shell command; status and answer."""
        reply = self.post("/exec/run-async", {"cmd": "sh", "args": ["-c", text], **fields})
        return reply.status, reply.json()

    def result(self, exec_id, timeout=30):
        """Polls as the SDK does; the last answer."""
        deadline = time.monotonic() + timeout
        while True:
            reply = self.get(f"/exec/{exec_id}/result")
            assert reply.status == 200, reply
            answer = reply.json()
            if not answer["running"]:
                return answer
            assert time.monotonic() < deadline, answer

    def start(self, cmd, *args, **fields):
        return self.ok("/exec", {"cmd": cmd, "args": list(args), **fields}, 201)

    def sessions(self):
        reply = self.get("/exec")
        assert reply.status == 200, reply
        return {entry["sessionID"]: entry for entry in reply.json()}

    def ended(self, session, timeout=15):
        """Waits until a session has ended; its entry."""
        def look():
            entry = self.sessions()[session]
            return None if entry["running"] else entry
        return eventually(look, "the session to end", timeout)

    def kill(self, session, body=None):
        return self.post(f"/exec/{session}/kill", body)

    def attach(self, session, **how):
        return self.bridge.websocket(f"{self.base}/exec/{session}", **how)


def collect(socket, timeout=20):
    """Reads an exec socket to its end: (stdout, stderr, exit code, closing code)."""
    streams, code = {1: b"", 2: b""}, None
    try:
        while True:
            message = socket.recv(timeout)
            if message[:1] in (b"\1", b"\2"):
                streams[message[0]] += message[1:]
            elif message[:1] == b"\3":
                code = int.from_bytes(message[1:5], "big", signed=True)
    except Closed as closed:
        socket.cut()
        return streams[1], streams[2], code, closed.code
