"""Terminals for tests: sessions on one, agentctl on one of the test's own, and a player of recordings (section 12)."""
import codecs
import fcntl
import json
import os
import pathlib
import pty
import select
import struct
import subprocess
import termios
import time

import harness
from wire import Timeout

QUIET = {"PS1": "$ ", "HISTFILE": "/dev/null"}  # a prompt that is known
BASH = ["bash", "--norc", "--noprofile"]


def open_terminal(link, cmd=None, attach=None, env=None, size=None, **spec):
    """A session on a terminal, typed on."""
    start = {"pty": size or {}, "env": {**QUIET, **(env or {})}, **spec.pop("start", {})}
    if cmd is not None:
        start["cmd"] = cmd
    return link.open(start=start, attach={"input": True, **(attach or {})}, **spec)


def expect(channel, text, timeout=None):
    """Waits for the text, and gives everything before it; later calls look behind it."""
    seen = getattr(channel, "looked_at", 0)
    data = channel.streams[1].data
    channel.link.wait(lambda: data.find(text, seen) >= 0, f"{text!r} behind {bytes(data[seen:])[-300:]!r}", timeout)
    at = data.find(text, seen)
    channel.looked_at = at + len(text)
    return bytes(data[seen:at])


def say(channel, line):
    channel.write(line.encode() + b"\r")


def foreground(pid):
    """The name of the program that has the terminal of process `pid` in the foreground."""
    group = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[5]
    try:
        return pathlib.Path(f"/proc/{group}/comm").read_text().strip()
    except FileNotFoundError:
        return None


def events(channel, name):
    """Those of this name; of `size` only what it is."""
    found = [event for event in channel.events if event["event"] == name]
    return [(e["cols"], e["rows"]) for e in found] if name == "size" else [e["owner"] for e in found]


def set_size(fd, cols, rows):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))


class OnTerminal:
    """agentctl on a terminal of its own, as in a terminal window: `type` is a person, `out` the screen's bytes."""

    def __init__(self, target, *args, cols=100, rows=30, term="xterm", **popen):
        self.master, slave = pty.openpty()
        set_size(slave, cols, rows)
        self.modes = termios.tcgetattr(slave)
        command = [harness.binary("agentctl"), "--connect", target, *args]

        def take_terminal():
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        std = {"stdin": slave, "stdout": slave, "stderr": slave, **popen}
        self.proc = subprocess.Popen(command, env={**harness.program_env(), "TERM": term}, start_new_session=True,
                                     preexec_fn=take_terminal, **std)
        harness.programs.add(self.proc)
        self.slave = slave
        self.out, self.looked_at = b"", 0

    def pump(self, timeout):
        if not select.select([self.master], [], [], timeout)[0]:
            return False
        self.out += os.read(self.master, 65536)
        return True

    def expect(self, text, timeout=10.0):
        deadline = time.monotonic() + timeout
        while (at := self.out.find(text, self.looked_at)) < 0:
            if time.monotonic() > deadline:
                raise Timeout(f"waited for {text!r}, seen {self.out[self.looked_at:][-500:]!r}")
            self.pump(0.1)
        before, self.looked_at = self.out[self.looked_at:at], at + len(text)
        return before

    def type(self, data):
        os.write(self.master, data if isinstance(data, bytes) else data.encode())

    def is_raw(self):
        return not termios.tcgetattr(self.slave)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)

    def resize(self, cols, rows):
        set_size(self.master, cols, rows)  # the kernel tells agentctl

    def finish(self, timeout=15.0):
        """Waits for its end; the terminal must be as it was. Gives the exit code."""
        deadline = time.monotonic() + timeout
        while self.proc.poll() is None:
            if time.monotonic() > deadline:
                self.proc.kill()
                raise Timeout(f"agentctl still runs; {self.out[-500:]!r}")
            self.pump(0.02)
        while self.pump(0):
            pass
        harness.programs.discard(self.proc)
        assert termios.tcgetattr(self.slave) == self.modes, "the terminal was not restored"
        assert not harness.SANITIZERS.search(self.out.decode(errors="replace")), self.out.decode(errors="replace")
        self.close()
        return self.proc.returncode

    def close(self):
        os.close(self.master)
        os.close(self.slave)


def play(path):
    """Plays an asciicast v2 as the format says: (header, output bytes, sizes). Fails on what no player takes."""
    lines = path.read_bytes().decode().splitlines()  # UTF-8, or this fails
    header = json.loads(lines[0])
    assert header["version"] == 2 and header["width"] > 0 and header["height"] > 0
    last, sizes, text = 0.0, [], ""
    encoder = codecs.getincrementalencoder("utf-8")()
    out = b""
    for line in lines[1:]:
        at, kind, data = json.loads(line)
        assert isinstance(at, float) and at >= last, "time runs backwards"
        last = at
        if kind == "r":
            sizes.append(tuple(int(number) for number in data.split("x")))
        else:
            assert kind == "o" and data
            text += data
            out += encoder.encode(data)
    assert "\udc80" not in text
    return header, out, sizes
