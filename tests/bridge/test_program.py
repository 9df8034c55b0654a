"""The program itself: its start, its end, its state directory, its keys."""
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

import pytest

import harness
from host import Bridge, Closed, bridge_command, eventually, tls_context

# ---- the command line

def test_help_and_version():
    """Every option is in --help; both end with 0."""
    code, out, _ = bridge_command("--help")
    assert code == 0 and "--state DIR" in out and "keys add" in out
    code, out, _ = bridge_command("--version")
    assert code == 0 and re.fullmatch(r"bridge \d+\.\d+\.\d+\n", out)


@pytest.mark.parametrize("options, word", [
    (["--nothing"], "--nothing"), (["--port", "x"], "--port"), (["--driver", "none"], "driver"),
    (["--no-auth", "--host", "0.0.0.0"], "--i-know"), (["--tls-cert", "x"], "--tls-key"), (["dance"], "dance"),
    (["keys"], "keys"), (["keys", "add", "a\nb"], "control"), (["keys", "revoke"], "keys")])
def test_bad_options(options, word, tmp_path):
    """A mistake on the command line: exit 2, one sentence that names it, and nothing was begun."""
    code, out, err = bridge_command("--state", str(tmp_path / "s"), *options)
    assert code == 2 and word in err and not out
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("options, word", [
    (["--host", "192.0.2.1"], "192.0.2.1"), (["--tls-cert", "/nowhere", "--tls-key", "/nowhere"], "/nowhere"),
    (["--guests", "/nowhere"], "/nowhere"), (["--host", "here"], "here:0: that is no IPv4 or IPv6 address"),
    (["--host", "::ffff:0:0:1"], "[::ffff:0:0:1]:0")])
def test_cannot_start(options, word, tmp_path):
    """What it is told is fine and does not work: exit 1 and a sentence, no crash on the way out."""
    code, _, err = bridge_command("--port", "0", "--driver", "external", "--state", str(tmp_path), *options)
    assert code == 1 and word in err


def test_port_in_use(tmp_path):
    """Somebody has the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, _, err = bridge_command("--port", port, "--driver", "external", "--state", str(tmp_path))
    assert code == 1 and port in err


def test_bad_guests(tmp_path):
    """A line of the guests' file that is none."""
    (tmp_path / "guests").write_text('{"id":"a","address":"unix:/x"}\n\n{"id":"b"}\n')
    code, _, err = bridge_command("--port", "0", "--driver", "external", "--state", str(tmp_path / "s"),
                                  "--guests", str(tmp_path / "guests"))
    assert code == 1 and "line 3" in err


# ---- the state directory

@pytest.mark.bridge(driver="external")
def test_two_bridges(bridge):
    """The second one on a state directory says who has it, and leaves it alone."""
    code, _, err = bridge_command("--port", "0", "--driver", "external", "--state", str(bridge.dir))
    assert code == 1 and str(bridge.pid) in err and str(bridge.dir) in err
    assert bridge.get("/workers").status == 200


def test_state_cannot_be_used(tmp_path):
    """A file in the way, and a directory that may not be written."""
    (tmp_path / "file").write_text("")
    code, _, err = bridge_command("--state", str(tmp_path / "file"), "--driver", "external")
    assert code == 1 and "file" in err
    code, _, err = bridge_command("--state", "/proc/nowhere", "--driver", "external")
    assert code == 1 and "/proc/nowhere" in err


def test_foreign_store(tmp_path):
    """A bridge.db that is something else is not touched."""
    (tmp_path / "bridge.db").write_text("my letters, which are nobody's business\n" * 3)
    code, _, err = bridge_command("--port", "0", "--state", str(tmp_path), "--driver", "external")
    assert code == 1 and "bridge.db" in err
    assert "letters" in (tmp_path / "bridge.db").read_text()


def test_private(start_bridge):
    """Nobody else may read what is in it."""
    bridge = start_bridge(driver="external")
    for name in ("api-key", "bridge.db", "bridge.lock"):
        assert (bridge.dir / name).stat().st_mode & 0o077 == 0, name
    assert not list(bridge.dir.glob("api-key.*"))


