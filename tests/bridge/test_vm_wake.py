"""A machine that sleeps: each route that needs it awake wakes it, by itself, and none of the others does. The table is held
against `bridge routes`, so that a new route has to say what it does. Needs an image: packaging/image/build --flavour minimal.

ctest: timeout=300 vm
"""
import io
import json
import tarfile

import pytest

from harness import ROOT
from host import bridge_command, eventually

pytestmark = [pytest.mark.bridge(driver="vm", image_dir=ROOT / "build/image"), pytest.mark.seconds(280)]

# Routes of a sandbox that are about its life, or begin something of their own with it: tested by themselves.
OF_LIFE = {"killSandbox", "hibernateSandbox", "wakeSandbox", "rebootSandbox", "powerCycleSandbox", "removeGuest"}


def routes():
    """{operation: flags} of what is built and has to do with one sandbox."""
    code, out, _ = bridge_command("routes")
    assert code == 0
    later = set(of_later())
    found = {}
    for line in out.splitlines():
        _, _, operation, flags = line.split()
        flags = set(flags.split(","))
        if flags & {"sandbox", "data"} and operation not in later:
            found[operation] = flags
    return found


def of_later():
    """What answers 501."""
    for path in json.loads((ROOT / "bridge/api/openapi/later.json").read_text())["paths"].values():
        for method in path.values():
            yield method["operationId"]


def tar():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("packed"))
    return file.getvalue()


class Box:
    """A machine with something of everything in it."""

    def __init__(self, bridge):
        self.bridge = bridge
        env = {"ANTHROPIC_API_KEY": "key", "AGENTD_CLAUDE": "/bin/cat"}  # it is never asked anything
        fields = {"templateID": "minimal", "memoryMB": 256, "cpuCount": 1, "timeout": 0, "envs": env}
        reply = bridge.post("/sandboxes", fields, timeout=120)
        assert reply.status == 201, reply.body
        self.base = f"/sandboxes/{reply.json()['sandboxID']}"
        self.ask("POST", "/exec/run", {"cmd": "mkdir /tmp/d && echo kept >/tmp/d/kept"})
        self.command, self.other, self.agent, self.terminal, self.last = (
            self.ask("POST", route, body).json()["sessionID"]
            for route, body in [("/exec", {"cmd": "cat"}), ("/exec", {"cmd": "cat"}), ("/agent", {}), ("/pty", {}), ("/pty", {})])
        self.checkpoint = self.ask("POST", "/checkpoints", {"name": "one"}).json()["id"]
        eventually(lambda: self.ask("GET", "/checkpoints").json()[0]["status"] == "ready", "the checkpoint", 30)
        self.down = self.ask("POST", "/files/download-url", {"path": "/tmp/d/kept"}).json()["url"]
        self.up = self.ask("POST", "/files/upload-url", {"path": "/tmp/d/up"}).json()["url"]

    def ask(self, method, route, body=None, **how):
        reply = self.bridge.request(method, self.base + route, body, timeout=60, **how)
        assert reply.status < 300, (method, route, reply.status, reply.body)
        return reply

    def signed(self, method, url, body=None):
        reply = self.bridge.request(method, url[url.index("/sandboxes/"):], body, key=None, timeout=60)
        assert reply.status < 300, (url, reply.status, reply.body)
        return reply

    def socket(self, route, until):
        """Opens one and waits for what it must say."""
        socket = self.bridge.websocket(self.base + route)
        try:
            while not until(socket.recv(60)):
                pass
        finally:
            socket.cut()

    def status(self):
        return self.bridge.get(self.base).json()["status"]


def watch(box):
    """Nothing changes, so there is nothing to be read."""
    socket = box.bridge.websocket(box.base + "/files/watch", query={"path": "/tmp/d"})
    eventually(lambda: box.status() == "running", "it to be awake", 30)
    socket.cut()


def file(method, route, query, body=None):
    return lambda box: box.ask(method, f"/files{route}", body, query=query)


def post(route, body=None):
    return lambda box: box.ask("POST", route.format(box=box), body)


