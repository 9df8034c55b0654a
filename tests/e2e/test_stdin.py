"""Input: flow control, EOF, offsets, what happens when the child does not want it (section 6, Input)."""
import random
import time

import pytest

from outputs import sha
from wire import FIN, AgentError

PIPE_AND_WINDOW = 262144 + (1 << 20)  # what can be under way to a child that does not read: window and pipe


def open_cat(link, **members):
    return link.open(start={"cmd": ["cat"], "stdin": True}, attach={"input": True}, **members)


def open_deaf(link, script="sleep 100", **start):
    """A session that has a stdin and never reads it."""
    return link.open(start={"cmd": ["sh", "-c", script], "stdin": True, **start}, attach={"input": True})


def test_echo(link):
    channel = open_cat(link)
    assert channel.opened["stdin"] == {"open": True, "offset": 0} and channel.opened["window"] == 262144
    channel.write(b"one\n")
    channel.wait_out(b"one\n")
    channel.write(b"two\n")
    channel.wait_out(b"two\n")
    channel.write(fin=True)
    assert channel.finish().out == b"one\ntwo\n" and channel.end["code"] == 0


def test_16_mib_through_cat(link):
    """microsandbox#706: more than 64 KiB failed."""
    data = random.Random(1).randbytes(16 << 20)
    channel = open_cat(link)
    channel.write(data, fin=True, timeout=30)
    channel.finish(30)
    assert channel.stdout.count == len(data) and channel.stdout.hash() == sha(data)
    assert channel.acked == len(data)


def test_16_mib_into_a_slow_reader(link):
    """gondolin#42: a bounded queue truncated silently."""
    data = random.Random(2).randbytes(16 << 20)
    channel = link.open(start={"cmd": ["sh", "-c", "sleep 0.5; sha256sum"], "stdin": True}, attach={"input": True})
    channel.write(data, fin=True, timeout=30)
    assert channel.finish(30).out.split()[0].decode() == sha(data)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 65519, 65520, 65521, 65536, 262143, 262144, 262145])
def test_sizes_around_borders(link, size):
    data = random.Random(size).randbytes(size)
    channel = open_cat(link)
    channel.write(data, fin=True)
    assert channel.finish().out == data


def test_one_byte_messages(link):
    data = b"".join(b"%03d\n" % number for number in range(1000))
    channel = open_cat(link)
    for at in range(len(data)):
        channel.send_at(at, data[at:at + 1])
    channel.write(fin=True)
    assert channel.finish().out == data


def test_eof_ends_stdin(link):
    """The original has no EOF at all (contract A5)."""
    channel = link.open(start={"cmd": ["sh", "-c", "wc -c; echo after"], "stdin": True}, attach={"input": True})
    channel.write(b"12345", fin=True)
    assert channel.finish().out.split() == [b"5", b"after"]


def test_eof_alone(link):
    channel = open_cat(link)
    channel.write(fin=True)
    channel.finish()
    assert channel.out == b"" and channel.end["code"] == 0


def test_eof_is_not_lost_behind_blocked_input(link):
    channel = link.open(start={"cmd": ["sh", "-c", "sleep 0.5; wc -c"], "stdin": True}, attach={"input": True})
    channel.write(b"x" * 262144, fin=True)
    assert channel.finish().out.strip() == b"262144"


def test_closing_the_channel_is_not_eof(link):
    channel = open_cat(link)
    session = channel.id
    channel.write(b"before ")
    channel.wait_acked(7)
    channel.close()
    again = link.open(id=session, attach={"input": True})
    again.write(b"after", fin=True)
    assert again.finish().out == b"before after"


def test_input_and_eof_in_one_go_survive_a_close(agent):
    """What was acknowledged is safe in the session, whatever becomes of the link."""
    link = agent.connect()
    channel = link.open(start={"cmd": ["sh", "-c", "sleep 0.5; cat"], "stdin": True}, attach={"input": True})
    channel.write(b"x" * 100000, fin=True)
    channel.wait_acked(100000)
    session = channel.id
    link.cut()
    again = agent.connect().open(id=session)
    assert again.finish().out == b"x" * 100000


# credit and acknowledgement

def test_ack(link):
    channel = open_deaf(link)
    channel.write(b"x" * 100000)
    channel.wait_acked(100000)
    assert link.entry(channel.id)["stdin"]["accepted"] == 100000
    link.request("kill", id=channel.id, signal="KILL")


