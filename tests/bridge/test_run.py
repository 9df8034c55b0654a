"""Commands that are run for their result: all output and the true exit code, whatever the command does, at once or later."""
# ctest: timeout=900
import concurrent.futures
import hashlib
import json
import os
import signal
import threading
import time

import pytest

from commands import Box, collect
from harness import alive, eventually, program_env

pytestmark = pytest.mark.bridge(driver="external")
MIB = 1 << 20


@pytest.fixture
def box(bridge, agent):
    return Box(bridge, bridge.adopt(agent), agent)


# ---------------------------------------------------------------------------------------------- whole output

@pytest.mark.seconds(200)
def test_a_thousand_echoes(box):
    """Right after the sandbox is there, in parallel: none is empty (sprites-py lost 25 to 35 % of them)."""
    def one(i):
        return box.sh(f"echo ok {i}") == {"exitCode": 0, "stdout": f"ok {i}\n", "stderr": ""}
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert all(pool.map(one, range(1000)))


@pytest.mark.seconds(200)
def test_a_thousand_echoes_async(box):
    """The same as the TypeScript SDK does it."""
    def one(i):
        status, answer = box.begin(f"echo ok {i}; echo err >&2")
        if status == 202:
            answer = box.result(answer["execId"])
        return answer["exitCode"] == 0 and answer["stdout"] == f"ok {i}\n" and answer["stderr"] == "err\n"
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert all(pool.map(one, range(1000)))


def test_ten_thousand_lines(box):
    want = "".join(f"{i}\n" for i in range(1, 10001))
    assert box.sh("seq 1 10000")["stdout"] == want
    status, answer = box.begin("seq 1 10000; sleep 1")
    assert status == 202 and box.result(answer["execId"])["stdout"] == want


def test_both_streams_in_full(box):
    """Several MiB on each, compared by hash: nothing is lost in the middle."""
    result = box.sh("seq 1 500000; seq 1 500000 | sed s/^/e/ >&2")
    assert "truncated" not in result
    want = "".join(f"{i}\n" for i in range(1, 500001))
    assert hashlib.sha256(result["stdout"].encode()).digest() == hashlib.sha256(want.encode()).digest()
    want = "".join(f"e{i}\n" for i in range(1, 500001))
    assert hashlib.sha256(result["stderr"].encode()).digest() == hashlib.sha256(want.encode()).digest()


@pytest.mark.seconds(280)
@pytest.mark.parametrize("how", ["run", "run-async"])
def test_the_tail_of_too_much(box, bridge, how):
    """Beyond 64 MiB a stream: the last of it, and said so; the bridge's memory is bounded."""
    text = "yes 0123456789abcdef | head -c 104857600; printf 'the end'; sleep 0.6"
    if how == "run":
        result = box.sh(text, timeout=250)
    else:
        status, answer = box.begin(text, timeout=250)
        assert status == 202
        result = box.result(answer["execId"], 250)
    assert result["exitCode"] == 0 and result["truncated"] is True
    assert len(result["stdout"]) == 64 * MIB and result["stdout"].endswith("89abcdef\n01the end"[-7:])
    assert result["stdout"][:34] in "0123456789abcdef\n" * 4
    if how == "run":
        eventually(lambda: bridge.memory_kib() < 150 * 1024, "the memory to be given back")


def test_bytes_that_are_no_text(box):
    """U+FFFD in JSON, never a failed call (the original's answer was 500 and the result lost)."""
    result = box.sh(r"printf '\377\376a\303\0b\342\202'; printf 'ü\200' >&2")
    assert result["stdout"] == "\ufffd\ufffda\ufffd\0b\ufffd" and result["stderr"] == "ü\ufffd"
    result = box.sh("head -c 300000 /dev/zero")
    assert result["stdout"] == "\0" * 300000


def test_every_byte(box):
    """As Python decodes it; at every offset, so across the pieces it is kept in."""
    data = bytes(range(256)) * 40
    script = "import os; os.write(1, b'x' * %d + bytes(range(256)) * 40)"
    for shift in (0, 1, 2, 3):
        result = box.run("/usr/bin/python3", "-c", script % shift)
        assert result["stdout"] == (b"x" * shift + data).decode(errors="replace")


