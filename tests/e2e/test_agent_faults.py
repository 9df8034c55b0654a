"""Claude agent sessions whose program misbehaves in ways the real one cannot be made to: tests/e2e/stand_in.py."""
import json
import os
import pathlib
import random
import signal
import time

import pytest

import harness
from claude import only, result_of, stand_in
from harness import alive

pytestmark = pytest.mark.same_machine

MIB = 1 << 20


def pid_of(events):
    return [event for event in events if event.get("subtype") == "init"][-1]["pid"]


def argv_of(events):
    return [event for event in events if event.get("subtype") == "init"][-1]["argv"]


def error_of(events):
    (error,) = only(events, "error")
    assert set(error) == {"type", "message", "code"}
    return error


# the command line

def test_default_arguments(link):
    events = stand_in(link).turn("say hi")
    assert argv_of(events) == ["-p", "--input-format=stream-json", "--output-format=stream-json", "--verbose",
                               "--permission-mode=bypassPermissions", "--max-turns=50"]
    assert [event for event in events if event.get("subtype") == "init"][0]["sandbox"] == "1"


def test_all_arguments(link, tmp_path):
    session = stand_in(link)
    session.configure(model="m", permissionMode="plan", allowedTools=["A(b, c)", "D"], disallowedTools=["E"],
                      systemPrompt="-s \"ä\"\n", appendSystemPrompt="more", maxTurns=7, cwd=str(tmp_path),
                      includePartialMessages=True, args=["--add-dir=/tmp", "-x y"], resume="conversation-1")
    session.write(b'{"type":"configure","mcpServers":{"x": {"command":"y", "n":1.50}}}\n')
    session.wait("configured", 2)
    events = session.turn("say hi")
    assert argv_of(events)[4:] == [
        "--permission-mode=plan", "--max-turns=7", "--model=m", "--allowedTools=A(b, c),D", "--disallowedTools=E",
        "--system-prompt=-s \"ä\"\n", "--append-system-prompt=more",
        '--mcp-config={"mcpServers":{"x": {"command":"y", "n":1.50}}}', "--include-partial-messages",
        "--resume=conversation-1", "--system-prompt-snapshot=off", "--add-dir=/tmp", "-x y"]
    assert [event for event in events if event.get("subtype") == "init"][0]["cwd"] == str(tmp_path)


def test_null_sets_a_default_back(link):
    session = stand_in(link)
    session.configure(model="m", maxTurns=3, args=["--a"], allowedTools=["x"])
    session.configure(model=None, maxTurns=None, args=None, allowedTools=[])
    assert argv_of(session.turn("say hi"))[4:] == ["--permission-mode=bypassPermissions", "--max-turns=50"]


def test_the_same_configuration_again_changes_nothing(link):
    session = stand_in(link)
    everything = {"model": "m", "maxTurns": 7, "systemPrompt": "x", "mcpServers": {"a": {}}, "args": ["--b"]}
    session.configure(**everything)
    first = pid_of(session.turn("say hi"))
    session.configure(**everything)
    assert pid_of(session.turn("say hi")) == first
    session.configure(systemPrompt="y")
    assert pid_of(session.turn("say hi")) != first


def test_a_change_that_is_refused_comes_with_a_restart(link):
    session = stand_in(link, "stubborn")
    first = session.turn("say hi")
    session.configure(model="other")
    session.turn("say at the latest with the next")
    events = session.turn("say hi")
    assert pid_of(events) != pid_of(first) and "--model=other" in argv_of(events)
    assert f"--resume={first[-1]['claude_session_id']}" in argv_of(events)


def test_program_without_the_snapshot_option(link):
    """Older programs end with an unknown option before anything has happened; then it is left out."""
    session = stand_in(link, "old")
    session.configure(systemPrompt="x", resume="conversation-1")
    events = session.turn("say hi")
    assert result_of(events) == "hi" and not only(events, "error")
    assert "--resume=conversation-1" in argv_of(events)