def test_state_is_made(tmp_path, started):
    """The directory need not be there, nor what it is in; it is for us alone."""
    bridge = Bridge(driver="external", state=tmp_path / "a" / "b", wait=False)
    (tmp_path / "a").mkdir()
    bridge.logs = []
    bridge.dir.mkdir()
    bridge.dir.rmdir()
    started.append(bridge)
    log = open(tmp_path / "log", "wb")  # the state directory is not there for it
    bridge.proc = subprocess.Popen([harness.binary("bridge"), *bridge.options], stdout=log, stderr=log)
    bridge.logs = [tmp_path / "log"]
    harness.programs.add(bridge.proc)
    eventually(lambda: "listening" in bridge.log(), "the bridge to listen")
    assert bridge.dir.stat().st_mode & 0o777 == 0o700
    bridge.port = int(re.search(r"listening on http://[^ ]*:(\d+)", bridge.log()).group(1))
    bridge.key = (bridge.dir / "api-key").read_text().strip()


# ---- keys

def keys(bridge, *args):
    code, out, err = bridge_command("--state", str(bridge.dir), "keys", *args)
    assert code == 0, err
    return out, err


@pytest.mark.bridge(driver="external")
def test_first_key(bridge):
    """It is made once, works, and survives; a wrong one is 403, none is 401."""
    assert re.fullmatch(r"osb_[A-Za-z0-9]{40}", bridge.key)
    assert bridge.get("/workers").status == 200
    assert bridge.get("/workers", key=None).status == 401
    assert bridge.get("/workers", key="osb_" + "x" * 40).status == 403
    first = bridge.key
    bridge.restart()
    assert bridge.key == first and bridge.get("/workers").status == 200
    assert bridge.log().count("a new API key") == 1


@pytest.mark.bridge(driver="external")
def test_keys_beside_a_running_bridge(bridge):
    """add and revoke work at once, without a word to the bridge; list shows what is there and no key."""
    out, err = keys(bridge, "add", "ci")
    key, ident = out.strip(), err.split()[1]
    assert bridge.get("/workers", key=key).status == 200
    out, _ = keys(bridge, "list")
    assert ident in out and "ci" in out and "first" in out and key not in out and bridge.key not in out
    keys(bridge, "revoke", ident)
    assert bridge.get("/workers", key=key).status == 403
    assert bridge.get("/workers").status == 200
    code, _, err = bridge_command("--state", str(bridge.dir), "keys", "revoke", ident)
    assert code == 1 and ident in err


@pytest.mark.bridge(driver="external")
def test_key_from_the_query(bridge):
    """As SDKs give it to WebSockets; it is never in the log, which the end of the test checks too."""
    assert bridge.get("/workers", key=None, query={"api_key": bridge.key}).status == 200
    assert bridge.get("/workers", key=None, query={"api_key": "wrong"}).status == 403


def test_reload_signal(start_bridge):
    """SIGHUP reads the keys anew and does not end it."""
    bridge = start_bridge(driver="external")
    bridge.proc.send_signal(signal.SIGHUP)
    eventually(lambda: "keys read anew" in bridge.log(), "the reload")
    assert bridge.get("/workers").status == 200


@pytest.mark.bridge("--no-auth", driver="external")
def test_no_auth(bridge):
    """Nothing is asked for, and no key is made."""
    assert not (bridge.dir / "api-key").exists()
    assert bridge.get("/workers", key=None).status == 200
    assert bridge.get("/workers", key="anything").status == 200


def test_half_made_key(start_bridge, tmp_path):
    """Killed between making the first key and writing its file: the next start makes another."""
    bridge = start_bridge(driver="external", state=tmp_path)
    bridge.restart()
    bridge.terminate()
    bridge.wait_end()
    old = bridge.key
    (tmp_path / "api-key").unlink()
    subprocess.run(["/usr/bin/python3", "-c",
                    "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]);"
                    "db.execute(\"UPDATE value SET value='making' WHERE name='first-key'\"); db.commit()",
                    str(tmp_path / "bridge.db")], check=True)
    bridge.start()
    assert bridge.key and bridge.key != old
    assert bridge.get("/workers").status == 200


