"""Terminals whose links break, whose viewers stop, and whose agent is replaced (sections 6 and 12)."""
import random
import time

import pytest

from client import Link
from harness import eventually
from resuming import random_budgets
from terminals import BASH, events, expect, foreground, open_terminal, say
from wire import WS_CLOSE, LinkClosed

NAMED = {"viewer": "me", "hold_ms": 30000}
RAW_CAT = ["sh", "-c", "stty raw -echo; printf 'go\\n'; exec cat"]  # says back what is typed, byte for byte


# broken links

def type_all(agent, data, budgets):
    """Types `data` on links that are cut after so many bytes each; gives the channel that has all of it back."""
    spec = {"start": {"cmd": RAW_CAT, "pty": {}}, "id": agent.new_id("keys"), "window": 262144,
            "attach": {"input": True, "size": {"cols": 80, "rows": 24}, **NAMED}}
    channel, cuts = None, 0
    while True:
        link = Link.connect(agent.target, timeout=20) if not budgets else None
        try:
            link = link or Link.connect(agent.target, timeout=20, cut_after=budgets.pop())
            channel = channel.resume(link, wait=False) if channel else link.open(wait=False, **spec)
            channel.wait_opened()
            assert channel.opened["pty"]["owner"], "it comes back as the owner it was"
            channel.wait_out(b"go\n")  # raw only now: what is typed before would be cooked
            while channel.offset < len(data):
                channel.write(data[channel.offset:channel.offset + 700])
            link.wait(lambda: channel.stdout.offset >= 3 + len(data), "the whole echo", 20)
            link.request("kill", id=channel.id, signal="KILL")
            return channel, cuts
        except LinkClosed:
            cuts += 1


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.seconds(120)
def test_keys_are_neither_lost_nor_doubled(agent, seed):
    data = random.Random(seed).randbytes(60000)
    channel, cuts = type_all(agent, data, random_budgets(seed, 25, 20000))
    assert channel.out == b"go\n" + data and cuts > 10


def test_replay_from_an_offset(agent, link):
    """A second viewer sees what was; one that knows a part sees the rest, and nothing twice."""
    channel = open_terminal(link, BASH)
    expect(channel, b"$ ")
    say(channel, "echo one$((1+1))three")
    expect(channel, b"one2three\r\n")
    expect(channel, b"$ ")
    whole = channel.out
    other = agent.connect()
    replay = other.open(id=channel.id)
    replay.wait_live()
    assert replay.out == whole
    rest = other.open(id=channel.id, attach={"since": [20, 0]})
    rest.wait_live()
    assert rest.out == whole[20:]


def test_owner_comes_back(agent, link):
    """While its place is held nobody else becomes the owner; after that, who is there does."""
    first = open_terminal(link, ["cat"], attach={**NAMED, "hold_ms": 300})
    second = agent.connect().open(id=first.id, attach={"input": True})
    link.cut()
    second.link.wait_entry(first.id, lambda entry: entry["held"] == 1, "the place to be held")
    assert not events(second, "owner")
    again = first.resume(agent.connect())
    assert again.opened["pty"]["owner"] and not events(second, "owner")
    again.link.cut()
    second.link.wait(lambda: events(second, "owner") == [True], "the hold to end")


def test_goodbye_under_output(agent, link):
    """Who says goodbye and hangs up at once, in the middle of output, has said it: no place is held, no key is lost."""
    for n in range(20):
        leaver = agent.connect()
        channel = open_terminal(leaver, ["sh", "-c", "stty raw -echo; yes & head -c 4 >&2; kill $!; cat"],
                                attach={**NAMED, "policy": "lossless"}, window=1 << 20, auto=False)
        channel.wait_bytes(1000 * n)
        channel.write(b"keys")
        leaver.send_ws(WS_CLOSE, (1000).to_bytes(2, "big"))
        leaver.cut()
        entry = link.wait_entry(channel.id, lambda entry: not entry["viewers"], "the viewer to be gone")
        assert entry["held"] == 0 and entry["stdin"]["accepted"] == 4
        link.request("kill", id=channel.id, signal="KILL", to="tree")


# viewers that stop

def test_lossless_viewer_stops_the_program(agent, link):
    """... and nobody else: another terminal, and requests about this one, are answered."""
    stopped = open_terminal(link, ["sh", "-c", "stty raw; seq 1000000 1999999"], start={"ring": 65536}, window=65536,
                            auto=False)
    other = agent.connect()
    live = other.open(id=stopped.id, attach={"policy": "live"}, keep=False)
    link.wait(lambda: stopped.received == 65536, "the window")
    eventually(lambda: settled(link, stopped.id), "the program to stand still")
    shell = open_terminal(other, BASH)
    expect(shell, b"$ ")
    say(shell, "echo $((6*7))")
    expect(shell, b"42\r\n")
    assert live.stdout.offset < 1000000 and link.entry(stopped.id)["state"] == "running"
    stopped.flow()
    stopped.finish(30)
    assert stopped.out == b"".join(b"%d\n" % n for n in range(1000000, 2000000)) and not stopped.stdout.gaps
    assert live.finish(30).stdout.offset == 8000000


def settled(link, session):
    head = link.entry(session)["out"]["head"]
    link.idle(0.2)
    return head == link.entry(session)["out"]["head"]


