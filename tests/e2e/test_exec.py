"""Commands: how they start, what they find, how they end (sections 6 and 7)."""
import errno
import itertools
import os
import re
import resource
import signal
import threading
import time

import pytest

from wire import AgentError, b64

SIGNALS = [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGILL, signal.SIGABRT, signal.SIGFPE, signal.SIGKILL,
           signal.SIGUSR1, signal.SIGSEGV, signal.SIGPIPE, signal.SIGALRM, signal.SIGTERM, signal.SIGXCPU]
BASE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def batches(items, size):
    items = iter(items)
    while batch := list(itertools.islice(items, size)):
        yield batch


# ends

def test_every_exit_code(link):
    for codes in batches(range(256), 32):
        channels = [link.open(start={"cmd": ["sh", "-c", f"exit {code}"]}) for code in codes]
        for code, channel in zip(codes, channels):
            end = channel.finish().end
            assert (end["state"], end["code"]) == ("exited", code)
            assert "signal" not in end


@pytest.mark.parametrize("number", SIGNALS, ids=lambda s: s.name)
def test_death_by_signal(link, number):
    """The original reports every signal as exit -1 (contract A7)."""
    end = link.sh(f"kill -{int(number)} $$", rlimits={"core": [0, 0]}).end
    assert (end["state"], end["signal"], end["core"]) == ("signaled", int(number), False)
    assert "code" not in end


@pytest.mark.own_agent
@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_CORE)[1] == 0 and os.geteuid() != 0, reason="cores are limited")
def test_core_flag(link, tmp_path):
    end = link.sh("kill -SEGV $$", rlimits={"core": [-1, -1]}, cwd=str(tmp_path)).end
    assert (end["state"], end["signal"], end["core"]) == ("signaled", signal.SIGSEGV, True)


def test_end_event(link):
    before = time.time() * 1000
    channel = link.sh("echo out; echo error >&2; sleep 0.2; exit 5")
    after = time.time() * 1000
    end = channel.end
    assert (end["state"], end["code"], end["out"], end["err"]) == ("exited", 5, 4, 6)
    assert before - 5000 <= end["started_ms"] <= end["ended_ms"] <= after + 5000
    assert 200 <= end["wall_ms"] < 2000
    assert abs(end["ended_ms"] - end["started_ms"] - end["wall_ms"]) <= 50
    assert end["user_us"] >= 0 and end["sys_us"] >= 0 and end["maxrss_kb"] > 0
    assert [event["event"] for event in channel.events] == ["live", "end"]


def test_rusage_is_the_commands(link):
    end = link.sh("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done").end
    assert end["user_us"] > 10000
    assert end["user_us"] + end["sys_us"] < end["wall_ms"] * 1000 * 2 + 100000


def test_opened(link):
    channel = link.open(start={"cmd": ["sleep", "100"]})
    opened = channel.opened
    assert opened["new"] is True and opened["state"] == "running" and opened["pid"] > 0
    assert opened["out"] == opened["err"] == {"oldest": 0, "head": 0}
    assert opened["window"] == 0 and opened["stdin"]["offset"] == 0
    link.request("kill", id=channel.id, signal="KILL")


def test_agent_chooses_an_id(link):
    ids = {link.run(["true"]).id for _ in range(20)}
    assert len(ids) == 20
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,64}", one) for one in ids)


# failures to start

def start_failed(link, stage, number, *cmd, **start):
    """The end of a start that fails: it is not refused, the session exists."""
    channel = link.run(list(cmd) or ["true"], **start)
    end = channel.end
    assert (end["state"], end["stage"]) == ("start_failed", stage)
    assert end["error"] == errno.errorcode[end["errno"]]
    assert number is None or end["errno"] == number
    assert (end["out"], end["err"], channel.out, channel.err) == (0, 0, b"", b"")
    assert link.entry(channel.id)["state"] == "start_failed"
    return channel


def test_no_such_program(link):
    start_failed(link, "exec", errno.ENOENT, "no-such-program-anywhere")
    start_failed(link, "exec", errno.ENOENT, "/no/such/program")


def test_no_such_program_by_start_request(link):
    started = link.request("start", start={"cmd": ["/no/such/program"]})
    entry = link.wait_end(started["id"])
    assert entry["end"]["errno"] == errno.ENOENT and entry["end"]["stage"] == "exec"


@pytest.mark.parametrize("program, number", [("/etc/passwd", errno.EACCES), ("/etc", errno.EACCES),
                                             ("/etc/passwd/x", errno.ENOTDIR)])
def test_program_that_cannot_be_run(link, program, number):
    start_failed(link, "exec", number, program)


