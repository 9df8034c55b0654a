"""agentctl, the tool: exit codes as a shell's, streams as they come, links that break."""
import json
import os
import random
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

import harness
from harness import Tool
from outputs import seq_bytes, seq_script, sha


def ctl(agent, *args, data=None, timeout=30.0):
    """Runs agentctl to its end: (code, stdout, stderr)."""
    stdin = subprocess.DEVNULL if data is None else subprocess.PIPE
    return Tool(agent.target, *args, stdin=stdin).finish(data, timeout)


def listed(agent, session):
    """The entry of a session in `list --json`, whether that is an array, a page or a line for each."""
    code, out, err = ctl(agent, "list", "--json")
    assert code == 0, err
    try:
        whole = json.loads(out)
        entries = whole["sessions"] if isinstance(whole, dict) and "sessions" in whole else whole
        entries = entries if isinstance(entries, list) else [entries]
    except ValueError:
        entries = [json.loads(line) for line in out.splitlines()]
    return next((entry for entry in entries if entry["id"] == session), None)


# run

@pytest.mark.parametrize("status", [0, 1, 3, 42, 255])
def test_run_exit_code(agent, status):
    assert ctl(agent, "run", "--", "sh", "-c", f"exit {status}")[0] == status


@pytest.mark.parametrize("number", [2, 9, 11, 15])
def test_run_signal(agent, number):
    assert ctl(agent, "run", "--", "sh", "-c", f"ulimit -c 0; kill -{number} $$")[0] == 128 + number


def test_run_streams_stay_apart(agent):
    code, out, err = ctl(agent, "run", "--", "sh", "-c", "echo out; echo error >&2")
    assert (code, out, err) == (0, b"out\n", b"error\n")


def test_run_output_comes_as_it_is_made(agent):
    tool = Tool(agent.target, "run", "--", "sh", "-c", "echo first; sleep 3; echo second")
    began = time.monotonic()
    assert tool.proc.stdout.readline() == b"first\n"
    assert time.monotonic() - began < 2
    assert tool.finish()[0] == 0


def test_run_bulk(agent):
    code, out, _ = ctl(agent, "run", "--", "sh", "-c", seq_script(0, 500000))
    assert code == 0 and out == seq_bytes(0, 500000)


def test_run_timeout(agent):
    began = time.monotonic()
    assert ctl(agent, "run", "--timeout", "1", "--", "sleep", "100")[0] == 124
    assert 0.9 < time.monotonic() - began < 8


def test_run_timeout_not_reached(agent):
    assert ctl(agent, "run", "--timeout", "20", "--", "sh", "-c", "exit 5")[0] == 5


@pytest.mark.parametrize("program, status", [("no-such-program-anywhere", 127), ("/no/such/program", 127),
                                             ("/etc/passwd", 126), ("/etc", 126)])
def test_run_program_that_cannot_start(agent, program, status):
    code, out, err = ctl(agent, "run", "--", program)
    assert code == status and out == b""
    assert program.encode() in err, "the message names what failed"


def test_run_bad_cwd_and_user(agent):
    for option, value in (("--cwd", "/no/such/directory"), ("--user", "no-such-user")):
        code, _, err = ctl(agent, "run", option, value, "--", "true")
        assert code in (125, 126, 127) and value.encode() in err


def test_run_without_i_has_no_stdin(agent):
    """In a script, `agentctl run` must not eat the input of what comes after it."""
    assert ctl(agent, "run", "--", "cat", data=b"not for you")[:2] == (0, b"")


def test_run_i(agent):
    assert ctl(agent, "run", "-i", "--", "cat", data=b"hello\n")[:2] == (0, b"hello\n")
    assert ctl(agent, "run", "-i", "--", "cat", data=b"")[:2] == (0, b"")


def test_run_i_with_null_stdin(agent):
    assert ctl(agent, "run", "-i", "--", "wc", "-c")[1].strip() == b"0"


def test_run_i_with_a_file(agent, tmp_path):
    """A regular file cannot be polled by epoll; it must work all the same."""
    path = tmp_path / "input"
    data = random.Random(1).randbytes(3 << 20)
    path.write_bytes(data)
    with open(path, "rb") as file:
        code, out, _ = Tool(agent.target, "run", "-i", "--", "sha256sum", stdin=file).finish()
    assert code == 0 and out.split()[0].decode() == sha(data)


def test_run_i_bulk_both_ways(agent):
    data = random.Random(2).randbytes(8 << 20)
    code, out, _ = ctl(agent, "run", "-i", "--", "cat", data=data)
    assert code == 0 and sha(out) == sha(data)