def test_live_viewer_skips(link):
    """The program is not held up by a viewer that may miss something."""
    channel = open_terminal(link, ["sh", "-c", "stty raw; seq 1000000 1499999"], attach={"policy": "live"},
                            start={"ring": 65536}, window=65536, auto=False)
    assert link.wait_end(channel.id)["end"]["out"] == 4000000
    channel.flow()
    channel.finish()
    assert channel.stdout.gaps and channel.stdout.count + channel.stdout.missing() == 4000000


def test_socket_that_is_not_read(agent, link):
    """A whole link stands still, with a terminal that never stops behind it: the next key elsewhere is echoed."""
    stuck = agent.connect()
    open_terminal(stuck, ["yes"], attach={"policy": "live"}, window=1 << 30)
    time.sleep(0.3)
    shell = open_terminal(link, RAW_CAT)
    expect(shell, b"go\n")
    slowest = 0
    for _ in range(100):
        began = time.monotonic()
        shell.write(b"k")
        expect(shell, b"k")
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 1


def test_viewer_that_does_not_read_news(agent, link):
    """However often the size changes, nothing piles up for who does not look; then the last one is told."""
    first = open_terminal(link, ["sleep", "60"])
    other = agent.connect()
    stuck = other.open(id=first.id)
    flood = open_terminal(other, ["yes"], attach={"policy": "live"}, window=1 << 30, keep=False)
    time.sleep(0.3)  # its socket is full
    for n in range(6000):
        link.ask("resize", first.number, cols=100 + n % 2, rows=1 + n)
        if n % 100 == 0:
            link.request("ping")
    first.request("resize", cols=77, rows=7)
    other.wait(lambda: (77, 7) in events(stuck, "size"), "the last size", 20)
    assert len(events(stuck, "size")) < 100 and other.closed is None
    flood.request("signal", signal="KILL")


def test_key_is_acknowledged_by_its_echo(link):
    """ACK and echo come together; and without an echo ACK comes alone."""
    channel = open_terminal(link, RAW_CAT)
    expect(channel, b"go\n")
    for _ in range(50):
        channel.write(b"k")
        expect(channel, b"k")
        assert channel.acked == channel.offset
    silent = open_terminal(link, ["sh", "-c", "stty -echo; echo go; sleep 60"])
    expect(silent, b"go")
    silent.write(b"k")
    silent.wait_acked(1, 2)


def test_program_that_does_not_read(agent, link):
    """What is typed to it waits in its own queue; everybody else types on."""
    deaf = open_terminal(link, ["sh", "-c", "stty raw -echo; echo go; exec sleep 600"])
    expect(deaf, b"go")
    sent = 0
    while deaf.tx_window > deaf.tx_used:
        deaf.write(b"x" * min(60000, deaf.tx_window - deaf.tx_used))
        sent = deaf.tx_used
        link.idle(0.1)
    assert 262144 <= sent <= 600000
    shell = open_terminal(link, RAW_CAT)
    expect(shell, b"go\n")
    shell.write(b"k")
    expect(shell, b"k")


def test_detached_is_drained(link):
    channel = open_terminal(link, ["sh", "-c", "stty raw; seq 1000000 1999999; exit 5"])
    channel.close()
    end = link.wait_end(channel.id, 20)["end"]
    assert (end["code"], end["out"]) == (5, 8000000)


# upgrades

@pytest.mark.own_agent
def test_upgrade_with_a_shell(agent):
    """The shell, its terminal, its size and its owner outlive the agent; keys typed before are not lost."""
    link = agent.connect()
    channel = open_terminal(link, BASH, attach={**NAMED, "size": {"cols": 99, "rows": 42}})
    expect(channel, b"$ ")
    say(channel, "x=kept; cat")
    eventually(lambda: foreground(channel.opened["pid"]) == "cat", "cat")
    channel.write(b"half a li")
    channel.wait_acked(channel.offset)
    for _ in range(3):
        again = channel.resume(agent.upgrade())
        assert again.opened["pty"] == {"cols": 99, "rows": 42, "xpixel": 0, "ypixel": 0, "owner": True}
        channel = again
    channel.write(b"ne\r")
    expect(channel, b"half a line\r\nhalf a line\r\n")
    channel.write(b"\x04")
    say(channel, "echo $x; stty size")
    expect(channel, b"kept\r\n42 99\r\n")
    channel.request("resize", cols=50, rows=10)
    say(channel, "stty size; exit 6")
    expect(channel, b"10 50\r\n")
    assert channel.finish().end["code"] == 6


@pytest.mark.own_agent
@pytest.mark.seconds(120)
def test_upgrade_under_output(agent):
    """A terminal that prints all the time, through many agents: every byte once."""
    link = agent.connect()
    channel = open_terminal(link, ["sh", "-c", "stty raw; seq 1000000 1599999"], attach=NAMED, start={"ring": 262144},
                            window=131072)
    for _ in range(8):
        channel.wait_bytes(200000)
        channel = channel.resume(agent.upgrade())
    channel.finish(30)
    assert channel.out == b"".join(b"%d\n" % n for n in range(1000000, 1600000))


@pytest.mark.own_agent
def test_agent_stops(agent, link):
    """An orderly stop hangs a shell up, and tells its viewers before it goes."""
    channel = open_terminal(link, BASH)
    expect(channel, b"$ ")
    agent.terminate()
    assert link.expect_close() == 1001
    assert (channel.end["state"], channel.end["by"]) == ("killed", "shutdown") and channel.closed is not None
