"""Terminals: what is typed and printed, sizes, replay, their end."""
import pytest

from host import eventually
from sockets import CONTROL, DONE, Attached, Terminal, refused, start, terminal


def sizes(bridge, sandbox, session):
    return next((s["cols"], s["rows"]) for s in bridge.get(f"/sandboxes/{sandbox}/pty").json() if s["sessionID"] == session)


def resize(bridge, sandbox, session, cols, rows):
    return bridge.post(f"/sandboxes/{sandbox}/pty/{session}/resize", {"cols": cols, "rows": rows})


def until_size(rows, cols):
    """What to type to wait for a size: for a moment after an attach there is a row less, so that programs paint anew."""
    return f"until [ \"$(stty size)\" = '{rows} {cols}' ]; do sleep 0.01; done; echo ri''ght\r"


def test_type_and_see(bridge, sandbox):
    """Binary and text messages are typed as they are (contract 9)."""
    session = terminal(bridge, sandbox)
    t = Terminal(bridge, sandbox, session)
    t.type("echo $((40 + 2))\r")
    t.until(b"\r42\r\n")
    t.ws.send(b"printf '\\303\\251\\n' | od -An -tx1\r")
    t.until(b"c3 a9")
    t.type("exit 3\r")
    assert t.to_end()[0] == 1000


def test_environment(bridge, sandbox):
    """A18: TERM is set, COLUMNS and LINES are not, the given variables and the sandbox's are there."""
    other = bridge.create(envs={"OF_SANDBOX": "yes"})
    session = terminal(bridge, other, shell="/bin/sh", cwd="/tmp", envs={"OWN": "too"}, cols=90, rows=33)
    t = Terminal(bridge, other, session)
    t.type("echo \"$TERM,$COLUMNS,$LINES,$OF_SANDBOX,$OWN,$PWD.\"\r")
    t.until(b"xterm-256color,,,yes,too,/tmp.\r\n")


def test_program_instead_of_a_shell(bridge, sandbox):
    """cmd and args; a program that is not there is a 400 with the reason."""
    script = f"tty; {until_size(50, 80).strip()}; read x; echo got $x"
    session = terminal(bridge, sandbox, cmd="sh", args=["-c", script], cols=0, rows=50)
    t = Terminal(bridge, sandbox, session)
    t.until(b"/dev/pts/")
    t.until(b"right\r\n")
    t.type("it\r")
    t.until(b"got it\r\n")
    assert t.to_end()[0] == 1000
    reply = bridge.post(f"/sandboxes/{sandbox}/pty", {"cmd": "/no/such/program", "args": ["x"]})
    assert reply.status == 400 and "no/such/program" in reply.error()


@pytest.mark.parametrize("fields", [{"cols": -1}, {"rows": 70000}, {"cols": "80"}, {"shell": 1}, {"login": "x"}, {"envs": []}])
def test_bad_fields(bridge, sandbox, fields):
    assert bridge.post(f"/sandboxes/{sandbox}/pty", fields).status == 400


def test_resize(bridge, sandbox):
    """A16: the size really changes, whether somebody is attached or not, and the program is told."""
    session = terminal(bridge, sandbox, shell="/bin/sh")
    reply = resize(bridge, sandbox, session, 101, 31)
    assert (reply.status, reply.body) == (200, b"")
    assert sizes(bridge, sandbox, session) == (101, 31)
    t = Terminal(bridge, sandbox, session)
    t.type("trap 'echo \"now $(stty size)\"' WINCH; " + until_size(31, 101))
    t.until(b"right\r\n")
    assert resize(bridge, sandbox, session, 77, 22).status == 200
    t.type("\r")
    t.until(b"now 22 77\r\n")
    assert resize(bridge, sandbox, session, 0, 22).status == 400
    assert resize(bridge, sandbox, session, 70000, 22).status == 400
    assert resize(bridge, sandbox, "p000000000000", 80, 24).status == 404
    assert sizes(bridge, sandbox, session) == (77, 22)
    t.type("exit\r")
    assert t.to_end()[0] == 1000


def test_size_stays_when_clients_come(bridge, sandbox):
    """Attaching changes nothing: the size is whoever set it last."""
    session = terminal(bridge, sandbox, cols=123, rows=45)
    for _ in range(2):
        t = Terminal(bridge, sandbox, session)
        t.type(until_size(45, 123))
        t.until(b"right\r\n")
        t.ws.close()
    assert resize(bridge, sandbox, session, 66, 20).status == 200
    t = Terminal(bridge, sandbox, session)
    t.type(until_size(20, 66))
    t.until(b"right\r\n")


def test_replay(bridge, sandbox):
    """A17: what was printed while nobody looked on is there for the next, and for two at once."""
    session = terminal(bridge, sandbox, shell="/bin/sh")
    t = Terminal(bridge, sandbox, session)
    t.type("X=kept; seq 1 3000; echo the end of it\r")
    t.ws.close()
    Terminal(bridge, sandbox, session).until(b"\n3000\r\nthe end of it\r\n")
    one, two = (Terminal(bridge, sandbox, session) for _ in range(2))
    assert one.until(b"\nthe end of it\r\n") == two.until(b"\nthe end of it\r\n")
    one.type("echo $X for both\r")
    for client in (one, two):
        client.until(b"kept for both\r\n")