def test_run_i_is_interactive(agent):
    tool = Tool(agent.target, "run", "-i", "--", "sh", "-c", "while read x; do echo got $x; done",
                stdin=subprocess.PIPE)
    for word in (b"one", b"two"):
        tool.proc.stdin.write(word + b"\n")
        tool.proc.stdin.flush()
        assert tool.proc.stdout.readline() == b"got " + word + b"\n"
    assert tool.finish()[0] == 0


def test_run_i_ends_although_its_stdin_stays_open(agent):
    read_end, write_end = os.pipe()
    code, out, _ = Tool(agent.target, "run", "-i", "--", "head", "-c", "0", stdin=read_end).finish(timeout=10)
    os.close(read_end)
    os.close(write_end)
    assert (code, out) == (0, b"")


def test_run_options(agent):
    code, out, _ = ctl(agent, "run", "-e", "A=1", "-e", "B=x=y z", "--cwd", "/usr", "--", "sh", "-c",
                       'echo "$A|$B|$(pwd)"')
    assert (code, out) == (0, b"1|x=y z|/usr\n")


def test_run_id(agent):
    session = agent.new_id("ctl")
    assert ctl(agent, "run", "--id", session, "--", "sh", "-c", "echo x; exit 4")[:2] == (4, b"x\n")
    assert listed(agent, session)["state"] == "exited"
    code, _, err = ctl(agent, "run", "--id", session, "--", "something", "else")
    assert code == 125 and session.encode() in err


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_run_user(agent):
    assert ctl(agent, "run", "--user", "nobody", "--", "id", "-un")[:2] == (0, b"nobody\n")
    assert ctl(agent, "run", "--user", "1234:2345", "--", "sh", "-c", "id -u; id -g")[1] == b"1234\n2345\n"


def test_run_arguments_that_look_like_options(agent):
    assert ctl(agent, "run", "--", "echo", "-n", "--id", "x", "--")[1] == b"--id x --"


def test_run_arguments_that_are_not_utf8(agent):
    tool = Tool(agent.target, "run", "--", "printf", "%s", b"\xff\xfe".decode("utf-8", "surrogateescape"))
    assert tool.finish()[1] == b"\xff\xfe"


def test_run_when_stdout_is_closed(agent):
    """`agentctl run -- yes | head -1` ends."""
    read_end, write_end = os.pipe()
    tool = Tool(agent.target, "run", "--timeout", "20", "--", "yes", stdout=write_end)
    os.close(write_end)
    assert os.read(read_end, 2) == b"y\n"
    os.close(read_end)
    code, _, _ = tool.finish(timeout=10)
    assert code != 0


def test_run_with_a_slow_reader(agent):
    """The pipe to the reader is full for a while: nothing is lost and nothing piles up."""
    tool = Tool(agent.target, "run", "--", "sh", "-c", seq_script(0, 300000))
    time.sleep(1)
    with open(f"/proc/{tool.proc.pid}/statm") as file:
        resident = int(file.read().split()[1]) * 4096
    assert resident < (200 << 20)
    assert tool.finish()[1] == seq_bytes(0, 300000)


def test_run_background_child(agent):
    """Ends with its leader, as a shell would; what children write later is not waited for."""
    began = time.monotonic()
    code, out, _ = ctl(agent, "run", "--", "sh", "-c", "sleep 20 & echo hi; exit 6")
    assert (code, out) == (6, b"hi\n") and time.monotonic() - began < 10


def test_run_killed_by_somebody_else(agent):
    session = agent.new_id("ctl")
    tool = Tool(agent.target, "run", "--id", session, "--", "sh", "-c", "echo up; sleep 100")
    assert tool.proc.stdout.readline() == b"up\n"
    assert ctl(agent, "kill", session)[0] == 0
    assert tool.finish()[0] == 128 + 15


def test_runs_at_once(agent):
    tools = [Tool(agent.target, "run", "--", "sh", "-c", f"echo {number}; exit {number}") for number in range(16)]
    for number, tool in enumerate(tools):
        assert tool.finish()[:2] == (number, b"%d\n" % number)


# start, attach, list, kill, remove

def test_start_and_attach(agent):
    session = agent.new_id("ctl")
    script = "sleep 0.5; echo out; echo error >&2; exit 7"
    code, out, err = ctl(agent, "start", "--id", session, "--", "sh", "-c", script)
    assert code == 0 and session.encode() in out, err
    assert listed(agent, session)["state"] == "running"
    assert ctl(agent, "attach", session) == (7, b"out\n", b"error\n")
    assert ctl(agent, "attach", session) == (7, b"out\n", b"error\n"), "an ended session can be read again"


