"""Sandboxes through their whole life, on the local driver: made, looked at, idle, used, ended; and a bridge that is killed
at any moment of it.

ctest: timeout=600
"""
import json
import random
import re
import signal
import socket
import threading
import time

import pytest

from harness import proc_text
from host import eventually

FIELDS = {"sandboxID", "status", "token", "connectURL", "region", "workerID", "startedAt", "template", "templateID", "tags",
          "tagsLastUpdatedAt", "metadata", "cpuCount", "memoryMB", "diskMB", "timeout", "networkEnabled"}


def state(bridge, sandbox):
    return bridge.get(f"/sandboxes/{sandbox}").json()["status"]


# ---- made, looked at, ended

def test_life(bridge):
    """Running means that a command works now; the end leaves nothing, and is remembered."""
    reply = bridge.post("/sandboxes", {"templateID": "ubuntu", "timeout": 0, "envs": {"COLOR": "light blue"},
                                       "metadata": {"who": "me"}, "alias": "bob"})
    assert reply.status == 201 and reply.headers["Content-Type"].startswith("application/json")
    made = reply.json()
    sandbox = made["sandboxID"]
    assert FIELDS <= set(made) and re.fullmatch("sb-[0-9a-f]{8}", sandbox)
    assert made["status"] == "running" and made["templateID"] == "base" and made["metadata"] == {"who": "me"}
    assert made["connectURL"] == f"{bridge.url}/api" and "endAt" not in made
    assert bridge.run(sandbox, "echo $COLOR")["stdout"] == "light blue\n"
    for name in (sandbox, "bob"):
        seen = bridge.get(f"/sandboxes/{name}").json()
        assert {k: v for k, v in seen.items() if k != "token"} == {k: v for k, v in made.items() if k != "token"}
    assert [s["sandboxID"] for s in bridge.get("/sandboxes").json()] == [sandbox]
    assert bridge.post("/sandboxes", {"alias": "bob"}).status == 409

    reply = bridge.delete(f"/sandboxes/{sandbox}")
    assert (reply.status, reply.body) == (204, b"")
    assert not (bridge.dir / "boxes" / sandbox).exists()
    gone = bridge.get(f"/sandboxes/{sandbox}").json()
    assert gone["status"] == "stopped" and "token" not in gone and gone["endAt"]
    assert bridge.get("/sandboxes").json() == []
    reply = bridge.post(f"/sandboxes/{sandbox}/exec/run", {"cmd": "true"})
    assert reply.status == 410 and "has been stopped" in reply.error()
    assert bridge.delete(f"/sandboxes/{sandbox}").status == 204
    for method, route in (("GET", ""), ("DELETE", ""), ("POST", "/hibernate"), ("POST", "/wake"), ("POST", "/timeout"),
                          ("POST", "/reboot"), ("POST", "/token/refresh"), ("GET", "/tags"), ("GET", "/limits")):
        reply = bridge.request(method, f"/sandboxes/sb-00000000{route}")
        assert reply.status == 404 and reply.error() == "sandbox not found", route
    assert bridge.post("/sandboxes", {"alias": "bob"}).status == 201, "the dead do not keep their names"


def test_token(bridge):
    """The token of a sandbox opens its routes, and no other's."""
    one, other = (bridge.post("/sandboxes", {}).json() for _ in range(2))
    sandbox, token = one["sandboxID"], one["token"]
    bearer = {"Authorization": f"Bearer {token}"}
    assert bridge.get(f"/sandboxes/{sandbox}", key=None, headers=bearer).status == 200
    assert bridge.get(f"/sandboxes/{sandbox}", key=token).status == 200
    assert bridge.get(f"/sandboxes/{sandbox}", key=None, query={"token": token}).status == 200
    assert bridge.get(f"/sandboxes/{other['sandboxID']}", key=None, headers=bearer).status == 403
    assert bridge.get("/sandboxes", key=None, headers=bearer).status in (401, 403)
    again = bridge.post(f"/sandboxes/{sandbox}/token/refresh", key=None, headers=bearer)
    assert again.status == 200
    assert bridge.get(f"/sandboxes/{sandbox}", key=again.json()["token"]).status == 200


