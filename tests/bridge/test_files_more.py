"""What goes beyond the API: stat, rename, copy, chmod, chown, watch, search, archives."""
# ctest: timeout=600
import base64
import hashlib
import io
import json
import os
import tarfile
import time

import pytest

from guests import Events, chunk, guest, reset, top
from harness import eventually
from host import Closed, HandshakeRefused, read_head

pytestmark = pytest.mark.bridge(driver="external")


# stat and changes

def test_stat(guest, top):
    (top / "f").write_bytes(b"12345")
    (top / "f").chmod(0o640)
    (top / "link").symlink_to("f")
    os.utime(top / "f", ns=(0, 1_600_000_000_123_000_000))
    told = guest.get(top / "link", "/stat").json()
    assert {**told, "allocated": 0, "name": ""} == {
        "name": "", "isDir": False, "size": 5, "path": str(top / "link"), "type": "file", "mode": "0640", "uid": 0, "gid": 0,
        "mtime": "2020-09-13T12:26:40.123Z", "links": 1, "allocated": 0}
    told = guest.get(top / "link", "/stat", follow="false").json()
    assert (told["type"], told["target"], told["name"]) == ("link", "f", "link")
    assert guest.get(top, "/stat").json()["isDir"]
    assert guest.get(top / "missing", "/stat").status == 404
    assert guest.bridge.get(guest.base + "/stat").status == 400
    assert guest.get(top, "/stat", follow="0").status == 400


def test_rename(guest, top):
    (top / "a").write_bytes(b"a")
    assert guest.post("/rename", {"path": str(top / "a"), "to": str(top / "b")}).status == 204
    assert os.listdir(top) == ["b"]
    (top / "c").write_bytes(b"c")
    assert guest.post("/rename", {"path": str(top / "b"), "to": str(top / "c"), "replace": False}).status == 409
    assert guest.post("/rename", {"path": str(top / "b"), "to": str(top / "c")}).status == 204
    assert (top / "c").read_bytes() == b"a"
    assert guest.post("/rename", {"path": str(top / "b"), "to": str(top / "c")}).status == 404


def test_names_that_json_cannot_say(guest, top):
    """They go into the query."""
    (top / "f").write_bytes(b"x")
    reply = guest.bridge.post(guest.url("/rename", top / "f", to=bytes(top) + b"/\xff"), {})
    assert reply.status == 204 and os.listdir(bytes(top)) == [b"\xff"]


def test_copy(guest, top):
    (top / "d/e").mkdir(parents=True)
    (top / "d/e/f").write_bytes(b"12345")
    body = {"path": str(top / "d"), "to": str(top / "copy")}
    assert guest.post("/copy", body).status in (400, 409)
    reply = guest.post("/copy", {**body, "recursive": True})
    assert (reply.status, reply.json()) == (200, {"files": 1, "bytes": 5})
    assert (top / "copy/e/f").read_bytes() == b"12345"


def test_chmod_and_chown(guest, top):
    (top / "d").mkdir()
    (top / "d/f").write_bytes(b"")
    path = str(top / "d")
    for mode, wanted in ("0711", 0o711), ("755", 0o755), (0o700, 0o700), ("4755", 0o4755):
        assert guest.post("/chmod", {"path": path, "mode": mode}).status == 204
        assert (top / "d").stat().st_mode & 0o7777 == wanted
    assert guest.post("/chmod", {"path": path, "mode": "0700", "recursive": True}).status == 204
    assert (top / "d/f").stat().st_mode & 0o7777 == 0o700
    assert guest.post("/chown", {"path": path, "uid": 7, "recursive": True}).status == 204
    assert [((top / name).stat().st_uid, (top / name).stat().st_gid) for name in ("d", "d/f")] == [(7, 0), (7, 0)]
    assert guest.post("/chown", {"path": path, "gid": 8}).status == 204
    assert (top / "d").stat().st_gid == 8