@pytest.mark.parametrize("members", [
    {"model": 1}, {"model": ""}, {"maxTurns": 0}, {"maxTurns": "5"}, {"maxTurns": 1.5}, {"maxTurns": -1},
    {"allowedTools": "Bash"}, {"allowedTools": [1]}, {"mcpServers": []}, {"cwd": {}}, {"args": [None]},
    {"systemPrompt": "a\0b"}, {"stallKill": 1}, {"resume": "x" * 257}, {"systemPrompt": "x" * (100 * 1024 + 1)},
    {"args": ["x"] * 257}])
def test_bad_configuration(link, members):
    session = stand_in(link)
    session.send("configure", model="good", **{key: value for key, value in members.items() if key != "model"})
    if "model" in members:
        session.send("configure", **members)
    error = session.wait("error")
    assert error["code"] == "bad_input" and next(iter(members)) in error["message"]
    taken = "model" in members
    assert len(session.of("configured")) == taken
    assert ("--model=good" in argv_of(session.turn("say hi"))) == taken, "all of it or nothing"


# what comes in

@pytest.mark.parametrize("line", [b"{bad", b"[]", b"1", b'"text"', b'{"type":"prompt","text":"\xff"}', b"{} {}",
                                  b"[" * 100000, b'{"type":"prompt","text":"a\nb"}'])
def test_no_json(link, line):
    session = stand_in(link)
    session.write(line + b"\n")
    error = session.wait("error")
    assert (error["message"], error["code"]) == ("invalid JSON input", "bad_input")
    assert result_of(session.turn("say fine")) == "fine"


@pytest.mark.parametrize("line", [
    {}, {"type": "dance"}, {"type": 1}, {"type": "prompt"}, {"type": "prompt", "text": ""},
    {"type": "prompt", "text": 5}, {"type": "prompt", "content": []}, {"type": "prompt", "content": "x"},
    {"type": "prompt", "text": "x", "resume": 1}, {"type": "prompt", "text": "x", "resume": "y" * 257}])
def test_bad_lines(link, line):
    session = stand_in(link)
    session.write(json.dumps(line).encode() + b"\n")
    assert session.wait("error")["code"] == "bad_input"
    assert result_of(session.turn("say fine")) == "fine"
    assert session.seen().count("turn_complete") == 1


def test_blank_lines_and_odd_splits(link):
    session = stand_in(link)
    line = b' {"type" : "prompt", "resume":null, "text":"say \\u00e4\\ud834\\udd1e\xc3\xa4", "more":{"a":[1]}}'
    for byte in b"\n  \r\n" + line + b"\r\n\n":
        session.write(bytes([byte]))
    session.wait("turn_complete")
    assert result_of(session.events) == "ä\U0001d11eä" and "error" not in session.seen()


@pytest.mark.seconds(120)
def test_long_lines(link):
    session = stand_in(link, start={"ring": 40 * MIB}, window=40 * MIB)
    text = "say " + "ä" * (8 * MIB - 200)
    events = session.turn(text, timeout=60)
    assert result_of(events) == text[4:]
    session.write(b'{"type":"prompt","text":"' + b"x" * (16 * MIB) + b'"}\n', timeout=60)
    assert session.wait("error", timeout=60)["code"] == "bad_input"
    assert result_of(session.turn("say fine")) == "fine"


def test_too_many_prompts(link):
    session = stand_in(link)
    session.prompt("hang")
    session.link.wait(lambda: session.of("system"), "the turn")
    for number in range(65):
        session.prompt(f"say {number}")
    assert session.wait("error")["code"] == "too_many"
    session.send("interrupt")
    session.wait("turn_complete", 65)
    assert [event["result"] for event in session.of("result")][1:] == [str(number) for number in range(64)]


# what the program says

def test_messages_are_untouched(link, tmp_path):
    """Byte for byte, characters never split, and only messages: its control channel and its noise are left out."""
    log = tmp_path / "log"
    session = stand_in(link, env={"STAND_IN_LOG": str(log)})
    for text in ("say a", "bytes", "garbage", "bytes", "huge 3000000", "ask", "say \"quoted\\\" €"):
        session.turn(text)
    noise = [b"this is no JSON\n", b"[1]\n", b"\xff\xfe broken\n", b'{"type":\n', b"\n"]
    said = [line for line in log.read_bytes().splitlines(True) if line not in noise and b'"control_' not in line]
    own = (b'{"type":"ready"}', b'{"type":"turn_complete"')
    assert [line for line in session.lines if not line.startswith(own)] == said
    session.finish()
    assert session.channel.err == b"".join(noise)


