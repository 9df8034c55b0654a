"""agentctl agent: one turn, a chat on a terminal, a session that is there already."""
import json
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time

import pytest

import harness
from claude import CLI, PATH, STAND_IN, stand_in
from harness import Tool
from messages_api import MessagesApi

pytestmark = pytest.mark.same_machine


@pytest.fixture
def on_stand_in():
    return ["-e", f"AGENTD_CLAUDE={STAND_IN}", "-e", f"PATH={PATH}"]


def talk(agent, *args, data=None, timeout=30.0):
    """Runs `agentctl agent` to its end: (code, stdout, stderr) as text."""
    stdin = subprocess.DEVNULL if data is None else subprocess.PIPE
    code, out, err = Tool(agent.target, "agent", *args, stdin=stdin).finish(data, timeout)
    return code, out.decode(), err.decode()


def sessions(link):
    return [entry["id"] for entry in link.request("list")["sessions"]]


class Terminal:
    """A chat on a pseudo terminal."""

    def __init__(self, agent, *args):
        ours, its = pty.openpty()
        modes = termios.tcgetattr(its)
        modes[3] &= ~termios.ECHO
        termios.tcsetattr(its, termios.TCSANOW, modes)
        command = [harness.binary("agentctl"), "--connect", agent.target, "agent", *args]

        def own_terminal():
            import fcntl
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        self.proc = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=harness.program_env(),
                                     start_new_session=True, preexec_fn=own_terminal)
        harness.programs.add(self.proc)
        os.close(its)
        self.fd, self.seen, self.at = ours, "", 0

    def type(self, text):
        os.write(self.fd, text.encode())

    def expect(self, text, timeout=20):
        """Waits for this, after what was expected before; gives what came in between."""
        deadline = time.monotonic() + timeout
        while (end := self.seen.find(text, self.at)) < 0:
            if not select.select([self.fd], [], [], max(0, deadline - time.monotonic()))[0]:
                raise harness.Timeout(f"waited for {text!r} on the terminal; it shows {self.seen!r}")
            try:
                self.seen += os.read(self.fd, 65536).decode().replace("\r\n", "\n")
            except OSError:
                raise AssertionError(f"it ended before {text!r}; the terminal shows {self.seen!r}") from None
        between, self.at = self.seen[self.at:end], end + len(text)
        return between

    def end(self):
        code = self.proc.wait(20)
        harness.programs.discard(self.proc)
        try:
            while more := os.read(self.fd, 65536):
                self.seen += more.decode().replace("\r\n", "\n")
        except OSError:
            pass
        os.close(self.fd)
        assert not harness.SANITIZERS.search(self.seen), self.seen
        return code


# one turn

def test_one_turn_of_the_real_one(agent, tmp_path):
    with MessagesApi() as api:
        env = [f"-e{key}={value}" for key, value in {**api.env(tmp_path), "AGENTD_CLAUDE": CLI}.items()]
        code, out, err = talk(agent, *env, "--cwd", str(tmp_path), "--model", "claude-test", "bash", "echo made > x;",
                              "cat x")
        assert (code, out) == (0, "Let me run that.\nit said: made\n")
        assert err == "* Bash: echo made > x; cat x\n", "what tools are used for"
        assert (tmp_path / "x").exists() and api.requests[0]["model"] == "claude-test"
    assert sessions(agent.connect()) == []


def test_one_turn(agent, on_stand_in):
    assert talk(agent, *on_stand_in, "say", "hello", "there") == (0, "hello there\n", "")
    assert talk(agent, *on_stand_in, "--", "say --json") == (0, "--json\n", "")


def test_a_turn_that_fails(agent, on_stand_in):
    code, out, err = talk(agent, *on_stand_in, "exit 3")
    assert code == 1 and out == "" and "exit code 3" in err and "my last words" in err
    assert sessions(agent.connect()) == []


def test_no_program(agent):
    code, out, err = talk(agent, "-e", "AGENTD_CLAUDE=/no/such/claude", "say hello")
    assert code == 1 and out == "" and "/no/such/claude" in err


def test_json(agent, on_stand_in):
    code, out, err = talk(agent, *on_stand_in, "--json", "say hello")
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and err == ""
    assert [event["type"] for event in events] == ["ready", "system", "assistant", "result", "turn_complete"]


def test_resume(agent, on_stand_in):
    code, out, err = talk(agent, *on_stand_in, "--json", "--resume", "conversation-7", "say hello")
    assert code == 0 and json.loads(out.splitlines()[-1])["claude_session_id"] == "conversation-7"


def test_escapes_are_left_out(agent, on_stand_in):
    """An answer must not be able to write to the rest of the terminal."""
    code, out, err = talk(agent, *on_stand_in, "say a\x1b[2Jb\x07\tc\nd")
    assert (code, out) == (0, "a[2Jb\tc\nd\n")


@pytest.mark.seconds(90)
def test_a_long_answer(agent, on_stand_in):
    code, out, err = talk(agent, *on_stand_in, "huge 5000000", timeout=60)
    assert code == 0 and out == "x" * 5000000 + "\n5000000\n"


def test_interrupt(agent, on_stand_in):
    tool = Tool(agent.target, "agent", *on_stand_in, "--json", "hang")
    line = tool.proc.stdout.readline()
    while b"init" not in line:
        line = tool.proc.stdout.readline()
    tool.proc.send_signal(signal.SIGINT)
    code, out, err = tool.finish()
    assert code == 130 and [json.loads(line)["type"] for line in out.splitlines()] == [
        "result", "interrupted", "turn_complete"]
    assert sessions(agent.connect()) == []


