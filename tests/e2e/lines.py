"""Channels of service `file` whose results are JSON lines (docs/protocol.md, section 14): glob, grep and watch."""
import base64
import json
import os

from channel import Stream
from wire import CLOSE, DATA, EVENT, OPEN, OPENED, REFUSED, STDOUT, WINDOW, AgentError


def to_wire(name):
    """A string of any bytes, as messages have it."""
    raw = os.fsencode(name)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(raw).decode()}


def from_wire(value):
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value.encode()


class Lines:
    """One search or watch. auto: windows are granted as lines come; otherwise the test calls grant()."""

    def __init__(self, link, op, path, auto=True, window=1 << 20, **spec):
        self.link, self.auto, self.size, self.granted = link, auto, window, window
        self.number, link.next_channel = link.next_channel, link.next_channel + 1
        self.spec = {"service": "file", "op": op, "path": to_wire(path), "window": window, **spec}
        self.opened, self.refused, self.closed, self.close_sent = None, None, None, False
        self.out, self.rest, self.lines, self.events = Stream("lines", keep=False), b"", [], []
        link.channels[self.number] = self
        link.send(OPEN, self.number, 0, self.spec)

    def brief(self):
        return f"{self.number}({self.spec} {len(self.lines)} lines, {self.events[-2:]} closed={self.closed})"

    def on_frame(self, got):
        if got.type == OPENED:
            self.opened = got.json()
        elif got.type == REFUSED:
            self.refused = got.json()["error"]
            del self.link.channels[self.number]
        elif got.type == CLOSE:
            self.closed = got.json()["error"] if got.payload else {}
            self._send_close()
            del self.link.channels[self.number]
        elif not self.close_sent and got.type == DATA:
            assert self.opened and got.stream == STDOUT
            self._on_data(got)
        elif not self.close_sent:
            assert got.type == EVENT, got
            assert not self.rest, "an event in the middle of a line"
            self.events.append(got.json())

    def _on_data(self, got):
        self.out.add(got.arg, got.payload)
        assert self.out.offset <= self.granted, "more than was granted"
        *whole, self.rest = (self.rest + got.payload).split(b"\n")
        self.lines += [json.loads(line) for line in whole]
        if self.auto and self.granted - self.out.offset < self.size // 2:
            self.grant(self.out.offset + self.size)

    def grant(self, total):
        self.granted = max(self.granted, total)
        self.link.send(WINDOW, self.number, 0 + total)

    def _send_close(self):
        if not self.close_sent:
            self.close_sent = True
            self.link.send(CLOSE, self.number)

    def wait(self, done, what, timeout=None):
        """Until done(self); the channel's own end is no way out unless it is what is waited for."""
        self.link.wait(lambda: done(self) or self.refused or self.closed is not None, what, timeout)
        if not done(self):
            raise AgentError(self.refused or self.closed or {"code": "closed", "message": "no error"}, what)
        return self

    def close(self, timeout=None):
        self._send_close()
        self.link.wait(lambda: self.closed is not None, "CLOSE", timeout)

    def finish(self, timeout=60):
        """Until `done`: the lines and that event."""
        self.wait(lambda c: c.closed == {} and c.events, f"the end of {self.spec}", timeout)
        assert not self.rest and len(self.events) == 1 and self.events[0]["event"] == "done"
        return self.lines, self.events[0]


def glob(link, path, pattern, **spec):
    return Lines(link, "glob", path, pattern=to_wire(pattern), **spec).finish()


def grep(link, path, pattern, **spec):
    return Lines(link, "grep", path, pattern=to_wire(pattern), **spec).finish()


def paths(lines):
    return sorted(os.fsdecode(from_wire(line["path"])) for line in lines)
