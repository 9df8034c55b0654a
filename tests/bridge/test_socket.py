"""The sockets of commands: what comes in which order, who gets what, and what a broken connection costs. ctest: timeout=600"""
import hashlib
import os
import random
import signal
import threading
import time

import pytest

from harness import Relay, eventually
from host import Closed, HandshakeRefused
from sockets import DONE, ERR, EXIT, LIVE, OUT, Attached, refused, start
from wire import PING, PONG


# ---------------------------------------------------------------------------------------------- order

def test_order_of_frames(bridge, sandbox):
    """Replay, 0x04, live output, 0x03, close 1000 with the reason acceptance tests compare (contract 5)."""
    sid = start(bridge, sandbox, "echo before; echo also >&2; read x; echo after; exit 7")
    first = Attached(bridge, sandbox, sid).until_live().until(b"before\n").until(b"also\n", ERR)
    client = Attached(bridge, sandbox, sid)
    order = []
    while not client.live:
        order.append(client.next()[0])
    assert order[-1] == LIVE and set(order[:-1]) == {OUT, ERR}
    assert (client.out, client.err) == (b"before\n", b"also\n")
    client.write("go\n")
    assert client.next() == (OUT, b"after\n")
    assert client.next() == (EXIT, b"\0\0\0\7")
    assert client.to_end() == DONE
    assert first.to_end() == DONE and first.exit == 7


def test_streams_stay_in_order(bridge, sandbox):
    """Output of both streams in the order in which it was printed, in the replay as well."""
    sid = start(bridge, sandbox, 'while read n; do if [ $((n % 2)) = 0 ]; then echo $n; else echo $n >&2; fi; done')
    client = Attached(bridge, sandbox, sid).until_live()
    for n in range(100):
        client.write(f"{n}\n")
        assert client.next() == (ERR if n % 2 else OUT, b"%d\n" % n)
    again, got = Attached(bridge, sandbox, sid), []
    while not again.live:
        channel, payload = again.next()
        got += [(channel, line) for line in payload.split()]
    assert got == [(ERR if n % 2 else OUT, b"%d" % n) for n in range(100)]
    client.end_input()
    assert client.to_end() == again.to_end() == DONE


def test_attach_after_exit(bridge, sandbox):
    """An ended session is replayed, to any number of clients (contract 5.1)."""
    sid = start(bridge, sandbox, "echo out; echo err >&2; exit 3")
    assert Attached(bridge, sandbox, sid).to_end() == DONE
    for _ in range(3):
        client = Attached(bridge, sandbox, sid)
        assert client.to_end() == DONE
        assert (client.out, client.err, client.exit) == (b"out\n", b"err\n", 3)
        assert client.replayed == {OUT: 4, ERR: 4}


@pytest.mark.parametrize("script,code", [("exit 0", 0), ("exit 255", 255), ("kill -KILL $$", 137), ("kill -SEGV $$", 139)])
def test_exit_codes(bridge, sandbox, script, code):
    """A7: the signal can be told from the exit code."""
    client = Attached(bridge, sandbox, start(bridge, sandbox, script))
    assert client.to_end() == DONE
    assert client.exit == code


def test_background_children_do_not_hold_the_end(bridge, sandbox):
    """A13: it ends with the leader, though a child has its output; what the child writes later harms nobody."""
    sid = start(bridge, sandbox, "echo told; sleep 30 & exit 5")
    client = Attached(bridge, sandbox, sid)
    began = time.monotonic()
    assert client.to_end() == DONE
    assert client.exit == 5 and client.out == b"told\n"
    assert time.monotonic() - began < 10
    bridge.run(sandbox, "pkill -x sleep; true")


def test_fast_commands_lose_nothing(bridge, sandbox):
    """A1: the tail of a command that ends at once is all there."""
    for _ in range(30):
        client = Attached(bridge, sandbox, start(bridge, sandbox, "seq 1 20000; seq 1 100 >&2; exit 1"))
        assert client.to_end() == DONE
        assert hashlib.sha256(client.out).digest() == hashlib.sha256(b"".join(b"%d\n" % n for n in range(1, 20001))).digest()
        assert client.err.endswith(b"\n100\n") and client.exit == 1