def test_a_line_that_is_too_long(link):
    session = stand_in(link)
    events = session.turn(f"huge {17 * MIB}", timeout=40)
    assert error_of(events)["code"] == "too_long" and events[-1]["claude_session_id"]
    assert result_of(session.turn("say fine")) == "fine"


def test_stderr_is_passed_on(link):
    session = stand_in(link)
    session.turn("stderr 20000")
    session.finish()
    assert session.channel.err == b"".join(b"stderr line %d\n" % number for number in range(20000))


def test_a_turn_nobody_asked_for(link):
    session = stand_in(link)
    session.prompt("then one")
    session.wait("turn_complete", 2)
    assert [event["result"] for event in session.of("result")] == ["one", "more"]


@pytest.mark.parametrize("mode, answer", [(None, "allow"), ("bypassPermissions", "allow"), ("default", "deny"),
                                          ("acceptEdits", "deny"), ("plan", "deny")])
def test_permission(link, mode, answer):
    session = stand_in(link)
    session.configure(permissionMode=mode)
    response = json.loads(result_of(session.turn("ask")))
    assert response["request_id"] == "its-own" and response["response"]["behavior"] == answer
    if answer == "allow":
        assert response["response"]["updatedInput"] == {"command": "true", "n": [1, 2.5]}


def test_unknown_control_request(link):
    response = json.loads(result_of(stand_in(link).turn("odd")))
    assert response["subtype"] == "error" and response["request_id"] == "its-own"


# when it ends

@pytest.mark.parametrize("how, words", [("exit 3", ("exit code 3", "my last words ä")), ("exit 0", ("exit code 0",)),
                                        ("die", ("SIGKILL",))])
def test_crash_in_a_turn(link, how, words):
    session = stand_in(link)
    conversation = session.turn("say one")[-1]["claude_session_id"]
    events = session.turn(how)
    error = error_of(events)
    assert error["code"] == "crashed" and all(word in error["message"] for word in words)
    assert events[-1] == {"type": "turn_complete", "claude_session_id": conversation}
    events = session.turn("say two")
    assert result_of(events) == "two" and f"--resume={conversation}" in argv_of(events)


def test_crash_with_prompts_waiting(link):
    session = stand_in(link)
    for text in ("exit 1", "exit 2", "say three"):
        session.prompt(text)
    session.wait("turn_complete", 3)
    assert session.seen() == ["ready"] + ["error", "turn_complete"] * 2 + ["result", "turn_complete"]


def test_end_between_turns(link):
    session = stand_in(link)
    first = session.turn("quit now")
    harness.eventually(lambda: not alive(pid_of(first)), "its end")
    events = session.turn("say again")
    assert result_of(events) == "again" and "error" not in session.seen()
    assert f"--resume={first[-1]['claude_session_id']}" in argv_of(events)


def test_a_program_for_one_turn_at_a_time(link):
    """It may end just when the next prompt comes: no crash, and nothing done twice."""
    session = stand_in(link)
    for number in range(10):
        session.prompt(f"quit {number}")
    session.wait("turn_complete", 10)
    assert [event["result"] for event in session.of("result")] == [str(number) for number in range(10)]
    assert "error" not in session.seen()


def test_program_that_takes_no_more_input(link):
    session = stand_in(link)
    session.turn("mute")
    events = session.turn("say hello", timeout=30)
    assert error_of(events)["code"] == "crashed"
    assert result_of(session.turn("say fine")) == "fine"


@pytest.mark.parametrize("words", ["gone", "lost"])
def test_automatic_resume_that_fails(link, words):
    """It is said, and only the prompt after that begins anew."""
    session = stand_in(link, words)
    first = session.turn("quit one")[-1]["claude_session_id"]
    harness.eventually(lambda: not alive(pid_of(session.events)), "its end")
    events = session.turn("say two")
    assert error_of(events)["code"] == "resume_failed" and first in error_of(events)["message"]
    assert events[-1]["claude_session_id"] is None
    events = session.turn("say three")
    assert result_of(events) == "three" and not any(arg.startswith("--resume") for arg in argv_of(events))