# ------------------------------------------------------------------------------------------------- exit codes

def test_exit_codes(box):
    def code(i):
        return box.run("sh", "-c", f"exit {i}")["exitCode"]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(code, range(256))) == list(range(256))


@pytest.mark.parametrize("number", [1, 2, 6, 9, 11, 15])
def test_signals(box, number):
    """128 + n, and the signal itself beside it."""
    result = box.sh(f"echo before; kill -{number} $$; sleep 5")
    assert result["exitCode"] == 128 + number and result["signal"] == number and result["stdout"] == "before\n"


def test_starts_that_fail(box, tmp_path):
    """As a shell would say it: 127 not found, 126 not to be executed; the reason is in stderr."""
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    for body, code, words in (({"cmd": "no-such-program"}, 127, "no such program"), ({"cmd": str(script)}, 126, "Permission denied"),
                              ({"cmd": "ls", "cwd": "/no/such"}, 126, "/no/such")):
        for route in ("/exec/run", "/exec/run-async"):
            result = box.ok(route, body)
            assert result["exitCode"] == code and words in result["stderr"] and result["stdout"] == "", result


# --------------------------------------------------------------------------------------------------- timeouts

def test_timeout_ends_the_tree_only(box):
    """Its own tree, and nothing else in the sandbox (the original killed the sandbox's whole cgroup)."""
    other = box.start("sleep", "1000")["sessionID"]
    server = int(box.sh("sleep 1000 >/dev/null 2>&1 & echo $!")["stdout"])
    began = time.monotonic()
    result = box.sh("echo out; echo err >&2; sleep 1000 & echo $!; wait", timeout=1)
    assert 0.9 < time.monotonic() - began < 10
    assert result["exitCode"] == -1 and result["timedOut"] is True
    assert result["stderr"] == "err\n\nProcess timed out"
    lines = result["stdout"].split()
    assert lines[0] == "out"
    eventually(lambda: not alive(int(lines[1])), "its child to be gone")  # it was sent its signal, no more is said
    assert alive(server) and box.sessions()[other]["running"]
    os.kill(server, signal.SIGKILL)


def test_timeout_async(box):
    """The same text in both forms."""
    status, answer = box.begin("echo out; sleep 1000", timeout=1)
    assert status == 202
    result = box.result(answer["execId"])
    assert (result["exitCode"], result["stdout"], result["stderr"]) == (-1, "out\n", "\nProcess timed out")


@pytest.mark.parametrize("timeout", [0, -5, None])
def test_no_timeout_means_sixty_seconds(box, agent, timeout):
    """In the agent, so that it holds whatever becomes of us."""
    status, answer = box.begin("sleep 1000", timeout=timeout)
    assert status == 202
    entry, = [e for e in agent.connect().request("list")["sessions"] if e["id"] == answer["execId"]]
    assert 50000 < entry["timeout_left_ms"] <= 60000
    assert box.kill(answer["execId"]).status == 204
    assert box.result(answer["execId"])["exitCode"] == 137


# -------------------------------------------------------------------------------------------------- background

@pytest.mark.parametrize("text", [
    "(sleep 1; echo late; echo done > {file}) &",
    "nohup sh -c 'sleep 1; echo late; echo late >&2; echo done > {file}' &",
    "setsid sh -c 'sleep 1; echo late; echo done > {file}' </dev/null >/dev/null 2>&1 &",
])
def test_background(box, tmp_path, text):
    """The call returns when the shell does; the child goes on, and finds somebody who reads what it writes."""
    file = tmp_path / "file"
    began = time.monotonic()
    result = box.sh("echo now; " + text.format(file=file))
    assert time.monotonic() - began < 0.9, "it waited for the child"
    assert result["exitCode"] == 0 and result["stdout"] == "now\n"
    eventually(lambda: file.exists() and file.read_text() == "done\n", "the child to do its work")


