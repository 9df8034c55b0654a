"""A guest's agent by hand: it says what a test wants said, also what none of ours ever says."""
import base64
import hashlib
import shutil
import socket
import struct
import tempfile
import threading

from wire import (BINARY, CLOSE, DATA, EVENT, GAP, HELLO, OPEN, OPENED, PING, PONG, REFUSED, REQ, RES, STDERR, STDOUT,
                  WS_CLOSE, Frame, WsReader, frame, ws_encode)

ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class HandMade:
    """`sessions` is what it lists; `on_open(session, viewer)` is called for whoever attaches, after OPENED."""

    def __init__(self, sessions=(), on_open=lambda session, viewer: None):
        self.sessions, self.on_open = list(sessions), on_open
        self.list = lambda after: {"sessions": [entry(name) for name in self.sessions]}
        self.viewers = []
        self.dir = tempfile.mkdtemp(prefix="hand-made-")
        self.target = f"unix:{self.dir}/s"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(f"{self.dir}/s")
        self.listener.listen()
        self.links = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                sock = self.listener.accept()[0]
            except OSError:
                return
            self.links.append(sock)
            threading.Thread(target=self._talk, args=(sock,), daemon=True).start()

    def _talk(self, sock):
        try:
            head = b""
            while b"\r\n\r\n" not in head:
                head += sock.recv(1)
            key = next(line.split(b":")[1].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
            accept = base64.b64encode(hashlib.sha1(key + ACCEPT).digest())
            sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         b"Sec-WebSocket-Protocol: agentd.v1\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
            reader = WsReader()
            while data := sock.recv(1 << 18):
                reader.feed(data)
                while ws := reader.next():
                    self._hear(sock, ws)
        except OSError:
            pass
        sock.close()

    def _hear(self, sock, ws):
        def say(*args, **more):
            sock.sendall(ws_encode(BINARY, frame(*args, **more).pack(), key=None))
        if ws.opcode in (PING, WS_CLOSE):
            sock.sendall(ws_encode(PONG if ws.opcode == PING else WS_CLOSE, ws.payload, key=None))
        if ws.opcode != BINARY:
            return
        f = Frame.unpack(ws.payload)
        if f.type == HELLO:
            say(HELLO, payload={"agent": "agentd", "version": "1", "proto": 1, "caps": [], "boot_id": "b",
                                "instance": "0123456789abcdef", "epoch": 1})
        elif f.type == REQ:
            m = f.json()
            say(RES, f.channel, f.arg, self.list(m.get("after")) if m["op"] == "list" else {})
        elif f.type == OPEN:
            m = f.json()
            if "start" in m:
                self.sessions.append(m["id"])
            if m.get("id") not in self.sessions:
                say(REFUSED, f.channel, payload={"error": {"code": "not_found", "message": "no such session"}})
                return
            say(OPENED, f.channel, payload={"id": m["id"], "state": "running", "pid": 1, "window": 0})
            viewer = Viewer(say, f.channel, m)
            self.viewers.append(viewer)
            self.on_open(m["id"], viewer)
        elif f.type == CLOSE:
            say(CLOSE, f.channel)

    def close(self):
        self.listener.close()
        for sock in self.links:
            sock.close()
        shutil.rmtree(self.dir, ignore_errors=True)


class Viewer:
    """Who is attached, as the agent sees it."""

    def __init__(self, say, channel, asked):
        self.say, self.channel, self.asked = say, channel, asked

    def out(self, off, data, stream=STDOUT):
        self.say(DATA, self.channel, off, data, stream=stream)

    def err(self, off, data):
        self.out(off, data, STDERR)

    def gap(self, off, missing, stream=STDOUT):
        self.say(GAP, self.channel, off, struct.pack(">Q", missing), stream=stream)

    def event(self, name, **members):
        self.say(EVENT, self.channel, payload={"event": name, **members})

    def close(self, **error):
        self.say(CLOSE, self.channel, payload={"error": error} if error else b"")


def entry(name):
    return {"id": name, "state": "running", "cmd": ["x"], "pid": 1}
