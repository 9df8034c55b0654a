"""One viewer of one session (docs/protocol.md, sections 5 to 7), with everything it is owed checked on arrival."""
import hashlib

from wire import (ACK, CLOSE, DATA, FIN, GAP, OPEN, OPENED, PAYLOAD_MAX, REFUSED, STDERR, STDIN, STDOUT, WINDOW,
                  AgentError)


class Stream:
    """One direction's bytes by absolute offset: nothing twice, nothing missing without a gap."""

    def __init__(self, name, offset=0, keep=True):
        self.name, self.offset, self.start, self.keep = name, offset, offset, keep
        self.data = bytearray()
        self.count = 0  # bytes received, gaps not counted
        self.sha = hashlib.sha256()
        self.gaps = []

    def add(self, offset, payload):
        assert offset == self.offset, f"{self.name}: data at {offset}, expected {self.offset}"
        self.offset += len(payload)
        self.count += len(payload)
        self.sha.update(payload)
        if self.keep:
            self.data += payload

    def gap(self, offset, count):
        assert offset == self.offset, f"{self.name}: gap at {offset}, expected {self.offset}"
        self.gaps.append((offset, count))
        self.offset += count

    def missing(self):
        return sum(count for _, count in self.gaps)

    def hash(self):
        return self.sha.hexdigest()


