"""Sessions over HTTP: what is started and how it is told, lists, signals; faults and their statuses."""
# ctest: timeout=300
import json
import time

import pytest

from commands import Box, collect
from harness import alive, eventually

pytestmark = pytest.mark.bridge(driver="external")


@pytest.fixture
def box(bridge, agent):
    return Box(bridge, bridge.adopt(agent), agent)


def test_start_list_end(box):
    """The members that SDKs read, while it runs and after."""
    started = box.start("sh", "-c", "exit 7", envs={"A": "1"})
    assert started["sandboxID"] == box.name and started["running"] is True and started["attachedClients"] == 0
    assert started["command"] == "sh" and started["args"] == ["-c", "exit 7"] and "exitCode" not in started
    assert started["startedAt"].endswith("Z")
    entry = box.ended(started["sessionID"])
    assert entry["exitCode"] == 7 and entry["command"] == "sh" and entry["args"] == ["-c", "exit 7"]
    assert entry["endedAt"] >= entry["startedAt"]


def test_lists_are_of_one_sandbox(bridge, start_agent):
    """Another sandbox's sessions are neither listed nor found (the original looked at the id alone)."""
    one, two = (Box(bridge, bridge.adopt(agent), agent) for agent in (start_agent(), start_agent()))
    session = one.start("sleep", "100")["sessionID"]
    assert list(one.sessions()) == [session] and two.sessions() == {}
    for route, body in ((f"/exec/{session}/kill", {}), (f"/agent/{session}/kill", {}),
                        (f"/agent/{session}/prompt", {"text": "x"})):
        assert two.post(route, body).status == 404
    assert two.get(f"/exec/{session}/result").status == 404
    assert one.sessions()[session]["running"]
    assert one.kill(session).status == 204


def test_kill(box):
    """9 to the group is the default; a body may be missing; the end says the signal; again is 204, unknown is 404."""
    session = box.start("sh", "-c", "sleep 1000 & echo $!; wait")["sessionID"]
    socket = box.attach(session)
    child = int(socket.recv()[1:] or socket.recv()[1:])
    assert box.kill(session).status == 204
    assert collect(socket)[2:] == (137, 1000)
    entry = box.ended(session)
    assert entry["exitCode"] == 137 and entry["signal"] == 9
    eventually(lambda: not alive(child), "the group to end")
    assert box.kill(session).status == 204 and box.kill(session, {}).status == 204
    assert box.kill("x000000000000").status == 404
    assert box.kill("not%20an%20id").status == 404


@pytest.mark.parametrize("said, number", [(15, 15), ("TERM", 15), ("SIGINT", 2), ("9", 9)])
def test_signals(box, said, number):
    """Numbers and names."""
    session = box.start("sleep", "1000")["sessionID"]
    assert box.kill(session, {"signal": said}).status == 204
    assert box.ended(session)["signal"] == number


def test_a_signal_is_no_end_of_input(box):
    """The original closed stdin with any signal, so that a program that handles it could never be written to again."""
    script = ("import os, signal, sys\n"
              "signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b'caught'))\n"
              "print('ready', flush=True)\n"
              "for line in sys.stdin: print('got', line, flush=True)")
    session = box.start("/usr/bin/python3", "-c", script)["sessionID"]
    socket = box.attach(session)
    text = b""
    while b"ready" not in text:
        text += socket.recv()
    assert box.kill(session, {"signal": "USR1"}).status == 204
    while b"caught" not in text:
        text += socket.recv()
    socket.send(b"\0more\n")
    while b"got more" not in text:
        text += socket.recv()
    socket.send(b"\5")
    assert collect(socket)[2] == 0


@pytest.mark.parametrize("signal_said", [0, -1, 99, "NOSUCH", 1.5, True, []])
def test_bad_signals(box, signal_said):
    session = box.start("sleep", "100")["sessionID"]
    assert box.kill(session, {"signal": signal_said}).status == 400
    assert box.sessions()[session]["running"]


@pytest.mark.parametrize("body, words", [
    ({}, "cmd is required"), ({"cmd": ""}, "cmd is required"), ({"cmd": None}, "cmd is required"),
    ({"cmd": 5}, "cmd"), ({"cmd": "a\0b"}, "cmd"), ({"cmd": "ls", "args": "x"}, "args"), ({"cmd": "ls", "args": [1]}, "args"),
    ({"cmd": "ls", "envs": {"A": 1}}, "envs"), ({"cmd": "ls", "envs": {"": "x"}}, "envs"),
    ({"cmd": "ls", "envs": {"A=B": "x"}}, "envs"), ({"cmd": "ls", "envs": []}, "envs"),
    ({"cmd": "ls", "cwd": 1}, "cwd"), ({"cmd": "ls", "timeout": "1"}, "timeout"), ({"cmd": "ls", "timeout": 10 ** 12}, "timeout"),
    ({"cmd": "ls", "maxRunAfterDisconnect": -1}, "maxRunAfterDisconnect"),
    ({"cmd": "x" * 70000}, "64 KiB"),
])
def test_bad_bodies(box, body, words):
    """400 with a sentence that names the member, and nothing was started."""
    for route in ("/exec", "/exec/run", "/exec/run-async"):
        reply = box.post(route, body)
        if "maxRun" in words and route != "/exec":
            continue
        assert reply.status == 400, (route, reply)
        assert words in reply.error(), reply
    assert box.sessions() == {}