def test_characters_are_whole(bridge, sandbox):
    """Clients decode message by message (contract 1.4): no message ends in the middle of a character."""
    text = "aé€😀" * 40000
    bridge.put(f"/sandboxes/{sandbox}/files", text.encode(), query={"path": "/tmp/text"})
    script = "dd if=/tmp/text bs=4093 2>/dev/null; printf '\\342'; read x; printf '\\202\\254'"
    client = Attached(bridge, sandbox, start(bridge, sandbox, script))
    while client.streams[OUT].n < len(text.encode()):  # in the replay as well
        channel, payload = client.next()
        if channel == OUT:
            payload.removesuffix(b"\xe2").decode()  # half a character at the very end comes after a moment
    assert max(client.sizes) > 60000, "not put together"
    client.until_bytes(len(text.encode()) + 1)
    client.write("\n")
    assert client.to_end() == DONE
    assert client.out == text.encode() + "€".encode()


# ---------------------------------------------------------------------------------------------- input

def test_early_input_waits_for_live(bridge, sandbox):
    """What is sent right after the upgrade has its effect after 0x04 (shell() of the SDKs, contract 5)."""
    sid = start(bridge, sandbox, "seq 1 90000; cat")
    Attached(bridge, sandbox, sid).until(b"\n90000\n").cut()
    client = Attached(bridge, sandbox, sid)
    client.write("typed early\n")
    client.end_input()
    assert client.to_end() == DONE
    assert client.replayed[OUT] == client.streams[OUT].n - len(b"typed early\n")
    assert client.out.endswith(b"\n90000\ntyped early\n")


def test_end_of_input(bridge, sandbox):
    """A5: programs that read to the end finish; binary input arrives whole."""
    data = random.Random(5).randbytes(3_000_000)
    client = Attached(bridge, sandbox, start(bridge, sandbox, "sha256sum; echo; wc -c </dev/null"))
    for at in range(0, len(data), 50_000):
        client.write(data[at:at + 50_000])
    client.write(b"")
    client.end_input()
    client.write("dropped")
    assert client.to_end() == DONE
    assert client.out.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_input_that_nobody_reads(bridge, sandbox):
    """B17: a process that does not read its stdin neither blocks pings nor loses a byte of what waits."""
    client = Attached(bridge, sandbox, start(bridge, sandbox, "read x; echo first; sleep 1; cat | sha256sum")).until_live()
    client.write("\n")
    client.until(b"first\n")
    data = random.Random(6).randbytes(3 << 20)
    for at in range(0, len(data), 1 << 16):
        client.write(data[at:at + (1 << 16)])
    began = time.monotonic()
    client.ws.send(b"are you there", PING)
    assert client.ws.frame().opcode == PONG
    assert time.monotonic() - began < 1
    client.end_input()
    assert client.to_end() == DONE
    assert client.out.split()[1].decode() == hashlib.sha256(data).hexdigest()


def test_much_input_is_throttled(bridge, sandbox):
    """More than is kept for a client stops the reading, not the bridge; all of it arrives in the end."""
    client = Attached(bridge, sandbox, start(bridge, sandbox, "read x; sleep 2; sha256sum"), timeout=60).until_live()
    data = random.Random(7).randbytes(30 << 20)
    before = bridge.memory_kib()

    def send():
        client.write("\n")
        for at in range(0, len(data), 1 << 16):
            client.write(data[at:at + (1 << 16)])
        client.end_input()
    sender = threading.Thread(target=send)
    sender.start()
    peak = before
    while sender.is_alive():
        peak = max(peak, bridge.memory_kib())
        sender.join(0.05)
    assert client.to_end(60) == DONE
    assert client.out.split()[0].decode() == hashlib.sha256(data).hexdigest()
    assert peak - before < 40 * 1024, f"{peak - before} KiB more"


