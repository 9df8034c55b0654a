"""agentd's command line, configuration, socket and log."""
import os
import re
import signal
import stat
import subprocess

import pytest

from client import Link
from harness import accepts, binary, eventually, program_env
from wire import AgentError

pytestmark = pytest.mark.own_agent


def agentd(*args, timeout=15):
    """Runs agentd with arguments it is expected to end on: (code, stdout, stderr)."""
    done = subprocess.run([binary("agentd"), *args], capture_output=True, timeout=timeout, env=program_env(), text=True)
    assert "Sanitizer" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def test_version():
    code, out, err = agentd("--version")
    assert code == 0 and re.search(r"\d+\.\d+\.\d+", out) and err == ""


def test_version_is_that_of_hello(start_agent):
    assert start_agent().connect().hello["version"] in agentd("--version")[1]


def test_help():
    code, out, err = agentd("--help")
    assert code == 0 and err == ""
    assert "--listen" in out and "--config" in out and "vsock" in out


@pytest.mark.parametrize("args", [["--nonsense"], ["--listen"], ["--listen", "tcp:1"], ["--listen", "vsock:many"],
                                  ["--listen", "unix:"], ["--listen", "unix:/no/such/directory/s"],
                                  ["--listen", "unix:/" + "x" * 200], ["--config"], ["--config", "/no/such/file"],
                                  ["stray"]], ids=lambda args: " ".join(args)[:40])
def test_bad_arguments(args):
    code, out, err = agentd(*args)
    assert code > 0 and out == ""
    assert args[-1][:30] in err, "the message names what is wrong"


@pytest.mark.parametrize("line", ["max_sessions = many", "max_sessions", "no_such_key = 5", "retain_ms = -1", "= 5",
                                  "max_sessions = 99999999999999999999", "cgroup =", "user = nobody = x"])
def test_bad_configuration(tmp_path, line):
    """With file and line number, before anything is served."""
    path = tmp_path / "agentd.conf"
    path.write_text(f"# first line\n\n{line}\n")
    code, _, err = agentd("--listen", f"unix:{tmp_path}/s", "--config", str(path))
    assert code > 0 and str(path) in err and re.search(r"\b3\b", err)


def test_configuration_is_forgiving_about_form(start_agent, tmp_path):
    path = tmp_path / "agentd.conf"
    path.write_text("\n  # comment\n\tmax_sessions=7\n\n retain_ms   =   1000  \n# last")
    agent = start_agent("--config", str(path))
    assert agent.connect().hello["limits"]["sessions"] == 7


def test_missing_token_file(tmp_path):
    """Never run open because the token could not be read."""
    path = tmp_path / "agentd.conf"
    path.write_text(f"token_file = {tmp_path}/nothing-here\n")
    code, _, err = agentd("--listen", f"unix:{tmp_path}/s", "--config", str(path))
    assert code > 0 and "nothing-here" in err


def test_empty_token_file(tmp_path):
    """An empty token would let everybody in with an empty one."""
    (tmp_path / "token").write_text("\n")
    path = tmp_path / "agentd.conf"
    path.write_text(f"token_file = {tmp_path}/token\n")
    code, _, err = agentd("--listen", f"unix:{tmp_path}/s", "--config", str(path))
    assert code > 0 and "token" in err


def test_stale_socket_is_replaced(start_agent):
    """Left behind by an agent that was killed."""
    first = start_agent()
    first.kill()
    assert first.socket.exists()
    assert start_agent(directory=first.dir).connect().request("ping") == {}


def test_socket_of_a_living_agent_is_not_taken(start_agent):
    agent = start_agent()
    code, _, err = agentd("--listen", agent.target)
    assert code > 0 and str(agent.socket) in err
    assert agent.connect().request("ping") == {}


def test_file_that_is_no_socket_is_not_removed(tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    code, _, err = agentd("--listen", f"unix:{path}")
    assert code > 0 and str(path) in err and path.read_text() == "data"


def test_socket_mode_and_removal(start_agent):
    agent = start_agent()
    mode = agent.socket.stat().st_mode
    assert stat.S_ISSOCK(mode) and not mode & 0o007, "not for everybody"
    agent.terminate()
    assert agent.proc.wait(15) == 0
    assert not agent.socket.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_in_order(start_agent, number):
    agent = start_agent()
    link = agent.connect()
    link.run(["true"])
    agent.told_to_end = True
    agent.proc.send_signal(number)
    assert link.expect_close() == 1001
    assert agent.proc.wait(15) == 0


@pytest.mark.parametrize("number", [signal.SIGPIPE, signal.SIGCHLD])
def test_stray_signals_do_nothing(start_agent, number):
    agent = start_agent()
    link = agent.connect()
    agent.proc.send_signal(number)
    assert link.sh("echo fine").out == b"fine\n"


def test_starts_without_standard_descriptors(tmp_path):
    """A parent may close 0, 1 and 2: then the first socket would become `stderr`."""
    path = tmp_path / "s"
    proc = subprocess.Popen(["sh", "-c", f'exec "$0" --listen unix:{path} <&- >&- 2>&-', binary("agentd")],
                            env=program_env())
    try:
        eventually(lambda: accepts(path), "the socket")
        with Link.connect(f"unix:{path}") as link:
            for _ in range(3):
                channel = link.sh("ls /proc/$$/fd; echo error >&2")
                assert channel.out.split() == [b"0", b"1", b"2"] and channel.err == b"error\n"
            with pytest.raises(AgentError):
                link.open(id="nobody-has-this")
            link.request("ping")
        proc.send_signal(signal.SIGTERM)
        assert proc.wait(15) == 0
    finally:
        proc.kill()
        proc.wait()


def test_does_not_inherit_descriptors_to_sessions(tmp_path):
    """Nor what it inherited itself."""
    path = tmp_path / "s"
    read_end, write_end = os.pipe()
    command = [binary("agentd"), "--listen", f"unix:{path}"]
    proc = subprocess.Popen(command, env=program_env(), stderr=subprocess.DEVNULL,
                            pass_fds=(read_end, write_end))
    try:
        eventually(lambda: accepts(path), "the socket")
        with Link.connect(f"unix:{path}") as link:
            assert link.sh("ls /proc/$$/fd").out.split() == [b"0", b"1", b"2"]
        proc.send_signal(signal.SIGTERM)
        assert proc.wait(15) == 0
    finally:
        proc.kill()
        proc.wait()
        os.close(read_end)
        os.close(write_end)


def test_vsock_listener(start_agent):
    """vsock peers other than the host are refused; loopback (CID 1), where the kernel has it, is such a peer."""
    if not os.path.exists("/dev/vsock"):
        pytest.skip("no vsock in this kernel")
    port = 10000 + os.getpid() % 50000
    agent = start_agent("--listen", f"vsock:{port}")
    assert any(str(port) in one for one in agent.connect().request("info")["listen"])
    try:
        link = Link(f"vsock:1:{port}", timeout=5)
    except OSError:
        return  # no loopback in this kernel
    with link:
        link.wait_eof()
        assert bytes(link.reader.buf) == b""


def test_log_lines(start_agent):
    """One line each, with ids; nothing at all would be no help either."""
    agent = start_agent()
    link = agent.connect()
    link.open(id="named-session", start={"cmd": ["true"]}).finish()
    link.close()
    lines = agent.log().splitlines()
    assert lines and all(line.strip() and line.isprintable() for line in lines)


def test_log_level(start_agent):
    quiet, chatty = start_agent(log_level="err"), start_agent(log_level="debug")
    for agent in (quiet, chatty):
        agent.connect().run(["true"])
    assert len(quiet.log()) < len(chatty.log())
