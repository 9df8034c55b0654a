"""What a guest may say that none of our agents ever says, or hardly ever: nobody else suffers, and clients are told the truth."""
import struct
import time

import pytest

from hand_made import HandMade
from host import Closed
from sockets import Attached
from wire import CLOSE, DATA, EVENT, GAP, OPEN, OPENED, REFUSED, STDERR, STDOUT

pytestmark = pytest.mark.bridge(driver="external", inline_hold_ms=0)


class Sessions(HandMade):
    """`sessions` is what it lists; `on_open(session, viewer)` is called for whoever attaches, after OPENED."""

    def __init__(self, sessions=(), on_open=lambda session, viewer: None):
        self.sessions, self.on_open = list(sessions), on_open
        self.list = lambda after: {"sessions": [entry(name) for name in self.sessions]}
        self.viewers = []
        super().__init__()

    def answer(self, request):
        return self.list(request.get("after")) if request["op"] == "list" else {}

    def hear(self, say, got):
        if got.type == CLOSE:
            say(CLOSE, got.channel)
        if got.type != OPEN:
            return
        m = got.json()
        if "start" in m:
            self.sessions.append(m["id"])
        if m.get("id") not in self.sessions:
            say(REFUSED, got.channel, payload={"error": {"code": "not_found", "message": "no such session"}})
            return
        say(OPENED, got.channel, payload={"id": m["id"], "state": "running", "pid": 1, "window": 0})
        viewer = Viewer(say, got.channel, m)
        self.viewers.append(viewer)
        self.on_open(m["id"], viewer)


class Viewer:
    """Who is attached, as the agent sees it."""

    def __init__(self, say, channel, asked):
        self.say, self.channel, self.asked = say, channel, asked

    def out(self, off, data, stream=STDOUT):
        self.say(DATA, self.channel, off, data, stream=stream)

    def err(self, off, data):
        self.out(off, data, STDERR)

    def gap(self, off, missing, stream=STDOUT):
        self.say(GAP, self.channel, off, struct.pack(">Q", missing), stream=stream)

    def event(self, name, **members):
        self.say(EVENT, self.channel, payload={"event": name, **members})

    def close(self, **error):
        self.say(CLOSE, self.channel, payload={"error": error} if error else b"")


def entry(name):
    return {"id": name, "state": "running", "cmd": ["x"], "pid": 1}


@pytest.fixture
def hand_made():
    agent = Sessions(["s"])
    yield agent
    agent.stop()


def closed(client):
    code, reason = client.to_end()
    assert client.exit is None
    return code, reason


def test_a_loss_in_the_scrollback(bridge, hand_made):
    """Bug: who came without ?since= was sent away to come again, for ever. It cannot be had any more; once live it can."""
    def on_open(_, viewer):
        viewer.gap(0, 100)
        viewer.gap(0, 50, STDERR)
        viewer.out(100, b"before")
        viewer.gap(106, 0)
        viewer.out(106, b" after")
        viewer.event("live")
        viewer.out(112, b" and live")
    hand_made.on_open = on_open
    sandbox = bridge.adopt(hand_made)
    plain = Attached(bridge, sandbox, "s").until(b"before after and live")
    assert plain.live and not plain.notes
    noted = Attached(bridge, sandbox, "s", since="0,0").until(b"before after and live")
    assert [(note["gap"]["stream"], note["gap"]["offset"], note["gap"]["missing"]) for note in noted.notes] == \
        [("stdout", 0, 100), ("stderr", 0, 50), ("stdout", 106, 0)]
    for viewer in hand_made.viewers:
        viewer.gap(121, 0)
    assert closed(plain)[0] == 1011
    noted.next()
    assert len(noted.notes) == 4
    noted.cut()


@pytest.mark.parametrize("live", [False, True])
def test_a_loss_later(bridge, hand_made, live):
    """Bug: what was missing of a stream that had said nothing before was taken for the scrollback's beginning."""
    def on_open(_, viewer):
        viewer.out(0, b"here")
        if live:
            viewer.event("live")
        viewer.gap(0, 7, STDERR)
        viewer.err(7, b"x")
    hand_made.on_open = on_open
    sandbox = bridge.adopt(hand_made)
    client = Attached(bridge, sandbox, "s")
    code, reason = closed(client)
    assert code == 1011 and "lost" in reason
    assert client.out == b"here" and not client.err


def test_what_it_says_to_its_end(bridge, hand_made):
    """Bug: a reason that takes much room as JSON ended the bridge."""
    sandbox = bridge.adopt(hand_made)
    reply = bridge.post(f"/sandboxes/{sandbox}/exec/run-async", {"cmd": "x"})
    assert reply.status == 202
    while not hand_made.viewers:
        time.sleep(0.01)
    hand_made.viewers[0].close(code="failed", message="\x01" * 199)
    deadline = time.monotonic() + 20
    while (result := bridge.get(f"/sandboxes/{sandbox}/exec/{reply.json()['execId']}/result").json())["running"]:
        assert time.monotonic() < deadline
    assert result["exitCode"] == -1 and "\x01" * 150 in result["error"]


@pytest.mark.parametrize("end", [{}, {"state": "running"}, {"state": "agent_lost"}, {"state": "what is this"}])
def test_an_end_that_says_nothing(bridge, hand_made, end):
    """No exit code is made up."""
    def on_open(_, viewer):
        viewer.event("live")
        viewer.event("end", **end)
    hand_made.on_open = on_open
    sandbox = bridge.adopt(hand_made)
    client = Attached(bridge, sandbox, "s")
    try:
        while True:
            client.next()
    except Closed:
        assert client.exit in (None, -1)
    client.cut()


def test_a_list_without_end(bridge, hand_made):
    """It is read for a while, and what is known by then is the answer; what runs behind it is not forgotten."""
    sandbox = bridge.adopt(hand_made)
    before = bridge.memory_kib()

    def page(after):
        n = int(after or 0)
        return {"sessions": [entry(f"n{n}-{i}") for i in range(200)], "next": str(n + 1)}
    hand_made.list = page
    listed = bridge.get(f"/sandboxes/{sandbox}/exec")
    assert listed.status == 200
    names = {one["sessionID"] for one in listed.json()}
    assert "s" in names and 10_000 < len(names) <= 20_480
    assert bridge.memory_kib() - before < 100 * 1024