def test_start_prints_the_id_it_got(agent):
    code, out, _ = ctl(agent, "start", "--", "true")
    assert code == 0 and listed(agent, out.decode().split()[0])


def test_attach_since(agent):
    session = agent.new_id("ctl")
    ctl(agent, "run", "--id", session, "--", "sh", "-c", "echo 012345; echo abcdef >&2")
    assert ctl(agent, "attach", session, "--since", "3,5")[1:] == (b"345\n", b"f\n")


def test_attach_to_nothing(agent):
    code, out, err = ctl(agent, "attach", "nobody-has-this")
    assert code == 125 and out == b"" and b"nobody-has-this" in err


def test_attach_tells_of_a_gap(agent):
    """Silence about missing bytes would be a lie."""
    session = agent.new_id("ctl")
    ctl(agent, "start", "--id", session, "--", "sh", "-c", seq_script(0, 400000))
    harness.eventually(lambda: listed(agent, session)["state"] == "exited", "the end")
    code, out, err = ctl(agent, "attach", session)
    assert code == 0 and seq_bytes(0, 400000).endswith(out) and len(out) < 3200000
    assert err.strip(), "a message on stderr"


def test_list(agent):
    session = agent.new_id("ctl")
    ctl(agent, "start", "--id", session, "--", "sleep", "100")
    code, out, _ = ctl(agent, "list")
    assert code == 0 and re.search(rf"{session}.*running", out.decode()) and b"sleep" in out
    entry = listed(agent, session)
    assert entry["cmd"] == ["sleep", "100"]
    assert ctl(agent, "kill", session, "KILL")[0] == 0
    harness.eventually(lambda: listed(agent, session)["state"] == "killed", "the end")
    assert ctl(agent, "remove", session)[0] == 0
    assert listed(agent, session) is None


@pytest.mark.own_agent
def test_list_of_more_than_a_page(agent):
    link = agent.connect()
    for number in range(270):
        link.request("start", id=f"s{number}", start={"cmd": ["true"]})
    assert len(ctl(agent, "list")[1].splitlines()) >= 270
    assert listed(agent, "s0") and listed(agent, "s269")


def test_kill_by_number_and_name(agent):
    for name in ("9", "KILL"):
        session = agent.new_id("ctl")
        ctl(agent, "start", "--id", session, "--", "sleep", "100")
        assert ctl(agent, "kill", session, name)[0] == 0
        assert ctl(agent, "attach", session)[0] == 128 + 9


@pytest.mark.parametrize("op", ["kill", "remove"])
def test_of_an_unknown_session(agent, op):
    code, _, err = ctl(agent, op, "nobody-has-this")
    assert code not in (0, -signal.SIGABRT) and b"nobody-has-this" in err


def test_remove_of_a_running_session(agent):
    session = agent.new_id("ctl")
    ctl(agent, "start", "--id", session, "--", "sleep", "100")
    code, _, err = ctl(agent, "remove", session)
    assert code != 0 and err.strip()
    assert listed(agent, session)["state"] == "running"
    ctl(agent, "kill", session, "KILL")


# ping, info

def test_ping(agent):
    code, out, _ = ctl(agent, "ping", "-n", "5")
    assert code == 0 and re.search(rb"\d", out)
    assert ctl(agent, "ping")[0] == 0


def test_info(agent):
    code, out, _ = ctl(agent, "info")
    assert code == 0
    for value in (agent.connect().hello["instance"], agent.connect().hello["version"]):
        assert value.encode() in out


def test_version_and_help():
    for option in ("--version", "--help"):
        code, out, _ = Tool(None, option).finish()
        assert code == 0 and out.strip()
    assert b"run" in Tool(None, "--help").finish()[1]


@pytest.mark.parametrize("args", [[], ["dance"], ["run"], ["run", "--nonsense", "--", "true"], ["attach"],
                                  ["run", "--timeout", "soon", "--", "true"], ["attach", "x", "--since", "abc"],
                                  ["run", "-e", "NOVALUE", "--", "true"]], ids=" ".join)
def test_bad_usage(agent, args):
    code, out, err = ctl(agent, *args)
    assert code not in (0, 124) and code > 0 and out == b"" and err.strip()


# where it cannot connect

@pytest.mark.parametrize("target", ["unix:/no/such/socket", "hybrid:/no/such/socket:1024"])
def test_no_such_socket(target):
    code, _, err = Tool(target, "run", "--", "true").finish(timeout=40)
    assert code == 125
    assert b"/no/such/socket" in err and b"no such file" in err.lower(), "what failed, where"


@pytest.mark.parametrize("target", ["", "unix", "tcp:localhost:1", "vsock:3", "vsock:a:b", "hybrid:/x"])
def test_bad_target(target):
    code, _, err = Tool(target or "nonsense", "info").finish()
    assert code not in (0, 124) and err.strip()