class Channel:
    """One viewer of one session.

    auto: windows are granted as data is consumed; otherwise the test calls grant().
    keep: the bytes are kept in .out and .err, not only counted and hashed.
    answers: CLOSE is answered at once, which says that everything has been received.
    """

    def __init__(self, link, number, auto=True, keep=True, answers=True, window=1 << 20, service="exec",
                 **spec):
        self.link, self.number, self.answers = link, number, answers
        self.auto, self.size, self.granted, self.received = auto, window, window, 0
        self.spec = {"service": service, "window": window, **spec}
        self.opened, self.refused, self.closed = None, None, None
        self.close_sent = False
        self.attach = spec["attach"] if isinstance(spec.get("attach"), dict) else {}
        since = self.attach.get("since")
        first = since if isinstance(since, list) and len(since) == 2 else [0, 0]
        self.streams = {STDOUT: Stream("stdout", first[0], keep), STDERR: Stream("stderr", first[1], keep)}
        self.order = []  # runs of [stream, bytes] as they came
        self.events = []
        self.live, self.end, self.stdin_closed = False, None, None
        self.tx_window, self.tx_used, self.acked, self.offset = 0, 0, 0, 0

    out = property(lambda self: bytes(self.streams[STDOUT].data))
    err = property(lambda self: bytes(self.streams[STDERR].data))
    stdout = property(lambda self: self.streams[STDOUT])
    stderr = property(lambda self: self.streams[STDERR])
    id = property(lambda self: self.opened["id"])

    def brief(self):
        where = {s.name: s.offset for s in self.streams.values()}
        return (f"{self.number}(opened={self.opened} {where} gaps={self.stdout.gaps + self.stderr.gaps} "
                f"input={self.offset}/{self.acked} window={self.tx_used}/{self.tx_window} "
                f"events={self.events[-3:]} closed={self.closed})")

    # opening and closing

    def send_open(self):
        self.link.send(OPEN, self.number, 0, self.spec)

    def wait_opened(self, timeout=None):
        self.link.wait(lambda: self.opened or self.refused, f"OPENED of channel {self.number}", timeout)
        if self.refused:
            raise AgentError(self.refused, f"OPEN of channel {self.number}")
        return self

    def close(self, timeout=None):
        """Leaves the session: CLOSE both ways."""
        if self.closed is None and not self.close_sent:
            self.close_sent = True
            self.link.send(CLOSE, self.number)
        return self.wait_closed(timeout)

    def wait_closed(self, timeout=None):
        self.link.wait(lambda: self.closed is not None, f"CLOSE of channel {self.number}", timeout)
        return self.closed

    def wait_end(self, timeout=None):
        self.link.wait(lambda: self.end, f"the end event on channel {self.number}", timeout)
        return self.end

    def wait_live(self, timeout=None):
        self.link.wait(lambda: self.live, f"the live event on channel {self.number}", timeout)

    def wait_stdin_closed(self, timeout=None):
        self.link.wait(lambda: self.stdin_closed, f"stdin_closed on channel {self.number}", timeout)
        return self.stdin_closed

    def wait_out(self, text, timeout=None):
        self.link.wait(lambda: text in self.streams[STDOUT].data, f"{text!r} on stdout", timeout)

    def wait_bytes(self, count, timeout=None):
        self.link.wait(lambda: self.received >= count, f"{count} bytes of output", timeout)

    def finish(self, timeout=None):
        """Waits for the end event and CLOSE. A channel that closes without an end says nothing about the process."""
        error = self.wait_closed(timeout)
        assert self.end is not None, f"closed without an end: {error}; {self.brief()}"
        return self

    # output

    def on_frame(self, got):
        if got.type == OPENED:
            return self._on_opened(got.json())
        if got.type == REFUSED:
            self.refused = got.json()["error"]
            del self.link.channels[self.number]
            return None
        assert self.opened is not None, f"{got} before OPENED"
        assert self.closed is None, f"{got} after CLOSE"
        if got.type == CLOSE:
            return self._on_close(got)
        return None if self.close_sent else self._on_open_frame(got)

    def _on_opened(self, opened):
        assert self.opened is None, "OPENED twice"
        self.opened = opened
        self.tx_window = opened["window"]
        self.offset = self.acked = opened["stdin"]["offset"]
        if self.attach.get("since") == "now":
            for number, name in ((STDOUT, "out"), (STDERR, "err")):
                self.streams[number].offset = self.streams[number].start = opened[name]["head"]

    def _on_close(self, got):
        self.closed = got.json()["error"] if got.payload else {}
        if self.answers:
            self.answer_close()

    def answer_close(self):
        if not self.close_sent:
            self.close_sent = True
            self.link.send(CLOSE, self.number)
        del self.link.channels[self.number]

    def _on_open_frame(self, got):
        if got.type == DATA:
            self._on_data(got)
        elif got.type == GAP:
            self.streams[got.stream].gap(got.arg, int.from_bytes(got.payload, "big"))
        elif got.type == WINDOW:
            self.tx_window = max(self.tx_window, got.arg)
        elif got.type == ACK:
            assert got.stream == STDIN and got.arg <= self.offset, f"{got} but only {self.offset} sent"
            self.acked = max(self.acked, got.arg)
        else:
            self._on_event(got.json())

    def _on_data(self, got):
        assert got.payload, "DATA without data"
        self.received += len(got.payload)
        assert self.received <= self.granted, f"{self.received} bytes but only {self.granted} granted"
        self.streams[got.stream].add(got.arg, got.payload)
        if self.order and self.order[-1][0] == got.stream:
            self.order[-1][1] += len(got.payload)
        else:
            self.order.append([got.stream, len(got.payload)])
        if self.auto and self.received + self.size >= self.granted + self.size // 4:
            self.grant(self.received + self.size)

    def grant(self, total):
        """The agent may send so many payload bytes in all since OPEN."""
        self.granted = max(self.granted, total)
        self.link.send(WINDOW, self.number, total)

    def flow(self, size=1 << 20):
        """Ends a manual phase: from here on windows are granted as data is consumed."""
        self.auto, self.size = True, size
        self.grant(self.received + size)

    def _on_event(self, event):
        self.events.append(event)
        name = event["event"]
        if name == "live":
            assert not self.live, "live twice"
            self.live = True
        elif name == "end":
            assert self.live and self.end is None, f"end out of turn: {self.events}"
            assert self.stdout.offset >= event["out"] and self.stderr.offset >= event["err"], "end before the output"
            self.end = event
        elif name == "stdin_closed":
            self.stdin_closed = event

    # input

    def send_at(self, offset, data, flags=0):
        """A DATA frame of stdin at this offset; no regard to the window."""
        self.tx_used += len(data)
        self.offset = max(self.offset, offset + len(data))
        self.link.send(DATA, self.number, offset, data, flags, STDIN)

    def write(self, data=b"", fin=False, timeout=None):
        """Sends all of it as the window allows; returns early when the child closed its stdin."""
        data = memoryview(data)
        while data or fin:
            room = min(self.tx_window - self.tx_used, PAYLOAD_MAX)
            if data and room <= 0:
                self.link.wait(lambda: self.tx_window > self.tx_used or self.stdin_closed or self.closed is not None,
                               f"stdin credit on channel {self.number}", timeout)
            if self.stdin_closed or self.closed is not None:
                return
            part = data[:min(max(self.tx_window - self.tx_used, 0), PAYLOAD_MAX)]
            if part or not data:
                data = data[len(part):]
                last = fin and not data
                fin = fin and not last
                self.send_at(self.offset, part, FIN if last else 0)
            if self.link.reader.pos < len(self.link.reader.buf):
                self.link.pump(0)

    def wait_acked(self, offset, timeout=None):
        self.link.wait(lambda: self.acked >= offset, f"ACK of {offset} input bytes", timeout)

    def request(self, op, timeout=None, **members):
        return self.link.request(op, self.number, timeout, **members)

    # resume

    def resume(self, link, start=True, wait=True, **attach):
        """The same view on another link: what was received is kept, what comes is appended to it.

        start: send `start` again, for a client that does not know whether its first OPEN arrived.
        """
        spec = {key: value for key, value in self.spec.items() if start or key != "start"}
        if self.opened:
            spec["id"] = self.id
        since = [self.stdout.offset, self.stderr.offset]
        spec["attach"] = {**self.attach, "since": since, **attach}
        spec["window"] = self.size
        again = link.open(wait=False, auto=self.auto, **spec)
        again.streams, again.order = self.streams, self.order
        return again.wait_opened() if wait else again