def test_say_and_leave(bridge, sandbox):
    """Who connects, says something and leaves is heard, also when the session was not live by then."""
    sid = start(bridge, sandbox, "seq 1 50000; while read x; do echo got $x; done; echo end")
    for text in ("one", "two", "x" * 300_000):
        client = Attached(bridge, sandbox, sid)
        client.write(text + "\n")
        assert client.ws.close() == 1000
    client = Attached(bridge, sandbox, sid).until(b"got one\n").until(b"got two\n").until(b"x\n")
    client.cut()
    client = Attached(bridge, sandbox, sid)
    client.end_input()
    client.ws.close()
    client = Attached(bridge, sandbox, sid)
    assert client.to_end() == DONE
    assert client.out.endswith(b"x\nend\n")


def test_split_messages_and_unknown_channels(bridge, sandbox):
    """Fragments of one message belong together, also when the first is empty; what is not known is ignored."""
    client = Attached(bridge, sandbox, start(bridge, sandbox, "cat")).until_live()
    client.ws.send(b"", fin=False)
    client.ws.send(b"\0one ", opcode=0, fin=False)
    client.ws.send(b"two ", opcode=0, fin=True)
    client.ws.send(b"")
    client.ws.send(b"\x63what is this")
    client.ws.send(b"\x06{\"unknown\":1}")
    client.ws.send(b"\x06not json")
    client.ws.send(b"\x06" + b"x" * 100_000)
    client.ws.send_text("\0three\n")
    client.end_input()
    assert client.to_end() == DONE
    assert client.out == b"one two three\n"


def test_signals(bridge, sandbox):
    """A signal by the socket, by name and by number; B3: it does not touch stdin."""
    client = Attached(bridge, sandbox, start(
        bridge, sandbox, "trap 'echo interrupted' INT; echo ready; while :; do read x && echo got $x; [ \"$x\" = end ] && break; done"))
    client.until(b"ready\n").until_live()
    client.control({"signal": "INT"})
    client.write("more\n")
    client.until(b"interrupted\n").until(b"got more\n")
    client.control({"signal": "SIGKILL"})
    assert client.to_end() == DONE
    assert client.exit == 137
    client = Attached(bridge, sandbox, start(bridge, sandbox, "sleep 100"))
    client.control({"signal": 15})
    assert client.to_end() == DONE
    assert client.exit == 143


def test_shell_protocol(bridge, sandbox):
    """shell() of the SDKs (contract 5.1): a bash with pipes, commands between markers on both streams."""
    reply = bridge.post(f"/sandboxes/{sandbox}/exec", {"cmd": "bash", "args": ["--noprofile", "--norc", "+m"]})
    client = Attached(bridge, sandbox, reply.json()["sessionID"])

    def run(n, command):
        client.write(f"{{ {command}\n}} ; __oc_ec=$? ; printf '\\n__OC_{n}_DONE__\\n' ; "
                     f"printf '\\n__OC_{n}_EXIT_%d__\\n' $__oc_ec >&2\n")
        client.until(b"\n__OC_%d_DONE__\n" % n)
        client.until(b"\n__OC_%d_EXIT_" % n, ERR).until(b"__\n", ERR)
    run(1, "X=kept; cd /tmp; echo hello; echo oops >&2")
    assert client.out.startswith(b"hello\n") and client.err.startswith(b"oops\n")
    run(2, "echo $X in $PWD; (exit 9)")
    assert b"kept in /tmp\n" in client.out and b"__OC_2_EXIT_9__" in client.err
    run(3, "seq 1 100000")
    assert b"\n100000\n" in client.out
    client.write("exit 4\n")
    assert client.to_end() == DONE
    assert client.exit == 4


# ---------------------------------------------------------------------------------------------- who