def test_two_terminals(bridge, sandbox):
    """They have nothing to do with one another (acceptance test 05)."""
    sessions = [terminal(bridge, sandbox) for _ in range(2)]
    one, two = (Terminal(bridge, sandbox, session) for session in sessions)
    one.type("N=1; tty\r")
    two.type("N=2; tty\r")
    assert one.until(b"/dev/pts/") and two.until(b"/dev/pts/")
    one.type("echo this is $N.\r")
    two.type("echo this is $N.\r")
    one.until(b"this is 1.\r\n")
    two.until(b"this is 2.\r\n")
    assert [s["sessionID"] for s in bridge.get(f"/sandboxes/{sandbox}/pty").json()] == sessions


def test_end_of_the_shell(bridge, sandbox):
    """B12: a shell that exits closes with 1000 at once, also for those who come afterwards; the list tells."""
    session = terminal(bridge, sandbox, shell="/bin/sh")
    one, two = (Terminal(bridge, sandbox, session) for _ in range(2))
    one.type("echo last words; exit 5\r")
    assert one.to_end()[0] == two.to_end()[0] == 1000
    late = Terminal(bridge, sandbox, session)
    assert late.to_end()[0] == 1000
    assert b"last words\r\n" in late.data
    entry = bridge.get(f"/sandboxes/{sandbox}/pty").json()[0]
    assert (entry["running"], entry["exitCode"], entry["attachedClients"]) == (False, 5, 0)
    assert resize(bridge, sandbox, session, 80, 24).status == 404


def test_delete(bridge, sandbox):
    """A16, B8: the shell and what it runs are ended, also what ignores being hung up; then the id is not known any more."""
    session = terminal(bridge, sandbox, shell="/bin/sh")
    t = Terminal(bridge, sandbox, session)
    t.type("trap '' HUP; sh -c 'trap \"\" HUP; echo $$ is here; while :; do sleep 1; done'\r")
    t.until(b" is here\r\n")
    assert bridge.delete(f"/sandboxes/{sandbox}/pty/{session}").status == 204
    assert t.to_end()[0] == 1000
    assert bridge.run(sandbox, "pgrep -f 'is[ ]here'")["exitCode"] == 1
    assert bridge.delete(f"/sandboxes/{sandbox}/pty/{session}").status == 404
    assert resize(bridge, sandbox, session, 80, 24).status == 404
    assert refused(bridge, f"/sandboxes/{sandbox}/pty/{session}") == 404
    assert bridge.get(f"/sandboxes/{sandbox}/pty").json() == []


def test_delete_without_clients(bridge, sandbox):
    """Also one that has ended, and never a session that is no terminal (B7)."""
    session, ended = terminal(bridge, sandbox), terminal(bridge, sandbox, cmd="true", args=[])
    assert Terminal(bridge, sandbox, ended).to_end()[0] == 1000
    for s in (session, ended):
        assert bridge.delete(f"/sandboxes/{sandbox}/pty/{s}").status == 204
        assert bridge.delete(f"/sandboxes/{sandbox}/pty/{s}").status == 404
    command = start(bridge, sandbox, "cat")
    other = bridge.create()
    assert bridge.delete(f"/sandboxes/{sandbox}/pty/{command}").status == 404
    assert bridge.delete(f"/sandboxes/{other}/pty/{session}").status == 404
    client = Attached(bridge, sandbox, command)
    client.end_input()
    client.to_end()


def test_much_output(bridge, sandbox):
    """A terminal's output is whole for who looks on, however fast it comes."""
    session = terminal(bridge, sandbox, shell="/bin/sh", cols=80)
    t = Terminal(bridge, sandbox, session)
    t.type("stty -echo; echo be''gin; seq 1 200000; echo e''nd\r")
    t.until(b"begin\r\n")
    assert t.until(b"end\r\n", 30) == b"".join(b"%d\r\n" % n for n in range(1, 200_001)) + b"end\r\n"


def test_survives_the_bridge(bridge, sandbox):
    """The shell is the sandbox's: a bridge that is killed and comes back finds it as it was."""
    session = terminal(bridge, sandbox, shell="/bin/sh")
    t = Terminal(bridge, sandbox, session)
    t.type("X=still; echo rea''dy\r")
    t.until(b"ready\r\n")
    bridge.kill()
    bridge.start()
    t = Terminal(bridge, sandbox, session)
    t.until(b"ready\r\n")
    t.type("echo $X here\r")
    t.until(b"still here\r\n")


def test_how_python_comes(bridge, sandbox):
    """Without /api, the token as API key in header and query (contract 1.4)."""
    token = bridge.get(f"/sandboxes/{sandbox}").json()["token"]
    session = terminal(bridge, sandbox)
    ws = bridge.websocket(f"sandboxes/{sandbox}/pty/{session}", key=token, headers={"X-API-Key": token})
    ws.send_text("exit\r")
    assert ws.expect_close()[0] == 1000


def test_in_the_form_of_a_command(bridge, sandbox):
    """On the exec route a terminal tells its exit code, and 0x06 changes its size."""
    session = bridge.post(f"/sandboxes/{sandbox}/pty", {"cols": 80, "rows": 24}).json()["sessionID"]
    client = Attached(bridge, sandbox, session).until_live()
    client.ws.send(bytes([CONTROL]) + b'{"resize":{"cols":0,"rows":7}}')
    client.ws.send(bytes([CONTROL]) + b'{"resize":{"cols":101,"rows":37}}')
    eventually(lambda: sizes(bridge, sandbox, session) == (101, 37), "the new size")
    client.write("stty size; exit 9\n")
    client.until(b"37 101")
    assert client.to_end() == DONE and client.exit == 9