# ---- the end

@pytest.mark.bridge(driver="external")
def test_terminate_idle(bridge):
    """SIGTERM with idle connections open: exit 0 soon, nobody is waited for."""
    with bridge.raw(), bridge.raw() as half:
        half.sendall(b"GET /health HT")
        connection = bridge.connection()
        assert bridge.get("/health", connection=connection).status == 200
        began = time.monotonic()
        bridge.terminate()
        assert bridge.wait_end() == 0
        assert time.monotonic() - began < 4
        connection.close()
    assert bridge.log().rstrip().endswith("info ended")


@pytest.mark.bridge(driver="external")
def test_interrupt(bridge):
    """SIGINT does the same."""
    bridge.told_to_end = True
    bridge.proc.send_signal(signal.SIGINT)
    assert bridge.wait_end() == 0


def test_websockets_are_told(start_bridge, start_agent):
    """1012 at the end: come again. The session itself goes on, and is there after the restart."""
    bridge, agent = start_bridge(driver="external"), start_agent()
    sandbox = bridge.adopt(agent)
    reply = bridge.post(f"/sandboxes/{sandbox}/exec", {"cmd": "sh", "args": ["-c", "echo one; read x; echo $x"]})
    session = reply.json()["sessionID"]
    sock = bridge.websocket(f"/sandboxes/{sandbox}/exec/{session}")
    assert {sock.recv(), sock.recv()} == {b"\1one\n", b"\4"}  # it may say so only now
    bridge.terminate()
    with pytest.raises(Closed) as closed:
        sock.recv()
    assert closed.value.code == 1012
    sock.cut()
    assert bridge.wait_end() == 0
    bridge.start()
    sock = bridge.websocket(f"/sandboxes/{sandbox}/exec/{session}")
    assert sock.recv() == b"\1one\n" and sock.recv() == b"\4"
    sock.send(b"\0two\n")
    assert sock.recv() == b"\1two\n"
    assert sock.recv() == b"\3\0\0\0\0"
    assert sock.expect_close() == (1000, "exec completed")


def test_second_signal(start_bridge, start_agent):
    """A command under way is waited for a while; a second signal does not wait."""
    bridge, agent = start_bridge(driver="external"), start_agent()
    sandbox = bridge.adopt(agent)
    with bridge.raw() as sock:
        body = b'{"cmd":"sleep","args":["30"]}'
        sock.sendall(b"POST /api/sandboxes/%s/exec/run HTTP/1.1\r\nHost: x\r\nX-API-Key: %s\r\n"
                     b"Content-Length: %d\r\n\r\n%s" % (sandbox.encode(), bridge.key.encode(), len(body), body))
        eventually(lambda: [c for c in agent.children() if b"sleep" in
                            pathlib.Path(f"/proc/{c}/cmdline").read_bytes()], "the command to run")
        bridge.terminate()
        eventually(lambda: "ending signal=15" in bridge.log(), "the first signal")
        bridge.terminate()
        assert bridge.wait_end(5) == 1
    assert "second signal" in bridge.log()
    bridge.start()  # and its state is whole


def test_kill_and_restart(start_bridge, start_agent):
    """kill -9: the next one has the same sandbox, with its session, at once."""
    bridge, agent = start_bridge(driver="external"), start_agent()
    sandbox = bridge.adopt(agent, "mine")
    session = bridge.post(f"/sandboxes/{sandbox}/exec", {"cmd": "cat"}).json()["sessionID"]
    bridge.kill()
    bridge.start()
    assert bridge.get(f"/sandboxes/{sandbox}").json()["status"] == "running"
    found = bridge.get(f"/sandboxes/{sandbox}/exec").json()
    assert [s["sessionID"] for s in found if s["running"]] == [session]
    assert bridge.run(sandbox, "echo again")["stdout"] == "again\n"


# ---- around it

