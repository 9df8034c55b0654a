"""Streams into the guest (docs/protocol.md, section 16): the client's side of a dial channel, and peers to dial."""
import contextlib
import hashlib
import os
import socket
import struct
import threading

from channel import Channel
from wire import DATA, FIN, PAYLOAD_MAX, STDIN, STDOUT

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close(2) resets the connection


class Dial(Channel):
    """One connection of the agent's. What a channel is owed in general is checked by Channel."""

    def __init__(self, link, to, wait=True, window=1 << 20, **spec):
        number = link.next_channel
        link.next_channel += 1
        known = {name: spec.pop(name) for name in ("auto", "keep", "answers") if name in spec}
        super().__init__(link, number, window=window, service="dial", to=to, **known, **spec)
        link.channels[number] = self
        self.ended = False  # FIN of stream 1 has come
        self.send_open()
        if wait:
            self.wait_opened()

    def _on_opened(self, opened):
        assert self.opened is None, "OPENED twice"
        self.opened = opened
        self.tx_window = opened["window"]

    def _on_data(self, got):
        assert not self.ended, f"{got} after FIN"
        assert got.stream == STDOUT, got
        if got.flags & FIN:
            assert not got.payload and got.arg == self.stdout.offset, got
            self.ended = True
        else:
            super()._on_data(got)

    def wait_ended(self, timeout=None):
        self.link.wait(lambda: self.ended or self.closed is not None, f"FIN on channel {self.number}", timeout)
        assert self.ended, f"closed without FIN: {self.closed}"

    def write_some(self, data):
        """Sends what the window allows without waiting; gives the rest."""
        room = self.tx_window - self.tx_used
        part, rest = data[:room], data[room:]
        while part:
            self.send_at(self.offset, part[:PAYLOAD_MAX])
            part = part[PAYLOAD_MAX:]
        return rest

    def fin(self):
        self.link.send(DATA, self.number, self.offset, b"", FIN, STDIN)


class Peer:
    """A server on TCP (port 0: any) or at a unix path; `serve(sock)` runs in a thread for each connection."""

    def __init__(self, serve, address=("127.0.0.1", 0), backlog=512):
        family = socket.AF_UNIX if isinstance(address, (str, bytes)) else (
            socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        self.listener = socket.socket(family, socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(address)
        self.listener.listen(backlog)
        self.serve, self.failures, self.count = serve, [], 0
        name = self.listener.getsockname()
        if family == socket.AF_UNIX:
            name = name.decode() if isinstance(name, bytes) else name
            self.to = "unix:" + name.replace("\0", "@")
        else:
            self.port = name[1]
            host = f"[{name[0]}]" if family == socket.AF_INET6 else name[0]
            self.to = f"tcp:{host}:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                self.count += 1
                threading.Thread(target=self._run, args=(sock,), daemon=True).start()

    def _run(self, sock):
        try:
            with sock:
                self.serve(sock)
        except OSError as error:
            self.failures.append(error)

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def echo(sock):
    """Says what it hears, and ends when the other did."""
    while data := sock.recv(1 << 16):
        sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def hear_all(sock):
    """Reads to the end, then answers with a digest: nothing is said before FIN has come."""
    sha = hashlib.sha256()
    while data := sock.recv(1 << 16):
        sha.update(data)
    sock.sendall(sha.hexdigest().encode())


def noise(size):
    return os.urandom(size)