@pytest.mark.parametrize("signals", [[signal.SIGINT, signal.SIGINT], [signal.SIGTERM], [signal.SIGHUP]])
def test_leaving_ends_it(agent, on_stand_in, signals):
    tool = Tool(agent.target, "agent", *on_stand_in, "--json", "deaf")
    line = tool.proc.stdout.readline()
    while b"not listening" not in line:
        line = tool.proc.stdout.readline()
    for number in signals:
        tool.proc.send_signal(number)
        time.sleep(0.2)
    assert tool.finish()[0] == 128 + signals[-1]
    link = agent.connect()
    (session,) = sessions(link)
    assert link.wait_end(session)["state"] == "killed"


def test_nobody_reads(agent, on_stand_in, tmp_path):
    """The turn has no end of its own: one that has may be over before it is known that nobody reads."""
    tool = Tool(agent.target, "agent", *on_stand_in, f"flood {tmp_path}/told")
    tool.proc.stdout.read(10)
    tool.proc.stdout.close()
    tool.proc.stdout = None
    assert tool.finish()[0] == 141
    link = agent.connect()
    assert link.wait_end(sessions(link)[0])["state"] == "killed"


# stdin as a chat

def test_lines_of_stdin(agent, on_stand_in):
    code, out, err = talk(agent, *on_stand_in, data="say one\n\nsay zwölf\nask\nsay last".encode())
    assert (code, err) == (0, "") and out == "one\nzwölf\nlast\n"
    assert sessions(agent.connect()) == []


def test_a_line_that_is_no_utf8(agent, on_stand_in):
    code, out, err = talk(agent, *on_stand_in, data=b"say \xff\nsay fine\n")
    assert (code, out) == (0, "fine\n") and "UTF-8" in err


@pytest.mark.seconds(90)
def test_a_long_line_of_stdin(agent, on_stand_in):
    text = "x" * 3000000
    code, out, err = talk(agent, *on_stand_in, data=f"say {text}\nsay short\n".encode(), timeout=60)
    assert (code, out) == (0, f"{text}\nshort\n")


# a terminal

def test_chat(agent, on_stand_in):
    chat = Terminal(agent, *on_stand_in)
    chat.expect("> ")
    chat.type("say hello\n")
    assert chat.expect("> ") == "hello\n"
    chat.type("hang\n")
    harness.eventually(lambda: sessions(agent.connect()), "the session")
    link = agent.connect()
    (session,) = sessions(link)
    watcher = link.open(id=session)
    watcher.link.wait(lambda: watcher.out.count(b'"init"') == 2, "the second turn")
    chat.type("\x03")
    assert chat.expect("> ") == "(interrupted)\n"
    chat.type("\x03")
    chat.expect("(Ctrl-D ends)\n> ")
    chat.type("exit 1\n")
    assert "my last words" in chat.expect("> ")
    chat.type("say again\n")
    assert chat.expect("> ") == "again\n"
    chat.type("\x04")
    assert chat.end() == 0
    harness.eventually(lambda: sessions(agent.connect()) == [], "its removal")


def test_chat_with_the_real_one(agent, tmp_path):
    with MessagesApi() as api:
        env = [f"-e{key}={value}" for key, value in {**api.env(tmp_path), "AGENTD_CLAUDE": CLI}.items()]
        chat = Terminal(agent, *env, "--cwd", str(tmp_path))
        chat.expect("> ")
        chat.type("bash pwd\n")
        assert chat.expect("> ") == f"Let me run that.\n* Bash: pwd\nit said: {tmp_path}\n"
        chat.type("hold on\n")
        assert api.holding.wait(20)
        chat.type("\x03")
        assert "(interrupted)\n" in chat.expect("> ")
        chat.type("fail 400\n")
        assert "failed: " in chat.expect("> ")
        chat.type("\x04")
        assert chat.end() == 0


# a session that is there already

def test_join(agent, on_stand_in):
    first = Terminal(agent, *on_stand_in, "--id", "shared")
    first.expect("> ")
    first.type("say one\n")
    assert first.expect("> ") == "one\n"
    first.type("\x04")
    first.expect("agentctl agent --id shared")
    assert first.end() == 0
    second = Terminal(agent, "--id", "shared")
    assert second.expect("> ") == "one\n", "what was said before is shown again"
    second.type("say two\n")
    assert second.expect("> ") == "two\n"
    assert talk(agent, "--id", "shared", "say three") == (0, "three\n", ""), "one turn shows that turn"
    assert second.expect("three\n") is not None, "others see it, too"
    second.type("\x04")
    assert second.end() == 0
    assert agent.connect().entry("shared")["state"] == "running"


def test_join_in_a_turn(agent, link, on_stand_in):
    session = stand_in(link, id="busy")
    session.prompt("hang")
    link.wait(lambda: session.of("system"), "the turn")
    tool = Tool(agent.target, "agent", "--id", "busy", "say mine")
    link.wait_entry("busy", lambda entry: entry["viewers"] == 2, "the second viewer")
    session.send("interrupt")
    code, out, err = tool.finish()
    assert (code, out) == (0, b"mine\n"), "not at the end of the turn that was running"


def test_link_lost_in_a_turn(agent, on_stand_in, relay):
    """The chat goes on over another link, without a line twice or missing."""
    way = relay(agent.target, budgets=[3000, 5000, 20000])
    code, out, err = Tool(f"unix:{way.path}", "agent", *on_stand_in, stdin=subprocess.PIPE).finish(
        b"".join(b"say number %d %s\n" % (number, b"x" * 200) for number in range(40)))
    assert code == 0 and way.cuts == 3
    assert re.findall(r"number (\d+)", out.decode()) == [str(number) for number in range(40)]