def test_wrong_sessions(bridge, sandbox):
    """B5, B7: what is not a session of this sandbox, of this kind, is 404 before the upgrade."""
    other = bridge.create()
    sid = start(bridge, sandbox, "cat")
    pty = bridge.post(f"/sandboxes/{sandbox}/pty", {}).json()["sessionID"]
    for path in (f"/sandboxes/{sandbox}/exec/x000000000000", f"/sandboxes/{sandbox}/exec/%20", f"/sandboxes/{other}/exec/{sid}",
                 f"/sandboxes/{other}/exec/{pty}", f"/sandboxes/{sandbox}/pty/{sid}", f"/sandboxes/{other}/pty/{pty}",
                 f"/sandboxes/{sandbox}/agent/{pty}", f"/sandboxes/sb-00000000/exec/{sid}"):
        assert refused(bridge, path) == 404, path
    for since in ("x", "1", "1,", "1,2,3", "-1,2", "1, 2"):
        assert refused(bridge, f"/sandboxes/{sandbox}/exec/{sid}", query={"since": since}) == 400, since
    assert bridge.get(f"/sandboxes/{sandbox}/exec/{sid}").status == 426
    assert refused(bridge, f"/sandboxes/{sandbox}/exec/{sid}", key="wrong") in (401, 403)
    bridge.delete(f"/sandboxes/{other}")


def test_credentials_and_bases(bridge, sandbox):
    """The ways Python and TypeScript clients come (contract 1.2, 1.4): key or token, with /api and without."""
    token = bridge.get(f"/sandboxes/{sandbox}").json()["token"]
    sid = start(bridge, sandbox, "echo hi")
    path = f"/sandboxes/{sandbox}/exec/{sid}"
    for prefix in (path, path[1:]):
        for query, headers in (({"token": token}, {}), ({"api_key": token}, {}), ({"api_key": bridge.key}, {}),
                               ({}, {"X-API-Key": token}), ({}, {"Authorization": f"Bearer {token}"})):
            ws = bridge.websocket(prefix, query=query, headers=headers, key=None)
            assert ws.expect_close() == DONE


def test_agent_route_is_an_alias(bridge, sandbox):
    """C10: GET /agent/:sid is a socket."""
    client = Attached(bridge, sandbox, start(bridge, sandbox, "echo hi"), route="agent")
    assert client.to_end() == DONE and client.out == b"hi\n"


def test_leaving_ends_nothing(bridge, sandbox):
    """B13, B16: a client that goes, in order or not, leaves the command running and everything for the next."""
    sid = start(bridge, sandbox, "while read x; do echo $x; done; exit 2")
    client = Attached(bridge, sandbox, sid).until_live()
    client.write("one\n")
    client.until(b"one\n")
    assert client.ws.close() == 1000
    client = Attached(bridge, sandbox, sid).until_live()
    client.write("two\n")
    client.until(b"two\n").cut()
    client = Attached(bridge, sandbox, sid)
    client.end_input()
    assert client.to_end() == DONE
    assert client.out == b"one\ntwo\n" and client.exit == 2


def test_killed_sandbox_closes_without_exit(bridge):
    """No made-up exit code: only 0x03 says that a command has ended (24.2)."""
    sandbox = bridge.create()
    client = Attached(bridge, sandbox, start(bridge, sandbox, "sleep 100")).until_live()
    assert bridge.delete(f"/sandboxes/{sandbox}").status == 204
    assert client.to_end()[0] == 4410
    assert client.exit is None


@pytest.mark.seconds(90)
def test_quiet_sessions_are_kept_alive(bridge, sandbox):
    """After 30 s of silence comes an empty message, and nothing else."""
    client = Attached(bridge, sandbox, start(bridge, sandbox, "read x")).until_live()
    began = time.monotonic()
    assert client.ws.recv(40) == b""
    assert 29 < time.monotonic() - began < 35
    client.end_input()
    assert client.to_end() == DONE


# ---------------------------------------------------------------------------------------------- much

def random_file(bridge, sandbox, size):
    """Makes one in the sandbox; gives its hash."""
    text = bridge.run(sandbox, f"head -c {size} /dev/urandom >/tmp/random; sha256sum </tmp/random")["stdout"]
    return text.split()[0]


