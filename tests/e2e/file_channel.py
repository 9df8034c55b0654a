"""A channel of service `file` (docs/protocol.md, sections 5 and 13), with everything it is owed checked on arrival."""
from channel import Stream
from wire import (BINARY, CLOSE, DATA, EVENT, FIN, GAP, OPEN, OPENED, PAYLOAD_MAX, REFUSED, STDIN, STDOUT, WINDOW, AgentError,
                  frame)


class FileChannel:
    """One operation.

    auto: windows are granted as data is consumed; otherwise the test calls grant().
    presume: limits.file_window is used before OPENED has come.
    """

    def __init__(self, link, op, auto=True, keep=True, presume=True, window=1 << 20, **spec):
        self.link, self.op = link, op
        self.number, link.next_channel = link.next_channel, link.next_channel + 1
        self.auto, self.size, self.granted, self.received = auto, window, window, 0
        self.spec = {"service": "file", "op": op, "window": window, **spec}
        self.opened, self.refused, self.closed = None, None, None
        self.close_sent = False
        self.out = Stream("the file", spec.get("offset", 0) if op == "read" else 0, keep)
        self.events, self.entry, self.done = [], None, None
        self.tx_window, self.tx_used, self.offset = 0, 0, 0
        if presume and op in ("write", "untar", "batch_write"):
            self.tx_window = link.hello["limits"]["file_window"]
        link.channels[self.number] = self

    data = property(lambda self: bytes(self.out.data))

    def brief(self):
        return (f"{self.number}({self.op} {self.spec.get('path')!r} opened={self.opened} at {self.out.offset} "
                f"sent={self.tx_used}/{self.tx_window} events={self.events[-3:]} closed={self.closed})")

    # opening and closing

    def open_frame(self):
        return frame(OPEN, self.number, 0, self.spec)

    def open(self):
        self.link.send(self.open_frame())
        return self

    def wait_opened(self, timeout=None):
        self.link.wait(lambda: self.opened or self.refused, f"OPENED of channel {self.number}", timeout)
        if self.refused:
            raise AgentError(self.refused, f"OPEN of channel {self.number}")
        return self

    def close(self, timeout=None):
        if self.closed is None and not self.close_sent:
            self.close_sent = True
            self.link.send(CLOSE, self.number)
        return self.wait_closed(timeout)

    def wait_closed(self, timeout=None):
        self.link.wait(lambda: self.closed is not None or self.refused, f"CLOSE of channel {self.number}", timeout)
        return self.refused or self.closed

    def finish(self, timeout=60):
        """Waits for `done` and CLOSE; raises the error if it ended with one."""
        error = self.wait_closed(timeout)
        if error:
            raise AgentError(error, f"{self.op} {self.spec.get('path')!r}")
        assert self.done is not None, f"closed without `done`: {self.brief()}"
        return self

    # frames

    def on_frame(self, got):
        if got.type == OPENED:
            assert self.opened is None, "OPENED twice"
            self.opened = got.json()
            self.tx_window = max(self.tx_window, self.opened["window"])
            return
        if got.type == REFUSED:
            self.refused = got.json()["error"]
            del self.link.channels[self.number]
            return
        assert self.opened is not None, f"{got} before OPENED"
        assert self.closed is None, f"{got} after CLOSE"
        if got.type == CLOSE:
            self.closed = got.json()["error"] if got.payload else {}
            if not self.close_sent:
                self.close_sent = True
                self.link.send(CLOSE, self.number)
            del self.link.channels[self.number]
        elif not self.close_sent:
            self._on_open_frame(got)

    def _on_open_frame(self, got):
        assert self.done is None or got.type == WINDOW, f"{got} after `done`"
        if got.type == DATA:
            assert got.payload and got.stream == STDOUT, got
            assert self.entry is not None or self.op != "read", "DATA before the entry"
            self.received += len(got.payload)
            assert self.received <= self.granted, f"{self.received} bytes but only {self.granted} granted"
            self.out.add(got.arg, got.payload)
            if self.auto and self.received + self.size >= self.granted + self.size // 4:
                self.grant(self.received + self.size)
        elif got.type == GAP:
            self.out.gap(got.arg, int.from_bytes(got.payload, "big"))
        elif got.type == WINDOW:
            self.tx_window = max(self.tx_window, got.arg)
        else:
            assert got.type == EVENT, got
            event = got.json()
            self.events.append(event)
            if event["event"] == "entry":
                self.entry = event
            elif event["event"] == "done":
                self.done = event

    def grant(self, total):
        self.granted = max(self.granted, total)
        self.link.send(WINDOW, self.number, total)

    # input

    def data_frame(self, data=b"", fin=False, at=None):
        """The frame, counted as sent; no regard to the window."""
        at = self.offset if at is None else at
        self.tx_used += len(data)
        self.offset = at + len(data)
        return frame(DATA, self.number, at, data, FIN if fin else 0, STDIN)

    def write(self, data=b"", fin=False, at=None, timeout=None):
        """Sends all of it as the window allows; returns early when the channel closes."""
        data = memoryview(data)
        self.offset = self.offset if at is None else at
        while data or fin:
            self.link.wait(lambda: not data or self.tx_window > self.tx_used or self.closed is not None,
                           f"credit on channel {self.number}", timeout)
            if self.closed is not None or self.close_sent:
                return self
            part = data[:min(self.tx_window - self.tx_used, PAYLOAD_MAX)]
            data = data[len(part):]
            last = fin and not data
            self.link.send_ws(BINARY, self.data_frame(part, last).pack(), key=b"\0\0\0\0")
            if last:
                return self
            if self.link.reader.pos < len(self.link.reader.buf):
                self.link.pump(0)
        return self


def read_file(link, path, **how):
    """Reads a file to its end; raises AgentError."""
    return FileChannel(link, "read", path=path, **how).open().finish()


def write_file(link, path, data, **how):
    """Writes a file; raises AgentError."""
    return FileChannel(link, "write", path=path, **how).open().write(data, fin=True).finish()
