"""agentctl pty and attach, on terminals of the tests' own, in tmux, and in pipes; and what they record."""
import os
import re
import shutil
import signal
import subprocess
import termios
import time

import pytest

import harness
from harness import Tool, eventually
from terminals import BASH, OnTerminal, open_terminal, play, say

pytestmark = pytest.mark.same_machine

SHELL = ["-e", "PS1=$ ", "-e", "HISTFILE=/dev/null", "--", *BASH]


@pytest.fixture
def terminal(agent):
    """Starts agentctl on a terminal: terminal("pty", …)."""
    started = []

    def start(*args, **how):
        started.append(OnTerminal(agent.target, *args, **how))
        return started[-1]
    yield start
    for one in started:
        if one.proc.poll() is None:
            one.proc.kill()


# a shell

def test_shell_and_its_exit_code(terminal, link):
    term = terminal("pty", *SHELL, cols=117, rows=33, term="vt220")
    term.expect(b"$ ")
    assert term.is_raw()
    term.type("stty size; echo $TERM; exit 9\r")
    term.expect(b"33 117\r\n")
    term.expect(b"vt220\r\n")
    assert term.finish() == 9
    assert not link.request("list")["sessions"], "it was its own, and is removed"


@pytest.mark.parametrize("args, code", [(["--", "sh", "-c", "kill -9 $$"], 137), (["--", "/no/such"], 127),
                                        (["--shell", "/etc/passwd"], 126), (["--cwd", "/no/such"], 126)])
def test_exit_codes(terminal, args, code):
    assert terminal("pty", *args).finish() == code


def test_login_shell_and_options(terminal, link):
    term = terminal("pty", "--shell", "/bin/sh", "--login", "--cwd", "/usr", "-e", "A=b c", "--id", "named")
    term.type("echo \"<$0 $PWD $A>\"; exit\r")
    term.expect(b"<-sh /usr b c>")
    assert term.finish() == 0
    assert link.entry("named")["state"] == "exited", "it has a name: somebody may come for it"


def test_keys_go_through(terminal):
    """Ctrl-C, Ctrl-Z, Ctrl-S and bytes of any kind are the program's and not ours."""
    script = "stty raw -echo; printf go; head -c 261 | od -An -v -tu1 | tr -s ' \\n' ' '"
    term = terminal("pty", "--escape", "none", "--", "sh", "-c", script)
    term.expect(b"go")
    data = bytes(range(256)) + b"\r~.\r~"
    term.type(data)
    assert term.finish() == 0
    assert [int(n) for n in term.out.partition(b"go")[2].split()] == list(data)


def test_size_follows(terminal):
    term = terminal("pty", "--", "sh", "-c", "trap 'stty size' WINCH; echo go; while :; do sleep 0.02; done")
    term.expect(b"go\r\n")
    for cols, rows in ((50, 20), (140, 50)):
        term.resize(cols, rows)
        term.expect(b"%d %d\r\n" % (rows, cols))
    term.type("\x03")
    assert term.finish() == 130


# leaving and coming back

def test_leave_and_attach(terminal, link):
    term = terminal("pty", *SHELL)
    term.expect(b"$ ")
    term.type("echo before$((1+1))\r")
    term.expect(b"before2\r\n")
    term.type("echo typed$((2+2)) last\r~.")
    session = re.search(rb"agentctl attach (\S+)", term.expect(b"goes on") + wait_rest(term)).group(1).decode()
    assert term.finish() == 0
    assert link.entry(session)["state"] == "running"
    link.wait_entry(session, lambda entry: entry["viewers"] == 0, "the viewer to leave")
    term = terminal("attach", session, cols=66, rows=22)
    term.expect(b"before2\r\n")
    term.expect(b"typed4 last\r\n")  # what was typed before leaving had arrived
    assert term.is_raw()
    term.type("stty size; exit 5\r")
    term.expect(b"22 66\r\n")
    assert term.finish() == 5


def wait_rest(term):
    return term.expect(b"\n")


def test_escape_key_of_choice(terminal):
    term = terminal("pty", "--escape", "^]", *SHELL)
    term.expect(b"$ ")
    term.type("ec\x1d?")  # in the middle of a line
    term.expect(b"^]. leaves")
    term.type("ho $((6*7))\r~.")
    term.expect(b"42\r\n")
    term.type("\x1d.")
    assert term.finish() == 0