def test_socket_nobody_listens_on(tmp_path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
    code, _, err = Tool(f"unix:{tmp_path}/s", "info").finish(timeout=40)
    assert code == 125 and str(tmp_path / "s").encode() in err


@pytest.mark.own_agent
def test_hybrid(agent, relay):
    door = relay(agent.target, hybrid_port=1024)
    assert Tool(f"hybrid:{door.path}:1024", "run", "--", "echo", "hi").finish()[:2] == (0, b"hi\n")
    code, _, err = Tool(f"hybrid:{door.path}:99", "info").finish(timeout=40)
    assert code == 125 and b"99" in err


# links that break

@pytest.mark.own_agent
def test_run_survives_cut_links(agent, relay):
    rng = random.Random(11)
    data = rng.randbytes(8 << 20)
    handshakes = [rng.randrange(1, 1200) for _ in range(4)]
    door = relay(agent.target, [200000, *handshakes, *(rng.randrange(1, 1 << 20) for _ in range(12))])
    code, out, err = Tool(f"unix:{door.path}", "run", "-i", "--", "cat", stdin=subprocess.PIPE).finish(data, 50)
    assert door.cuts >= 10, door.cuts
    assert code == 0 and sha(out) == sha(data), err[-2000:]


@pytest.mark.own_agent
def test_run_is_started_once_over_cut_links(agent, relay):
    """Wherever the link breaks, the command runs once. A first link that never said hello may be given up, though."""
    for budget in range(300, 1600, 50):
        door = relay(agent.target, [budget, 100, 600, 900])
        session = f"once-{budget}"
        code, out, err = Tool(f"unix:{door.path}", "run", "--id", session, "--", "sh", "-c",
                              "echo ran; sleep 0.1; exit 3").finish(timeout=50)
        assert (code, out) == (3, b"ran\n") or (code == 125 and out == b"" and budget < 900), (budget, code, out, err)
        assert not out or agent.connect().open(id=session).finish().out == b"ran\n"


@pytest.mark.own_agent
def test_run_keeps_its_exit_code_when_the_link_is_away_at_the_end(agent, relay):
    door = relay(agent.target)
    tool = Tool(f"unix:{door.path}", "run", "--", "sh", "-c", "echo one; sleep 0.5; echo two; exit 9")
    assert tool.proc.stdout.readline() == b"one\n"
    os.rename(door.path, door.path + ".away")
    door.cut_all()
    time.sleep(1)
    os.rename(door.path + ".away", door.path)
    assert tool.finish(timeout=40)[:2] == (9, b"two\n")


@pytest.mark.own_agent
def test_run_survives_an_upgrade(agent):
    tool = Tool(agent.target, "run", "-i", "--", "sh", "-c", "echo up; cat; exit 3", stdin=subprocess.PIPE)
    assert tool.proc.stdout.readline() == b"up\n"
    code, _, err = ctl(agent, "upgrade", harness.binary("agentd"))
    assert code == 0, err
    assert tool.finish(b"after\n")[:2] == (3, b"after\n")
    assert agent.connect().hello["epoch"] >= 1


@pytest.mark.own_agent
def test_upgrade_to_nonsense(agent):
    code, _, err = ctl(agent, "upgrade", "/no/such/agentd")
    assert code not in (0, 124) and b"/no/such/agentd" in err


@pytest.mark.own_agent
def test_run_when_the_agent_is_gone_for_good(start_agent):
    """Another instance on the same socket does not know the session: 125 and a word, not a hang and not a rerun."""
    first = start_agent()
    tool = Tool(first.target, "run", "--", "sh", "-c", "echo up; sleep 1000")
    assert tool.proc.stdout.readline() == b"up\n"
    first.kill()
    harness.reap_orphans()
    second = start_agent(directory=first.dir)
    code, out, err = tool.finish(timeout=50)
    assert code == 125 and out == b"" and err.strip()
    assert second.connect().request("list")["sessions"] == []


@pytest.mark.agentd(token="sesame")
def test_refused_by_the_agent(agent):
    code, _, err = ctl(agent, "info")
    assert code == 125 and (b"401" in err or b"token" in err.lower())


@pytest.mark.own_agent
def test_agent_that_is_stopping(agent):
    """The session is ended by the agent: that is its end, not a lost link."""
    tool = Tool(agent.target, "run", "--", "sh", "-c", "echo up; sleep 100")
    assert tool.proc.stdout.readline() == b"up\n"
    threading.Timer(0.1, agent.terminate).start()
    assert tool.finish()[0] == 128 + 15