@pytest.mark.own_agent
def test_scripts(link, tmp_path):
    """One without #! is run by /bin/sh, as a shell would; one with a missing interpreter cannot be."""
    path = tmp_path / "script"
    for content in ("echo $1\n", "#!/bin/sh\necho $1\n"):
        path.write_text(content)
        path.chmod(0o755)
        assert link.run([str(path), "argument"]).out == b"argument\n"
        assert link.run(["script", "argument"], env={"PATH": f"{tmp_path}:/bin"}).out == b"argument\n"
    path.write_text("#!/no/such/interpreter\n")
    start_failed(link, "exec", errno.ENOENT, str(path))


@pytest.mark.parametrize("cwd, number", [("/no/such/directory", errno.ENOENT), ("/etc/passwd", errno.ENOTDIR)])
def test_bad_cwd(link, cwd, number):
    start_failed(link, "cwd", number, cwd=cwd)


@pytest.mark.parametrize("user", ["no-such-user", "no-such-user:root", "root:no-such-group"])
def test_bad_user(link, user):
    start_failed(link, "user", None, user=user)


def test_rlimits_that_contradict(link):
    start_failed(link, "rlimit", errno.EINVAL, rlimits={"nofile": [200, 100]})


def test_arguments_too_long_for_the_kernel(link):
    """21 000 empty arguments fit one frame, yet their pointers alone are over the 128 KiB of a small stack."""
    start_failed(link, "exec", errno.E2BIG, "true", *[""] * 21000, rlimits={"stack": [262144, 262144]})


def test_many_arguments_that_fit(link):
    channel = link.run(["sh", "-c", "echo $#", "sh", *["x"] * 10000])
    assert channel.out == b"10000\n"


def test_one_argument_of_60_kib(link):
    channel = link.run(["sh", "-c", "printf %s \"$1\" | wc -c", "sh", "y" * 60000])
    assert channel.out.strip() == b"60000"


def test_failed_starts_leave_nothing(agent, link):
    """The pipes of a child that could not be started must be closed as well."""
    pid = link.request("info")["pid"]
    for _ in range(100):
        start_failed(link, "exec", errno.ENOENT, "no-such-program-anywhere")
    if hasattr(agent, "proc"):
        assert pid == agent.pid and agent.settled_fds() < 40 and agent.children() == []


# program, arguments, environment, directory

def test_arguments_arrive_as_they_are(link):
    args = ["", " ", "a b", "ä€😀", "'\"\\$`", "*", "-n", "a\nb", "\x01\x7f"]
    channel = link.run(["sh", "-c", 'for a; do printf "%s\\0" "$a"; done', "sh", *args])
    assert channel.out.split(b"\0")[:-1] == [a.encode() for a in args]


def test_argument_that_is_not_utf8(link):
    raw = b"f\xff\xfe\x80le"
    channel = link.run(["printf", "%s", b64(raw)])
    assert channel.out == raw
    assert link.entry(channel.id)["cmd"] == ["printf", "%s", b64(raw)]


def test_path_of_the_command_is_searched(link):
    """Not the agent's own PATH (contract A21)."""
    script = "d=$(mktemp -d); printf '#!/bin/sh\\necho found\\n' >$d/only-here; chmod 755 $d/only-here; echo $d"
    folder = link.sh(script).out.decode().strip()
    start_failed(link, "exec", errno.ENOENT, "only-here")
    assert link.run(["only-here"], env={"PATH": f"/no/such:{folder}"}).out == b"found\n"
    start_failed(link, "exec", errno.ENOENT, "ls", env={"PATH": folder})
    link.run(["rm", "-r", folder])


def environment(channel):
    return dict(line.split(b"=", 1) for line in channel.out.split(b"\0") if line)


def test_base_environment(link):
    """Exactly this, and nothing of the agent's own environment (contract A32)."""
    got = environment(link.run(["/usr/bin/env", "-0"], user="root"))
    assert got.pop(b"PATH").decode() == BASE_PATH
    assert got.pop(b"LANG") == b"C.UTF-8"
    assert got == {b"HOME": b"/root", b"USER": b"root", b"LOGNAME": b"root", b"SHELL": got[b"SHELL"]}
    assert got[b"SHELL"].startswith(b"/")


def test_env_adds_replaces_and_removes(link):
    env = {"CC": "gcc", "LANG": "de_DE", "HOME": None, "EMPTY": "", "MANY": "a=b=c\nd", "NOT_THERE": None}
    got = environment(link.run(["/usr/bin/env", "-0"], env=env))
    assert got[b"CC"] == b"gcc" and got[b"LANG"] == b"de_DE" and got[b"EMPTY"] == b"" and got[b"MANY"] == b"a=b=c\nd"
    assert b"HOME" not in got and b"NOT_THERE" not in got and b"PATH" in got