def test_service_manager(start_bridge, tmp_path):
    """READY=1 when it listens, STOPPING=1 when it ends."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        bridge = start_bridge(driver="external", env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert manager.recv(100) == b"READY=1"
        bridge.terminate()
        assert manager.recv(100) == b"STOPPING=1"
        assert bridge.wait_end() == 0


def test_tls(start_bridge, tmp_path):
    """HTTPS and wss with a certificate of one's own; plain HTTP on that port gets nothing."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout",
                    str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem"), "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=IP:127.0.0.1"], check=True, stderr=subprocess.DEVNULL)
    bridge = start_bridge(driver="external", tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem",
                          tls=tls_context(tmp_path / "cert.pem"))
    assert bridge.get("/workers").status == 200
    plain = socket.create_connection((bridge.host, bridge.port), 10)
    plain.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    try:
        assert b"ok" not in plain.recv(4096)
    except ConnectionResetError:
        pass
    plain.close()
    assert bridge.get("/health").json() == {"status": "ok"}


def test_descriptors(start_bridge):
    """The soft limit is raised to the hard one."""
    bridge = start_bridge(driver="external")
    limits = pathlib.Path(f"/proc/{bridge.pid}/limits").read_text()
    soft, hard = re.search(r"Max open files +(\d+) +(\d+)", limits).groups()
    assert soft == hard


def test_address_to_listen_on(start_bridge):
    """127.0.0.1 unless told otherwise."""
    bridge = start_bridge(driver="external")
    listening = pathlib.Path("/proc/net/tcp").read_text()
    assert f"0100007F:{bridge.port:04X} 00000000:0000 0A" in listening
    assert f"00000000:{bridge.port:04X} " not in listening


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
        return True
    except OSError:
        return False


def test_ipv6(start_bridge, tmp_path):
    """On ::1 only, or on :: for both worlds: who is on this machine is known as such in either."""
    if not has_ipv6():
        code, _, err = bridge_command("--port", "0", "--driver", "external", "--state", str(tmp_path), "--host", "::1")
        assert code == 1 and "cannot listen on [::1]:0: " in err
        return
    bridge = start_bridge(driver="external", host="::1")
    assert f"listening on http://[::1]:{bridge.port} " in bridge.log()
    with pytest.raises(OSError):
        bridge.get("/health")
    bridge.host = "::1"
    assert bridge.get("/workers").status == 200
    with bridge.raw() as sock:  # a request without a Host
        sock.sendall(f"POST /sandboxes/x/timeout HTTP/1.0\r\nX-API-Key: {bridge.key}\r\n\r\n".encode())
        assert b"404" in sock.recv(100)
    both = start_bridge(driver="external", host="::")
    for host in "127.0.0.1", "::1":
        both.host = host
        assert both.get("/admin/guests").status == 200
        assert both.get("/metrics", key=None).status == 200


def test_no_more_clients(start_bridge):
    """The port is closed when the end begins, and what waits for an answer has time for it."""
    bridge = start_bridge(driver="external")
    with bridge.raw() as sock:
        sock.sendall(f"POST /sandboxes/x/timeout HTTP/1.1\r\nHost: h\r\nX-API-Key: {bridge.key}\r\n"
                     "Content-Length: 2\r\n\r\n{".encode())
        eventually(lambda: "bridge_connections 2" in bridge.get("/metrics").body.decode(), "the request")
        bridge.terminate()

        def refused():
            try:
                socket.create_connection((bridge.host, bridge.port), 5).close()
                return False
            except ConnectionRefusedError:
                return True
        eventually(refused, "the port to close", 3)
        sock.sendall(b"}")
        assert b" 404 " in sock.recv(65536)
    assert bridge.wait_end() == 0


def test_quiet_when_idle(start_bridge):
    """Nothing to do: no wake-ups to speak of."""
    bridge = start_bridge(driver="external")
    def switches():
        text = pathlib.Path(f"/proc/{bridge.pid}/status").read_text()
        return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M).group(1))
    bridge.get("/health")
    before = switches()
    time.sleep(2)  # what is measured is the time
    assert switches() - before <= 10