@pytest.mark.parametrize("route, body", [
    ("/rename", {}), ("/rename", {"path": "/x"}), ("/copy", {"to": "/x"}), ("/copy", {"path": "/x", "to": 7}),
    ("/chmod", {"path": "/x"}), ("/chmod", {"path": "/x", "mode": "9"}), ("/chmod", {"path": "/x", "mode": "77777"}),
    ("/chmod", {"path": "/x", "mode": 4096}), ("/chmod", {"path": "/x", "mode": -1}), ("/chmod", {"path": "/x", "mode": ""}),
    ("/chown", {"path": "/x"}), ("/chown", {"path": "/x", "uid": -1}), ("/chown", {"path": "/x", "uid": 4294967295}),
    ("/search", {}), ("/search", {"pattern": 1}), ("/search", {"pattern": "x", "maxResults": 0}),
    ("/search", {"pattern": "x", "context": 11}), ("/search", {"pattern": "x", "glob": [1]}),
    ("/search", {"pattern": "(", "path": "/tmp"}), ("/glob", {}), ("/glob", {"pattern": "x", "maxResults": 100001})])
def test_what_is_wrong_with_a_body(guest, route, body):
    """400, with a sentence."""
    reply = guest.post(route, body)
    assert reply.status == 400 and reply.error(), reply


def test_questions_as_large_as_a_message(guest, top):
    """What is too large for a message to the agent is 413. Those of its last bytes ended the bridge by an assertion."""
    statuses = []
    for extra in range(0, 400, 5):
        pattern = "\x01" * 10860 + "a" * extra  # six bytes there each, and one
        statuses.append(guest.post("/search", {"path": str(top), "pattern": pattern}).status)
    assert statuses == sorted(statuses) and set(statuses) == {200, 413}, statuses


# watch

def watching(guest, path, headers=None, **query):
    events = Events(guest.open("GET", guest.url("/watch", path, **query), headers))
    assert events.status == 200 and b"text/event-stream" in events.head
    event, data, cursor = events.next()
    assert event == "watching" and data["cursor"] == cursor
    return events, cursor


def until(events, path, kind=None):
    """Reads up to the event of that path; gives all of them."""
    found = []
    while True:
        event, data, cursor = events.next()
        if event:
            assert event == "change" and data["cursor"] == cursor
            found.append(data)
            if data["path"] == path and kind in (None, data["kind"]):
                return found


def test_watch(guest, top):
    """Everything from the first event on, below new directories too; names that are no UTF-8."""
    events, _ = watching(guest, top)
    (top / "f").write_bytes(b"x")
    assert until(events, "f")[0]["kind"] == "create"
    (top / "d").mkdir()
    (top / "d/g").write_bytes(b"x")
    until(events, "d/g")
    os.rename(top / "f", top / "h")
    change = until(events, "h", "rename")[-1]
    assert change["from"] == "f"
    with open(bytes(top) + b"/\xff", "wb"):
        pass
    assert until(events, "\N{REPLACEMENT CHARACTER}")[-1]["pathB64"] == "/w=="
    (top / "h").unlink()
    until(events, "h", "remove")
    events.close()


def test_watch_goes_on_where_it_was(guest, top):
    """Nothing is missed between two connections, as EventSource makes them, and nothing told twice."""
    events, cursor = watching(guest, top)
    (top / "a").touch()
    cursor = until(events, "a")[-1]["cursor"]
    reset(events.sock)
    for i in range(100):
        (top / f"f{i}").touch()
    events, _ = watching(guest, top, {"Last-Event-ID": cursor})
    told = [change["path"] for change in until(events, "f99") if change["kind"] == "create"]
    assert told == [f"f{i}" for i in range(100)]
    events.close()
    events, _ = watching(guest, top, since=cursor)
    assert until(events, "f99")[0]["path"] in ("f0", "a")
    events.close()


def test_watch_says_what_it_missed(guest, top):
    """A cursor of another life gives an overflow, never silence."""
    events, _ = watching(guest, top, since="0123456789abcdef-7")
    assert events.next()[1]["kind"] == "overflow"
    (top / "f").touch()
    until(events, "f")
    events.close()