def test_background_server(box):
    """Started by one run, used by the next ones."""
    script = ("import http.server; s = http.server.HTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler); "
              "print(s.server_port, flush=True); s.serve_forever()")
    result = box.sh(f'/usr/bin/python3 -c "{script}" > /tmp/port.$$ & '
                    'while ! [ -s /tmp/port.$$ ]; do sleep 0.01; done; cat /tmp/port.$$; rm /tmp/port.$$; echo $!')
    port, pid = map(int, result["stdout"].split())
    for _ in range(3):
        fetched = box.run("/usr/bin/python3", "-c", f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{port}/').status)")
        assert fetched["stdout"] == "200\n", fetched
    os.kill(pid, signal.SIGKILL)


def test_stdin_is_empty(box):
    """/dev/null, so that nothing waits for input that never comes."""
    assert box.sh("cat; readlink /proc/self/fd/0", timeout=5)["stdout"] == "/dev/null\n"


# -------------------------------------------------------------------------------------------------- keep-alive

@pytest.mark.seconds(90)
def test_blanks_while_it_is_silent(box, bridge):
    """A client with a patience of less than 30 s (Python's) sees bytes: head after 5 s, then a blank each 15 s."""
    connection = bridge.connection(timeout=20)
    body = json.dumps({"cmd": "sh", "args": ["-c", "sleep 36; echo done"], "timeout": 60})
    connection.request("POST", f"/api{box.base}/exec/run", body, {"X-API-Key": bridge.key})
    began = time.monotonic()
    answer = connection.getresponse()
    assert 4 < time.monotonic() - began < 8 and answer.status == 200
    data, times = b"", []
    while piece := answer.read1(65536):
        times.append(time.monotonic() - began)
        data += piece
    assert data.startswith(b" ") and data.strip().startswith(b"{")
    assert json.loads(data) == {"exitCode": 0, "stdout": "done\n", "stderr": ""}
    blanks = len(data) - len(data.lstrip())
    assert blanks == 3, times
    connection.close()


def test_short_timeouts_have_no_blanks(box, bridge):
    """Up to 30 s nothing is said before the end, so the answer has its length and its true status."""
    reply = box.post("/exec/run", {"cmd": "sh", "args": ["-c", "sleep 6; echo x"], "timeout": 30}, timeout=40)
    assert reply.status == 200 and reply.body.startswith(b"{") and "Content-Length" in reply.headers


def lose(agent):
    """Kills an agent, and then what it leaves behind."""
    left = agent.children()
    agent.kill()
    for pid in left:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.seconds(120)
def test_a_late_fault_is_a_whole_result(box, agent):
    """The agent is killed after the answer has begun: exit -1 and the reason, never 0."""
    threading.Timer(7, lose, [agent]).start()
    reply = box.post("/exec/run", {"cmd": "sleep", "args": ["100"], "timeout": 100}, timeout=100)
    assert reply.status == 200, reply
    result = reply.json()
    assert result["exitCode"] == -1 and "lost" in result["stderr"], result


@pytest.mark.seconds(120)
def test_agent_killed(box, agent):
    """Before the answer has begun: a fault with a status. And what run-async began ends with -1 and an error."""
    status, answer = box.begin("sleep 1000")
    assert status == 202
    threading.Timer(0.5, lose, [agent]).start()
    reply = box.post("/exec/run", {"cmd": "sleep", "args": ["100"], "timeout": 30}, timeout=100)
    assert reply.status == 502 and "lost" in reply.error(), reply
    result = box.result(answer["execId"], 60)
    assert result["exitCode"] == -1 and "lost" in result["error"], result


# --------------------------------------------------------------------------------------------------- run-async

def test_inline(box, agent):
    """What ends within 400 ms is answered at once, and nothing is kept of it anywhere."""
    status, answer = box.begin("echo quick")
    assert status == 200 and answer == {"exitCode": 0, "stdout": "quick\n", "stderr": ""}
    link = agent.connect()
    eventually(lambda: link.request("list")["sessions"] == [], "the session to be removed")


def test_long_poll(box):
    """202 after 400 ms; a poll is held for 500 ms, and answered at the end at once."""
    began = time.monotonic()
    status, answer = box.begin("sleep 1.5; echo slow")
    assert status == 202 and 0.35 < time.monotonic() - began < 1.2
    assert answer["running"] is True and len(answer["execId"]) == 13 and answer["startedAt"].endswith("Z")
    asked = time.monotonic()
    poll = box.get(f"/exec/{answer['execId']}/result").json()
    assert poll == {"running": True, "stdout": "", "stderr": ""} and 0.4 < time.monotonic() - asked < 1.2
    result = box.result(answer["execId"])
    assert result.pop("commandMs") >= 1400
    assert result == {"running": False, "exitCode": 0, "stdout": "slow\n", "stderr": ""}
    assert 1.4 < time.monotonic() - began < 2.4
    again = box.get(f"/exec/{answer['execId']}/result").json()
    assert again["stdout"] == "slow\n", "a result can be asked for again"


@pytest.mark.bridge(driver="external", inline_hold_ms=0, result_hold_ms=50)
def test_holds_are_settings(box):
    status, answer = box.begin("true")
    assert status == 202
    assert box.result(answer["execId"])["exitCode"] == 0


def test_many_pollers(box):
    """Each of several polls at the same time is told of the end."""
    _, answer = box.begin("sleep 1; echo x")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: box.result(answer["execId"]), range(8)))
    assert all(result["stdout"] == "x\n" for result in results)


