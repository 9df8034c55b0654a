"""Guests that lie about their files: the client is told, or its connection is cut; the bridge and all others go on."""
import json
import os
import random

import pytest

from guests import Guest
from host import read_head
from liar import Liar
from wire import ACK, DATA, FIN, GAP, OPENED, RES, WINDOW

pytestmark = pytest.mark.bridge(driver="external")
FILE = {"type": "file", "size": 10, "mode": 0o644, "mtime_ns": 1_600_000_000_000_000_000, "ctime_ns": 1, "name": "f"}


@pytest.fixture
def lie(bridge, started):
    """lie(on_open, **answers): a guest whose agent is that liar. Afterwards the bridge must be there, and well."""
    def start(on_open=None, **answers):
        liar = Liar(on_open, **answers)
        started.append(liar)
        return Guest(bridge, bridge.adopt(liar))
    yield start
    assert bridge.get("/health").status == 200


def ask(guest, headers=None, url=None, method="GET"):
    """(status, headers, body, whole): what comes until the connection ends, and whether the body is all that was said;
    status 0: it was cut before there was any."""
    sock = guest.open(method, url or guest.url("", "/f"), {"Connection": "close", **(headers or {})})
    try:
        head, body = read_head(sock)
    except ConnectionError:
        return 0, {}, b"", False
    try:
        while data := sock.recv(1 << 16):
            body += data
        cut = False
    except ConnectionError:
        cut = True
    sock.close()
    lines = head.decode().split("\r\n")
    told = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
    if "content-length" in told:
        whole = len(body) == int(told["content-length"])
    else:
        whole = body.endswith(b"0\r\n\r\n")
    return int(lines[0].split()[1]), told, body, whole and not cut


def reading(data, done=None, **entry):
    """A file that says it is `entry`, and sends that data."""
    def on_open(channel):
        channel.opened()
        channel.event(event="entry", **{**FILE, **entry})
        channel.data(data)
        channel.event(event="done", bytes=len(data) if done is None else done)
        channel.close()
    return on_open


@pytest.mark.parametrize("size, sent", [(10, 11), (1, 200000), (70000, 70001)])
def test_more_bytes_than_were_said(lie, size, sent):
    """An assertion of the bridge's own failed, and with it went all sandboxes."""
    def on_open(channel):
        channel.opened()
        channel.event(event="entry", **{**FILE, "size": size})
        channel.data(b"x" * sent)  # and no more: what is too much is seen without it
    status, _, body, whole = ask(lie(on_open))
    assert status in (0, 200) and not whole and len(body) <= size


@pytest.mark.parametrize("done", [9, 10, 11])
def test_fewer_bytes_than_were_said(lie, done):
    """Whatever it says of the end."""
    assert not ask(lie(reading(b"x" * 9, done)))[3]


def test_an_end_without_a_result(lie):
    def on_open(channel):
        channel.opened()
        channel.event(event="entry", **{**FILE, "size": 0})
        channel.data(b"some")
        channel.close()
    assert not ask(lie(on_open))[3]


def test_what_it_says_of_the_file_twice(lie):
    """The head is out by then."""
    def on_open(channel):
        channel.opened()
        channel.event(event="entry", **FILE)
        channel.data(b"01234")
        channel.event(event="entry", **{**FILE, "size": 5})
        channel.data(b"567890123456789")
    assert not ask(lie(on_open))[3]


def test_a_range_is_of_the_file_that_was_opened(lie):
    """The file became another between the look at it and the opening: tag and size were those of the old one, so that a
    download that goes on got the end of another file."""
    old = {**FILE, "size": 100, "ctime_ns": 1}
    new = {**FILE, "size": 200, "ctime_ns": 2}
    tags = {}
    for name, entry in ("old", old), ("new", new):
        guest = lie(reading(b"x" * entry["size"], **entry))
        status, told, _, whole = ask(guest)
        assert status == 200 and whole
        tags[name] = told["etag"]
    guest = lie(reading(b"y" * 10, **new), **{"file.stat": old})
    status, told, body, whole = ask(guest, {"Range": "bytes=50-59"})
    assert (status, told["content-range"], told["etag"], body, whole) == (206, "bytes 50-59/200", tags["new"], b"y" * 10, True)
    assert ask(guest, {"Range": "bytes=50-59", "If-Range": tags["old"]})[0] == 502
    guest = lie(reading(b"", size=5), **{"file.stat": old})
    assert ask(guest, {"Range": "bytes=50-59"})[0] == 502


@pytest.mark.parametrize("line", ["no json", "[]", '{"size":"x"}', '{"name":7}', "long"])
def test_lists_that_cannot_be_read(lie, line):
    """No entry is lost without a word."""
    def on_open(channel):
        channel.opened()
        channel.data(b'{"name":"a","type":"file"}\n' + (b"x" * 300000 if line == "long" else line.encode()) + b"\n")
        channel.event(event="done", entries=2)
        channel.close()
    guest = lie(on_open)
    assert ask(guest, url=guest.url("/list", "/"))[0] == 502


def test_errors_without_end(lie):
    """They are collected while matches go out: not more of them than make sense."""
    def on_open(channel):
        channel.opened()
        line = json.dumps({"path": "x" * 4000, "error": {"code": "failed", "message": "m"}}).encode() + b"\n"
        for _ in range(1000):
            channel.data(line)
        channel.data(b'{"path":"f","line":1}\n')
        channel.event(event="done", matches=1, files=1, errors=1000, truncated=False)
        channel.close()
    found = lie(on_open).post("/search", {"pattern": "x"}).json()
    assert [match["path"] for match in found["matches"]] == ["f"]
    assert 0 < len(found["errors"]) < 300