def test_watch_leaves_out(guest, top):
    (top / "d").mkdir()
    events, _ = watching(guest, top, exclude="*.tmp,node_modules", recursive="false")
    for name in "a.tmp", "node_modules", "d/deep", "last":
        (top / name).touch()
    assert {change["path"] for change in until(events, "last")} <= {"last", "d"}
    events.close()
    # Too many are refused: those beyond the limit were watched all the same.
    assert guest.get(top, "/watch", exclude=",".join("abc"[i % 3] for i in range(257))).status == 400
    assert guest.get(top, "/watch", recursive="no").status == 400
    assert watch_socket(guest, top, exclude="a," * 257).expect_close()[0] == 1008


def test_watch_ends_with_its_directory(guest, top):
    (top / "d").mkdir()
    events, _ = watching(guest, top / "d")
    (top / "d").rmdir()
    until(events, "", "remove")
    assert events.next() is None
    events.close()
    assert guest.get(top / "d", "/watch").status == 404


def watch_socket(guest, path, **query):
    return guest.bridge.websocket(guest.base + "/watch", query={"path": str(path), **query})


def test_watch_by_websocket(guest, top):
    """A JSON text message for each, with the cursor to come back with."""
    ws = watch_socket(guest, top)
    opcode, first = ws.message()
    assert opcode == 1 and json.loads(first)["event"] == "watching"
    (top / "f").touch()
    change = json.loads(ws.recv())
    assert (change["kind"], change["path"]) == ("create", "f")
    ws.cut()
    (top / "g").touch()
    ws = watch_socket(guest, top, since=change["cursor"])
    ws.recv()
    while json.loads(ws.recv())["path"] != "g":
        pass
    assert ws.close() == 1000


def test_watch_by_websocket_that_fails(guest, top):
    with pytest.raises((Closed, HandshakeRefused)) as refused:
        watch_socket(guest, top / "missing").recv()
    assert getattr(refused.value, "code", 4404) == 4404


def test_watch_by_websocket_ends_with_its_sandbox(guest, top):
    ws = watch_socket(guest, top)
    ws.recv()
    assert guest.bridge.delete(f"/sandboxes/{guest.name}").status == 204
    assert ws.expect_close()[0] == 4410


@pytest.mark.seconds(60)
def test_watch_keeps_alive(guest, top):
    """A comment every 15 s, so that nobody in between takes it for dead."""
    events, _ = watching(guest, top)
    began = time.monotonic()
    assert events.next() == ("", "keepalive", None)
    assert time.monotonic() - began < 25
    events.close()


def test_watch_ends_with_the_agent(guest, agent, top):
    """The stream ends, and its client comes again by itself."""
    events, _ = watching(guest, top)
    agent.kill()
    assert events.next() is None
    events.close()


def test_watchers_that_go(guest, top):
    """They leave nothing in the agent: it has 192 channels for files."""
    for _ in range(200):
        events, _ = watching(guest, top)
        reset(events.sock)
    events, _ = watching(guest, top)
    events.close()


@pytest.mark.seconds(120)
def test_watchers_that_stand_still(guest, top):
    """They cost their window, and hold nobody up; when they read on they are told of everything, or that they missed some."""
    events, _ = watching(guest, top)
    ws = watch_socket(guest, top)
    ws.recv()
    before = guest.bridge.memory_kib()
    names = [f"{i}-" + "x" * 200 for i in range(40000)]
    for name in names:
        (top / name).touch()
    assert guest.get(top / names[-1]).status == 200
    assert guest.bridge.memory_kib() - before < 16 * 1024
    for told in (lambda: events.next()[1]), (lambda: json.loads(ws.recv())):
        while (change := told())["kind"] != "overflow" and change["path"] != names[-1]:
            pass
    (top / "last").touch()
    until(events, "last")
    while json.loads(ws.recv())["path"] != "last":
        pass
    events.close()
    ws.close()


# search