def test_child_that_does_not_read_blocks_only_itself(link):
    """blaxel sandbox#318: one blocked write stopped the whole server."""
    deaf = open_deaf(link)
    sent = fill(link, deaf)
    assert 262144 <= sent <= PIPE_AND_WINDOW
    channel = open_cat(link)
    channel.write(b"x" * 100000, fin=True)
    assert channel.finish().out == b"x" * 100000
    entry = link.entry(deaf.id)
    assert entry["stdin"]["open"] is True and entry["stdin"]["written"] <= entry["stdin"]["accepted"] <= sent
    link.request("kill", id=deaf.id, signal="KILL")


def fill(link, channel):
    """Sends all that the window allows, until no more is granted."""
    while True:
        room = channel.tx_window - channel.tx_used
        if room == 0:
            link.idle(0.3)
            if channel.tx_window == channel.tx_used:
                return channel.tx_used
        else:
            channel.write(b"x" * min(room, 65520))


def test_credit_returns_as_the_child_reads(link):
    script = "trap go=1 USR1; echo up; while [ -z \"$go\" ]; do sleep 0.05; done; wc -c"
    channel = open_deaf(link, script)
    channel.wait_out(b"up\n")
    sent = fill(link, channel)
    channel.request("signal", signal="USR1", to="leader")
    channel.write(b"y" * 1000000, fin=True)
    assert int(channel.finish(20).out.split()[1]) == sent + 1000000


@pytest.mark.own_agent
def test_unread_input_is_bounded(agent):
    """Many deaf children: each costs its window, no more."""
    link = agent.connect()
    link.run(["true"])
    before = agent.memory_kib()
    deaf = [open_deaf(link) for _ in range(16)]
    for channel in deaf:
        while channel.tx_window > channel.tx_used:
            channel.write(b"x" * min(channel.tx_window - channel.tx_used, 65520))
    link.idle(0.5)
    growth = agent.memory_kib() - before
    assert growth < 16 * 1024 + 8192, f"{growth} KiB for 16 windows of 256 KiB"
    for channel in deaf:
        link.request("kill", id=channel.id, signal="KILL")


# the child closes its stdin

def test_child_closes_stdin_and_runs_on(link):
    channel = open_deaf(link, script="exec 0<&-; sleep 1; echo done")
    event = channel.wait_stdin_closed(5)
    assert event["offset"] == 0
    assert channel.finish().out == b"done\n"


def test_child_closes_stdin_with_input_under_way(link):
    channel = open_deaf(link, script="exec 0<&-; sleep 1; echo done")
    channel.write(b"x" * 1000000)  # returns at the event
    event = channel.wait_stdin_closed(5)
    assert 0 <= event["offset"] <= channel.offset
    channel.send_at(channel.offset, b"")  # what is sent later is dropped
    assert channel.finish().out == b"done\n"


def test_child_that_reads_a_little_and_goes(link):
    channel = link.open(start={"cmd": ["head", "-c", "5"], "stdin": True}, attach={"input": True})
    channel.write(b"x" * 3000000)
    channel.finish()
    assert channel.out == b"xxxxx" and channel.end["state"] == "exited" and channel.end["code"] == 0
    assert channel.stdin_closed is not None


def test_input_after_the_child_closed_is_dropped(link):
    channel = open_deaf(link, script="exec 0<&-; echo closed; sleep 1; echo done")
    channel.wait_stdin_closed(5)
    for _ in range(4):
        channel.send_at(channel.offset, b"y" * 1000)
    assert channel.finish().out == b"closed\ndone\n"


def test_input_after_eof_is_no_disaster(link):
    channel = open_deaf(link, script="cat; sleep 0.5; echo done")
    channel.write(b"all", fin=True)
    channel.send_at(3, b"more", FIN)
    channel.wait_closed()
    entry = link.wait_end(channel.id)
    assert entry["end"]["code"] == 0 and entry["out"]["head"] == len(b"alldone\n")


def test_input_to_an_ended_session(link):
    session = link.run(["cat"], stdin=False).id
    ended = link.open(start={"cmd": ["true"], "stdin": True}).finish().id
    for one in (session, ended):
        channel = link.open(id=one, attach={"input": True})
        assert channel.opened["stdin"]["open"] is False
        channel.finish()


# offsets

def test_overlap_is_dropped(link):
    """After a resume a client may repeat what it has no ACK for."""
    channel = open_cat(link)
    channel.send_at(0, b"0123456789")
    channel.send_at(0, b"0123456789")
    channel.send_at(5, b"56789abcde")
    channel.send_at(3, b"345")
    channel.send_at(15, b"f", FIN)
    assert channel.finish().out == b"0123456789abcdef"