def test_a_line_without_an_end(lie):
    """A search whose line is longer than any: it is bounded, and ends."""
    def on_open(channel):
        channel.opened()
        channel.data(b'{"path":"' + b"x" * ((1 << 20) - 9))
    guest = lie(on_open)
    body = b'{"pattern":"x"}'
    sock = guest.open("POST", guest.url("/search"), {"Content-Length": len(body), "Connection": "close"}, body)
    head, rest = read_head(sock)
    with pytest.raises(ConnectionError):
        while data := sock.recv(65536):
            rest += data
        assert not rest.endswith(b"0\r\n\r\n"), rest
        raise ConnectionResetError
    sock.close()


# anything

NUMBERS = [0, 1, 10, 4096, 1 << 20, 1 << 32, 1 << 53, (1 << 53) + 1, -1, 1.5, "7", None, True]
WORDS = ["entry", "done", "watching", "file", "dir", "f", "", "x" * 3000, "\u0000", "\u00e4", {"b64": "/w=="}, {"b64": "!"}, 7, [], None]
NAMES = ["event", "type", "name", "path", "target", "kind", "cursor", "size", "bytes", "mtime_ns", "ctime_ns", "files", "failed",
         "truncated", "errno", "seq", "text", "line", "error"]


def some_object(random):
    return {name: random.choice(NUMBERS if random.random() < 0.5 else WORDS) for name in random.sample(NAMES, random.randrange(8))}


def some_data(random):
    return random.choice([
        b"x" * random.randrange(70000), b"\n", b"{", b'{"path":"', json.dumps(some_object(random)).encode() + b"\n",
        b"".join(json.dumps(some_object(random)).encode() + b"\n" for _ in range(50)), b'{"event":"watching","cursor":"a-1"}\n',
        b'{"seq":7,"kind":"create","path":"f"}\n', b'{"name":"f","type":"file","size":1}\n'])


def some_frame(random, channel):
    how = random.randrange(12)
    if how < 3:
        channel.event(**some_object(random))
    elif how == 3:
        channel.event(event="entry", **{**FILE, "size": random.choice([0, 1, 10, 70000])})
    elif how == 4:
        channel.event(event="done", bytes=random.choice([0, 1, 10, 70000]))
    elif how < 9:
        channel.data(some_data(random))
    elif how == 9:
        channel.say(random.choice([GAP, WINDOW, ACK, RES, OPENED]), random.choice([b"", b"{}", bytes(8), b"\xff"]),
                    random.choice([0, 1, 1 << 20, 1 << 63]), stream=random.randrange(3))
    elif how == 10:
        channel.say(DATA, b"abc", random.choice([0, 5, 1 << 40]), random.choice([0, FIN]), random.randrange(3))
    else:
        channel.close(**random.choice([{}, {"code": "failed", "errno": 2, "message": "m"}, {"code": 7}, some_object(random)]))


def some_request(random, guest):
    body = json.dumps({"path": "/f", "to": "/g", "pattern": "x", "mode": "0644", "uid": 1}).encode()
    method, route, query = random.choice([
        ("GET", "", {}), ("HEAD", "", {}), ("PUT", "", {}), ("DELETE", "", {}), ("GET", "/list", {}), ("POST", "/mkdir", {}),
        ("GET", "/stat", {}), ("POST", "/rename", {}), ("POST", "/copy", {}), ("GET", "/watch", {}), ("POST", "/search", {}),
        ("POST", "/glob", {}), ("GET", "/tar", {}), ("GET", "/tar", {"partial": "true"}), ("PUT", "/tar", {})])
    headers = random.choice([{}, {"Range": "bytes=1-5"}, {"Range": "bytes=-3", "If-Range": '"x"'}, {"If-None-Match": "*"},
                             {"Accept": "application/x-ndjson"}])
    if method in ("PUT", "POST"):
        headers = {**headers, "Content-Length": len(body)}
    return guest.open(method, guest.url(route, "/f", **query), headers, body if method in ("PUT", "POST") else b"",
                      random.choice(["1.0", "1.1"]))


@pytest.mark.seconds(int(os.environ.get("LIAR_SECONDS", 120)))
def test_anything(lie, bridge):
    """Frames of every kind, right ones and wrong ones, in any order, for every route: the bridge is still there."""
    seed = int(os.environ.get("LIAR_SEED", random.randrange(1 << 30)))
    print("LIAR_SEED", seed)  # told when it fails
    chance = random.Random(seed)

    def on_open(channel):
        here = random.Random(chance.random())
        if here.random() < 0.9:
            channel.opened()
        for _ in range(here.randrange(12)):
            some_frame(here, channel)
    guest = lie(on_open, **{f"file.{op}": lambda _: some_object(random.Random(chance.random()))
                            for op in ("stat", "remove", "mkdir", "rename", "copy")})
    for _ in range(int(os.environ.get("LIAR_REQUESTS", 200))):
        sock = some_request(chance, guest)
        sock.settimeout(0.1)
        try:
            while sock.recv(1 << 16):
                pass
        except OSError:
            pass
        sock.close()
    assert bridge.get("/health").status == 200