@pytest.mark.parametrize("name", ["r000000000000", "x000000000000", "nonsense", "rnothexdigits"])
def test_unknown_result(box, name):
    assert box.get(f"/exec/{name}/result").status == 404


def test_a_session_is_no_result(box):
    """Its output is for who attaches to it."""
    session = box.start("echo", "secret")["sessionID"]
    assert box.get(f"/exec/{session}/result").status == 404


def test_a_run_can_be_attached_to(box):
    """By the id that its client was told, whether it runs or has ended: it was refused until the agent was listed anew."""
    _, answer = box.begin("echo before; sleep 2; echo after; exit 5")
    for _ in range(2):
        assert collect(box.attach(answer["execId"])) == (b"before\nafter\n", b"", 5, 1000)
    assert box.result(answer["execId"])["stdout"] == "before\nafter\n" and box.sessions() == {}


def test_runs_are_not_listed_as_sessions(box):
    status, answer = box.begin("sleep 100")
    assert status == 202 and box.sessions() == {}
    assert box.kill(answer["execId"], {"signal": 15}).status == 204
    result = box.result(answer["execId"])
    assert result["exitCode"] == 143 and result["signal"] == 15


def test_bridge_killed_meanwhile(box, bridge, tmp_path):
    """The command goes on, is not run again, and its result is read from the guest: also what was written before."""
    count = tmp_path / "count"
    status, answer = box.begin(f"echo x >> {count}; seq 1 20000; sleep 2; echo end; exit 5")
    assert status == 202
    bridge.kill()
    bridge.start()
    result = box.result(answer["execId"])
    assert result["exitCode"] == 5
    assert result["stdout"] == "".join(f"{i}\n" for i in range(1, 20001)) + "end\n" and "truncated" not in result
    assert count.read_text() == "x\n"


def test_bridge_killed_after_the_end(box, bridge):
    """Also a result that nobody has asked for yet."""
    status, answer = box.begin("sleep 0.6; echo kept; exit 3")
    assert status == 202
    time.sleep(1)
    bridge.kill()
    bridge.start()
    result = box.result(answer["execId"])
    assert (result["exitCode"], result["stdout"]) == (3, "kept\n")


def test_hanging_up(box, bridge, tmp_path):
    """A client that goes away ends nothing: the command runs to its end."""
    file = tmp_path / "file"
    body = json.dumps({"cmd": "sh", "args": ["-c", f"sleep 1; echo done > {file}"]}).encode()
    sock = bridge.raw()
    sock.sendall((f"POST /api{box.base}/exec/run HTTP/1.1\r\nHost: x\r\nX-API-Key: {bridge.key}\r\n"
                  f"Content-Length: {len(body)}\r\n\r\n").encode() + body)
    time.sleep(0.3)
    sock.close()
    eventually(lambda: file.exists() and file.read_text() == "done\n", "the command to end")
    assert box.sh("echo still here")["stdout"] == "still here\n"


