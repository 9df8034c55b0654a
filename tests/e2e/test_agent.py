"""Claude agent sessions (docs/protocol.md, section 15), with the real CLI talking to an API on the loopback."""
import json
import os
import pathlib
import shutil
import sys

import pytest

import harness
from claude import CLI, Claude, only, result_of
from harness import ROOT, Agent
from messages_api import MessagesApi
from wire import AgentError

pytestmark = pytest.mark.same_machine


@pytest.fixture
def api():
    with MessagesApi() as running:
        yield running


@pytest.fixture
def claude(link, api, tmp_path):
    """Starts sessions on the real CLI; their home is tmp_path/home."""
    home = tmp_path / "home"
    home.mkdir()

    def start(on=link, env=None, **how):
        start = {"cwd": str(home), **how.pop("start", {})}
        return Claude(on, env={**api.env(home), "AGENTD_CLAUDE": CLI, **(env or {})}, start=start, **how)
    start.home = home
    return start


def texts(events):
    return [part["text"] for event in only(events, "assistant") for part in event["message"]["content"]
            if part["type"] == "text"]


def last_prompt(request):
    content = [m for m in request["messages"] if m["role"] == "user"][-1]["content"]
    return content if isinstance(content, str) else json.dumps(content)


def test_cap(link):
    assert "agent" in link.hello["caps"]


def test_a_turn(claude):
    session = claude()
    assert session.wait("ready") == {"type": "ready"}
    events = session.turn("say hello there")
    assert texts(events) == ["hello there"] and result_of(events) == "hello there"
    (init,) = [event for event in events if event.get("subtype") == "init"]
    assert events[-1] == {"type": "turn_complete", "claude_session_id": init["session_id"]}
    assert init["permissionMode"] == "bypassPermissions" and init["cwd"] == str(claude.home)
    assert session.seen() == ["ready", "result", "turn_complete"]
    assert session.finish()["code"] == 0


def test_a_tool_is_really_used(claude):
    session = claude()
    events = session.turn("bash echo made > file; cat file; pwd")
    assert (claude.home / "file").read_text() == "made\n"
    assert result_of(events) == f"it said: made\n{claude.home}"
    (use,) = [part for event in only(events, "assistant") for part in event["message"]["content"]
              if part["type"] == "tool_use"]
    assert use["name"] == "Bash"


def test_one_conversation_and_one_process(claude, api):
    session = claude()
    first = session.turn("say one")[-1]["claude_session_id"]
    assert session.turn("say two")[-1]["claude_session_id"] == first
    assert "say one" in json.dumps(api.requests[-1]["messages"])
    assert len(session.link.request("list")["sessions"]) == 1


def test_interrupt_during_a_turn(claude, api):
    """The original read no input during a turn, so its interrupt came when there was nothing to interrupt any more."""
    session = claude()
    session.prompt("hold this thought")
    assert api.holding.wait(20)
    session.send("interrupt")
    session.wait("turn_complete")
    assert session.seen() == ["ready", "result", "interrupted", "turn_complete"]
    assert api.hung_up.wait(10), "the request of the turn goes on"
    assert result_of(session.turn("say after that")) == "after that"
    assert session.seen().count("interrupted") == 1


def test_interrupt_at_once(claude):
    """One that comes before the program has begun is lost on it; it must be said again."""
    session = claude()
    session.prompt("hold this thought")
    session.send("interrupt")
    session.wait("turn_complete")
    assert session.seen() == ["ready", "result", "interrupted", "turn_complete"]


def test_interrupt_of_a_tool(claude, tmp_path):
    session = claude()
    mark = tmp_path / "mark"
    session.prompt(f"bash echo $$ > {mark}; sleep 1000")
    harness.eventually(lambda: mark.exists() and mark.read_text().endswith("\n"), "the tool")
    session.send("interrupt")
    session.wait("turn_complete")
    harness.eventually(lambda: not harness.alive(int(mark.read_text())), "the tool's end")