@pytest.mark.parametrize("body, cpus, memory", [
    ({}, 1, 4096), ({"cpuCount": 1}, 1, 1024), ({"cpuCount": 2}, 2, 8192), ({"cpuCount": 4}, 4, 16384),
    ({"memoryMB": 1024}, 1, 1024), ({"memoryMB": 8192}, 2, 8192), ({"memoryMB": 16384}, 4, 16384),
    ({"memoryMB": 512, "cpuCount": 1}, 1, 512), ({"memoryMB": 0, "cpuCount": None}, 1, 4096)])
def test_sizes(bridge, body, cpus, memory):
    """One follows from the other."""
    made = bridge.post("/sandboxes", body).json()
    assert (made["cpuCount"], made["memoryMB"], made["diskMB"]) == (cpus, memory, 20480)


def test_bad_creates(bridge):
    """Each has its status and a word that helps; nothing is made."""
    big = {f"N{i}": "x" * 100 for i in range(700)}
    for body, status, word in [
            ({"cpuCount": 5}, 400, "contact us"), ({"memoryMB": 16385}, 400, "contact us"), ({"memoryMB": 1}, 400, "memoryMB"),
            ({"cpuCount": -1}, 400, "cpuCount"), ({"cpuCount": "two"}, 400, "cpuCount"), ({"cpuCount": 1.5}, 400, "cpuCount"),
            ({"diskMB": 20479}, 400, "diskMB"), ({"diskMB": 262145}, 400, "diskMB"),
            ({"templateID": "nothing"}, 404, "template not found: nothing"), ({"templateID": 5}, 400, "templateID"),
            ({"secretStore": "s"}, 400, "secret store not found: s"),
            ({"image": {"base": "base", "steps": []}}, 501, "images"), ({"snapshot": "s"}, 501, "snapshots"),
            ({"previewAuth": {"scheme": "bearer", "token": "auto"}}, 501, "preview"), ({"webhooks": [{"url": "x"}]}, 501, "webhooks"),
            ({"envs": {"A": 1}}, 400, "envs"), ({"envs": []}, 400, "envs"), ({"envs": {"1A": ""}}, 400, "envs"),
            ({"envs": {"A=B": ""}}, 400, "envs"), ({"envs": {"": ""}}, 400, "envs"), ({"envs": {"A": "x\0y"}}, 400, "envs"),
            ({"envs": big}, 400, "envs"), ({"envs": {f"N{i}": "" for i in range(1001)}}, 400, "envs"),
            ({"envs": {"A": "\x01" * 20000}}, 400, "envs"),
            ({"metadata": {"a": {}}}, 400, "metadata"), ({"metadata": {"a": "x" * 65536}}, 400, "metadata"),
            ({"timeout": "5"}, 400, "timeout"), ({"timeout": 10 ** 30}, 400, "timeout"),
            ({"alias": "a b"}, 400, "alias"), ({"alias": "sb-12345678"}, 400, "alias"), ({"alias": "x" * 65}, 400, "alias"),
            ({"tags": {"oc:x": ""}}, 400, "tags"), ({"networkEnabled": "yes"}, 400, "networkEnabled")]:
        reply = bridge.post("/sandboxes", body)
        assert reply.status == status and word in reply.error(), (body, reply)
    for body in (b"[]", b"{", b'{"a":1}x', b"5"):
        assert bridge.post("/sandboxes", body, headers={"Content-Type": "application/json"}).status == 400, body
    assert bridge.get("/sandboxes", query={"status": "all"}).json() == []
    assert not list((bridge.dir / "boxes").glob("*"))


def test_ignored_fields(bridge):
    """What others understand and we do not is no mistake; nor is what says nothing."""
    made = bridge.post("/sandboxes", {"burst": True, "sandboxFamily": "x", "port": 80, "more": [1], "image": None, "snapshot": "",
                                      "webhooks": [], "secretStore": "", "envs": {}, "timeout": -5})
    assert made.status == 201 and made.json()["timeout"] == 0