def test_cwd_that_is_not_there(link):
    session = stand_in(link)
    session.configure(cwd="/no/such/place")
    error = error_of(session.turn("say hi"))
    assert error["code"] == "start_failed" and "/no/such/place" in error["message"]
    session.configure(cwd="/tmp")
    assert result_of(session.turn("say hi")) == "hi"


# when it hangs

def test_silence_is_said(link):
    session = stand_in(link)
    session.configure(stallMs=300)
    session.prompt("hang")
    assert session.wait("error")["code"] == "stalled"
    session.link.idle(0.8)
    assert session.seen() == ["ready", "configured", "error"], "once for each silence, and it goes on"
    session.send("interrupt")
    session.wait("turn_complete")
    session.link.idle(0.5)
    assert session.seen().count("error") == 1, "no turn, no silence"


def test_silence_that_ends_it(link):
    session = stand_in(link)
    session.configure(stallMs=300, stallKill=True)
    events = session.turn("stone")
    assert [event["code"] for event in only(events, "error")] == ["stalled"]
    assert not alive(pid_of(events))
    assert result_of(session.turn("say fine")) == "fine"


@pytest.mark.parametrize("how", ["deaf", "stone"])
@pytest.mark.seconds(90)
def test_interrupt_that_is_not_obeyed(link, how):
    session = stand_in(link)
    session.prompt(how)
    session.link.wait(lambda: session.of("assistant"), "the turn")
    began = time.monotonic()
    session.send("interrupt")
    session.wait("turn_complete", timeout=30)
    assert 9 < time.monotonic() - began < 20
    assert session.seen() == ["ready", "interrupted", "turn_complete"] and not alive(pid_of(session.events))
    assert result_of(session.turn("say fine")) == "fine"


def test_interrupt_that_came_too_early_is_said_again(link):
    session = stand_in(link)
    session.prompt("slow")
    session.send("interrupt")
    session.send("interrupt")
    session.wait("turn_complete")
    assert session.seen() == ["ready", "result", "interrupted", "turn_complete"]


def test_interrupt_with_prompts_waiting(link):
    session = stand_in(link)
    session.prompt("hang")
    session.prompt("say next")
    session.link.wait(lambda: session.of("system"), "the turn")
    session.send("interrupt")
    session.wait("turn_complete", 2)
    assert session.seen() == ["ready", "result", "interrupted", "turn_complete", "result", "turn_complete"]


def test_interrupt_gets_through_to_a_program_nobody_reads(link, tmp_path):
    """The client takes no output, so the program is not read; the client's own lines still are."""
    session = stand_in(link, window=1 << 16, start={"ring": 65536})
    session.channel.auto = False
    session.prompt(f"flood {tmp_path}/heard")
    session.channel.wait_bytes(1 << 16)
    session.link.idle(0.5)  # until everything on the way is full
    session.send("interrupt")
    harness.eventually((tmp_path / "heard").exists, "the interrupt")
    session.channel.flow(1 << 16)
    session.wait("turn_complete")
    assert session.seen() == ["ready", "result", "interrupted", "turn_complete"]


# the driver's own end

def driver_children(session):
    return harness.children_of(session.channel.opened["pid"])


@pytest.mark.parametrize("how", ["hang", "stone"])
def test_term(link, how):
    session = stand_in(link)
    session.prompt(how)
    session.link.wait(lambda: session.of("system"), "the turn")
    session.prompt("say never")
    program = pid_of(session.events)
    link.request("kill", id=session.id, signal="TERM", to="leader")
    session.channel.finish()
    end = session.channel.end
    assert (end["state"], end["by"], end["signal"]) == ("killed", "client", 15)
    assert session.seen()[-2:] == ["interrupted", "turn_complete"] and not alive(program)
    assert "never" not in session.channel.out.decode()


