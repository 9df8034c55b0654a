"""Files of a sandbox of the local driver, next to the commands in it: whose they are and where they begin."""
import os

import pytest

from guests import Guest, chunk, sha
from harness import eventually
from host import read_head
from test_files import MIB, noise


@pytest.fixture
def guest(bridge, sandbox):
    return Guest(bridge, sandbox)


def test_what_is_uploaded_is_the_user_s(guest):
    """It can be changed, run and removed by the commands of the sandbox; root-owned uploads could not."""
    bridge = guest.bridge
    assert guest.put("made/by/run.sh", b"#!/bin/sh\necho ran\n").status == 204
    done = bridge.run(guest.name, "cd made/by && chmod +x run.sh && ./run.sh && echo more >> run.sh && pwd")
    assert done["exitCode"] == 0, done
    where = done["stdout"].split("\n")[1]
    assert done["stdout"].startswith("ran\n") and where.startswith("/home/")
    assert guest.get(f"{where}/run.sh").body.endswith(b"more\n")
    assert bridge.run(guest.name, "rm -r made && mkdir mine && echo x > mine/f")["exitCode"] == 0
    assert guest.get("made/by/run.sh").status == 404
    assert guest.get("mine/f").body == b"x\n"
    assert [entry["name"] for entry in guest.list("mine")] == ["f"]
    assert guest.delete("mine").status == 204
    assert bridge.run(guest.name, "test -e mine")["exitCode"] == 1


def test_both_ways_and_large(guest):
    """Through what a sandbox of its own is reached by."""
    data = noise(64 * MIB)
    assert guest.put("large", data).status == 204
    told = guest.bridge.run(guest.name, "sha256sum < large")["stdout"].split()[0]
    assert told == sha(data)
    assert guest.get("large").body == data


def test_nothing_outside_is_touched(guest):
    """What is written in the sandbox is not written on this machine."""
    assert guest.put("/etc/made-by-a-test", b"x").status == 204
    assert guest.get("/etc/made-by-a-test").body == b"x"
    assert not os.path.exists("/etc/made-by-a-test")


def stopped(guest):
    """Lets it idle out, and gives it time again."""
    timeout = f"/sandboxes/{guest.name}/timeout"
    assert guest.bridge.post(timeout, {"timeout": 1}).status in (200, 204)
    eventually(lambda: status(guest) == "stopped", "it to idle out", 20)
    assert guest.bridge.post(timeout, {"timeout": 300}).status in (200, 204)


def status(guest):
    return guest.bridge.get(f"/sandboxes/{guest.name}").json()["status"]


def test_files_wake_it(guest):
    """Inline; what was written before is there still."""
    assert guest.put("kept", b"x").status == 204
    stopped(guest)
    assert guest.get("kept").body == b"x"
    assert status(guest) == "running"


def test_a_wrong_signature_wakes_nothing(guest):
    """Who has no right to a sandbox cannot make it run; who has one can."""
    assert guest.put("kept", b"x").status == 204
    url = guest.post("/download-url", {"path": "kept"}).json()["url"]
    path = url[url.index("/sandboxes/"):]
    stopped(guest)
    for wrong in path[:-1] + ("0" if path[-1] != "0" else "1"), path.replace("expires=", "expires=1"), path[:-70]:
        for headers in {}, {"X-OSB-Async-Wake": "1"}:
            assert guest.bridge.get(wrong, key=None, headers=headers).status in (400, 403)
    assert status(guest) != "running"
    assert guest.bridge.get(path, key=None).body == b"x"
    assert status(guest) == "running"


def test_an_upload_waits_for_the_sandbox(guest):
    """The body is held up while it is woken, and nothing of it is lost: neither what came with the head, nor more
    than is read at once."""
    for data in b"short", noise(50000), noise(20 * MIB):
        stopped(guest)
        sock = guest.open("PUT", guest.url("", "woken"), {"Transfer-Encoding": "chunked"}, chunk(data) + chunk(b""))
        head, _ = read_head(sock)
        assert head.startswith(b"HTTP/1.1 204")
        sock.close()
        assert guest.get("woken").body == data