def test_clear_env(link):
    assert environment(link.run(["/usr/bin/env", "-0"], clear_env=True, env={"ONLY": "this"})) == {b"ONLY": b"this"}
    assert link.run(["/usr/bin/env", "-0"], clear_env=True).out == b""


def test_env_value_that_is_not_utf8(link):
    got = environment(link.run(["/usr/bin/env", "-0"], env={"RAW": b64(b"\xff\xfe=\x80")}))
    assert got[b"RAW"] == b"\xff\xfe=\x80"


def test_cwd(link):
    assert link.run(["pwd"], cwd="/usr/bin").out == b"/usr/bin\n"
    assert link.run(["pwd"], user="root").out == b"/root\n"


def test_cwd_is_listed(link):
    channel = link.run(["true"], cwd="/usr")
    assert link.entry(channel.id)["cwd"] == "/usr"


def test_cwd_that_is_not_utf8(link):
    folder = link.sh("d=$(mktemp -d)/$(printf '\\377'); mkdir $d; printf %s $d").out
    assert folder.endswith(b"/\xff")
    assert link.run(["/bin/pwd"], cwd=b64(folder)).out == folder + b"\n"
    link.run(["rm", "-r", b64(folder[:-2])])


def test_relative_program_is_relative_to_cwd(link):
    assert link.run(["./true"], cwd="/bin").end["code"] == 0


# the process

def test_outputs_that_end_before_the_command(link):
    """It ends when the command does, with its code, and what it wrote before is there."""
    run = link.sh("echo out; echo err >&2; exec >&- 2>&-; sleep 0.3; exit 7")
    assert (bytes(run.out), bytes(run.err), run.end["code"]) == (b"out\n", b"err\n", 7)
    assert run.end["wall_ms"] >= 300


def test_stdin_is_null_by_default(link):
    """An open stdin makes tools wait for ever (Daytona#3770)."""
    channel = link.sh("readlink /proc/self/fd/0; cat; echo eof")
    assert channel.out == b"/dev/null\neof\n"


def test_no_other_descriptor_is_open(link):
    channel = link.sh("ls /proc/$$/fd", stdin=True)
    assert channel.out.split() == [b"0", b"1", b"2"]


def test_no_other_descriptor_under_load(link):
    """Not even while other sessions' pipes are being made."""
    channels = [link.open(start={"cmd": ["sh", "-c", "ls /proc/$$/fd; sleep 0.2"], "stdin": True}) for _ in range(40)]
    assert all(channel.finish().out.split() == [b"0", b"1", b"2"] for channel in channels)


def test_new_session(link):
    channel = link.run(["cat", "/proc/self/stat"], group="session")
    fields = channel.out.decode().rpartition(")")[2].split()
    group, session, tty = (int(field) for field in fields[2:5])
    assert group == session == channel.opened["pid"] and tty == 0


def test_new_process_group_only(link):
    channel = link.run(["cat", "/proc/self/stat"], group="process")
    fields = channel.out.decode().rpartition(")")[2].split()
    group, session = int(fields[2]), int(fields[3])
    assert group == channel.opened["pid"] != session


def test_group_auto_never_has_a_terminal(link):
    channel = link.run(["cat", "/proc/self/stat"])
    fields = channel.out.decode().rpartition(")")[2].split()
    group, session, tty = (int(field) for field in fields[2:5])
    assert group == channel.opened["pid"] and tty == 0
    assert session == group or link.request("info")["cgroup"]


def test_signals_are_as_after_login(link):
    """An ignored SIGPIPE or a blocked SIGTERM, inherited from the agent, breaks `yes | head` and kill."""
    status = link.run(["cat", "/proc/self/status"]).out.decode()
    for name in ("SigBlk", "SigIgn"):
        assert int(re.search(rf"^{name}:\s+(\w+)", status, re.M).group(1), 16) == 0, name
    assert link.sh("yes | head -n 1").out == b"y\n"


def test_rlimits(link):
    script = "ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Hc"
    channel = link.sh(script, rlimits={"nofile": [100, 200], "core": [0, 0]})
    assert channel.out.split() == [b"100", b"200", b"0", b"0"]


def test_rlimit_unlimited(link):
    channel = link.sh("ulimit -Sf; ulimit -Hf; ulimit -St", rlimits={"fsize": [1024, -1], "cpu": [-1, -1]})
    assert channel.out.split() == [b"2", b"unlimited", b"unlimited"]