@pytest.mark.parametrize("to", ["leader", "group", "tree"])
def test_kill_leaves_nothing(link, to):
    session = stand_in(link)
    session.turn("say hi")
    program = pid_of(session.events)
    link.request("kill", id=session.id, signal="KILL", to=to)
    session.channel.finish()
    harness.eventually(lambda: not alive(program), "the program's end")


def test_end_of_input_with_a_program_that_stays(link):
    """One that does not end when its input does is made to."""
    session = stand_in(link)
    session.turn("say hi")
    os.kill(pid_of(session.events), signal.SIGSTOP)
    began = time.monotonic()
    assert session.finish(timeout=20)["code"] == 0
    assert 4 < time.monotonic() - began < 12


def test_end_of_input_without_a_line_end(link):
    session = stand_in(link)
    session.write(b'{"type":"prompt","text":"say cut"}')
    session.finish()
    assert result_of(session.events) == "cut"


def test_idle_driver_sleeps(link):
    session = stand_in(link)
    session.turn("say hi")
    pid = session.channel.opened["pid"]
    assert pathlib.Path(f"/proc/{pid}/comm").read_text() == "agentd-claude\n"

    def switches():
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        return int(status.partition("voluntary_ctxt_switches:")[2].split()[0])
    link.idle(0.5)  # it goes to sleep after its last line
    before = switches()
    link.idle(1.5)
    assert switches() == before
    assert len(list(pathlib.Path(f"/proc/{pid}/task").iterdir())) == 1


@pytest.mark.seconds(120)
def test_many_at_once(link):
    sessions = [stand_in(link) for _ in range(30)]
    for number, session in enumerate(sessions):
        session.prompt(f"say {number}")
    for number, session in enumerate(sessions):
        session.wait("turn_complete", timeout=60)
        assert result_of(session.events) == str(number)


@pytest.mark.own_agent
def test_nothing_is_left_when_agentd_is_killed(agent):
    """Its pipes break, and driver and program end by that."""
    sessions = [stand_in(agent.connect()) for _ in range(2)]
    sessions[0].turn("say hi")
    sessions[1].prompt("hang")
    sessions[1].link.wait(lambda: sessions[1].of("system"), "the turn")
    pids = [pid for s in sessions for pid in (s.channel.opened["pid"], pid_of(s.events))]
    agent.kill()
    for pid in pids:
        harness.eventually(lambda: not alive(pid), "the end of all processes")


@pytest.mark.parametrize("seed", range(40 if harness.LONG else 4))
@pytest.mark.seconds(180)
def test_anything_in_any_order(link, seed):
    """Whatever is asked, whatever breaks: each prompt has its turn, in order, and no turn is run twice."""
    chance = random.Random(seed)
    session = stand_in(link, *chance.choice([[], ["stubborn"], ["old"]]))
    asked = []
    for number in range(40):
        what = chance.choice(["say", "say", "say", "quit", "exit", "die", "hang", "interrupt", "interrupt", "configure",
                              "restart", "garbage", "wait", "wait"])
        if what in ("say", "quit"):
            asked.append(str(number))
            session.prompt(f"{what} {number}")
        elif what in ("exit", "die", "hang"):
            asked.append(None)
            session.prompt(f"{what} 1")
        elif what == "interrupt":
            session.send("interrupt")
        elif what == "configure":
            session.send("configure", model=f"m{number % 3}", permissionMode=chance.choice(["plan", None]))
        elif what == "restart":
            session.send("configure", systemPrompt=f"s{number}")
        elif what == "garbage":
            session.write(b"{no JSON\n")
        else:
            link.idle(chance.random() * 0.3)
    deadline = time.monotonic() + 120
    while len(session.of("turn_complete")) < len(asked):
        assert time.monotonic() < deadline, session.seen()
        session.send("interrupt")
        link.idle(0.3)
    assert session.finish(timeout=30)["code"] == 0
    assert len(session.of("turn_complete")) == len(asked)
    said = [event["result"] for event in session.of("result") if not event["is_error"]]
    expected = iter([one for one in asked if one is not None])
    assert all(one in expected for one in said), f"{said} of {asked}"
    known = {"bad_input", "crashed"}
    assert {event["code"] for event in session.of("error")} <= known