def test_interrupt_without_a_turn(claude):
    session = claude()
    session.send("interrupt")
    session.wait("interrupted")
    assert session.seen() == ["ready", "interrupted"]


def test_prompts_queue(claude, api):
    session = claude()
    session.prompt("hold on")
    assert api.holding.wait(20)
    session.prompt("say first")
    session.prompt("say second")
    session.link.request("ping")
    assert len(only(session.events, "turn_complete")) == 0
    api.released.set()
    session.wait("turn_complete", 3)
    assert [event["result"] for event in session.of("result")] == ["on", "first", "second"]
    assert session.seen()[1:] == ["result", "turn_complete"] * 3


def test_content_blocks(claude, api):
    session = claude()
    session.send("prompt", content=[{"type": "text", "text": "look at this"}, {"type": "text", "text": "say seen"}])
    session.wait("turn_complete")
    assert session.of("result")[0]["result"] == "seen" and "look at this" in last_prompt(api.requests[0])


def test_model_and_mode_change_without_a_restart(claude, api):
    session = claude()
    session.configure(model="claude-test-one")
    first = session.turn("say one")
    assert api.requests[-1]["model"] == "claude-test-one"
    session.configure(model="claude-test-two", permissionMode="plan")
    second = session.turn("say two")
    assert api.requests[-1]["model"] == "claude-test-two"
    one, two = [[e for e in events if e.get("subtype") == "init"][0] for events in (first, second)]
    assert two["permissionMode"] == "plan" and one["session_id"] == two["session_id"]
    assert one["messaging_socket_path"] == two["messaging_socket_path"], "another process"


def test_other_changes_keep_the_conversation(claude, api):
    session = claude()
    session.configure(systemPrompt="You are A.", maxTurns=3)
    first = session.turn("say one")[-1]["claude_session_id"]
    assert "You are A." in json.dumps(api.requests[-1]["system"])
    (claude.home / "sub").mkdir()
    session.configure(systemPrompt="You are B.", cwd=str(claude.home / "sub"))
    events = session.turn("bash pwd")
    assert events[-1]["claude_session_id"] == first and result_of(events) == f"it said: {claude.home}/sub"
    system = json.dumps(api.requests[-1]["system"])
    assert "You are B." in system and "You are A." not in system
    assert "say one" in json.dumps(api.requests[-1]["messages"])


def test_max_turns(claude):
    session = claude()
    session.configure(maxTurns=1)
    assert only(session.turn("bash true"), "result")[0]["subtype"] == "error_max_turns"
    assert result_of(session.turn("say still here")) == "still here"


def test_what_is_not_permitted_is_denied(claude):
    session = claude()
    session.configure(permissionMode="default")
    session.turn("bash touch denied")
    assert not (claude.home / "denied").exists()
    session.configure(allowedTools=["Bash(touch *)"])
    session.turn("bash touch allowed")
    assert (claude.home / "allowed").exists()
    session.configure(permissionMode=None, allowedTools=None, disallowedTools=["Bash"])
    session.turn("bash touch disallowed")
    assert not (claude.home / "disallowed").exists()


def test_mcp_server(claude):
    session = claude()
    server = {"command": sys.executable, "args": [str(ROOT / "tests/e2e/mcp_adder.py")], "env": {"BIAS": "100"}}
    session.configure(mcpServers={"adder": server})
    assert result_of(session.turn('use mcp__adder__add {"a": 2, "b": 3}')) == "it said: 105"


def test_resume_in_another_session(claude, api):
    first = claude()
    conversation = first.turn("say remember me")[-1]["claude_session_id"]
    first.finish()
    second = claude()
    second.configure(resume=conversation)
    assert second.turn("say one")[-1]["claude_session_id"] == conversation
    assert "remember me" in json.dumps(api.requests[-1]["messages"])
    third = claude()
    assert third.turn("say two", resume=conversation)[-1]["claude_session_id"] == conversation
    other = claude().turn("say another")[-1]["claude_session_id"]
    assert other != conversation
    assert third.turn("say three", resume=other)[-1]["claude_session_id"] == other


