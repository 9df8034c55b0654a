"""Who may connect (section 1): on a unix socket root and agentd's own user, on vsock the host."""
import errno
import os
import socket
import subprocess

import pytest

from harness import Agent, eventually

NOBODY = 65534

# Connects 20 times and says how often it was hung up on without an answer.
STRANGER = """
import socket, sys
hung_up = 0
for _ in range(20):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(sys.argv[1])
        try:
            s.sendall(b"GET /v1 HTTP/1.1\\r\\n\\r\\n")
            hung_up += s.recv(1) == b""
        except (BrokenPipeError, ConnectionResetError):
            hung_up += 1
print(hung_up)
"""


@pytest.mark.own_agent
def test_socket_is_for_its_owner_only(agent):
    assert os.stat(agent.socket).st_mode & 0o777 == 0o600


@pytest.mark.own_agent
def test_strangers_are_hung_up_on_and_logged_once(agent):
    """Also where the file system would let them in. OpenComputer's fallback socket in /tmp asks nobody."""
    os.chmod(agent.dir, 0o755)
    os.chmod(agent.socket, 0o777)
    # Not the test's own interpreter: a stranger may not be able to read it.
    run = subprocess.run(["/usr/bin/python3", "-c", STRANGER, str(agent.socket)], user=NOBODY, group=NOBODY,
                         extra_groups=[], capture_output=True, text=True, timeout=60)
    assert run.stdout == "20\n", run.stderr
    link = agent.connect()
    assert link.request("info")["refused"] == 20
    assert agent.log().count("reason=peer") == 1


@pytest.mark.own_agent
def test_own_user_may_connect():
    agent = Agent(user=NOBODY)
    try:
        assert agent.connect().sh("id -u").out == b"65534\n", "root may as well"
    finally:
        agent.stop()


@pytest.mark.own_agent
def test_vsock_address():
    """A VM's real vsock is for the VM suite; here: it listens, or says clearly why it cannot."""
    try:
        with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as probe:
            probe.bind((socket.VMADDR_CID_ANY, 0xFFFFFFFF))
            port = probe.getsockname()[1]
    except OSError as error:
        assert error.errno in (errno.EAFNOSUPPORT, errno.ENODEV, errno.EACCES)
        with pytest.raises(AssertionError, match="cannot listen on vsock:1024"):
            Agent("--listen", "vsock:1024").stop()
        return
    agent = Agent("--listen", f"vsock:{port}")
    try:
        assert f"vsock:{port}" in agent.connect().request("info")["listen"]
        # Its own machine is not its host.
        with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as guest:
            guest.settimeout(0.5)
            try:
                guest.connect((1, port))
                assert guest.recv(1) == b""
            except OSError:
                pass  # no loopback transport here
    finally:
        agent.stop()


@pytest.mark.own_agent
def test_socket_that_is_served_is_not_taken(agent):
    second = subprocess.run(agent.command, capture_output=True, text=True, timeout=30)
    assert second.returncode == 1 and " in use" in second.stderr
    assert agent.connect().request("ping") == {}


@pytest.mark.own_agent
def test_socket_file_that_nobody_serves_is_replaced(tmp_path):
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(tmp_path / "agentd.sock"))
    agent = Agent(directory=tmp_path)
    try:
        assert agent.connect().request("ping") == {}
    finally:
        agent.stop()
    eventually(lambda: not (tmp_path / "agentd.sock").exists(), "the socket file to be removed")
