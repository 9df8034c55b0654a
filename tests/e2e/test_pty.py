"""Sessions on a terminal: real shells and full-screen programs, sizes, owners, ends (section 12)."""
import os
import pathlib
import pwd
import time

import pytest

import harness
from harness import eventually
from terminals import BASH, events, expect, foreground, open_terminal, say
from wire import AgentError


# what a program finds

def test_shell_by_default(link):
    """bash where there is one, interactive, no login shell; or what is asked for."""
    channel = open_terminal(link, env={"HOME": "/nonexistent"})
    say(channel, "echo \"<$0 $- $TERM $COLUMNS-$LINES>\"; shopt -q login_shell || echo no login; exit 7")
    assert channel.finish().end["code"] == 7
    assert b"</bin/bash himBHs xterm-256color" in channel.out and b"no login\r\n" in channel.out
    assert channel.opened["pty"] == {"cols": 80, "rows": 24, "xpixel": 0, "ypixel": 0, "owner": True}
    channel = open_terminal(link, size={"shell": "/bin/sh", "login": True, "term": "dumb"})
    say(channel, "echo \"<$0 $TERM>\"; exit")
    channel.finish()
    assert b"<-sh dumb>" in channel.out


def test_size_is_not_frozen(link):
    """No COLUMNS and LINES in the environment: they would outlast a change of size."""
    channel = open_terminal(link, ["env"])
    assert not [line for line in channel.finish().out.splitlines() if line.startswith((b"COLUMNS", b"LINES"))]
    assert b"TERM=xterm-256color\r\n" in channel.out


def test_pixels_arrive(link):
    script = "import fcntl,struct,termios;print(struct.unpack('HHHH',fcntl.ioctl(0,termios.TIOCGWINSZ,b'0'*8)))"
    channel = open_terminal(link, ["python3", "-c", script],
                            size={"cols": 1, "rows": 65535, "xpixel": 800, "ypixel": 600})
    assert channel.finish().out == b"(65535, 1, 800, 600)\r\n"


def test_belongs_to_the_user(agent, link):
    if os.geteuid() != 0:
        return
    nobody = pwd.getpwnam("nobody").pw_uid
    channel = open_terminal(link, ["sh", "-c", "stat -c '%u %a' $(tty); cat"], start={"user": "nobody", "cwd": "/"})
    assert expect(channel, b"\r\n") == b"%d 620" % nobody
    channel.write(b"\x04")
    assert channel.finish().end["code"] == 0


def test_list_tells_of_it(link):
    channel = open_terminal(link, ["cat"], size={"cols": 90, "rows": 33})
    plain = link.open(start={"cmd": ["true"]}).finish()
    assert link.entry(channel.id)["pty"] == {"cols": 90, "rows": 33}
    assert "pty" not in link.entry(plain.id) and "pty" not in plain.opened
    assert "pty" in link.hello["caps"]


def test_start_that_fails(link):
    channel = open_terminal(link, size={"shell": "/no/such/shell"})
    assert channel.finish().end["state"] == "start_failed" and channel.end["stage"] == "exec"
    with pytest.raises(AgentError) as refused:
        open_terminal(link, size={"cols": 0})
    assert refused.value.code == "bad_message"


@pytest.mark.same_machine
# keys

def test_job_control(link):
    """A controlling terminal: Ctrl-C, Ctrl-Z and fg do what they do, and bash does not complain."""
    channel = open_terminal(link, BASH)
    expect(channel, b"$ ")
    say(channel, "sleep 100")
    eventually(lambda: foreground(channel.opened["pid"]) == "sleep", "sleep")
    channel.write(b"\x03")
    expect(channel, b"^C")
    expect(channel, b"$ ")
    say(channel, "echo \"<$?>\"; cat")
    expect(channel, b"<130>")
    eventually(lambda: foreground(channel.opened["pid"]) == "cat", "cat")
    channel.write(b"\x1a")
    expect(channel, b"Stopped")
    say(channel, "fg")
    eventually(lambda: foreground(channel.opened["pid"]) == "cat", "cat again")
    say(channel, "hello")
    expect(channel, b"hello\r\nhello\r\n")
    channel.write(b"\x04")
    say(channel, "exit 4")
    assert channel.finish().end["code"] == 4
    assert b"no job control" not in channel.out


def test_fin_ends_nothing(link):
    channel = open_terminal(link, ["cat"])
    channel.write(b"one\r", fin=True)
    expect(channel, b"one\r\none\r\n")
    channel.write(b"two\r")
    expect(channel, b"two\r\ntwo\r\n")
    channel.write(b"\x04")
    assert channel.finish().end["code"] == 0


