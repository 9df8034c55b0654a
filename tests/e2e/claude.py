"""An agent session as a client sees it: one JSON object a line, both ways, over a channel of the exec service."""
import json
import os

from harness import ROOT

CLI = str((ROOT / os.environ.get("CLAUDE", "build/claude/node_modules/.bin/claude")).absolute())
STAND_IN = str(ROOT / "tests/e2e/stand_in.py")
PATH = "/usr/local/bin:/usr/bin:/bin"


class Claude:
    """What it says is in .events, as it came, and .seen() gives the types in order, the program's own left out."""

    def __init__(self, link, id=None, env=None, start=None, window=1 << 20, **attach):
        spec = {"id": id} if id else {}
        spec["start"] = {"agent": "claude", "env": {"PATH": PATH, **(env or {})}, **(start or {})}
        attach = {"input": True, **attach}
        self.channel = link.open(**spec, window=window, attach=attach)
        self.at, self.events, self.lines = 0, [], []

    link = property(lambda self: self.channel.link)
    id = property(lambda self: self.channel.id)

    def send(self, kind, **members):
        self.write(json.dumps({"type": kind, **members}, ensure_ascii=False).encode() + b"\n")

    def write(self, data, **how):
        self.channel.write(data, **how)

    def prompt(self, text, **members):
        self.send("prompt", text=text, **members)

    def read(self):
        """Takes in what has come; every line must be an object in UTF-8."""
        data = self.channel.streams[1].data
        while (end := data.find(b"\n", self.at)) >= 0:
            line = bytes(data[self.at:end])
            self.at = end + 1
            event = json.loads(line.decode())
            assert isinstance(event, dict), line
            self.lines.append(line + b"\n")
            self.events.append(event)

    def of(self, kind):
        self.read()
        return [event for event in self.events if event["type"] == kind]

    def seen(self):
        self.read()
        return [event["type"] for event in self.events
                if event["type"] in ("ready", "configured", "interrupted", "turn_complete", "error", "result")]

    def wait(self, kind, count=1, timeout=20):
        """The nth event of a type."""
        self.link.wait(lambda: len(self.of(kind)) >= count, f"{count} × {kind}", timeout)
        return self.of(kind)[count - 1]

    def turn(self, text, timeout=20, **members):
        """One prompt and its turn; gives the events from the prompt on."""
        self.read()
        first, count = len(self.events), len(self.of("turn_complete"))
        self.prompt(text, **members)
        self.wait("turn_complete", count + 1, timeout)
        return self.events[first:]

    def configure(self, **members):
        count = len(self.of("configured"))
        self.send("configure", **members)
        return self.wait("configured", count + 1)

    def resume(self, link, **attach):
        self.channel = self.channel.resume(link, **attach)
        return self

    def finish(self, timeout=20):
        """No more input; gives the end event."""
        self.write(b"", fin=True)
        self.channel.finish(timeout)
        self.read()
        return self.channel.end


def only(events, kind):
    return [event for event in events if event["type"] == kind]


def result_of(events):
    (result,) = only(events, "result")
    return result["result"]


def stand_in(link, *words, env=None, **how):
    """A session on the stand-in."""
    return Claude(link, env={"AGENTD_CLAUDE": STAND_IN, "STAND_IN": " ".join(words), **(env or {})}, **how)