def test_search(guest, top):
    (top / "a.c").write_text("int foo;\nint bar;\n")
    (top / "d").mkdir()
    (top / "d/b.h").write_bytes(b"x\nextern int FOO; /* \xe4 */\n")
    found = guest.post("/search", {"path": str(top), "pattern": "foo", "ignoreCase": True}).json()
    found["matches"].sort(key=lambda match: match["path"])
    assert [(match["path"], match["line"], match["col"]) for match in found["matches"]] == [("a.c", 1, 5), ("d/b.h", 2, 12)]
    assert found["matches"][0]["text"] == "int foo;" and "\N{REPLACEMENT CHARACTER}" in found["matches"][1]["text"]
    assert found["truncated"] is False and found["files"] == 2 and found["errors"] == []
    found = guest.post("/search", {"path": str(top), "pattern": "int", "glob": "*.c", "maxResults": 1}).json()
    assert len(found["matches"]) == 1 and found["truncated"] is True
    found = guest.post("/search", {"path": str(top), "pattern": "bar", "context": 1}).json()
    assert found["matches"][0]["before"] == ["int foo;"]
    assert guest.post("/search", {"path": str(top), "pattern": "nothing"}).json()["matches"] == []
    assert guest.post("/search", {"path": str(top / "missing"), "pattern": "x"}).status == 404
    found = guest.bridge.post(guest.url("/search", pathB64=base64.b64encode(bytes(top / "d")).decode()), {"pattern": "FOO"})
    assert [match["path"] for match in found.json()["matches"]] == ["b.h"]