@pytest.mark.seconds(120)
def test_slow_reader_of_a_large_result(box, bridge):
    """A result of 60 MiB to a client that does not read costs other clients nothing."""
    body = json.dumps({"cmd": "head", "args": ["-c", str(60 * MIB), "/dev/zero"]}).encode()
    sock = bridge.raw(timeout=60)
    sock.sendall((f"POST /api{box.base}/exec/run HTTP/1.1\r\nHost: x\r\nX-API-Key: {bridge.key}\r\n"
                  f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body)
    assert sock.recv(16).startswith(b"HTTP/1.1 200")
    for _ in range(20):
        assert box.sh("echo quick")["stdout"] == "quick\n"
    assert bridge.memory_kib() < 250 * 1024
    total = 0
    while data := sock.recv(1 << 20):
        total += len(data)
    assert total > 6 * 60 * MIB, "each byte is six as \\u0000"
    sock.close()


@pytest.mark.seconds(200)
def test_many_at_once(box, bridge):
    """Hundreds of commands that wait at the same time, and their results."""
    def one(i):
        status, answer = box.begin(f"sleep 2; echo {i}")
        assert status == 202
        return box.result(answer["execId"], 100)["stdout"]
    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        assert list(pool.map(one, range(300))) == [f"{i}\n" for i in range(300)]


# ASan holds freed memory back, by default more than all that is measured here.
@pytest.mark.bridge(driver="external", env={"ASAN_OPTIONS": program_env().get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"})
def test_nothing_is_kept_of_what_was_told(box, bridge, agent):
    """Runs leave no sessions, descriptors or memory behind, neither here nor in the guest."""
    for _ in range(50):
        box.sh("echo x")
    fds, memory = bridge.fds(), bridge.memory_kib()
    for _ in range(500):
        box.sh("head -c 20000 /dev/zero")
    assert bridge.fds() <= fds + 1
    assert bridge.memory_kib() < memory + 6000
    link = agent.connect()
    eventually(lambda: link.request("list")["sessions"] == [], "the sessions to be removed")


@pytest.mark.bridge(driver="local")
def test_no_idling_while_it_runs(bridge):
    """A command that runs longer than the idle timeout ends as it should, with and without a call that waits for it."""
    box = Box(bridge, bridge.create(timeout=1))
    assert box.sh("sleep 3; echo done")["stdout"] == "done\n"
    status, answer = box.begin("sleep 3; echo done")
    assert status == 202
    time.sleep(3.2)
    assert box.result(answer["execId"])["stdout"] == "done\n"
    assert bridge.delete(box.base).status == 204


@pytest.mark.bridge(driver="local")
def test_local_sandbox(bridge):
    """Environment, user and directory of a sandbox that we started ourselves; a stopped one is started for a command."""
    box = Box(bridge, bridge.create(timeout=1, envs={"SANDBOX_VAR": "s", "BOTH": "s"}))
    result = box.sh('echo "$SANDBOX_VAR $BOTH $(whoami) $PWD"', envs={"BOTH": "c"})
    assert result["stdout"] == "s c sandbox /home/sandbox\n", result
    eventually(lambda: bridge.get(box.base).json()["status"] != "running", "the sandbox to idle out", 15)
    assert box.get("/exec/r000000000000/result").status == 404
    assert bridge.get(box.base).json()["status"] != "running", "asking for a result of nothing starts nothing"
    began = time.monotonic()
    status, answer = box.begin("echo awake")
    assert status == 202 and answer["waking"] is True and time.monotonic() - began < 0.3
    assert box.result(answer["execId"])["stdout"] == "awake\n"
    assert bridge.delete(box.base).status == 204


def test_sandbox_killed_meanwhile(box, bridge):
    """410 and the reason for who waits, and for who comes later; a result that was not told yet says it, too."""
    status, answer = box.begin("sleep 1000")
    assert status == 202
    threading.Timer(0.5, bridge.delete, [box.base]).start()
    reply = box.post("/exec/run", {"cmd": "sleep", "args": ["1000"], "timeout": 20})
    assert reply.status == 410 and "ended" in reply.error(), reply
    result = box.get(f"/exec/{answer['execId']}/result").json()
    assert result["running"] is False and result["exitCode"] == -1 and "ended" in result["error"], result
    assert box.post("/exec/run-async", {"cmd": "true"}).status == 410
    assert box.post("/exec/run", {"cmd": "true"}).status == 410
    for pid in box.agent.children():
        os.kill(pid, signal.SIGKILL)


def test_bridge_restarted_in_order(box, bridge):
    """SIGTERM while commands run: it ends in time, who waits is cut or answered, and what was asked for later is there."""
    status, answer = box.begin("sleep 2; echo end")
    assert status == 202
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(box.post, "/exec/run", {"cmd": "sleep", "args": ["9"], "timeout": t}) for t in (20, 60)]
        time.sleep(0.5)
        began = time.monotonic()
        bridge.restart()
        assert time.monotonic() - began < 10
        for call in calls:
            assert call.exception() or call.result().status >= 500
    assert box.result(answer["execId"])["stdout"] == "end\n"


@pytest.mark.seconds(280)
def test_memory_of_all_results(box, bridge):
    """Results that nobody fetches do not fill the bridge: the oldest go, and are read again from the guest, as far as it
    has them; the youngest are whole."""
    text = "yes 0123456789abcde | head -c {n}; yes 0123456789abcde | head -c {n} >&2; sleep 0.5; printf the-end"
    ids = []
    for _ in range(10):
        status, answer = box.begin(text.format(n=64 * MIB), timeout=250)
        assert status == 202
        ids.append(answer["execId"])
        eventually(lambda: box.get(f"/exec/{ids[-1]}/result").json()["running"] is False or None, "its end", 100)
    assert bridge.memory_kib() < 1300 * 1024
    old, young = box.result(ids[0], 60), box.result(ids[-1], 60)
    assert old["truncated"] is True and old["stdout"].endswith("the-end")
    assert len(old["stdout"]) + len(old["stderr"]) >= 15 * MIB
    assert len(young["stdout"]) == 64 * MIB and young["stdout"].endswith("the-end") and len(young["stderr"]) == 64 * MIB
    assert bridge.memory_kib() < 1300 * 1024


@pytest.mark.seconds(120)
def test_agent_upgraded_meanwhile(box, agent):
    """The link breaks and comes back: no line is lost or doubled, and no command is run twice."""
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        text = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo $i; sleep 0.01; done; echo err >&2; exit 9"
        calls = [pool.submit(box.sh, text) for _ in range(3)]
        status, answer = box.begin(text)
        assert status == 202
        for _ in range(3):
            time.sleep(0.7)
            agent.upgrade()
        results = [call.result() for call in calls] + [box.result(answer["execId"])]
    for result in results:
        assert result["stdout"] == "".join(f"{i}\n" for i in range(1, 301)) and result["stderr"] == "err\n", result
        assert result["exitCode"] == 9
    assert box.sh("echo on")["stdout"] == "on\n"


@pytest.mark.bridge(driver="external", inline_hold_ms=0)
@pytest.mark.seconds(200)
def test_too_many_at_once(box, agent):
    """A link has 1024 channels: what is one more says so as its result, those before it go on."""
    connection = box.bridge.connection()
    ids = []
    for _ in range(1030):
        reply = box.post("/exec/run-async", {"cmd": "sleep", "args": ["1000"]}, connection=connection)
        assert reply.status == 202, reply
        ids.append(reply.json()["execId"])
    last = box.result(ids[-1], 60)
    assert last["exitCode"] == -1 and "too many" in last["error"], last
    for name in (ids[0], ids[1000]):
        assert box.get(f"/exec/{name}/result", connection=connection).json()["running"] is True
    reply = box.post("/exec/run", {"cmd": "true"}, connection=connection)
    assert reply.status == 503 and "too many" in reply.error(), reply
    connection.close()
    lose(agent)
