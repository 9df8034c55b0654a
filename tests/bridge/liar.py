"""An agent that says what a test wants. What runs in a sandbox can take the place of its agent: nothing it says is to be
believed, and nothing of it may reach other sandboxes."""
import base64
import hashlib
import re
import shutil
import socket
import tempfile
import threading

from wire import (BINARY, CLOSE, DATA, EVENT, HELLO, OPEN, OPENED, PAYLOAD_MAX, REQ, RES, STDOUT, WINDOW, WS_CLOSE, Frame,
                  WsReader, frame, ws_encode)

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Channel:
    """A channel that the bridge has opened: `spec` is its OPEN. Credit alone is kept: without it the link would end."""

    def __init__(self, send, number, spec):
        self.send, self.number, self.spec, self.offset = send, number, spec, 0
        self.room, self.more = spec.get("window", 0), threading.Condition()

    def grant(self, total):
        with self.more:
            self.room = max(self.room, total)
            self.more.notify()

    def say(self, kind, payload=b"", arg=0, flags=0, stream=0):
        """Any frame of it."""
        self.send(frame(kind, self.number, arg, payload, flags, stream))

    def opened(self, window=1 << 20):
        self.say(OPENED, {"window": window})

    def event(self, **members):
        self.say(EVENT, members)

    def data(self, data):
        for at in range(0, len(data), PAYLOAD_MAX):
            part = data[at:at + PAYLOAD_MAX]
            with self.more:
                self.more.wait_for(lambda: self.offset + len(part) <= self.room, 30)
            self.say(DATA, part, self.offset, stream=STDOUT)
            self.offset += len(part)

    def close(self, **error):
        self.say(CLOSE, {"error": error} if error else b"")


class Liar:
    """on_open(channel) does what is to be done with a channel; answers[op] is what a request is answered with, or a
    function of it."""

    def __init__(self, on_open=None, **answers):
        self.on_open, self.answers = on_open, {"list": {"sessions": []}, **answers}
        self.dir = tempfile.mkdtemp(prefix="liar-")
        self.target = f"unix:{self.dir}/sock"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(f"{self.dir}/sock")
        self.listener.listen(16)
        self.links = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.links.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        lock, channels = threading.Lock(), {}

        def send(what):
            with lock:
                sock.sendall(ws_encode(BINARY, what.pack(), key=None))
        try:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += sock.recv(1)
            key = re.search(rb"(?i)sec-websocket-key: *(\S+)", head).group(1)
            accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
            sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         b"Sec-WebSocket-Protocol: agentd.v1\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
            send(frame(HELLO, payload={"agent": "liar", "version": "1", "proto": 1, "caps": ["exec", "file"], "boot_id": "b",
                                       "limits": {"frame": 65536}, "instance": "0123456789abcdef", "epoch": 1}))
            reader = WsReader()
            while data := sock.recv(65536):
                reader.feed(data)
                while got := reader.next():
                    if got.opcode == WS_CLOSE:
                        return
                    if got.opcode == BINARY:
                        self._take(send, channels, Frame.unpack(got.payload))
        except OSError:
            pass
        finally:
            sock.close()

    def _take(self, send, channels, got):
        if got.type == REQ:
            answer = self.answers.get(got.json()["op"], {})
            send(frame(RES, got.channel, got.arg, answer(got.json()) if callable(answer) else answer))
        elif got.type == OPEN:
            channels[got.channel] = Channel(send, got.channel, got.json())
            threading.Thread(target=self._lie, args=(channels[got.channel],), daemon=True).start()
        elif got.type == WINDOW and got.channel in channels:
            channels[got.channel].grant(got.arg)

    def _lie(self, channel):
        try:
            self.on_open(channel)
        except OSError:
            pass  # the link is gone

    def stop(self):
        self.listener.close()
        for sock in self.links:
            sock.close()
        shutil.rmtree(self.dir)

    def log(self):
        return ""