@pytest.mark.seconds(120)
def test_stalling_reader_loses_nothing(bridge, sandbox):
    """A3: 100 MiB of binary output through a client that stops again and again; the bridge keeps no more than its window."""
    size = 100 << 20
    wanted = random_file(bridge, sandbox, size)
    before = bridge.memory_kib()
    client = Attached(bridge, sandbox, start(bridge, sandbox, "read x; cat /tmp/random; echo done >&2"), keep=False)
    client.write("\n")  # without a client from the beginning only the scrollback is kept
    stops, peak = 0, 0
    while client.streams[OUT].n < size:
        client.next()
        if client.streams[OUT].n > stops * (20 << 20):
            stops += 1
            time.sleep(0.5)
            peak = max(peak, bridge.memory_kib())
    assert client.to_end() == DONE
    assert client.streams[OUT].hash.hexdigest() == wanted and client.streams[OUT].n == size
    assert peak - before < 20 * 1024, f"{peak - before} KiB more"


def test_no_gap_between_replay_and_live(bridge, sandbox):
    """A2: clients that attach while output pours get every byte from where they began."""
    script = "i=0; while [ $i -lt 60 ]; do seq $((i * 2000)) $((i * 2000 + 1999)); i=$((i + 1)); sleep 0.02; done"
    sid = start(bridge, sandbox, script)
    clients = [Attached(bridge, sandbox, sid, keep=True) for _ in range(3)]
    results = []

    def read(client):
        results.append(client.to_end())
    threads = [threading.Thread(target=read, args=(client,)) for client in clients]
    for _ in range(3):
        clients.append(Attached(bridge, sandbox, sid))
        threads.append(threading.Thread(target=read, args=(clients[-1],)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [DONE] * 6
    wanted = b"".join(b"%d\n" % n for n in range(120_000))
    for client in clients:
        assert client.out == wanted


def test_pong_overtakes_blocked_output(bridge, sandbox):
    """A client that read nothing for a while finds its pong behind what was on the way already, not behind everything."""
    client = Attached(bridge, sandbox, start(bridge, sandbox, "read x; head -c 60000000 /dev/zero"), keep=False).until_live()
    client.write("\n")
    client.next()
    client.ws.send(b"now", PING)
    while not client.ws.pongs:
        client.next()
    assert client.streams[OUT].n < 20_000_000, client.streams[OUT].n
    assert client.to_end() == DONE
    assert client.streams[OUT].n == 60_000_000


# ---------------------------------------------------------------------------------------------- coming back

def test_since(bridge, sandbox):
    """Resuming by offset is exact in both streams; `now` skips the replay."""
    sid = start(bridge, sandbox, "seq 1 50000; seq 1 500 >&2; read x; echo later; read x")
    whole = Attached(bridge, sandbox, sid).until(b"\n50000\n").until(b"\n500\n", ERR).until_live()
    part = Attached(bridge, sandbox, sid, since="1000,20").until_live()
    assert part.out == whole.out[1000:] and part.err == whole.err[20:]
    now = Attached(bridge, sandbox, sid, since="now").until_live()
    assert now.replayed == {OUT: 0, ERR: 0}
    whole.write("\n")
    for client in (whole, part, now):
        client.until(b"later\n")
    assert now.out == b"later\n"
    beyond = Attached(bridge, sandbox, sid, since="99999999,0")
    assert beyond.to_end()[0] == 1008
    whole.write("\n")
    for client in (whole, part, now):
        assert client.to_end() == DONE and not client.notes


def test_gap_is_told_to_who_understands(bridge, sandbox):
    """Output that is not kept any more: clients with ?since= are told how much, others just get what there is."""
    sid = start(bridge, sandbox, "seq 1 700000; read x")  # 4.8 MB, while nobody looks on
    text = b"".join(b"%d\n" % n for n in range(1, 700_001))
    eventually(lambda: Attached(bridge, sandbox, sid).until_live().out.endswith(b"\n700000\n"), "all to be printed")
    plain = Attached(bridge, sandbox, sid).until_live()
    assert plain.out and text.endswith(plain.out) and not plain.notes
    client = Attached(bridge, sandbox, sid, since="100,0").until_live()
    assert client.notes[0]["gap"]["stream"] == "stdout" and client.notes[0]["gap"]["offset"] == 100
    assert text[100 + client.notes[0]["gap"]["missing"]:] == client.out
    for c in (plain, client):
        c.cut()


@pytest.mark.seconds(280)
def test_bridge_killed_again_and_again(bridge):
    """kill -9 of the bridge in mid-stream, 50 times: clients come back by offset and have every byte, and the command does
    not wait for places that nobody holds any more."""
    sandbox = bridge.create()
    size = 40 << 20
    wanted = random_file(bridge, sandbox, size)
    sid = start(bridge, sandbox, "read x; cat /tmp/random")
    got, since = hashlib.sha256(), 0
    rng = random.Random(50)
    code = None
    for round_ in range(51):
        client = Attached(bridge, sandbox, sid, keep=False, since=f"{since},0")
        client.streams[OUT].hash = got
        if round_ == 0:
            client.write("\n")
        stop = 1 + rng.randrange(size // 60)
        try:
            while round_ == 50 or client.streams[OUT].n < stop:
                client.next()
        except Closed as closed:
            code = (closed.code, closed.reason)
            break
        bridge.kill()
        try:
            while True:
                client.next()
        except Closed:
            pass
        assert not client.notes, client.notes
        since += client.streams[OUT].n
        bridge.start()
    assert code == DONE and not client.notes
    assert since + client.streams[OUT].n == size
    assert got.hexdigest() == wanted


def test_restart_in_order(bridge, sandbox):
    """SIGTERM: sockets close with 1012 and not with an end, the command goes on, and its client after it."""
    client = Attached(bridge, sandbox, sid := start(bridge, sandbox, "read x; echo $x; read y; echo $y")).until_live()
    client.write("one\n")
    client.until(b"one\n")
    bridge.terminate()
    assert client.to_end()[0] == 1012 and client.exit is None
    assert bridge.wait_end() == 0
    bridge.start()
    again = Attached(bridge, sandbox, sid, since=client.since).until_live()
    again.write("two\n")
    assert again.to_end() == DONE
    assert again.out == b"two\n"


@pytest.mark.seconds(90)
def test_session_of_before_sleep(bridge):
    """A sandbox that was put aside is started for a client; what ran before is gone, which is no exit."""
    sandbox = bridge.create(timeout=1)
    sid = start(bridge, sandbox, "sleep 1000")

    def status():
        return bridge.get(f"/sandboxes/{sandbox}").json()["status"]
    eventually(lambda: status() == "stopped", "it to be put aside", 30)
    try:
        client = Attached(bridge, sandbox, sid)
        assert client.to_end()[0] == 4404 and client.exit is None
        assert status() == "running"
    except HandshakeRefused as refusal:
        assert refusal.status == 404


@pytest.mark.bridge(driver="external")
def test_broken_link_costs_nothing(bridge, agent):
    """The link to the guest breaks while output and input flow: the client does not see it."""
    relay = Relay(agent.target, budgets=[300_000, 700_000, 50_000, 1_000_000, 2_000_000, 10_000, 400_000])
    reply = bridge.post("/admin/guests", {"address": f"unix:{relay.path}"})
    assert reply.status == 201, reply
    sandbox = reply.json()["sandboxID"]
    data = random.Random(8).randbytes(3_000_000)
    client = Attached(bridge, sandbox, start(bridge, sandbox, "cat"))
    sender = threading.Thread(target=lambda: [client.write(data[at:at + 30_000]) for at in range(0, len(data), 30_000)])
    sender.start()
    client.until_bytes(len(data))
    sender.join()
    client.end_input()
    assert client.to_end() == DONE
    assert client.out == data and client.exit == 0
    assert relay.cuts >= 5
    bridge.delete(f"/sandboxes/{sandbox}")
    relay.close()


@pytest.mark.bridge(driver="external")
@pytest.mark.seconds(120)
def test_lost_agent_is_no_exit(bridge, start_agent):
    """The agent dies and its sessions with it: the socket closes without 0x03."""
    agent = start_agent()
    sandbox = bridge.adopt(agent)
    client = Attached(bridge, sandbox, start(bridge, sandbox, "echo $$; exec sleep 1000")).until(b"\n")
    agent.kill()
    code, _ = client.to_end(90)
    os.kill(int(client.out), signal.SIGKILL)
    assert code in (1011, 4404, 4410) and client.exit is None
