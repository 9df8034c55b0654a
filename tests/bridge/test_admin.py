"""Guests that somebody else started: registered, used, forgotten."""
import concurrent.futures
import contextlib
import json
import socket

import pytest

import harness
from host import eventually
from sockets import DONE, Attached, start

pytestmark = pytest.mark.bridge(driver="external")


def test_register_and_use(bridge, agent):
    """A guest becomes a sandbox like others: a command works when the answer is there."""
    reply = bridge.post("/admin/guests", {"id": "mine", "address": agent.target})
    assert reply.status == 201
    guest = reply.json()
    assert guest["id"] == "mine" and guest["status"] == "running" and guest["address"] == agent.target
    for name in (guest["sandboxID"], "mine"):
        assert bridge.run(name, "echo hello")["stdout"] == "hello\n"
    assert bridge.get("/admin/guests").json() == [guest]
    assert [s["sandboxID"] for s in bridge.get("/sandboxes").json()] == [guest["sandboxID"]]


def test_forget(bridge, agent):
    """The guest goes on with what it does, and may be registered again."""
    sandbox = bridge.adopt(agent, "mine")
    session = bridge.post(f"/sandboxes/{sandbox}/exec", {"cmd": "cat"}).json()["sessionID"]
    assert bridge.delete("/admin/guests/mine").status == 204
    assert bridge.get("/admin/guests").json() == []
    assert bridge.delete("/admin/guests/mine").status == 404
    assert agent.connect().request("list")["sessions"][0]["id"] == session
    again = bridge.adopt(agent, "mine")
    assert again != sandbox
    assert [s["sessionID"] for s in bridge.get(f"/sandboxes/{again}/exec").json()] == [session]


def test_token(bridge, start_agent):
    """A guest that asks for a token: without it, or with a wrong one, a fault that says so; and nothing stays."""
    agent = start_agent(token="secret of ours")
    for token in ({}, {"token": "wrong"}):
        reply = bridge.post("/admin/guests", {"address": agent.target, **token})
        assert reply.status in (502, 503, 504), reply
        assert "secret of ours" not in reply.error()
    assert bridge.get("/admin/guests").json() == []
    reply = bridge.post("/admin/guests", {"address": agent.target, "token": "secret of ours"})
    assert reply.status == 201
    assert "secret of ours" not in json.dumps(bridge.get("/sandboxes").json() + bridge.get("/admin/guests").json())


@pytest.mark.parametrize("body, word", [
    ({}, "address"), ({"address": "tcp:1:2"}, "address"), ({"address": 5}, "address"),
    ({"address": "unix:" + "x" * 200}, "address"), ({"address": "unix:/x", "id": "y" * 33}, "id"),
    ({"address": "unix:/x", "id": ""}, "id"), ({"address": "unix:/x", "id": "sb-12345678"}, "id"),
    ({"address": "unix:/x", "id": "a/b"}, "id"), ({"address": "unix:/x", "id": "checkpoints"}, "id"),
    ({"address": "unix:/x", "token": "t" * 65}, "token"), ({"address": "unix:/x", "timeout": -1}, "timeout"),
    ({"address": "unix:/x", "timeout": "soon"}, "timeout")])
def test_bad_requests(bridge, body, word):
    """Each is a 400 that names the member."""
    reply = bridge.post("/admin/guests", body)
    assert reply.status == 400 and word in reply.error()


def test_nobody_there(bridge, tmp_path):
    """An address without an agent is a fault soon, which says so, and not a sandbox that never comes up."""
    with socket.socket(socket.AF_UNIX) as deserted:
        deserted.bind(f"{tmp_path}/deserted")
    for name, why in ("nobody", "no such file"), ("deserted", "nobody listens"):
        reply = bridge.post("/admin/guests", {"address": f"unix:{tmp_path}/{name}"})
        assert reply.status == 503 and why in reply.error(), reply
    assert bridge.get("/admin/guests").json() == []


def test_it_is_just_starting(bridge, agent, tmp_path):
    """An agent that is not there yet when its guest is registered has a moment to come."""
    with concurrent.futures.ThreadPoolExecutor() as aside:
        reply = aside.submit(bridge.post, "/admin/guests", {"id": "late", "address": f"unix:{tmp_path}/late"})
        eventually(lambda: bridge.get("/sandboxes/late").status == 200, "the sandbox")
        (tmp_path / "late").symlink_to(agent.target.removeprefix("unix:"))
        assert reply.result().status == 201
    assert bridge.run("late", "echo hello")["stdout"] == "hello\n"