def test_large_environment(bridge):
    """Up to its limit it arrives whole."""
    envs = {f"N{i}": f"{i} äöü \"'\\\t" + "x" * 40 for i in range(900)}
    sandbox = bridge.create(envs=envs)
    told = bridge.run(sandbox, "env -0")["stdout"].split("\0")
    assert {f"{k}={v}" for k, v in envs.items()} <= set(told)


@pytest.mark.bridge("--max-sandboxes", "2")
def test_too_many(bridge):
    """As many as may be, and no more; the dead do not count."""
    first = bridge.create()
    bridge.create()
    assert bridge.post("/sandboxes", {}).status == 429
    bridge.delete(f"/sandboxes/{first}")
    bridge.create()


def test_list(bridge):
    """The newest first, as many as asked for."""
    made = [bridge.create() for _ in range(4)]
    bridge.delete(f"/sandboxes/{made.pop(0)}")
    assert [s["sandboxID"] for s in bridge.get("/sandboxes").json()] == made[::-1]
    listed = bridge.get("/sandboxes", query={"limit": 2}).json()
    assert [s["sandboxID"] for s in listed] == made[:0:-1] and "token" not in listed[0]
    assert len(bridge.get("/sandboxes", query={"status": "all"}).json()) == 4
    assert len(bridge.get("/sandboxes", query={"status": "stopped"}).json()) == 1
    assert bridge.get("/sandboxes", query={"limit": 0}).status == 400


def test_client_hangs_up(bridge):
    """A create whose client is gone is nobody's sandbox: it is removed."""
    body = b'{"alias":"orphan"}'
    for wait in (0, 0.005, 0.02, 0.04):
        sock = bridge.raw()
        sock.sendall(b"POST /api/sandboxes HTTP/1.1\r\nHost: x\r\nX-API-Key: %s\r\nContent-Length: %d\r\n\r\n%s"
                     % (bridge.key.encode(), len(body), body))
        time.sleep(wait)
        sock.shutdown(socket.SHUT_RDWR)
        sock.close()
        # Either the answer was out already, and it is there; or it goes.
        eventually(lambda: b'"creating"' not in bridge.get("/sandboxes/orphan").body, "the create to be over")
        bridge.delete("/sandboxes/orphan")
    eventually(lambda: not list((bridge.dir / "boxes").glob("*")), "no box to be left")