def test_two_terminals(terminal, agent, link):
    """The second types too, but has the size only when it asks for it; a reader types nothing."""
    first = terminal("pty", "--id", "two", *SHELL, cols=90, rows=30)
    first.expect(b"$ ")
    second = terminal("attach", "two", cols=60, rows=20)
    second.expect(b"$ ")
    second.type("echo second$((1+1)); stty size\r")
    for term in (first, second):
        term.expect(b"second2\r\n30 90\r\n")
    reader = terminal("attach", "--read-only", "two", cols=10, rows=10)
    reader.expect(b"second2\r\n30 90\r\n")
    assert not reader.is_raw()
    reader.type("exit\r")
    owner = terminal("attach", "--own", "two", cols=70, rows=25)
    eventually(lambda: link.entry("two")["pty"] == {"cols": 70, "rows": 25}, "the new owner's size")
    first.resize(91, 31)
    owner.resize(71, 26)
    eventually(lambda: link.entry("two")["pty"] == {"cols": 71, "rows": 26}, "the owner's new size")
    owner.type("\r~.")
    assert owner.finish() == 0
    # The first is the owner again, and brings its size along.
    eventually(lambda: link.entry("two")["pty"] == {"cols": 91, "rows": 31}, "the first one's size")
    first.type("exit 3\r")
    assert [term.finish() for term in (first, second, reader)] == [3, 3, 3]


# the terminal is restored, whatever happens

@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129),
                                          (signal.SIGQUIT, -3), (signal.SIGABRT, -6)])
def test_restored_after_a_signal(terminal, link, number, code):
    term = terminal("pty", *SHELL)
    term.expect(b"$ ")
    session = link.request("list")["sessions"][0]["id"]
    term.proc.send_signal(number)
    assert term.finish() == code  # which looks at the terminal
    if code > 0:
        eventually(lambda: not link.entry(session) or link.entry(session)["state"] == "killed", "the shell's end")


def test_restored_when_the_agent_is_gone(terminal, agent):
    if not isinstance(agent, harness.Agent):
        return
    term = terminal("--retry", "0.2", "pty", *SHELL)
    term.expect(b"$ ")
    agent.kill()
    assert term.finish() == 125
    assert b"\r\nagentctl: " in term.out.replace(b"$ agentctl", b"$ \r\nagentctl"), "a line of its own, also when raw"


@pytest.mark.parametrize("ignores", [False, True])
def test_window_is_closed(agent, link, ignores):
    """The terminal goes away, with the signal or without it: so does the shell, which was its own."""
    hup = signal.signal(signal.SIGHUP, signal.SIG_IGN) if ignores else signal.getsignal(signal.SIGHUP)
    try:
        term = OnTerminal(agent.target, "pty", *SHELL)
    finally:
        signal.signal(signal.SIGHUP, hup)
    term.expect(b"$ ")
    session = link.request("list")["sessions"][0]["id"]
    term.close()
    assert term.proc.wait(10) == 129
    harness.programs.discard(term.proc)
    eventually(lambda: not link.entry(session) or link.entry(session)["state"] == "killed", "the shell's end")


def test_stopped_and_continued(terminal):
    term = terminal("pty", *SHELL)
    term.expect(b"$ ")
    term.proc.send_signal(signal.SIGSTOP)
    termios.tcsetattr(term.slave, termios.TCSANOW, term.modes)  # what a shell does
    term.proc.send_signal(signal.SIGCONT)
    eventually(term.is_raw, "raw again")
    term.type("exit 2\r")
    assert term.finish() == 2


# links that break

def test_link_breaks(terminal, agent, relay):
    """Keys typed while there is no link arrive once, in order, and the output goes on at its byte."""
    between = relay(agent.target)
    term = OnTerminal(f"unix:{between.path}", "pty", *SHELL)
    term.expect(b"$ ")
    for n in range(6):
        between.cut_all()
        term.type(f"echo n{n}=$(({n}+100))\r")
        term.expect(b"n%d=%d\r\n" % (n, n + 100))
    term.type("exit 4\r")
    assert term.finish() == 4
    for n in range(6):
        assert term.out.count(b"n%d=%d\r\n" % (n, n + 100)) == 1


def test_agent_is_upgraded(terminal, agent):
    if not isinstance(agent, harness.Agent):
        return
    term = terminal("pty", *SHELL, cols=77, rows=44)
    term.expect(b"$ ")
    agent.upgrade()
    term.resize(78, 45)
    term.type("stty size\r")
    eventually(lambda: term.type("stty size\r") or term.pump(0.2) and b"45 78\r\n" in term.out, "the size")
    term.type("exit 8\r")
    assert term.finish() == 8


# without a terminal

def test_pipes(agent):
    """Typed from a pipe, to the end; the end is typed as Ctrl-D."""
    code, out, err = Tool(agent.target, "pty", *SHELL, stdin=subprocess.PIPE).finish(b"echo $((6*7))\nfalse\n")
    assert (code, err) == (1, b"") and b"42\r\n" in out
    code, out, _ = Tool(agent.target, "pty", "--", "cat", stdin=subprocess.PIPE).finish(b"no line end")
    assert code == 0 and out == b"no line endno line end"
    assert Tool(agent.target, "pty", "--", "sh", "-c", "stty size; exit 3").finish()[:2] == (3, b"24 80\r\n")