def test_rlimit_takes_effect(link):
    end = link.sh("while :; do :; done", rlimits={"cpu": [1, 1]}, timeout=15).end
    assert end["state"] == "signaled" and end["signal"] in (signal.SIGXCPU, signal.SIGKILL)


# starting is idempotent

def test_same_start_attaches(agent, link):
    session = agent.new_id()
    start = {"cmd": ["sh", "-c", "echo once; sleep 100"], "env": {"A": "1"}}
    first = link.open(id=session, start=start)
    second = link.open(id=session, start=start)
    third = link.request("start", id=session, start=start)
    assert first.opened["new"] is True and second.opened["new"] is False and third["new"] is False
    assert first.opened["pid"] == second.opened["pid"] == third["pid"]
    second.wait_out(b"once\n")
    link.request("kill", id=session, signal="KILL")
    assert first.finish().out == second.finish().out == b"once\n"


def test_same_start_attaches_to_an_ended_session(agent, link):
    session, start = agent.new_id(), {"cmd": ["sh", "-c", "echo $$; exit 4"]}
    first = link.open(id=session, start=start).finish()
    second = link.open(id=session, start=start)
    assert second.opened["new"] is False and second.opened["state"] == "exited"
    assert second.finish().out == first.out and second.end == first.end


def test_same_start_as_one_that_failed(agent, link):
    """A retry must learn of the failure, not try again behind the client's back."""
    session, start = agent.new_id(), {"cmd": ["/no/such/program"]}
    first = link.open(id=session, start=start).finish()
    second = link.open(id=session, start=start)
    assert second.opened["new"] is False and second.finish().end == first.end


def test_other_start_is_refused(agent, link):
    session = agent.new_id()
    first = link.open(id=session, start={"cmd": ["sleep", "100"]})
    others = [{"cmd": ["sleep", "101"]}, {"cmd": ["sleep", "100"], "env": {"A": "1"}},
              {"cmd": ["sleep", "100"], "stdin": True}, {"cmd": ["sleep", "100"], "timeout_ms": 5}]
    for start in others:
        with pytest.raises(AgentError) as refused:
            link.open(id=session, start=start)
        assert refused.value.code == "id_in_use"
        with pytest.raises(AgentError) as refused:
            link.request("start", id=session, start=start)
        assert refused.value.code == "id_in_use"
    assert link.entry(session)["state"] == "running" and first.end is None
    link.request("kill", id=session, signal="KILL")


def test_same_start_over_many_links_at_once(agent):
    """One process, however the starts race."""
    links = [agent.connect() for _ in range(8)]
    for round_ in range(10):
        session, opened = agent.new_id(), []

        def start(link):
            opened.append(link.open(id=session, start={"cmd": ["sh", "-c", "echo $$; sleep 0.1"]}).finish())
        threads = [threading.Thread(target=start, args=(link,)) for link in links]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(opened) == len(links), f"a thread failed in round {round_}"
        assert sum(channel.opened["new"] for channel in opened) == 1
        assert len({channel.out for channel in opened}) == 1


def test_attach_needs_a_session(link):
    with pytest.raises(AgentError) as refused:
        link.open(id="nobody-has-this")
    assert refused.value.code == "not_found"


# the tail of output, and commands too short to be seen

def test_output_written_just_before_the_end(link):
    """Contract A1: the original loses up to a pipe-full that is unread when the leader is reaped."""
    for _ in range(30):
        channel = link.sh("head -c 60000 /dev/zero; head -c 60000 /dev/zero >&2")
        assert (channel.stdout.count, channel.stderr.count) == (60000, 60000)


def test_closing_both_outputs_is_not_the_end(link):
    channel = link.sh("exec >&- 2>&-; sleep 0.3; exit 9")
    assert channel.end["code"] == 9 and channel.end["wall_ms"] >= 300


@pytest.mark.own_agent
def test_the_log_has_no_payload_argv_or_env(agent):
    """Contract A31: the original ships argv and output to a third party."""
    link = agent.connect()
    channel = link.open(start={"cmd": ["sh", "-c", "cat; echo $SECRET; : sesame1"], "env": {"SECRET": "sesame2"},
                               "stdin": True, "cwd": "/usr"}, attach={"input": True})
    channel.write(b"sesame3\n", fin=True)
    assert channel.finish().out == b"sesame3\nsesame2\n"
    link.run(["/no/such/sesame4"])
    link.open(wait=False, start={"cmd": ["true"], "ring": "sesame5"})
    link.request("ping")
    assert "sesame" not in agent.log()
