"""A client of the agent protocol in plain Python, written from docs/protocol.md alone.

Three files, blocking, one thread:

    wire.py      WebSocket framing, the frame header, targets        sections 1 and 2
    client.py    Link: hello, requests, one connection               sections 1, 3 and 4
    channel.py   Channel and Stream: one viewer of one session       sections 5 to 7

Nothing here waits for ever: `Link.wait` reads until a condition holds, and otherwise fails with what was
awaited and what had been received. What the document forbids the agent to do (a byte twice, more than the
window, a frame after CLOSE, two `end` events) fails an assertion the moment it arrives.
"""
import base64
import collections
import hashlib
import os
import struct
import time

from channel import Channel
from wire import (BINARY, CONT, HELLO, MESSAGE_MAX, NO_CLOSE_FRAME, NOTICE, OPEN, PING, PONG, REJECT, REQ, RES,
                  TYPES, WS_CLOSE, AgentError, Frame, HttpRefused, LinkClosed, Timeout, WsReader, frame,
                  open_socket, ready, ws_encode)


class Link:
    """One connection. `Link.connect` gives one that has said hello; `Link(target)` is a bare socket."""

    def __init__(self, target, timeout=10.0):
        self.target, self.timeout = target, timeout
        self.sock = open_socket(target, timeout)
        self.sock.setblocking(False)
        self.reader = WsReader()
        self.fragments = None
        self.hello = None
        self.channels = {}
        self.replies, self.rejects, self.notices, self.pongs = {}, [], [], []
        self.closed = None  # LinkClosed, once the agent said or showed that it is over
        self.close_sent = False
        self.eof = False
        self.cut_after = None  # bytes in either direction until the socket is torn, see cut()
        self.recent = collections.deque(maxlen=12)
        self.next_id = 1
        self.next_channel = 1

    @classmethod
    def connect(cls, target, timeout=10.0, token=None, cut_after=None, **hello):
        link = cls(target, timeout)
        link.cut_after = cut_after
        try:
            link.upgrade(token)
            link.say_hello(**hello)
        except BaseException:
            link.cut()
            raise
        return link

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cut()

    # bytes

    def send_raw(self, data):
        """Writes all of it; reads (without acting on it) what arrives meanwhile, so that neither side blocks."""
        data = memoryview(data)
        deadline = time.monotonic() + self.timeout
        while data:
            if self.sock is None:
                raise self._closed("the socket is closed")
            left = deadline - time.monotonic()
            readable, writable = ready(self.sock, left, read=not self.eof, write=True)
            if not readable and not writable:
                raise Timeout(f"could not send {len(data)} bytes for {self.timeout}s; {self.seen()}")
            if readable:
                self._receive()
            if writable:
                data = data[self._send_some(data):]

    def _send_some(self, data):
        part = data if self.cut_after is None else data[:self.cut_after]
        try:
            sent = self.sock.send(part) if part else 0
        except BlockingIOError:
            return 0
        except (BrokenPipeError, ConnectionResetError):
            self._drain_until_closed()
        self._spend(sent)
        return sent

    def _receive(self):
        want = 1 << 18 if self.cut_after is None else min(1 << 18, self.cut_after)
        try:
            data = self.sock.recv(want) if want else b""
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data and want:
            self.eof = True
            return
        self.reader.feed(data)
        self._spend(len(data))

    def _spend(self, count):
        """Tears the connection once its byte budget is used up: a link lost at any byte."""
        if self.cut_after is None:
            return
        self.cut_after -= count
        if self.cut_after <= 0:
            self.cut()
            raise LinkClosed(NO_CLOSE_FRAME, "cut by the test", self.seen())

    def _drain_until_closed(self):
        while True:
            self.pump(self.timeout)

    def cut(self):
        """Closes the socket without a word."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    # HTTP

    def upgrade(self, token=None, path="/v1"):
        key = base64.b64encode(os.urandom(16)).decode()
        head = (f"GET {path} HTTP/1.1\r\nHost: agentd\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: agentd.v1\r\n")
        head += f"Authorization: Bearer {token}\r\n" if token is not None else ""
        self.send_raw((head + "\r\n").encode())
        status, fields = self.read_head()
        guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode() + guid).digest()).decode()
        assert fields.get("sec-websocket-accept") == accept, fields
        assert fields.get("sec-websocket-protocol") == "agentd.v1", fields
        assert fields.get("upgrade", "").lower() == "websocket", fields
        assert "sec-websocket-extensions" not in fields, fields
        return fields

    def read_head(self):
        """The answer to an HTTP head: (101, fields), or HttpRefused once the agent has closed."""
        self._read_until(lambda: b"\r\n\r\n" in self.reader.buf, "an HTTP answer")
        raw = bytes(self.reader.buf)
        if not raw:
            raise self._closed("closed without an HTTP answer")
        head, _, rest = raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        fields = {name.strip().lower(): value.strip() for name, _, value in (x.partition(":") for x in lines[1:])}
        version, status = lines[0].split(" ")[:2]
        assert version == "HTTP/1.1", lines[0]
        if status != "101":
            self.wait_eof()
            raise HttpRefused(int(status), fields, bytes(self.reader.buf).partition(b"\r\n\r\n")[2])
        self.reader.pos = len(raw) - len(rest)
        return 101, fields

    def _read_until(self, done, what):
        deadline = time.monotonic() + self.timeout
        while not done() and not self.eof:
            if not ready(self.sock, deadline - time.monotonic())[0]:
                raise Timeout(f"waited {self.timeout}s for {what}; got {bytes(self.reader.buf)[:300]!r}")
            self._receive()

    def wait_eof(self):
        """Waits until the agent ends the byte stream, whatever it says before."""
        self._read_until(lambda: False, "the agent to hang up")

    def hung_up(self):
        """Whether the agent has ended the byte stream by now."""
        while not self.eof and ready(self.sock, 0)[0]:
            self._receive()
        return self.eof

    # messages in

    def pump(self, timeout):
        """Handles what has arrived; blocks for at most `timeout` when nothing has."""
        if self._dispatch_all():
            return
        if self.eof or self.sock is None:
            raise self._closed("the agent hung up")
        if ready(self.sock, timeout)[0]:
            self._receive()
            self._dispatch_all()

    def _dispatch_all(self):
        count = 0
        while (ws := self.reader.next()) is not None:
            self._on_ws(ws)
            count += 1
        return count

    def _on_ws(self, ws):
        assert ws.key is None, "servers do not mask"
        assert ws.rsv == 0, "no extension was agreed on"
        if ws.opcode == PING:
            return self.send_ws(PONG, ws.payload)
        if ws.opcode == PONG:
            return self.pongs.append(ws.payload)
        if ws.opcode == WS_CLOSE:
            return self._on_close(ws.payload)
        assert ws.opcode == (BINARY if self.fragments is None else CONT), f"opcode {ws.opcode}"
        self.fragments = (self.fragments or b"") + ws.payload
        assert len(self.fragments) <= MESSAGE_MAX, "a message over 65536 bytes"
        if ws.fin:
            message, self.fragments = self.fragments, None
            self._on_frame(Frame.unpack(message))

    def _on_close(self, payload):
        code = int.from_bytes(payload[:2], "big") if payload else 1005
        self.closed = LinkClosed(code, payload[2:].decode(), self.seen())
        if not self.close_sent:
            self._answer_close(payload[:2])
        raise self.closed

    def _answer_close(self, code):
        try:
            self.sock.send(ws_encode(WS_CLOSE, code, key=os.urandom(4)))
        except OSError:
            pass  # the agent need not wait for it

    def _on_frame(self, got):
        self.recent.append(got if len(got.payload) < 1000 else got._replace(payload=got.payload[:64]))
        assert got.type in TYPES and got.type not in (REQ, OPEN), f"agents do not send {got}"
        assert (got.type == HELLO) == (self.hello is None), f"HELLO comes first and once: {got}"
        if got.type == HELLO:
            self.hello = got.json()
        elif got.type == RES:
            self.replies.setdefault((got.channel, got.arg), []).append(got.json())
        elif got.type == NOTICE:
            self.notices.append(got.json()["notice"])
        elif got.type == REJECT:
            self.rejects.append(got)
        else:
            assert got.channel in self.channels, f"a frame for a channel that is not open: {got}"
            self.channels[got.channel].on_frame(got)

    def _closed(self, reason):
        if self.closed is None:
            self.closed = LinkClosed(NO_CLOSE_FRAME, reason, self.seen())
        return self.closed

    def seen(self):
        """What there is to know about this link, for messages of failure."""
        return (f"{len(self.channels)} channels: {[c.brief() for c in list(self.channels.values())[:20]]}; notices: {self.notices}; "
                f"last frames: {list(self.recent)}; undecoded: {bytes(self.reader.buf[self.reader.pos:])[:64]!r}")

    # waiting

    def wait(self, done, what, timeout=None):
        """Pumps until done() is true."""
        timeout = self.timeout if timeout is None else timeout
        deadline = time.monotonic() + timeout
        while not done():
            if time.monotonic() >= deadline:
                raise Timeout(f"waited {timeout}s for {what}; {self.seen()}")
            self.pump(deadline - time.monotonic())

    def idle(self, seconds):
        """Goes on reading for so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.pump(deadline - time.monotonic())

    def expect_close(self, timeout=None):
        """Waits until the agent ends the link, and for the end of the byte stream; gives the close code."""
        try:
            self.wait(lambda: False, "the agent to close the link", timeout)
        except LinkClosed as closed:
            if self.sock is not None:
                self.wait_eof()
            return closed.code

    def close(self, code=1000):
        """An orderly end from our side."""
        self.close_sent = True
        self.send_ws(WS_CLOSE, struct.pack(">H", code))
        answer = self.expect_close()
        self.cut()
        return answer

    # messages out

    def send_ws(self, opcode, payload=b"", **how):
        how.setdefault("key", os.urandom(4))
        self.send_raw(ws_encode(opcode, payload, **how))

    def send(self, *args, **members):
        """A frame: send(Frame) or send(kind, channel, arg, payload, flags, stream)."""
        what = args[0] if isinstance(args[0], Frame) else frame(*args, **members)
        self.send_ws(BINARY, what.pack())

    def say_hello(self, **members):
        self.send(HELLO, payload={"client": "e2e", "version": "0", "proto": 1, **members})
        self.wait(lambda: self.hello, "the agent's HELLO")
        return self.hello

    # requests

    def ask(self, op, channel=0, **members):
        """Sends a request without waiting; the id is for `answer`."""
        self.next_id += 1
        self.send(REQ, channel, self.next_id, {"op": op, **members})
        return self.next_id

    def answer(self, request_id, channel=0, timeout=None):
        key = (channel, request_id)
        self.wait(lambda: key in self.replies, f"the answer to request {key}", timeout)
        (result,) = self.replies.pop(key)
        if "error" in result:
            raise AgentError(result["error"], f"request {key}")
        return result

    def request(self, op, channel=0, timeout=None, **members):
        return self.answer(self.ask(op, channel, **members), channel, timeout)

    def entry(self, session):
        """The list entry of one session, or None."""
        found = self.request("list", id=session)["sessions"]
        return found[0] if found else None

    def wait_entry(self, session, done, what, timeout=10.0):
        """Polls the list entry of a session until done(entry)."""
        deadline = time.monotonic() + timeout
        while True:
            entry = self.entry(session)
            if entry is not None and done(entry):
                return entry
            if time.monotonic() > deadline:
                raise Timeout(f"waited {timeout}s for {what}; the entry of {session} is {entry}")
            time.sleep(0.01)

    def wait_end(self, session, timeout=10.0):
        """The list entry of a session once it has ended."""
        return self.wait_entry(session, lambda entry: entry["state"] != "running", "the end", timeout)

    # channels

    def open(self, wait=True, **spec):
        """Opens a channel: members of OPEN, and those of Channel (auto, keep, since)."""
        number = spec.pop("channel", None)
        if number is None:
            number = self.next_channel
            self.next_channel += 1
        channel = Channel(self, number, **spec)
        self.channels[number] = channel
        channel.send_open()
        return channel.wait_opened() if wait else channel

    def run(self, cmd, timeout=None, window=1 << 20, **start):
        """Runs a command to the end and closes; gives the channel with out, err and end."""
        channel = self.open(start={"cmd": cmd, **start}, window=window)
        return channel.finish(timeout)

    def sh(self, script, timeout=None, **start):
        return self.run(["sh", "-c", script], timeout, **start)