def test_a_failed_resume_is_said(claude, api):
    """The original ran the prompt without the conversation, and so perhaps did twice what was done before."""
    session = claude()
    events = session.turn("bash touch done", resume="c68d0d26-7289-4a0b-87ab-c7c48a108ef7")
    (error,) = only(events, "error")
    assert error["code"] == "resume_failed" and "No conversation found" in error["message"]
    assert events[-1] == {"type": "turn_complete", "claude_session_id": None}
    assert not api.requests and not (claude.home / "done").exists()
    assert result_of(session.turn("say fine")) == "fine"


def test_a_turn_that_fails(claude):
    session = claude()
    events = session.turn("fail 400")
    (result,) = only(events, "result")
    assert result["is_error"] and "told to fail" in result["result"] and not only(events, "error")
    assert result_of(session.turn("say better")) == "better"


def test_end_of_input_finishes_what_was_asked(claude):
    session = claude()
    session.prompt("say one")
    session.prompt("bash echo two")
    end = session.finish()
    assert (end["state"], end["code"]) == ("exited", 0)
    assert [event["result"] for event in session.of("result")] == ["one", "it said: two"]
    assert session.events[-1]["type"] == "turn_complete"


def test_kill(claude, api):
    session = claude()
    session.prompt("hold it")
    assert api.holding.wait(20)
    session.link.request("kill", id=session.id, signal="TERM")
    session.channel.finish()
    assert (session.channel.end["state"], session.channel.end["signal"]) == ("killed", 15)
    assert session.seen()[-2:] == ["interrupted", "turn_complete"]
    assert api.hung_up.wait(10)


def test_link_cut_in_a_turn(claude, agent, api):
    session = claude(viewer="me", hold_ms=30000)
    session.prompt("hold on")
    assert api.holding.wait(20)
    session.link.wait(lambda: session.of("assistant"), "the first words")
    session.link.cut()
    api.released.set()
    session.resume(agent.connect())
    session.wait("turn_complete")
    assert result_of(session.turn("say and on")) == "and on"
    assert session.seen() == ["ready"] + ["result", "turn_complete"] * 2
    late = agent.connect().open(id=session.id)
    late.wait_live()
    assert late.out == b"".join(session.lines), "who comes later sees the same"


def test_upgrade_in_a_turn(claude, agent, api):
    session = claude(viewer="me", hold_ms=30000)
    session.prompt("hold on")
    assert api.holding.wait(20)
    session.resume(agent.upgrade())
    session.send("interrupt")
    session.wait("turn_complete")
    assert session.seen() == ["ready", "result", "interrupted", "turn_complete"]
    assert result_of(session.turn("bash echo $((6*7))")) == "it said: 42"
    assert session.finish()["code"] == 0


def test_several_at_once(claude, agent):
    sessions = [claude(on=agent.connect()) for _ in range(4)]
    for number, session in enumerate(sessions):
        session.prompt(f"bash echo number {number}")
    for number, session in enumerate(sessions):
        session.wait("turn_complete", timeout=40)
        assert session.of("result")[0]["result"] == f"it said: number {number}"
    assert len({session.of("turn_complete")[0]["claude_session_id"] for session in sessions}) == 4


# how it begins

def ended(session):
    session.channel.finish()
    session.read()
    return session.channel.end["code"], session.events


@pytest.mark.parametrize("env", [{"ANTHROPIC_API_KEY": None}, {"ANTHROPIC_API_KEY": ""}])
def test_no_key(claude, env):
    code, events = ended(claude(env=env))
    assert code == 1 and [(event["type"], event["code"]) for event in events] == [("error", "no_key")]
    assert "ANTHROPIC_API_KEY" in events[0]["message"]


