"""Files of a sandbox of the local driver, next to the commands in it: whose they are and where they begin."""
import os

import pytest

from guests import Guest
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
    import hashlib
    assert told == hashlib.sha256(data).hexdigest()
    assert guest.get("large").body == data


def test_nothing_outside_is_touched(guest):
    """What is written in the sandbox is not written on this machine."""
    assert guest.put("/etc/made-by-a-test", b"x").status == 204
    assert guest.get("/etc/made-by-a-test").body == b"x"
    assert not os.path.exists("/etc/made-by-a-test")