def test_much_output_to_a_pipe(agent):
    code, out, _ = Tool(agent.target, "pty", "--", "sh", "-c", "stty raw -echo; seq 1000000 1499999").finish()
    assert code == 0 and out == b"".join(b"%d\n" % n for n in range(1000000, 1500000))


def test_attach_from_a_pipe_only_watches(agent, link):
    """A script's stdin is no keyboard, and its end is not the end of what others type on. With -i it is typed."""
    channel = open_terminal(link, ["cat"])
    watching = Tool(agent.target, "attach", channel.id)
    code = Tool(agent.target, "attach", "-i", channel.id, stdin=subprocess.PIPE)
    code.proc.stdin.write(b"typed\n")
    code.proc.stdin.close()
    code.proc.stdin = None
    channel.wait_out(b"typed\r\ntyped\r\n")
    link.idle(0.8)  # longer than it takes pty to type its end
    assert link.entry(channel.id)["state"] == "running"
    channel.write(b"\x04")
    channel.finish()
    assert [tool.finish()[:2] for tool in (watching, code)] == [(0, channel.out)] * 2


# recording

def test_record(terminal, tmp_path):
    path = tmp_path / "it.cast"
    term = terminal("pty", "--record", str(path), *SHELL, cols=80, rows=24)
    term.expect(b"$ ")
    term.type("printf '\\303'; sleep 0.3; printf '\\244 \\377 \\342'; sleep 0.3; printf '\\202\\254\\n'\r")
    term.expect("ä".encode())
    term.expect("€".encode())
    term.resize(100, 30)
    time.sleep(0.2)
    term.type("stty size; exit\r")
    assert term.finish() == 0
    header, out, sizes = play(path)
    assert (header["width"], header["height"]) == (80, 24) and abs(header["timestamp"] - time.time()) < 60
    assert header["env"] == {"TERM": "xterm"}
    assert sizes == [(100, 30)]
    shown = term.out.decode(errors="replace")
    assert out.decode() == shown and "ä \ufffd €" in shown


def test_record_cannot_be_written(agent, tmp_path):
    code, _, err = Tool(agent.target, "pty", "--record", str(tmp_path / "no" / "such"), "--", "true").finish()
    assert code == 125 and b"cannot record" in err
    code, _, err = Tool(agent.target, "pty", "--record", "/dev/full", "--", "sh", "-c", "echo x; exit 6").finish()
    assert code == 6 and err.count(b"cannot write") == 1


def test_record_needs_a_terminal(agent, link, tmp_path):
    plain = link.open(start={"cmd": ["true"]}).finish()
    code, _, err = Tool(agent.target, "attach", "--record", str(tmp_path / "x"), plain.id).finish()
    assert code == 125 and b"has no terminal" in err


def test_record_of_a_replay(agent, link, tmp_path):
    """attach records, too, with the size that the session has."""
    channel = open_terminal(link, BASH, size={"cols": 99, "rows": 9})
    say(channel, "echo $((6*7)); exit")
    channel.finish()
    path = tmp_path / "it.cast"
    assert Tool(agent.target, "attach", "--record", str(path), channel.id).finish()[0] == 0
    header, out, _ = play(path)
    assert (header["width"], header["height"]) == (99, 9) and out == channel.out


# a real terminal program around it

def test_in_tmux(agent, link, tmp_path):
    """vim through agentctl in tmux: what tmux shows is what vim drew, before and after a change of size."""
    assert shutil.which("tmux"), "packaging/debian-setup.sh installs it"
    text = tmp_path / "text"
    text.write_text("".join(f"line {n}\n" for n in range(1, 101)))
    tmux = ["tmux", "-S", str(tmp_path / "tmux"), "-f", "/dev/null"]

    def screen():
        shown = subprocess.run([*tmux, "capture-pane", "-p"], capture_output=True, text=True, check=False)
        return shown.stdout.rstrip("\n").split("\n")
    env = {**harness.program_env(), "LANG": "C.UTF-8", "TERM": "xterm"}
    command = [harness.binary("agentctl"), "--connect", agent.target, "pty", "--", "vim.tiny", "-u", "NONE", "-N", "-R",
               str(text)]
    subprocess.run([*tmux, "new-session", "-d", "-x", "80", "-y", "24", *command], env=env, check=True)
    try:
        eventually(lambda: screen()[22:23] == ["line 23"] and len(screen()) == 24, "vim's screen")
        assert screen()[:23] == [f"line {n}" for n in range(1, 24)]
        subprocess.run([*tmux, "resize-window", "-x", "60", "-y", "40"], check=True)
        eventually(lambda: screen()[:39] == [f"line {n}" for n in range(1, 40)], "the larger screen")
        subprocess.run([*tmux, "send-keys", "G", ":q", "Enter"], check=True)
        eventually(lambda: not os.path.exists(tmp_path / "tmux") or not screen()[0], "the end of it all")
        eventually(lambda: not link.request("list")["sessions"], "the session to be removed")
    finally:
        subprocess.run([*tmux, "kill-server"], capture_output=True, check=False)