@pytest.mark.parametrize("name", ["ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CODE_USE_BEDROCK"])
def test_other_keys(claude, name):
    assert claude(env={"ANTHROPIC_API_KEY": None, name: "1"}).wait("ready")


def test_key_helper(claude):
    (claude.home / ".claude").mkdir()
    (claude.home / ".claude/settings.json").write_text('{"apiKeyHelper": "echo sk-helped"}')
    session = claude(env={"ANTHROPIC_API_KEY": None})
    assert result_of(session.turn("say helped")) == "helped"


@pytest.mark.parametrize("program", ["/no/such/claude", "no-such-claude", "/etc/passwd", "/tmp"])
def test_no_program(claude, program):
    code, events = ended(claude(env={"AGENTD_CLAUDE": program}))
    assert code == 1 and [(event["type"], event["code"]) for event in events] == [("error", "no_program")]
    assert program in events[0]["message"]


def test_listed(claude):
    session = claude()
    session.wait("ready")
    entry = session.link.entry(session.id)
    assert entry["cmd"] == ["agentd", "claude"] and entry["stdin"]["open"]
    assert session.channel.opened["stdin"]["open"]


@pytest.mark.parametrize("start", [{"agent": "clippy"}, {"agent": "claude", "cmd": ["true"]}, {"agent": 1},
                                   {"agent": "claude", "pty": {}}])
def test_bad_start(link, start):
    with pytest.raises(AgentError) as refused:
        link.open(start=start)
    assert refused.value.code == "bad_message"


def test_the_same_start_attaches(claude):
    first = claude(id="one")
    first.wait("ready")
    again = claude(id="one")
    assert not again.channel.opened["new"]
    assert again.wait("ready")


@pytest.mark.agentd(claude=f"{CLI} --verbose")
def test_program_from_the_configuration(link, api, tmp_path):
    session = Claude(link, env=api.env(tmp_path), start={"cwd": str(tmp_path)})
    assert result_of(session.turn("say configured")) == "configured"


def test_program_of_its_own_installer(claude):
    (claude.home / ".local/bin").mkdir(parents=True)
    (claude.home / ".local/bin/claude").symlink_to(CLI)
    assert result_of(claude(env={"AGENTD_CLAUDE": None}).turn("say found")) == "found"


@pytest.mark.own_agent
def test_the_wrapper_s_name(claude, link, tmp_path):
    """An image that links the original's name to agentd needs no other wrapper."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/claude-agent-wrapper").symlink_to(harness.binary("agentd"))
    (tmp_path / "bin/claude").symlink_to(CLI)
    env = claude().channel.spec["start"]["env"]
    channel = link.open(start={"cmd": ["claude-agent-wrapper"], "stdin": True, "cwd": str(claude.home), "env": {
        **env, "PATH": f"{tmp_path}/bin:/usr/bin:/bin", "AGENTD_CLAUDE": None}}, attach={"input": True})
    channel.write(b'{"type":"prompt","text":"say by its other name"}\n', fin=True)
    assert b'"result":"by its other name"' in channel.finish().out


@pytest.mark.own_agent
def test_agentd_was_replaced(claude, tmp_path, monkeypatch, request):
    """The file may be gone by the time; the driver is what runs."""
    copy = tmp_path / "agentd"
    shutil.copy(harness.binary("agentd"), copy)
    monkeypatch.setenv("AGENTD", str(copy))
    agent = Agent()
    try:
        copy.unlink()
        assert claude(on=agent.connect()).wait("ready")
    finally:
        agent.stop()


@pytest.mark.own_agent
def test_as_another_user(link, api, tmp_path):
    home = pathlib.Path(f"/tmp/claude-nobody-{os.getpid()}")
    home.mkdir()
    try:
        os.chown(home, 65534, 65534)
        session = Claude(link, env={"AGENTD_CLAUDE": CLI, **api.env(home)},
                         start={"cwd": str(home), "user": "65534:65534"})
        assert result_of(session.turn("bash id -u")) == "it said: 65534"
    finally:
        shutil.rmtree(home)
