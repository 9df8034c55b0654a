"""Several clients of one session: everybody gets everything at its own speed, and who stops stops nobody else. ctest: timeout=400"""
import random

import pytest

from harness import eventually
from host import Closed
from sockets import DONE, OUT, Attached, Terminal, start, terminal


def file_of(bridge, sandbox, size, seed):
    """Puts random bytes into /tmp/random of the sandbox; gives them."""
    data = random.Random(seed).randbytes(size)
    assert bridge.put(f"/sandboxes/{sandbox}/files", data, query={"path": "/tmp/random"}).status == 204
    return data


def test_two_clients(bridge, sandbox):
    """Each gets everything, each may write; the list says how many there are, and the sandbox that left is gone from it."""
    sid = start(bridge, sandbox, "cat")
    one, two = (Attached(bridge, sandbox, sid).until_live() for _ in range(2))
    one.write("from one\n")
    for client in (one, two):
        client.until(b"from one\n")
    two.write("from two\n")
    for client in (one, two):
        client.until(b"from two\n")

    def attached():
        return [s["attachedClients"] for s in bridge.get(f"/sandboxes/{sandbox}/exec").json() if s["sessionID"] == sid]
    assert attached() == [2]
    one.cut()
    eventually(lambda: attached() == [1], "the first client to be gone")
    two.end_input()
    assert two.to_end() == DONE
    assert two.out == b"from one\nfrom two\n"


def test_many_clients(bridge, sandbox):
    """The agent lets eight write: those beyond read as well, and are told when they try."""
    sid = start(bridge, sandbox, "cat")
    clients = [Attached(bridge, sandbox, sid).until_live() for _ in range(12)]
    clients[7].write("to all\n")
    for client in clients:
        client.until(b"to all\n")
    clients[9].write("I cannot\n")
    assert clients[9].to_end()[0] == 1008
    clients[3].cut()

    def can_write():
        client = Attached(bridge, sandbox, sid).until_live()
        client.write("come later\n")
        try:
            client.until(b"come later\n")
            return client
        except Closed:
            return None
    late = eventually(can_write, "a place to be free")
    late.end_input()
    for client in clients[:3] + clients[4:9] + clients[10:] + [late]:
        assert client.to_end() == DONE


def test_too_many_clients(bridge, sandbox):
    """The agent's 64 viewers of a session are the limit: the next is told to come later."""
    sid = start(bridge, sandbox, "read x")
    clients = [Attached(bridge, sandbox, sid).until_live() for _ in range(64)]
    assert Attached(bridge, sandbox, sid).to_end()[0] == 1013
    clients[0].end_input()
    for client in clients:
        assert client.to_end() == DONE


def test_stopped_reader_stalls_no_other_session(bridge, sandbox):
    """One client stops reading in the middle of much output; others on the same link do not notice."""
    stopped = Attached(bridge, sandbox, start(bridge, sandbox, "read x; head -c 50000000 /dev/zero"), keep=False).until_live()
    stopped.write("\n")
    stopped.next()
    other = Attached(bridge, sandbox, start(bridge, sandbox, "read x; head -c 50000000 /dev/zero"), keep=False)
    other.write("\n")
    assert other.to_end() == DONE and other.streams[OUT].n == 50_000_000
    echo = Attached(bridge, sandbox, start(bridge, sandbox, "cat")).until_live()
    for n in range(50):
        echo.write(f"{n}\n")
        assert echo.next(2) == (OUT, b"%d\n" % n)
    echo.end_input()
    assert echo.to_end() == stopped.to_end() == DONE
    assert stopped.streams[OUT].n == 50_000_000


def test_in_the_store_nobody_waits(bridge, sandbox):
    """As far as the session's store reaches one reads on while another has stopped, and that one has all of it later."""
    data = file_of(bridge, sandbox, 1_200_000, 1)
    sid = start(bridge, sandbox, "read x; cat /tmp/random; exit 5")
    stopped, plain, reader = (Attached(bridge, sandbox, sid).until_live() for _ in range(3))
    reader.write("\n")
    for client in (reader, stopped, plain):
        assert client.to_end() == DONE
        assert client.out == data and client.exit == 5


@pytest.mark.seconds(120)
def test_a_stopped_reader_stalls_no_other(bridge, sandbox):
    """Issue 5: beyond the store one who has stopped is not waited for when another waits. Who came with ?since= is told what
    is missing, and nothing else is; who would not understand is sent away, and has every byte until then."""
    data = file_of(bridge, sandbox, 40 << 20, 2)
    sid = start(bridge, sandbox, "read x; cat /tmp/random")
    plain, noted = Attached(bridge, sandbox, sid).until_live(), Attached(bridge, sandbox, sid, since="0,0").until_live()
    reader = Attached(bridge, sandbox, sid).until_live()
    reader.write("\n")
    assert reader.to_end() == DONE
    assert reader.out == data
    code, reason = plain.to_end()
    assert (code, plain.exit) == (1011, None) and "lost" in reason
    assert 0 < len(plain.out) < len(data) and data.startswith(plain.out)
    assert noted.to_end() == DONE and noted.exit == 0
    gap, = (note["gap"] for note in noted.notes)
    assert gap["stream"] == "stdout" and gap["missing"] > 0
    assert noted.out == data[:gap["offset"]] + data[gap["offset"] + gap["missing"]:]


@pytest.mark.seconds(120)
def test_delete_of_a_terminal_whose_client_stopped(bridge, sandbox):
    """Bug: DELETE waited for the program's last output, and that for a client that did not read: for ever."""
    sid = terminal(bridge, sandbox)
    client = Terminal(bridge, sandbox, sid)
    client.type("n=0; while :; do head -c 100000 /dev/zero | tr '\\0' x; echo $((n += 1)) >/tmp/n; done\n")
    client.until(b"xxx")

    def stands():
        before = bridge.run(sandbox, "cat /tmp/n; sleep 1")["stdout"]
        return before and before == bridge.run(sandbox, "cat /tmp/n")["stdout"]
    eventually(stands, "the terminal to be full", 60)
    assert bridge.delete(f"/sandboxes/{sandbox}/pty/{sid}").status == 204
    assert client.to_end()[0] in (1000, 1011)