def test_search_in_lines(guest, top):
    """As it is found; the last line says that it was all."""
    for i in range(3000):
        (top / f"f{i}").write_text(f"needle {i}\n")
    body = {"path": str(top), "pattern": "needle", "maxResults": 100000}
    reply = guest.post("/search", body, headers={"Accept": "application/x-ndjson"})
    assert reply.headers["Content-Type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in reply.body.splitlines()]
    assert len(lines) == 3001 and lines[-1] == {"done": True, "files": 3000, "truncated": False}
    assert {line["text"] for line in lines[:-1]} == {f"needle {i}" for i in range(3000)}


def test_a_search_that_nobody_waits_for(guest, agent, top):
    """Ends in the guest when its client goes."""
    (top / "f").write_text("needle\n" * 200000)
    for _ in range(200):
        body = json.dumps({"path": str(top), "pattern": "needle", "maxResults": 100000}).encode()
        sock = guest.open("POST", guest.url("/search"), {"Content-Length": len(body)}, body)
        read_head(sock)
        reset(sock)
    assert guest.get(top / "f").status == 200


def test_glob(guest, top):
    (top / "d/e").mkdir(parents=True)
    for name in "a.c", "d/b.c", "d/e/c.c", "d/x.h", ".hidden.c":
        (top / name).touch()
    found = guest.post("/glob", {"path": str(top), "pattern": "**/*.c"}).json()
    assert sorted(match["path"] for match in found["matches"]) == ["a.c", "d/b.c", "d/e/c.c"]
    found = guest.post("/glob", {"path": str(top), "pattern": "**", "type": "dir"}).json()
    assert sorted(match["path"] for match in found["matches"]) == ["d", "d/e"]
    found = guest.post("/glob", {"path": str(top), "pattern": "**/*.c", "hidden": True, "maxResults": 2}).json()
    assert len(found["matches"]) == 2 and found["truncated"]


# archives

def grow(top):
    """A tree with all that an archive can have of ours."""
    (top / "a/b").mkdir(parents=True)
    (top / "a/b/large").write_bytes(os.urandom(3000000))
    (top / "a/empty").write_bytes(b"")
    (top / "a" / ("n" * 200)).write_bytes(b"long name")
    (top / "a/\u00e4 b").write_bytes(b"blank")
    (top / "a/link").symlink_to("b/large")
    os.link(top / "a/empty", top / "a/second-name")
    (top / "a/run").write_bytes(b"#!/bin/sh\n")
    (top / "a/run").chmod(0o755)
    return top / "a"


def hashes(top):
    found = {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        st = path.lstat()
        what = os.readlink(path) if path.is_symlink() else \
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "dir"
        found[name] = (what, 0 if path.is_symlink() else st.st_mode & 0o777)
    return found


def test_tar_round_trip(guest, top):
    """Out, into a new directory, and all is the same; Python reads it too."""
    tree = grow(top)
    reply = guest.get(tree, "/tar")
    assert reply.status == 200 and reply.headers["Content-Type"] == "application/x-tar"
    assert 'filename="a.tar"' in reply.headers["Content-Disposition"]
    with tarfile.open(fileobj=io.BytesIO(reply.body)) as archive:
        assert "b/large" in archive.getnames()
    back = guest.put(top / "new/copy", reply.body, "/tar")
    assert back.status == 200, back
    assert back.json()["files"] >= 5 and back.json()["skipped"] == 0
    assert hashes(top / "new/copy") == hashes(tree)


def test_tar_of_some(guest, top):
    tree = grow(top)
    with tarfile.open(fileobj=io.BytesIO(guest.get(tree, "/tar", exclude="large,n*").body)) as archive:
        assert not [name for name in archive.getnames() if name.endswith("large") or "/n" in name]
    assert guest.get(top / "missing", "/tar").status == 404
    assert guest.get(tree, "/tar", exclude="x," * 65 + "large").status == 400  # was left in
    assert guest.get(tree, "/tar", partial="1").status == 400


def test_tar_strip(guest, top):
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        info = tarfile.TarInfo("project-1.0/src/main.c")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    assert guest.put(top / "x", body.getvalue(), "/tar", strip=1).status == 200
    assert (top / "x/src/main.c").read_bytes() == b"abc"
    for strip in 1001, -1, "one", "", "1 ":
        assert guest.put(top / "y", body.getvalue(), "/tar", strip=strip).status == 400, strip
    assert not (top / "y").exists()


@pytest.mark.parametrize("archive", [b"no archive" * 100, b"\x1f\x8b" + bytes(1000), b"x" * 511])
def test_tar_that_is_none(guest, top, archive):
    """Refused, and nothing made of it."""
    reply = guest.put(top / "x", archive, "/tar")
    assert reply.status == 400, reply


def test_tar_stays_inside(guest, top):
    """Whatever names are in it."""
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        info = tarfile.TarInfo("../evil")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    assert guest.put(top / "x", body.getvalue(), "/tar").status == 400
    assert not (top / "evil").exists()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_tar_of_an_agent_that_dies(guest, agent, top, version):
    """Half an archive is never taken for the whole, though nobody said how long it is: not in chunks, and not where only
    the end of the connection tells that it was all."""
    with open(top / "large", "wb") as f:
        f.truncate(1 << 30)
    fds = guest.bridge.fds()
    sock = guest.open("GET", guest.url("/tar", top), version=version)
    head, rest = read_head(sock)
    assert head.split()[1] == b"200" and (b"chunked" in head) == (version == "1.1")
    agent.kill()
    with pytest.raises(ConnectionError):
        while more := sock.recv(1 << 20):
            rest = more
        assert version == "1.1" and not rest.endswith(b"\r\n0\r\n\r\n"), rest[-20:]
        raise ConnectionResetError
    eventually(lambda: guest.bridge.fds() <= fds, "the connection to be gone")
    sock.close()


@pytest.mark.seconds(120)
def test_a_large_tar_in_chunks(guest, top):
    """A stream of unknown length, as `tar c | curl -T -` makes it."""
    data = os.urandom(1 << 20) * 64
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        for i in range(3):
            info = tarfile.TarInfo(f"f{i}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    sock = guest.open("PUT", guest.url("/tar", top / "x"), {"Transfer-Encoding": "chunked"})
    view = body.getbuffer()
    for at in range(0, len(view), 1 << 20):
        sock.sendall(chunk(bytes(view[at:at + (1 << 20)])))
    sock.sendall(chunk(b""))
    head, _ = read_head(sock)
    assert head.startswith(b"HTTP/1.1 200")
    sock.close()
    assert all((top / f"x/f{i}").read_bytes() == data for i in range(3))