def test_many_at_once(bridge):
    """Creates and kills from many clients: each has its own."""
    seen, lock = [], threading.Lock()

    def one(i):
        sandbox = bridge.create(envs={"N": str(i)})
        with lock:
            seen.append((bridge.run(sandbox, "echo $N")["stdout"].strip(), str(i), sandbox))
        assert bridge.delete(f"/sandboxes/{sandbox}").status == 204
    threads = [threading.Thread(target=one, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8 and len({s for _, _, s in seen}) == 8 and all(a == b for a, b, _ in seen)


# ---- idle, stopped, started again

def test_idle(bridge):
    """Nobody uses it: it is stopped, and the next operation starts it with its disk and environment. Looking at it is no
    use of it."""
    sandbox = bridge.create(timeout=1, envs={"COLOR": "red"})
    bridge.run(sandbox, "echo kept > ~/file")
    began = time.monotonic()

    def stopped():
        bridge.get("/sandboxes")
        bridge.get(f"/sandboxes/{sandbox}/tags")
        return state(bridge, sandbox) == "stopped"
    eventually(stopped, "it to be stopped", 15)
    assert time.monotonic() - began >= 0.9
    assert bridge.get("/sandboxes").json() == []
    assert bridge.run(sandbox, "cat ~/file; echo $COLOR")["stdout"] == "kept\nred\n"
    assert state(bridge, sandbox) == "running"


def test_idle_is_held(bridge):
    """A command that takes longer than the timeout ends by itself; so does one with a client on its socket only."""
    sandbox = bridge.create(timeout=1)
    assert bridge.run(sandbox, "sleep 3; echo done")["stdout"] == "done\n"
    session = bridge.post(f"/sandboxes/{sandbox}/exec", {"cmd": "sh", "args": ["-c", "sleep 3; echo done"]}).json()["sessionID"]
    ws = bridge.websocket(f"/sandboxes/{sandbox}/exec/{session}")
    code, _ = ws.expect_close()
    assert code == 1000
    eventually(lambda: state(bridge, sandbox) == "stopped", "it to be stopped", 15)


def test_timeout(bridge):
    """Set anew it begins anew; 0 is never; huge is far away."""
    sandbox = bridge.create(timeout=1)
    for timeout in (0, 2 ** 62, 3600):
        assert bridge.post(f"/sandboxes/{sandbox}/timeout", {"timeout": timeout}).status == 204
        assert bridge.get(f"/sandboxes/{sandbox}").json()["timeout"] == timeout
    for body in ({}, {"timeout": -1}, {"timeout": None}, {"timeout": "1"}):
        assert bridge.post(f"/sandboxes/{sandbox}/timeout", body).status == 400, body
    time.sleep(1.5)
    assert state(bridge, sandbox) == "running"
    bridge.post(f"/sandboxes/{sandbox}/timeout", {"timeout": 1})
    eventually(lambda: state(bridge, sandbox) == "stopped", "it to be stopped", 15)
    assert bridge.post(f"/sandboxes/{sandbox}/timeout", {"timeout": 0}).status == 204
    assert state(bridge, sandbox) == "stopped", "setting it does not start it"
    reply = bridge.post(f"/sandboxes/{sandbox}/wake", {"timeout": 500})
    assert reply.status == 200 and reply.json()["status"] == "running" and reply.json()["timeout"] == 500
    assert reply.json()["token"] and reply.json()["connectURL"]
    assert bridge.post(f"/sandboxes/{sandbox}/wake", {}).error() == "sandbox is not hibernated"


def test_files_come_again(bridge):
    """Files with the header of the SDK do not wait for a sandbox that is being started."""
    sandbox = bridge.create(timeout=1)
    eventually(lambda: state(bridge, sandbox) == "stopped", "it to be stopped", 15)

    def ask():
        return bridge.get(f"/sandboxes/{sandbox}/files/list", query={"path": "/"}, headers={"X-OSB-Async-Wake": "1"})
    reply = eventually(lambda: (r := ask()).status == 503 and r, "it to be waking")
    assert reply.json()["waking"] is True and reply.headers["Retry-After"] == "1"
    eventually(lambda: ask().status == 200, "it to be up", 15)


def test_local_cannot_hibernate(bridge):
    """An honest answer, and the sandbox runs on."""
    sandbox = bridge.create()
    reply = bridge.post(f"/sandboxes/{sandbox}/hibernate")
    assert reply.status == 501 and "local" in reply.error()
    assert bridge.run(sandbox, "echo on")["stdout"] == "on\n"


@pytest.mark.parametrize("route", ["reboot", "power-cycle"])
def test_restart(bridge, route):
    """Processes end, the disk stays; who was attached hears of it."""
    sandbox = bridge.create(envs={"COLOR": "red"})
    bridge.run(sandbox, "echo kept > ~/file")
    session = bridge.post(f"/sandboxes/{sandbox}/exec", {"cmd": "sleep", "args": ["1000"]}).json()["sessionID"]
    ws = bridge.websocket(f"/sandboxes/{sandbox}/exec/{session}")
    assert bridge.post(f"/sandboxes/{sandbox}/{route}").status == 204
    code, _ = ws.expect_close()
    assert code != 1000
    assert bridge.run(sandbox, "cat ~/file; echo $COLOR; pgrep -x sleep")["stdout"] == "kept\nred\n"
    states = {s["sessionID"]: s for s in bridge.get(f"/sandboxes/{sandbox}/exec").json()}
    assert session not in states or not states[session]["running"] and states[session]["exitCode"] != 0


# ---- settings

def test_tags(bridge):
    """The whole set at once; keys of all sandboxes with how often they are used."""
    one, two = bridge.create(tags={"team": "a"}), bridge.create()
    assert bridge.get(f"/sandboxes/{two}/tags").json() == {"tags": {}, "tagsLastUpdatedAt": None}
    told = bridge.get(f"/sandboxes/{one}/tags").json()
    assert told["tags"] == {"team": "a"} and told["tagsLastUpdatedAt"]
    reply = bridge.put(f"/sandboxes/{two}/tags", {"team": "b", "a.b:c_d-e": "ä" * 100})
    assert reply.status == 200 and reply.json()["tags"]["a.b:c_d-e"] == "ä" * 100
    assert bridge.get("/tags").json() == {"keys": [
        {"key": "a.b:c_d-e", "sandboxCount": 1, "valueCount": 1}, {"key": "team", "sandboxCount": 2, "valueCount": 2}]}
    bridge.put(f"/sandboxes/{two}/tags", {"team": "a"})
    assert bridge.get("/tags").json() == {"keys": [{"key": "team", "sandboxCount": 2, "valueCount": 1}]}
    for wrong in ({"oc:x": "1"}, {"": "1"}, {"a b": "1"}, {"k" * 129: "1"}, {"k": "v" * 257}, {"k": 1}, {"k": None},
                  {f"k{i}": "" for i in range(51)}):
        assert bridge.put(f"/sandboxes/{two}/tags", wrong).status == 400, wrong
    assert bridge.put(f"/sandboxes/{two}/tags", {}).json()["tags"] == {}
    bridge.restart()
    assert bridge.get(f"/sandboxes/{one}").json()["tags"] == {"team": "a"}


def test_limits(bridge):
    """Where the kernel has what it takes they hold, else the answer says so."""
    sandbox = bridge.create(memoryMB=1024, cpuCount=1)
    assert bridge.get(f"/sandboxes/{sandbox}/limits").json() == {"sandboxID": sandbox, "memoryMB": 1024, "cpuPercent": 100}
    for wrong in ({"memoryMB": 2048}, {"cpuPercent": 101}, {"memoryMB": -1}, {"memoryMB": 1}, {"cpuPercent": "all"}):
        assert bridge.put(f"/sandboxes/{sandbox}/limits", wrong).status == 400, wrong
    reply = bridge.put(f"/sandboxes/{sandbox}/limits", {"memoryMB": 512, "cpuPercent": 50})
    assert reply.status in (200, 501), reply
    want = {"memoryMB": 512, "cpuPercent": 50} if reply.status == 200 else {"memoryMB": 1024, "cpuPercent": 100}
    assert bridge.get(f"/sandboxes/{sandbox}/limits").json() == {"sandboxID": sandbox, **want}


def test_scaling(bridge):
    """This driver cannot, and says what can be done instead; the lock is kept."""
    sandbox = bridge.create(memoryMB=1024)
    lock = f"/sandboxes/{sandbox}/scaling-lock"
    reply = bridge.post(f"/sandboxes/{sandbox}/scale", {"memoryMB": 512})
    assert (reply.status, reply.json()["code"]) == (501, "not_implemented") and "limits" in reply.json()["error"]
    assert bridge.get(lock).json() == {"sandboxID": sandbox, "locked": False}
    assert bridge.put(lock, {"locked": "yes"}).status == 400
    assert bridge.put(lock, {"locked": True}).json() == {"sandboxID": sandbox, "locked": True}
    bridge.restart()
    assert bridge.get(lock).json()["locked"] is True
    assert bridge.put(lock, {"locked": False}).json()["locked"] is False
    bridge.delete(f"/sandboxes/{sandbox}")
    assert bridge.put(lock, {"locked": True}).status == 410


# ---- the bridge is killed

def test_comes_back(bridge):
    """kill -9 of the bridge: sandboxes and their commands go on, and are known again."""
    sandbox = bridge.create(envs={"COLOR": "red"}, alias="bob", timeout=0)
    session = bridge.post(f"/sandboxes/{sandbox}/exec", {"cmd": "sh", "args": ["-c", "echo $$; exec sleep 1000"]}).json()["sessionID"]
    ended = bridge.create()
    bridge.delete(f"/sandboxes/{ended}")
    before = bridge.get("/sandboxes/bob").json()
    bridge.kill()
    bridge.start()
    assert bridge.run("bob", "echo $COLOR")["stdout"] == "red\n"
    after = bridge.get("/sandboxes/bob").json()
    assert {**before, "token": 0} == {**after, "token": 0}
    assert bridge.get(f"/sandboxes/{sandbox}", key=before["token"]).status == 200, "tokens are good for longer than a bridge"
    assert [s["running"] for s in bridge.get(f"/sandboxes/{sandbox}/exec").json() if s["sessionID"] == session] == [True]
    assert state(bridge, ended) == "stopped"


@pytest.mark.seconds(300)
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment(bridge, seed):
    """kill -9 while sandboxes are made, stopped, started and ended: after each restart every sandbox is as before or as
    after, none is half, and nothing is left of those that are not there."""
    rng = random.Random(seed)
    known, made = set(), []

    def work():
        """Some life, until the bridge goes; what was answered is noted."""
        try:
            while True:
                body = {"timeout": rng.choice([0, 1]), "alias": f"a{rng.random()}"}
                reply = bridge.post("/sandboxes", body, timeout=20)
                if reply.status == 201:
                    made.append(reply.json()["sandboxID"])
                    known.add(made[-1])
                victim = rng.choice(sorted(known)) if known else None
                if victim and rng.random() < 0.5:
                    bridge.post(f"/sandboxes/{victim}/reboot", timeout=20)
                elif victim and len(known) > 2:
                    known.discard(victim)
                    bridge.delete(f"/sandboxes/{victim}", timeout=20)
        except (OSError, ValueError, ConnectionError, json.JSONDecodeError):
            pass
        except Exception as e:  # http.client's own
            assert "http" in type(e).__module__, e
    for _ in range(5):
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(rng.uniform(0.02, 1.2))
        bridge.kill()
        for thread in threads:
            thread.join()
        bridge.start()

        def settled():
            seen = {s["sandboxID"]: s for s in bridge.get("/sandboxes", query={"status": "all", "limit": "1000"}).json()}
            return all(s["status"] in ("running", "stopped") for s in seen.values()) and seen
        seen = eventually(settled, "all to be known again", 30)
        for sandbox in sorted(known):  # who was answered to, and was not asked to go, is there and works
            assert sandbox in seen and "note" not in seen[sandbox], seen.get(sandbox)
            assert bridge.run(sandbox, "echo works")["stdout"] == "works\n"
        alive = {s["sandboxID"] for s in bridge.get("/sandboxes", query={"status": "all", "limit": "1000"}).json() if "endAt" not in s
                 or s["status"] == "running"}
        for sandbox in sorted(alive - known):
            bridge.delete(f"/sandboxes/{sandbox}")
        eventually(lambda: {p.name for p in (bridge.dir / "boxes").glob("*")} <= known, "boxes of nobody to go", 20)
    assert len(made) > 2


def test_agent_dies(bridge):
    """The agent of a sandbox is killed: nobody is told of an exit with 0, and the next operation has a sandbox again."""
    import os
    import subprocess
    sandbox = bridge.create()
    session = bridge.post(f"/sandboxes/{sandbox}/exec", {"cmd": "sleep", "args": ["1000"]}).json()["sessionID"]
    ws = bridge.websocket(f"/sandboxes/{sandbox}/exec/{session}")
    found = subprocess.run(["pgrep", "-f", "/run/agentd/agentd --listen"], capture_output=True, text=True, check=True)
    here = [int(pid) for pid in found.stdout.split() if sandbox in proc_text(pid, "mountinfo")]
    assert here
    for pid in here:
        os.kill(pid, signal.SIGKILL)
    code, reason = ws.expect_close(40)
    assert code != 1000, reason
    assert bridge.run(sandbox, "echo again", timeout=0)["stdout"] == "again\n"
