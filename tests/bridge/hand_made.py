"""A guest's agent by hand: it says what a test wants said, also what none of ours ever says. What runs in a sandbox can take
the place of its agent, so nothing it says is to be believed, and nothing of it may reach other sandboxes."""
import base64
import hashlib
import re
import shutil
import socket
import tempfile
import threading

from wire import BINARY, HELLO, PING, PONG, REQ, RES, WS_CLOSE, Frame, WsReader, frame, ws_encode

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class HandMade:
    """What the link takes to stand. A subclass has answer(request), and hear(say, frame) for all other frames;
    say(type, channel, arg, payload, flags, stream) sends one, from any thread."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="hand-made-")
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
        try:
            self._talk(sock)
        except OSError:
            pass
        finally:
            sock.close()

    def _talk(self, sock):
        lock = threading.Lock()

        def send(opcode, payload):
            with lock:
                sock.sendall(ws_encode(opcode, payload, key=None))

        def say(*args, **more):
            send(BINARY, frame(*args, **more).pack())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(1)
        key = re.search(rb"(?i)sec-websocket-key: *(\S+)", head).group(1)
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Protocol: agentd.v1\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        say(HELLO, payload={"agent": "by hand", "version": "1", "proto": 1, "caps": ["exec", "file"], "boot_id": "b",
                            "limits": {"frame": 65536}, "instance": "0123456789abcdef", "epoch": 1})
        reader = WsReader()
        while data := sock.recv(1 << 18):
            reader.feed(data)
            while got := reader.next():
                if got.opcode in (PING, WS_CLOSE):
                    send(PONG if got.opcode == PING else WS_CLOSE, got.payload)
                if got.opcode == WS_CLOSE:
                    return
                if got.opcode == BINARY:
                    self._take(say, Frame.unpack(got.payload))

    def _take(self, say, got):
        if got.type == REQ:
            say(RES, got.channel, got.arg, self.answer(got.json()))
        elif got.type != HELLO:
            self.hear(say, got)

    def stop(self):
        self.listener.close()
        for sock in self.links:
            sock.close()
        shutil.rmtree(self.dir)

    def log(self):
        return ""