def test_overlap_with_eof(link):
    channel = open_cat(link)
    channel.send_at(0, b"0123456789")
    channel.send_at(2, b"23456789", FIN)
    assert channel.finish().out == b"0123456789"


def test_offset_above_is_a_gap_and_refused(link):
    channel = open_cat(link)
    session = channel.id
    channel.send_at(0, b"01234")
    channel.send_at(6, b"6789")
    assert channel.wait_closed()["code"] == "bad_offset"
    again = link.open(id=session, attach={"input": True})
    again.write(b"fine", fin=True)
    assert again.finish().out == b"01234fine"


def test_offset_near_2_64_does_not_wrap(link):
    channel = open_cat(link)
    session = channel.id
    channel.send_at(2 ** 64 - 4, b"01234567")
    assert channel.wait_closed()["code"] == "bad_offset"
    link.request("kill", id=session, signal="KILL")


# who may write

@pytest.mark.parametrize("stdin, input_", [(True, False), (False, True), (False, False)])
def test_no_input_no_window(link, stdin, input_):
    channel = link.open(start={"cmd": ["sleep", "100"], "stdin": stdin}, attach={"input": input_})
    assert channel.opened["window"] == 0
    channel.send_at(0, b"x")
    assert channel.wait_closed()["code"] in ("credit_overrun", "not_input")
    assert link.entry(channel.id)["state"] == "running"
    link.request("kill", id=channel.id, signal="KILL")


def test_eof_needs_the_right_to_write(link):
    """An empty DATA with FIN needs no credit, but a viewer that may not write must not end stdin."""
    writer = open_cat(link)
    watcher = link.open(id=writer.id)
    watcher.send_at(0, b"", FIN)
    assert watcher.wait_closed()["code"] == "not_input"
    writer.write(b"still open", fin=True)
    assert writer.finish().out == b"still open"


def test_two_writers(agent):
    """Each has offsets of its own, from 0; both arrive whole and in their order."""
    one = open_cat(agent.connect())
    two = agent.connect().open(id=one.id, attach={"input": True})
    assert two.opened["stdin"] == {"open": True, "offset": 0}
    for number in range(2000):
        one.write(b"1:%05d\n" % number)
        two.write(b"2:%05d\n" % number)
    one.wait_acked(2000 * 8)
    two.wait_acked(2000 * 8)
    one.write(fin=True)
    two.finish()
    lines = one.finish().out.split(b"\n")[:-1]
    assert one.out == two.out
    for writer in (b"1:", b"2:"):
        assert [line for line in lines if line.startswith(writer)] == [writer + b"%05d" % n for n in range(2000)]


def test_eof_by_one_writer_is_for_all(agent):
    one = open_cat(agent.connect())
    two = agent.connect().open(id=one.id, attach={"input": True})
    two.write(b"two", fin=True)
    assert one.finish().out == two.finish().out == b"two"


def test_ninth_writer_is_too_many(link):
    first = open_cat(link)
    others = [link.open(id=first.id, attach={"input": True}) for _ in range(7)]
    with pytest.raises(AgentError) as refused:
        link.open(id=first.id, attach={"input": True})
    assert refused.value.code == "too_many"
    watcher = link.open(id=first.id)
    others[0].close()
    link.open(id=first.id, attach={"input": True})
    first.write(fin=True)
    watcher.finish()


def test_interactive_round_trips(link):
    """A reply for each line, at once: nothing on the way collects."""
    channel = link.open(start={"cmd": ["sh", "-c", "while read x; do echo $x; done"], "stdin": True},
                        attach={"input": True})
    began = time.monotonic()
    for number in range(200):
        line = b"line-%d\n" % number
        channel.write(line)
        channel.wait_out(line)
    assert time.monotonic() - began < 10
    channel.write(fin=True)
    channel.finish()


def test_signal_does_not_close_stdin(link):
    """Contract B3: any signal closed the stdin of the original."""
    channel = link.open(start={"cmd": ["sh", "-c", "trap '' INT WINCH; echo up; exec cat"], "stdin": True},
                        attach={"input": True})
    channel.wait_out(b"up\n")
    for name in ("INT", "WINCH"):
        channel.request("signal", signal=name)
        channel.write(name.encode())
        channel.wait_out(name.encode())
    channel.write(fin=True)
    assert channel.finish().out == b"up\nINTWINCH" and channel.end["code"] == 0