WAKE = {
    "startExec": post("/exec", {"cmd": "true"}),
    "listExecs": lambda box: box.ask("GET", "/exec"),
    "killExec": post("/exec/{box.other}/kill"),
    "runCommand": post("/exec/run", {"cmd": "true"}),
    "runCommandAsync": post("/exec/run-async", {"cmd": "true"}),
    "execSocket": lambda box: box.socket(f"/exec/{box.command}", lambda message: message == b"\4"),
    "startAgent": post("/agent", {}),
    "listAgents": lambda box: box.ask("GET", "/agent"),
    "promptAgent": post("/agent/{box.agent}/prompt", {"text": "x"}),
    "interruptAgent": post("/agent/{box.agent}/interrupt"),
    "agentSocket": lambda box: box.socket(f"/agent/{box.agent}", lambda message: message == b"\4"),
    "killAgent": post("/agent/{box.agent}/kill"),
    "createPTY": post("/pty", {}),
    "listPTYs": lambda box: box.ask("GET", "/pty"),
    "ptySocket": lambda box: box.socket(f"/pty/{box.terminal}", lambda message: len(message) > 0),
    "resizePTY": post("/pty/{box.terminal}/resize", {"cols": 100, "rows": 40}),
    "deletePTY": lambda box: box.ask("DELETE", f"/pty/{box.last}"),
    "readFile": file("GET", "", {"path": "/tmp/d/kept"}),
    "writeFile": file("PUT", "", {"path": "/tmp/d/new"}, b"new"),
    "removeFile": file("DELETE", "", {"path": "/tmp/d/new"}),
    "listFiles": file("GET", "/list", {"path": "/tmp/d"}),
    "makeDirectory": file("POST", "/mkdir", {"path": "/tmp/d/dir"}),
    "statFile": file("GET", "/stat", {"path": "/tmp/d/kept"}),
    "copyFile": file("POST", "/copy", None, {"path": "/tmp/d/kept", "to": "/tmp/d/copy"}),
    "renameFile": file("POST", "/rename", None, {"path": "/tmp/d/copy", "to": "/tmp/d/renamed"}),
    "chmodFile": file("POST", "/chmod", None, {"path": "/tmp/d/kept", "mode": "0600"}),
    "chownFile": file("POST", "/chown", None, {"path": "/tmp/d/kept", "uid": 1000}),
    "watchFiles": watch,
    "searchFiles": file("POST", "/search", None, {"path": "/tmp/d", "pattern": "kept"}),
    "globFiles": file("POST", "/glob", None, {"path": "/tmp/d", "pattern": "*"}),
    "readTar": file("GET", "/tar", {"path": "/tmp/d"}),
    "writeTar": file("PUT", "/tar", {"path": "/tmp/d"}, tar()),
    "downloadFile": lambda box: box.signed("GET", box.down),
    "uploadFile": lambda box: box.signed("PUT", box.up, b"up"),
    "scaleSandbox": post("/scale", {"memoryMB": 256}),
    "setLimits": lambda box: box.ask("PUT", "/limits", {"cpuPercent": 90}),
    "restoreCheckpoint": post("/checkpoints/{box.checkpoint}/restore"),
}

SLEEP = {
    "getSandbox": lambda box: box.ask("GET", ""),
    "setTimeout": post("/timeout", {"timeout": 0}),
    "refreshToken": post("/token/refresh"),
    "getLimits": lambda box: box.ask("GET", "/limits"),
    "getTags": lambda box: box.ask("GET", "/tags"),
    "getScalingLock": lambda box: box.ask("GET", "/scaling-lock"),
    "setScalingLock": lambda box: box.ask("PUT", "/scaling-lock", {"locked": False}),
    "setTags": lambda box: box.ask("PUT", "/tags", {"a": "b"}),
    "makeDownloadURL": post("/files/download-url", {"path": "/tmp/d/kept"}),
    "makeUploadURL": post("/files/upload-url", {"path": "/tmp/d/kept"}),
    "getCommandResult": lambda box: box.bridge.get(f"{box.base}/exec/r000000000000/result"),
    "listCheckpoints": lambda box: box.ask("GET", "/checkpoints"),
    "createCheckpoint": lambda box: box.bridge.post(f"{box.base}/checkpoints", {"name": "asleep"}),  # 400
    "deleteCheckpoint": lambda box: box.ask("DELETE", f"/checkpoints/{box.checkpoint}"),
}


def test_every_route(bridge):
    """A use wakes, whatever it is; looking at a sandbox, or setting what is said about it, does not."""
    known = routes()
    data = {operation for operation, flags in known.items() if "data" in flags}
    assert data | {"runCommandAsync"} == set(WAKE)
    assert set(known) - data - {"runCommandAsync"} - OF_LIFE == set(SLEEP)
    box = Box(bridge)
    for operation, wake in WAKE.items():
        box.ask("POST", "/hibernate")
        assert box.status() == "hibernated", operation
        wake(box)
        eventually(lambda: box.status() == "running", f"{operation} to wake it", 30)
    assert box.ask("GET", "/files", query={"path": "/tmp/d/kept"}).body == b"kept\n"
    box.ask("POST", "/hibernate")
    for operation, look in SLEEP.items():
        look(box)
        assert box.status() == "hibernated", operation


def test_files_come_again(bridge):
    """With the SDK's header a request for a file does not wait for the wake that it begins, and finds the file in the end."""
    box = Box(bridge)
    box.ask("POST", "/hibernate")

    def ask():
        return bridge.get(f"{box.base}/files", query={"path": "/tmp/d/kept"}, headers={"X-OSB-Async-Wake": "1"})
    reply = ask()
    assert reply.status == 503 and reply.json()["waking"] is True and reply.headers["Retry-After"] == "1"
    assert eventually(lambda: (r := ask()).status == 200 and r, "it to be awake", 30).body == b"kept\n"


def test_a_command_does_not_wait(bridge):
    """run-async says that it wakes, and its result comes in the end."""
    box = Box(bridge)
    box.ask("POST", "/hibernate")
    begun = box.ask("POST", "/exec/run-async", {"cmd": "cat", "args": ["/tmp/d/kept"]})
    assert begun.status == 202 and begun.json()["waking"] is True
    route = f"/exec/{begun.json()['execId']}/result"
    done = eventually(lambda: (r := box.ask("GET", route).json())["running"] is False and r, "its result", 30)
    assert (done["exitCode"], done["stdout"]) == (0, "kept\n")


def test_a_killed_one_stays_so(bridge):
    """Nothing wakes it any more."""
    box = Box(bridge)
    box.ask("POST", "/hibernate")
    box.ask("DELETE", "")
    assert bridge.get(f"{box.base}/files", query={"path": "/tmp/d/kept"}).status == 410
    assert bridge.post(f"{box.base}/wake", {}).status in (400, 404, 410)
    assert box.status() == "stopped"