def test_utf8_is_erased_whole(link):
    channel = open_terminal(link, ["cat"])
    channel.write("ä€".encode() + b"\x7f\r\x04")
    assert channel.finish().out.endswith("ä\r\n".encode())


# the end

@pytest.mark.seconds(120)
def test_all_output_before_the_end(link):
    """64 KiB and an exit right behind: every byte comes, every time."""
    for _ in range(40):
        channels = [open_terminal(link, ["sh", "-c", "exec head -c 65536 /dev/zero"], start={"retain_ms": 0}, keep=False)
                    for _ in range(10)]
        for channel in channels:
            assert channel.finish().end["state"] == "exited"
            assert channel.stdout.count == 65536 == channel.end["out"]


@pytest.mark.own_agent
def test_200_short_terminals(agent, link):
    """Many at once come and go; no descriptor and no terminal is left."""
    link.run(["true"])
    before = agent.settled_fds()
    channels = [open_terminal(link, ["sh", "-c", f"echo {n}; exit {n % 7}"], start={"retain_ms": 0}) for n in range(200)]
    for n, channel in enumerate(channels):
        assert channel.finish().end["code"] == n % 7 and channel.out == b"%d\r\n" % n
    eventually(lambda: agent.fds() <= before, "the descriptors to be closed")


def test_hang_up_ends_a_shell(link):
    """TERM is nothing to an interactive shell: what would be TERM elsewhere is HUP here."""
    channel = open_terminal(link, BASH, start={"timeout_ms": 300})
    expect(channel, b"$ ")
    end = channel.finish().end
    assert end["state"] == "timed_out" and end["wall_ms"] < 2000
    channel = open_terminal(link, BASH, start={"disconnect_ms": 50, "kill_grace_ms": 5000})
    expect(channel, b"$ ")
    channel.close()
    end = link.wait_end(channel.id)["end"]
    assert (end["state"], end["by"]) == ("killed", "disconnect") and end["wall_ms"] < 4000


def test_kill_is_as_asked(link):
    channel = open_terminal(link, ["sh", "-c", "trap 'echo hup' HUP; trap 'echo term; exit 3' TERM; echo go; "
                                               "while :; do sleep 0.05; done"])
    expect(channel, b"go")
    link.request("kill", id=channel.id)
    assert channel.finish().end["code"] == 3
    assert b"term" in channel.out and b"hup" not in channel.out


def test_background_child_keeps_the_terminal(link):
    channel = open_terminal(link, ["sh", "-c", "trap '' HUP; (sleep 0.6; echo late)& echo early"])
    channel.wait_end()
    assert channel.out == b"early\r\n" and channel.end["out"] == 7
    channel.finish()
    assert channel.out == b"early\r\nlate\r\n"


def test_removing_hangs_up(link):
    """What is left on the terminal of a session that is removed loses it."""
    channel = open_terminal(link, ["sh", "-c", "trap '' HUP; sh -c 'while echo x; do sleep 0.02; done' & echo pid=$!"])
    expect(channel, b"pid=")
    pid = int(expect(channel, b"\r\n"))
    channel.wait_end()
    link.request("remove", id=channel.id)
    eventually(lambda: not harness.alive(pid), "the child to lose its terminal")


# size and owner

def test_resize(link):
    channel = open_terminal(link, ["sh", "-c", "trap 'stty size' WINCH; echo go; while :; do sleep 0.02; done"])
    expect(channel, b"go")
    assert channel.request("resize", cols=132, rows=43, xpixel=1, ypixel=2) == {}
    expect(channel, b"43 132\r\n")
    assert link.entry(channel.id)["pty"] == {"cols": 132, "rows": 43}
    link.wait(lambda: events(channel, "size"), "the event")
    channel.request("resize", cols=132, rows=43, xpixel=1, ypixel=2)
    link.idle(0.1)
    assert events(channel, "size") == [(132, 43)], "told once: the second changed nothing"
    for bad in ({}, {"cols": 80}, {"cols": 0, "rows": 1}, {"cols": 65536, "rows": 1}):
        with pytest.raises(AgentError) as refused:
            channel.request("resize", **bad)
        assert refused.value.code == "bad_message"


def test_a_program_may_set_it_itself(link):
    channel = open_terminal(link, ["sh", "-c", "stty cols 50 rows 20; echo set; cat"])
    expect(channel, b"set")
    assert link.entry(channel.id)["pty"] == {"cols": 50, "rows": 20}


