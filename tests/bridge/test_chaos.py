"""The bridge is killed again and again in the middle of things: nothing is lost, nothing comes twice."""
import hashlib
import os
import random

import pytest

from host import Closed, eventually

SEED = int(os.environ.get("CHAOS_SEED", random.randrange(1 << 32)))
KILLS = int(os.environ.get("CHAOS_KILLS", 50))
PIECE = 10000
# So slow that what is written while there is no bridge fits into what an agent keeps of a session.
WRITER = f"""
import sys, time, os
for i in range(100000):
    if os.path.exists(sys.argv[1]):
        break
    os.write(1, (b"%09d\\n" % i) * {PIECE // 10})
    if i % 50 == 0:
        os.write(2, b"%d\\n" % i)
    time.sleep(0.01)
print(i, end="", flush=True)
"""


class Stream:
    """A session's output over any number of WebSockets, each going on where the last one ended."""

    def __init__(self, bridge, sandbox, session):
        self.bridge, self.path = bridge, f"/sandboxes/{sandbox}/exec/{session}"
        self.got = {1: bytearray(), 2: bytearray()}
        self.exits = []
        self.sock = None

    def attach(self):
        self.sock = self.bridge.websocket(self.path, query={"since": f"{len(self.got[1])},{len(self.got[2])}"})

    def read(self, until):
        """Up to so many bytes of stdout, or to the end of the connection; gives how it ended."""
        try:
            while len(self.got[1]) < until:
                data = self.sock.recv(20)
                if data[:1] in (b"\1", b"\2"):
                    self.got[data[0]] += data[1:]
                elif data[:1] == b"\3":
                    self.exits.append(int.from_bytes(data[1:5], "big", signed=True))
        except Closed as closed:
            return closed.code
        except ConnectionError:
            return 1006
        return None


@pytest.mark.seconds(280)
def test_killed_in_a_stream(start_bridge, start_agent, tmp_path):
    """50 times kill -9 at a random byte: what the client has in the end is what was written, byte by byte, and the
    end is told once."""
    rng = random.Random(SEED)
    print(f"CHAOS_SEED={SEED}")
    bridge, agent = start_bridge(driver="external"), start_agent()
    sandbox = bridge.adopt(agent)
    reply = bridge.post(f"/sandboxes/{sandbox}/exec",
                        {"cmd": "/usr/bin/python3", "args": ["-c", WRITER, str(tmp_path / "stop")]})
    assert reply.status == 201, reply
    stream = Stream(bridge, sandbox, reply.json()["sessionID"])
    for _ in range(KILLS):
        stream.attach()
        stream.read(len(stream.got[1]) + rng.randrange(1, 300000))
        bridge.kill()
        stream.read(1 << 62)
        stream.sock.cut()
        bridge.start()
        assert not stream.exits
    (tmp_path / "stop").touch()
    stream.attach()
    assert stream.read(1 << 62) == 1000
    out, err = bytes(stream.got[1]), bytes(stream.got[2])
    last = int(out[len(out) // PIECE * PIECE:])
    assert last > KILLS and len(out) == last * PIECE + len(str(last)), f"CHAOS_SEED={SEED}"
    right = b"".join((b"%09d\n" % i) * (PIECE // 10) for i in range(last)) + str(last).encode()
    assert hashlib.sha256(out).digest() == hashlib.sha256(right).digest(), f"CHAOS_SEED={SEED}"
    assert err == b"".join(b"%d\n" % i for i in range(0, last, 50)), f"CHAOS_SEED={SEED}"
    assert stream.exits == [0], f"CHAOS_SEED={SEED}"


@pytest.mark.seconds(280)
def test_killed_while_creating(start_bridge):
    """kill -9 around the making and removing of sandboxes: after the next start each is running or gone, one that
    was answered is there, and nothing is left of the others."""
    rng = random.Random(SEED)
    print(f"CHAOS_SEED={SEED}")
    bridge = start_bridge()
    kept = []
    for i in range(12):
        with bridge.raw() as sock:
            sock.sendall(b"POST /api/sandboxes HTTP/1.1\r\nHost: x\r\nX-API-Key: %s\r\nContent-Length: 2\r\n\r\n{}"
                         % bridge.key.encode())
            if i % 3 == 0:
                kept.append(bridge.create())
            sock.settimeout(rng.random() * 0.15 + 0.001)
            try:
                sock.recv(1)
            except TimeoutError:
                pass
            bridge.kill()
        bridge.start()
        eventually(lambda: not [s for s in bridge.get("/sessions").json() if s["status"] == "creating"],
                   "sandboxes to be settled", 20)
        there = {s["sandboxID"]: s["status"] for s in bridge.get("/sessions").json()}
        assert all(there.get(s) == "running" for s in kept), (SEED, i, there, kept)
        for sandbox, status in there.items():
            assert status in ("running", "stopped"), (SEED, i, there)
            if status == "running":
                assert bridge.run(sandbox, "echo yes")["stdout"] == "yes\n", (SEED, i)
                if sandbox not in kept:
                    assert bridge.delete(f"/sandboxes/{sandbox}").status == 204
    boxes = {path.name for path in (bridge.dir / "boxes").glob("*")}
    assert boxes == set(kept), f"CHAOS_SEED={SEED}: boxes {boxes}, sandboxes {kept}"