def test_name_is_taken(bridge, agent):
    bridge.adopt(agent, "mine")
    reply = bridge.post("/admin/guests", {"id": "mine", "address": agent.target})
    assert reply.status == 409 and "mine" in reply.error()


def test_credentials(bridge, agent):
    """A key is asked for here as well, and a sandbox's token is none."""
    sandbox = bridge.adopt(agent)
    token = bridge.get(f"/sandboxes/{sandbox}").json()["token"]
    for key, status in ((None, 401), ("wrong", 403), (token, 403)):
        assert bridge.get("/admin/guests", key=key).status == status


def addresses():
    """This machine's, and whether they are ours alone."""
    yield "127.0.0.1", True
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("192.0.2.1", 9))  # sends nothing
        yield sock.getsockname()[0], False


def test_from_elsewhere(start_bridge):
    """With the best of keys guests are not for other machines, and figures not without one."""
    bridge = start_bridge(driver="external", host="0.0.0.0")
    for bridge.host, near in addresses():
        assert bridge.get("/sandboxes").status == 200
        assert bridge.get("/admin/guests").status == (200 if near else 403)
        assert bridge.post("/admin/guests", {}).status == (400 if near else 403)
        assert bridge.get("/metrics", key=None).status == (200 if near else 403)
        assert bridge.get("/metrics").status == 200
    bridge.host = "127.0.0.1"


def test_guests_file(start_bridge, start_agent, tmp_path):
    """Guests of a file are there after the start, and once only after the next."""
    agents = [start_agent(), start_agent(token="abc")]
    (tmp_path / "guests").write_text(
        json.dumps({"id": "one", "address": agents[0].target}) + "\n\n" +
        json.dumps({"id": "two", "address": agents[1].target, "token": "abc"}) + "\n" +
        json.dumps({"id": "nobody", "address": f"unix:{tmp_path}/x"}) + "\n")
    bridge = start_bridge(driver="external", guests=tmp_path / "guests")

    def names():
        return sorted(g["id"] for g in bridge.get("/admin/guests").json() if g["status"] == "running")
    eventually(lambda: names() == ["one", "two"], "the guests")
    eventually(lambda: "guest not registered id=nobody" in bridge.log(), "the third to fail", 30)
    assert bridge.run("two", "echo hello")["stdout"] == "hello\n"
    def ids():
        return {g["sandboxID"] for g in bridge.get("/admin/guests").json() if g["status"] == "running"}
    before = ids()
    bridge.restart()
    eventually(lambda: names() == ["one", "two"], "the guests again")
    assert ids() == before


def test_agent_dies(bridge, start_agent):
    """The guest is gone for good: that is said, while the client still waits, and no command ends with 0."""
    agent = start_agent()
    sandbox = bridge.adopt(agent)
    assert bridge.run(sandbox, "true")["exitCode"] == 0
    agent.kill()
    for _ in range(2):
        reply = bridge.post(f"/sandboxes/{sandbox}/exec/run", {"cmd": "true", "timeout": 5}, timeout=15)
        assert reply.status == 502 and "cannot be reached" in reply.error(), reply


def test_away_for_a_moment(bridge, agent, tmp_path):
    """While nobody is at its address who comes is told so soon; who is in the midst of something misses nothing."""
    relay, door = harness.Relay(agent.target), tmp_path / "door"
    try:
        door.symlink_to(relay.path)
        sandbox = bridge.post("/admin/guests", {"address": f"unix:{door}"}).json()["sandboxID"]
        client = Attached(bridge, sandbox, start(bridge, sandbox, "read x; echo got $x")).until_live()
        door.unlink()
        relay.cut_all()
        for _ in range(3):
            reply = bridge.post(f"/sandboxes/{sandbox}/exec/run", {"cmd": "true"}, timeout=15)
            assert reply.status == 502 and "no such file" in reply.error(), reply
        client.write("it\n")
        door.symlink_to(relay.path)
        assert client.to_end() == DONE and client.out == b"got it\n"
        assert bridge.run(sandbox, "echo hello")["stdout"] == "hello\n"
    finally:
        relay.close()


def test_agent_comes_back(bridge, start_agent):
    """One that was started again in its place is found by the next command, also when it was given up before."""
    agent = start_agent()
    sandbox = bridge.adopt(agent)
    agent.kill()
    assert bridge.post(f"/sandboxes/{sandbox}/exec/run", {"cmd": "true"}, timeout=15).status == 502
    start_agent(directory=agent.dir)
    assert bridge.run(sandbox, "echo again")["stdout"] == "again\n"