def test_two_viewers(agent, link):
    """One sets the size, both type and both see everything; the ownership moves when it is asked for."""
    first = open_terminal(link, BASH, size={"cols": 100, "rows": 40})
    expect(first, b"$ ")
    other = agent.connect()
    second = other.open(id=first.id, attach={"input": True, "size": {"cols": 60, "rows": 20}})
    assert second.opened["pty"] == {"cols": 100, "rows": 40, "xpixel": 0, "ypixel": 0, "owner": False}
    reader = other.open(id=first.id)
    with pytest.raises(AgentError) as refused:
        second.request("resize", cols=60, rows=20)
    assert refused.value.code == "not_owner"
    say(second, "echo from $((1+1))")
    for channel in (first, second, reader):
        expect(channel, b"from 2\r\n")
        expect(channel, b"$ ")  # before it readline gets the size and sets it again: a resize between the two is lost
    assert second.request("own") == {}
    second.request("resize", cols=60, rows=20)
    say(first, "stty size")
    expect(second, b"20 60\r\n")
    link.wait(lambda: events(first, "owner") == [False], "to be told of the new owner")
    other.wait(lambda: events(second, "owner") == [True], "the new owner to be told")
    for channel in (first, second, reader):
        channel.link.wait(lambda channel=channel: events(channel, "size") == [(60, 20)], "the size")
    third = other.open(id=first.id, attach={"owner": True, "size": {"cols": 70, "rows": 25}})
    assert third.opened["pty"]["owner"] and third.opened["pty"]["cols"] == 70
    assert link.entry(first.id)["pty"] == {"cols": 70, "rows": 25}
    third.close()
    link.wait(lambda: events(first, "owner") == [False, True], "the oldest that types to be the owner again")
    say(first, "exit")
    for channel in (first, second, reader):
        assert channel.finish().end["code"] == 0


def test_no_terminal(link):
    channel = link.open(start={"cmd": ["cat"], "stdin": True},
                        attach={"input": True, "owner": True, "size": {"cols": 5, "rows": 5}})
    for op, members in (("resize", {"cols": 1, "rows": 1}), ("own", {}), ("repaint", {})):
        with pytest.raises(AgentError) as refused:
            channel.request(op, **members)
        assert refused.value.code == "failed" and refused.value.errno == 25
    with pytest.raises(AgentError) as refused:
        link.request("resize", cols=1, rows=1)
    assert refused.value.code == "unknown_op"


# full-screen programs

@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text"
    path.write_text("".join(f"line {n} of the text\n" for n in range(1, 201)))
    return path


@pytest.mark.same_machine
@pytest.mark.parametrize("program", [["vim.tiny", "-u", "NONE", "-N"], ["less"]])
def test_repaint(agent, link, text, program):
    """Who attaches from now on and owns the terminal sees the whole screen, painted anew."""
    first = open_terminal(link, [*program, str(text)], env={"LESS": ""})
    expect(first, b"line 20 of the text")
    assert first.opened["pty"]["rows"] == 24
    for attach in ({"owner": True}, {"owner": True, "size": {"cols": 80, "rows": 24}},
                   {"owner": True, "size": {"cols": 90, "rows": 30}}):
        link.idle(0.2)  # less takes no notice of a change while it paints
        second = agent.connect().open(id=first.id, attach={"input": True, "since": "now", **attach})
        expect(second, b"line 1 of the text")
        expect(second, b"line 20 of the text")
        second.close()
    link.idle(0.2)
    again = agent.connect().open(id=first.id, attach={"input": True, "since": "now"})
    again.request("repaint")
    expect(again, b"line 20 of the text")
    again.write(b":q!\r" if "vim" in program[0] else b"q")
    assert again.finish().end["code"] == 0


@pytest.mark.same_machine
def test_vim_edits(link, tmp_path):
    """Keys, escape sequences and a resize in the middle: the file is what was typed."""
    path = tmp_path / "new"
    channel = open_terminal(link, ["vim.tiny", "-u", "NONE", "-N", str(path)])
    expect(channel, b"[New")
    channel.write(b"ihello\rw\xc3\xb6rld\x1b")
    channel.request("resize", cols=40, rows=10)
    channel.write(b":wq\r")
    assert channel.finish().end["code"] == 0
    assert path.read_text() == "hello\nwörld\n"


# cost

@pytest.mark.own_agent
def test_idle_terminals_are_cheap(agent, link):
    """Four descriptors each (and perhaps a cgroup's), no thread, no work."""
    link.run(["true"])
    before = agent.settled_fds()
    for n in range(100):
        open_terminal(link, ["sleep", "600"], keep=False)
    assert agent.settled_fds() - before <= 500
    threads = len(list(pathlib.Path(f"/proc/{agent.pid}/task").iterdir()))
    busy = agent.cpu_seconds()
    time.sleep(1)
    assert agent.cpu_seconds() - busy <= 0.02
    assert len(list(pathlib.Path(f"/proc/{agent.pid}/task").iterdir())) <= threads <= 2
