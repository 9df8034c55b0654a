"""Clients of the bridge's sockets. They check what they are owed on arrival: message sizes, one 0x04, nothing after 0x03."""
import hashlib
import json
import struct

from host import Closed, HandshakeRefused, Timeout

OUT, ERR, EXIT, LIVE, NOTE = 1, 2, 3, 4, 6
STDIN, EOF, CONTROL = 0, 5, 6
DONE = (1000, "exec completed")


def start(bridge, sandbox, script, shell="sh", **fields):
    """A shell script as a session; gives its id."""
    reply = bridge.post(f"/sandboxes/{sandbox}/exec", {"cmd": shell, "args": ["-c", script], **fields})
    assert reply.status == 201, reply
    return reply.json()["sessionID"]


def refused(bridge, path, **how):
    """The status with which a WebSocket is refused."""
    try:
        ws = bridge.websocket(path, **how)
    except HandshakeRefused as refusal:
        return refusal.status
    raise AssertionError(f"not refused, but closed with {ws.expect_close()}")


class Stream:
    """Bytes of one stream: kept, or only counted and hashed."""

    def __init__(self, keep):
        self.keep, self.n, self.hash, self.data = keep, 0, hashlib.sha256(), bytearray()

    def add(self, data):
        self.n += len(data)
        self.hash.update(data)
        if self.keep:
            self.data += data


class Attached:
    """One client of a command."""

    def __init__(self, bridge, sandbox, session, route="exec", keep=True, deaf=False, key=True, timeout=60, **query):
        self.ws = bridge.websocket(f"/sandboxes/{sandbox}/{route}/{session}", query=query or None, deaf=deaf, key=key,
                                   timeout=timeout)
        self.streams = {OUT: Stream(keep), ERR: Stream(keep)}
        self.live = False
        self.replayed = {}  # bytes of each stream before 0x04
        self.exit = None
        self.notes = []
        self.empty = 0
        self.sizes = []

    @property
    def out(self):
        return bytes(self.streams[OUT].data)

    @property
    def err(self):
        return bytes(self.streams[ERR].data)

    @property
    def since(self):
        return f"{self.streams[OUT].n},{self.streams[ERR].n}"

    def next(self, timeout=15.0):
        """(channel, payload) of the next message that says something."""
        while True:
            data = self.ws.recv(timeout)
            assert self.exit is None, f"after 0x03: {data[:100]}"
            assert len(data) <= 65536, f"a message of {len(data)} bytes"
            if data:
                break
            self.empty += 1
        channel, payload = data[0], data[1:]
        self.sizes.append(len(data))
        if channel in (OUT, ERR):
            assert payload, "an empty piece of output"
            self.streams[channel].add(payload)
        elif channel == LIVE:
            assert not payload and not self.live, "0x04 twice, or with something in it"
            self.live = True
            self.replayed = {stream: s.n for stream, s in self.streams.items()}
        elif channel == EXIT:
            assert self.live and len(payload) == 4, (self.live, payload)
            self.exit = struct.unpack(">i", payload)[0]
        elif channel == NOTE:
            self.notes.append(json.loads(payload))
        else:
            raise AssertionError(f"channel {channel}")
        return channel, payload

    def until_live(self):
        while not self.live:
            self.next()
        return self

    def until(self, wanted, stream=OUT, timeout=15.0):
        """Reads until the stream has these bytes."""
        while wanted not in self.streams[stream].data:
            self.next(timeout)
        return self

    def until_bytes(self, n, stream=OUT):
        while self.streams[stream].n < n:
            self.next()
        return self

    def to_end(self, timeout=30.0):
        """Reads until it closes; gives (code, reason)."""
        try:
            while True:
                self.next(timeout)
        except Closed as closed:
            self.ws.cut()
            return closed.code, closed.reason

    def write(self, data):
        if isinstance(data, str):
            data = data.encode()
        self.ws.send(bytes([STDIN]) + data)

    def end_input(self):
        self.ws.send(bytes([EOF]))

    def control(self, value):
        self.ws.send(bytes([CONTROL]) + (value if isinstance(value, bytes) else json.dumps(value).encode()))

    def cut(self):
        self.ws.cut()


class Terminal:
    """One client of a terminal."""

    def __init__(self, bridge, sandbox, session, **how):
        self.ws = bridge.websocket(f"/sandboxes/{sandbox}/pty/{session}", **how)
        self.data = bytearray()
        self.seen = 0

    def until(self, wanted, timeout=10.0):
        """Reads until this is printed, behind what an earlier call found; gives what came up to its end."""
        while (at := self.data.find(wanted, self.seen)) < 0:
            try:
                self.data += self.ws.recv(timeout)
            except Timeout as late:
                raise Timeout(f"no {wanted!r} in {bytes(self.data[self.seen:])[-2000:]!r}") from late
        found = bytes(self.data[self.seen:at + len(wanted)])
        self.seen = at + len(wanted)
        return found

    def type(self, text):
        self.ws.send_text(text)

    def to_end(self):
        try:
            while True:
                self.data += self.ws.recv()
        except Closed as closed:
            self.ws.cut()
            return closed.code, closed.reason


def terminal(bridge, sandbox, **fields):
    """A new terminal; gives its id."""
    reply = bridge.post(f"/sandboxes/{sandbox}/pty", fields)
    assert reply.status == 201, reply
    assert reply.json()["sandboxID"] == sandbox
    return reply.json()["sessionID"]