def test_starts_that_fail(box, tmp_path):
    """400 with the reason, and no session of it is left."""
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    for body, words in (({"cmd": "no-such-program"}, "no such program: no-such-program"),
                        ({"cmd": "/no/such/path"}, "no such program: /no/such/path"),
                        ({"cmd": str(script)}, "Permission denied"),
                        ({"cmd": "ls", "cwd": "/no/such/dir"}, "/no/such/dir"),
                        ({"cmd": "ls", "user": "nobody-of-that-name"}, "user")):
        reply = box.post("/exec", body)
        assert reply.status == 400 and words in reply.error(), reply
    assert box.sessions() == {}


def test_cmd_alone_is_for_a_shell(box, tmp_path):
    """`start("node server.js")` of the documentation; a program whose path has blanks is still found."""
    odd = tmp_path / "a program"
    odd.write_text("#!/bin/sh\necho odd $#\n")
    odd.chmod(0o755)
    for cmd, want in (("echo a  b", "a b\n"), ("echo $((1+1)) | cat", "2\n"), ("exit 3", ""), ("A=5; echo $A", "5\n"),
                      (str(odd), "odd 0\n"), (f"{tmp_path}/missing x || echo gone", "gone\n"), ("./a program", "odd 0\n")):
        result = box.ok("/exec/run", {"cmd": cmd, "cwd": str(tmp_path)})
        assert result["stdout"] == want, (cmd, result)
    started = box.ok("/exec", {"cmd": "echo one; echo two", "args": []}, 201)
    assert started["command"] == "echo one; echo two" and started["args"] == []
    assert collect(box.attach(started["sessionID"]))[:3] == (b"one\ntwo\n", b"", 0)


def test_arguments_are_not_for_a_shell(box):
    result = box.run("printf", "%s|", "a b", "$HOME", "*", "", "ü")
    assert result["stdout"] == "a b|$HOME|*||ü|"


def test_environment_and_directory(box, tmp_path):
    """A command's own variables win over the sandbox's base; a relative name is found in its own PATH."""
    tool = tmp_path / "own-tool"
    tool.write_text("#!/bin/sh\necho own\n")
    tool.chmod(0o755)
    result = box.run("own-tool", envs={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert result["stdout"] == "own\n"
    result = box.sh('echo "$A,$B,$HOME"; pwd', envs={"A": "1", "B": "a=b c", "HOME": "/tmp"}, cwd=str(tmp_path))
    assert result["stdout"] == f"1,a=b c,/tmp\n{tmp_path}\n"
    assert "AGENTD_E2E_CANARY" not in box.run("env")["stdout"]


def test_stdin_stays_open(box):
    session = box.start("cat")["sessionID"]
    socket = box.attach(session)
    socket.send(b"\0hello\n")
    socket.send(b"\5")
    assert collect(socket) == (b"hello\n", b"", 0, 1000)


def test_timeout_of_a_session(box):
    """Its whole tree ends, and the end says why."""
    session = box.start("sh", "-c", "sleep 1000 & echo $!; wait", timeout=1)["sessionID"]
    socket = box.attach(session)
    out, _, code, closing = collect(socket)
    assert (code, closing) == (-1, 1000)
    assert not alive(int(out))
    entry = box.sessions()[session]
    assert entry["exitCode"] == -1 and entry["timedOut"] is True


def test_max_run_after_disconnect(box):
    """It counts from the last client's leaving, and from the start when none comes (it never fired in the original)."""
    never = box.start("sleep", "1000", maxRunAfterDisconnect=1)["sessionID"]
    left = box.start("sleep", "1000", maxRunAfterDisconnect=1)["sessionID"]
    socket = box.attach(left)
    assert socket.recv() == b"\4"
    box.ended(never)
    time.sleep(0.5)
    assert box.sessions()[left]["running"]
    socket.close()
    entry = box.ended(left)
    assert entry["exitCode"] != 0


def test_many_sessions_are_listed(box):
    """More than a page of the agent's, each once, in order of start."""
    wanted = [box.start("true")["sessionID"] for _ in range(300)]
    assert list(box.sessions()) == wanted


def test_after_a_restart(box, bridge):
    """The bridge is killed; the sessions go on and are known again, with their commands."""
    session = box.start("sh", "-c", "read x; echo got $x")["sessionID"]
    bridge.kill()
    bridge.start()
    eventually(lambda: box.get("").json()["status"] == "running", "the sandbox to be back")
    entry = box.sessions()[session]
    assert entry["running"] and entry["command"].startswith("sh")
    socket = box.attach(session)
    socket.send(b"\0it\n")
    assert collect(socket) == (b"got it\n", b"", 0, 1000)


def test_hanging_up_while_starting(box, bridge):
    """Nothing is left of calls whose client went away at once: no crash, no descriptors."""
    body = json.dumps({"cmd": "true"}).encode()
    before = bridge.fds()
    for _ in range(50):
        sock = bridge.raw()
        sock.sendall((f"POST /api{box.base}/exec HTTP/1.1\r\nHost: x\r\nX-API-Key: {bridge.key}\r\n"
                      f"Content-Length: {len(body)}\r\n\r\n").encode() + body)
        sock.close()
    assert box.sh("echo ok")["stdout"] == "ok\n"
    eventually(lambda: bridge.fds() <= before + 1, "descriptors to go")
    assert all(entry["command"] == "true" for entry in box.sessions().values())
