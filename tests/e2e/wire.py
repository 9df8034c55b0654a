"""The wire of docs/protocol.md, sections 1 and 2: WebSocket framing, the 16-byte frame header, targets.

Written from the document alone and sharing nothing with the C code, so that a misreading of the document
shows up as a failing test.
"""
import base64
import collections
import json
import select
import socket
import struct

HELLO, REQ, RES, NOTICE, REJECT = 1, 2, 3, 4, 5
OPEN, OPENED, REFUSED, CLOSE = 16, 17, 18, 19
DATA, GAP, WINDOW, ACK = 32, 33, 34, 35
EVENT = 48
TYPES = {1: "HELLO", 2: "REQ", 3: "RES", 4: "NOTICE", 5: "REJECT", 16: "OPEN", 17: "OPENED", 18: "REFUSED",
         19: "CLOSE", 32: "DATA", 33: "GAP", 34: "WINDOW", 35: "ACK", 48: "EVENT"}
FIN = 1
STDIN, STDOUT, STDERR = 0, 1, 2
MESSAGE_MAX = 65536
PAYLOAD_MAX = MESSAGE_MAX - 16
CONT, TEXT, BINARY, WS_CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
NO_CLOSE_FRAME = 1006  # what RFC 6455 calls a connection that ended without a close frame


class Timeout(AssertionError):
    """Something did not come in time: a hang is a failure."""


class HttpRefused(Exception):
    def __init__(self, status, head, body):
        super().__init__(f"HTTP {status}: {body!r}")
        self.status, self.head, self.body = status, head, body


class LinkClosed(Exception):
    def __init__(self, code, reason, seen):
        super().__init__(f"link closed with {code} {reason!r}; {seen}")
        self.code, self.reason = code, reason


class AgentError(Exception):
    """The error object of a RES, a REFUSED, a REJECT or a CLOSE."""

    def __init__(self, error, about):
        super().__init__(f"{about}: {error}")
        self.code, self.errno, self.error = error.get("code"), error.get("errno"), error


# ---------------------------------------------------------------------------------------------- WebSocket

def mask(data, key):
    if key == b"\0\0\0\0" or not data:
        return bytes(data)
    stretched = (key * (len(data) // 4 + 1))[:len(data)]
    both = int.from_bytes(data, "little") ^ int.from_bytes(stretched, "little")
    return both.to_bytes(len(data), "little")


def ws_encode(opcode, payload=b"", fin=True, key=b"\0\0\0\0", rsv=0):
    """One WebSocket frame. A key of None gives an unmasked frame, as servers send."""
    head = bytes([fin << 7 | rsv << 4 | opcode])
    bit, size = (0 if key is None else 0x80), len(payload)
    if size < 126:
        head += bytes([bit | size])
    elif size < 65536:
        head += bytes([bit | 126]) + struct.pack(">H", size)
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", size)
    return head + bytes(payload) if key is None else head + key + mask(payload, key)


WsFrame = collections.namedtuple("WsFrame", "fin rsv opcode key payload")


class WsReader:
    """Cuts a byte stream into WebSocket frames; knows nothing of their meaning."""

    def __init__(self):
        self.buf = bytearray()
        self.pos = 0

    def feed(self, data):
        del self.buf[:self.pos]
        self.pos = 0
        self.buf += data

    def next(self):
        """The next whole frame, or None."""
        buf, at = self.buf, self.pos
        if len(buf) < at + 2:
            return None
        first, size = buf[at], buf[at + 1] & 0x7F
        masked = buf[at + 1] & 0x80
        at += 2
        if size >= 126:
            wide = 2 if size == 126 else 8
            if len(buf) < at + wide:
                return None
            size = int.from_bytes(buf[at:at + wide], "big")
            at += wide
        key = bytes(buf[at:at + 4]) if masked else None
        at += 4 if masked else 0
        if len(buf) < at + size:
            return None
        payload = bytes(buf[at:at + size])
        self.pos = at + size
        return WsFrame(first >> 7, first >> 4 & 7, first & 15, key, mask(payload, key) if key else payload)


# ------------------------------------------------------------------------------------------------- frames

class Frame(collections.namedtuple("Frame", "type flags stream channel arg payload")):
    HEADER = struct.Struct(">BBBBIQ")

    def pack(self):
        head = self.HEADER.pack(self.type, self.flags, self.stream, 0, self.channel, self.arg)
        return head + bytes(self.payload)

    @classmethod
    def unpack(cls, message):
        if len(message) < 16:
            raise ValueError(f"message of {len(message)} bytes is no frame")
        kind, flags, stream, _, channel, arg = cls.HEADER.unpack_from(message)
        return cls(kind, flags, stream, channel, arg, message[16:])

    def json(self):
        return json.loads(self.payload)

    def __repr__(self):
        body = bytes(self.payload[:160])
        return (f"{TYPES.get(self.type, self.type)}(flags={self.flags} stream={self.stream} "
                f"channel={self.channel} arg={self.arg} +{len(self.payload)} {body!r})")


def frame(kind, channel=0, arg=0, payload=b"", flags=0, stream=0):
    """A frame; a dict as payload is written as JSON, a str as UTF-8."""
    if isinstance(payload, dict):
        payload = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    if isinstance(payload, str):
        payload = payload.encode()
    return Frame(kind, flags, stream, channel, arg, payload)


def b64(raw):
    """A string that is not UTF-8, as the protocol writes it."""
    return {"b64": base64.b64encode(raw).decode()}


# ------------------------------------------------------------------------------------------------ targets

def open_socket(target, timeout):
    """`unix:PATH`, `vsock:CID:PORT` or `hybrid:PATH:PORT`, connected."""
    kind, _, rest = target.partition(":")
    if kind == "vsock":
        cid, port = rest.split(":")
        sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        address = (int(cid), int(port))
    elif kind in ("unix", "hybrid"):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        address = rest if kind == "unix" else rest.rpartition(":")[0]
    else:
        raise ValueError(f"unknown target {target!r}")
    sock.settimeout(timeout)
    try:
        sock.connect(address)
        if kind == "hybrid":
            dial_hybrid(sock, rest.rpartition(":")[2])
    except BaseException:
        sock.close()
        raise
    return sock


def ready(sock, timeout, read=True, write=False):
    """(readable, writable) within `timeout` seconds; unlike select, for any number of open files."""
    poll = select.poll()
    poll.register(sock, (select.POLLIN if read else 0) | (select.POLLOUT if write else 0))
    events = dict(poll.poll(max(timeout, 0) * 1000)).get(sock.fileno(), 0)
    broken = events & (select.POLLHUP | select.POLLERR)
    return bool(read and events & (select.POLLIN | broken)), bool(write and events & (select.POLLOUT | broken))


def dial_hybrid(sock, port):
    sock.sendall(b"CONNECT %s\n" % port.encode())
    line = b""
    while not line.endswith(b"\n"):
        byte = sock.recv(1)  # one at a time: what follows the line belongs to the agent
        if not byte:
            raise ConnectionRefusedError(f"no agent behind port {port}")
        line += byte
    if not line.startswith(b"OK "):
        raise ConnectionRefusedError(f"the hybrid socket answered {line!r}")
