"""Output: two streams, absolute offsets, replay, gaps (section 6, Output)."""
import itertools
import threading

import pytest

from harness import eventually
from outputs import LINES, check_seq, random_script, seq_bytes, seq_script, told_hash
from wire import STDERR, STDOUT


def runs_by_offset(channel):
    """The interleaving as [(stream, bytes)], chunk borders left out."""
    return [tuple(run) for run in channel.order]


def start_detached(link, cmd, **start):
    return link.request("start", start={"cmd": cmd, **start})["id"]


# two streams and their order

def test_streams_stay_apart(link):
    channel = link.sh("echo out; echo err >&2; echo out2; echo err2 >&2")
    assert (channel.out, channel.err) == (b"out\nout2\n", b"err\nerr2\n")


def test_order_between_the_streams_is_kept(link):
    """For writes far enough apart that the agent reads them one by one."""
    script = "for i in 1 2 3 4 5 6 7 8; do echo o$i; sleep 0.03; echo e$i >&2; sleep 0.03; done"
    channel = link.sh(script)
    assert runs_by_offset(channel) == [(STDOUT, 3), (STDERR, 3)] * 8


def test_replay_has_the_order_of_live(link):
    script = "for i in 1 2 3 4 5 6 7 8 9; do echo o$i; echo e$i >&2; echo o$i; sleep 0.0$i; done"
    live = link.sh(script)
    replay = link.open(id=live.id).finish()
    assert runs_by_offset(replay) == runs_by_offset(live)
    assert (replay.out, replay.err, replay.end) == (live.out, live.err, live.end)


def test_every_byte_value(link):
    """Output is bytes: the original fails the call on the first that is not UTF-8 (contract A8)."""
    octal = "".join(f"\\{byte:03o}" for byte in range(256))
    assert link.run(["printf", octal]).out == bytes(range(256))


def test_8_mib_of_random_bytes(link):
    channel = link.sh(random_script(8 << 20), timeout=30)
    assert channel.stdout.count == 8 << 20
    assert channel.stdout.hash() == told_hash(channel)


def test_16_mib_without_a_line_feed(link):
    """Quadratic line handling took 12 s for 64 MiB (figures.md)."""
    channel = link.sh("head -c 16777216 /dev/zero", timeout=30)
    assert channel.out == bytes(16 << 20)


def test_both_streams_full_at_once(link):
    script = f"{seq_script(0, LINES * 4)} & {seq_script(7, LINES * 4)} >&2; wait"
    channel = link.sh(script, timeout=30)
    check_seq(channel.stdout)
    assert channel.err == seq_bytes(7, LINES * 4)


def test_single_bytes(link):
    """Many tiny writes must not cost more than their bytes (contract A4)."""
    channel = link.sh("i=0; while [ $i -lt 20000 ]; do printf x; i=$((i+1)); done", ring=65536, timeout=30)
    assert channel.out == b"x" * 20000


# viewers and offsets

def test_two_viewers_see_the_same(agent):
    one = agent.connect().open(start={"cmd": ["sh", "-c", f"sleep 0.2; {seq_script(0, LINES)}"]})
    two = agent.connect().open(id=one.id, window=1000)
    finish_in_threads(one, two)
    for channel in (one, two):
        check_seq(channel.stdout)
        assert channel.stdout.offset == LINES * 8 and not channel.stdout.gaps


def finish_in_threads(*channels):
    """Each on its own link, all at once: a lossless viewer that does not read stops the others."""
    threads = [threading.Thread(target=channel.finish, args=(30,)) for channel in channels]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(channel.closed is not None for channel in channels), "a viewer failed"


def test_viewers_attach_while_output_flows(agent):
    """Contract A2: between replay and live the original loses what is produced meanwhile."""
    script = f"for i in 1 2 3 4 5 6 7 8; do {seq_script(0, 5000)}; {seq_script(0, 5000)} >&2; done"
    first = agent.connect().open(start={"cmd": ["sh", "-c", script], "ring": 16 << 20})
    others = [agent.connect().open(id=first.id) for _ in range(6)]
    finish_in_threads(first, *others)
    for channel in (first, *others):
        assert (channel.stdout.offset, channel.stderr.offset) == (320000, 320000)
        assert not channel.stdout.gaps and not channel.stderr.gaps
        assert channel.stdout.hash() == first.stdout.hash()
        assert runs_by_offset(channel) == runs_by_offset(first)


@pytest.mark.parametrize("since", [0, 1, 7, 8, 4095, 65536, 100001, 800000 - 1, 800000])
def test_since(link, since):
    session = start_detached(link, ["sh", "-c", seq_script(0, 100000)])
    link.wait_end(session)
    channel = link.open(id=session, attach={"since": [since, 0]}).finish()
    assert channel.out == seq_bytes(0, 100000)[since:]
    assert channel.opened["out"] == {"oldest": 0, "head": 800000}


def test_since_is_per_stream(link):
    session = link.sh("echo 0123456789; echo abcdefghij >&2; echo 0123456789").id
    for out, err in itertools.product((0, 5, 22), (0, 1, 11)):
        channel = link.open(id=session, attach={"since": [out, err]}).finish()
        assert channel.out == b"0123456789\n0123456789\n"[out:] and channel.err == b"abcdefghij\n"[err:]


def test_since_now(link):
    first = link.open(start={"cmd": ["sh", "-c", "echo old; read x; echo new"], "stdin": True}, attach={"input": True})
    first.wait_out(b"old\n")
    late = link.open(id=first.id, attach={"since": "now"})
    assert late.opened["out"]["head"] == 4
    late.wait_live()
    first.write(b"\n")
    assert late.finish().out == b"new\n"
    assert first.finish().out == b"old\nnew\n"


def test_since_now_of_an_ended_session(link):
    session = link.sh("echo old").id
    channel = link.open(id=session, attach={"since": "now"}).finish()
    assert channel.out == b"" and channel.end["code"] == 0


def test_live_comes_after_the_replay_and_before_the_rest(link):
    first = link.open(start={"cmd": ["sh", "-c", "echo old; read x; echo new"], "stdin": True}, attach={"input": True})
    first.wait_out(b"old\n")
    late = link.open(id=first.id)
    late.wait_live()
    assert late.out == b"old\n"
    first.write(b"\n")
    assert late.finish().out == b"old\nnew\n"


def test_live_waits_for_the_replay(link):
    session = start_detached(link, ["sh", "-c", seq_script(0, 10000)])
    link.wait_end(session)
    channel = link.open(id=session, window=1000, auto=False)
    link.wait(lambda: channel.received == 1000, "the first window")
    link.idle(0.2)
    assert not channel.live and channel.received == 1000
    channel.grant(1 << 20)
    channel.finish()
    check_seq(channel.stdout)


def test_attach_again_and_again_at_any_offset(link):
    """Detached at any point, attached there again: the parts make the whole."""
    channel = link.open(start={"cmd": ["sh", "-c", f"for i in 1 2 3 4; do {seq_script(0, 25000)}; sleep 0.05; done"]},
                        window=10007)
    session, parts, at = channel.id, [], 0
    while not channel.end:
        link.wait(lambda: channel.received >= 50000 or channel.end, "some output")
        if not channel.end:
            channel.close()
            parts.append(channel.out)
            at += len(channel.out)
            channel = link.open(id=session, attach={"since": [at, 0]}, window=10007)
    channel.finish()
    assert b"".join([*parts, channel.out]) == seq_bytes(0, 25000) * 4
    assert len(parts) > 5


# the ring

def test_evicted_output_is_an_exact_gap(link):
    session = start_detached(link, ["sh", "-c", seq_script(0, LINES)], ring=65536)
    entry = link.wait_end(session)
    channel = link.open(id=session).finish()
    oldest = channel.opened["out"]["oldest"]
    assert channel.opened["out"]["head"] == LINES * 8 == entry["out"]["head"]
    assert entry["out"]["oldest"] == oldest
    assert channel.stdout.gaps == [(0, oldest)]
    assert 32768 <= channel.stdout.count <= 65536
    check_seq(channel.stdout)


def test_gap_from_the_middle(link):
    session = start_detached(link, ["sh", "-c", seq_script(0, LINES)], ring=65536)
    link.wait_end(session)
    channel = link.open(id=session, attach={"since": [500001, 0]}).finish()
    oldest = channel.opened["out"]["oldest"]
    assert channel.stdout.gaps == [(500001, oldest - 500001)]
    check_seq(channel.stdout)


def test_one_stream_evicts_the_other(link):
    """One ring for both, as the order between them is kept: each stream has a gap of its own. (The order is that of
    agentd's reads; the sleep lets it read what was written before.)"""
    script = f"echo early >&2; {seq_script(0, LINES)}; sleep 0.5; echo late >&2"
    session = start_detached(link, ["sh", "-c", script], ring=65536)
    link.wait_end(session)
    channel = link.open(id=session).finish()
    assert channel.stderr.offset == 11 and channel.err.endswith(b"late\n")
    assert channel.stderr.missing() == channel.opened["err"]["oldest"]
    assert channel.stdout.missing() == channel.opened["out"]["oldest"]
    check_seq(channel.stdout)


def test_ring_0_keeps_nothing_for_replay(link):
    session = start_detached(link, ["sh", "-c", seq_script(0, 1000)], ring=0)
    link.wait_end(session)
    channel = link.open(id=session).finish()
    assert channel.stdout.gaps == [(0, 8000)] and channel.out == b""
    assert channel.opened["out"] == {"oldest": 8000, "head": 8000}


def test_ring_0_loses_nothing_for_an_attached_viewer(link):
    channel = link.sh(seq_script(0, LINES * 4), ring=0, timeout=30)
    check_seq(channel.stdout)
    assert not channel.stdout.gaps and channel.stdout.offset == LINES * 32


def test_ring_of_64_mib(link):
    session = start_detached(link, ["sh", "-c", random_script(40 << 20)], ring=64 << 20)
    link.wait_end(session, 30)
    channel = link.open(id=session, window=4 << 20, keep=True).finish(30)
    assert not channel.stdout.gaps and channel.stdout.count == 40 << 20
    assert channel.stdout.hash() == told_hash(channel)
    link.request("remove", id=session)


def test_default_ring_is_1_mib(link):
    session = start_detached(link, ["sh", "-c", seq_script(0, LINES * 4)])
    entry = link.wait_end(session)
    assert entry["ring"]["size"] == 1 << 20
    assert (1 << 19) <= entry["out"]["head"] - entry["out"]["oldest"] <= 1 << 20
    assert entry["ring"]["used"] <= (1 << 20) + 4096


def test_nobody_attached_output_is_drained(link):
    """open-webui/computer#251: a job that nobody reads froze at 64 KB."""
    session = start_detached(link, ["sh", "-c", "head -c 10485760 /dev/zero; exit 6"])
    entry = link.wait_end(session)
    assert entry["end"]["code"] == 6 and entry["out"]["head"] == 10 << 20


def test_viewer_that_leaves_lets_go(link):
    """A lossless viewer stops the producer only while it is there."""
    channel = link.open(start={"cmd": ["sh", "-c", "head -c 10485760 /dev/zero; exit 6"]}, window=0, auto=False)
    link.idle(0.2)
    assert link.entry(channel.id)["state"] == "running"
    session = channel.id
    channel.close()
    assert link.wait_end(session)["end"]["code"] == 6


def test_end_needs_no_credit(link):
    channel = link.open(start={"cmd": ["sh", "-c", "exit 3"]}, window=0, auto=False)
    assert channel.finish().end["code"] == 3


def test_end_waits_for_the_output_before_it(link):
    """The end is in stream: with output that may not be sent yet, it has to wait."""
    channel = link.open(start={"cmd": ["sh", "-c", "echo hi; exit 3"]}, window=0, auto=False)
    link.wait_end(channel.id)
    link.idle(0.2)
    assert channel.end is None and channel.closed is None
    channel.grant(1)
    link.wait(lambda: channel.received == 1, "one byte")
    channel.grant(3)
    assert channel.finish().out == b"hi\n" and channel.end["code"] == 3


def test_window_of_one_byte_at_a_time(link):
    channel = link.open(start={"cmd": ["sh", "-c", "echo out; echo err >&2"]}, window=0, auto=False)
    for total in range(1, 9):
        channel.grant(total)
        link.wait(lambda: channel.received == total, f"byte {total}")
    channel.finish()
    assert (channel.out, channel.err) == (b"out\n", b"err\n")


# background children

def test_background_child_does_not_hold_up_the_end(link):
    """`cmd &` hangs the call (daytona, E2B, prime#305; contract A13)."""
    channel = link.open(start={"cmd": ["sh", "-c", "sleep 2 & echo hi; exit 4"]})
    end = channel.wait_end(1.5)
    assert (end["state"], end["code"], end["out"]) == ("exited", 4, 3)
    assert end["wall_ms"] < 1000
    assert channel.closed is None, "output can still come"
    assert channel.finish(5).out == b"hi\n"


def test_output_of_a_background_child_comes_after_the_end(link):
    channel = link.open(start={"cmd": ["sh", "-c", "(sleep 0.6; echo later; echo too >&2) & echo hi"]})
    end = channel.wait_end(0.5 + 2)
    assert channel.out == b"hi\n" and end["out"] == 3
    assert channel.finish(5).out == b"hi\nlater\n" and channel.err == b"too\n"
    late = link.open(id=channel.id).finish()
    assert late.out == b"hi\nlater\n" and late.end == end


def test_linger_waits_for_quiet(link):
    """Output that goes on just after the leader's exit belongs before the end."""
    script = "(for i in 1 2 3 4 5; do sleep 0.06; echo $i; done; exec sleep 4) & exit 0"
    channel = link.open(start={"cmd": ["sh", "-c", script], "linger_ms": 1000})
    end = channel.wait_end(5)
    assert end["out"] == 10 and channel.out == b"1\n2\n3\n4\n5\n"
    channel.close()


def test_background_child_that_never_stops_writing(link):
    """At most eight times linger_ms."""
    script = "(i=0; while [ $i -lt 400 ]; do echo y; sleep 0.01; i=$((i+1)); done) & exit 0"
    channel = link.open(start={"cmd": ["sh", "-c", script], "linger_ms": 100})
    end = channel.wait_end(5)
    assert end["state"] == "exited" and end["ended_ms"] - end["started_ms"] < 3000
    channel.close()


def test_linger_0(link):
    channel = link.open(start={"cmd": ["sh", "-c", "sleep 1 & echo hi"], "linger_ms": 0})
    end = channel.wait_end(0.9)
    assert end["out"] == 3
    channel.finish()


def test_bulk_writer_in_the_background(link):
    """`yes &`: the end comes although output never pauses, and with a viewer that keeps up."""
    channel = link.open(start={"cmd": ["sh", "-c", "timeout 3 yes & exit 2"], "linger_ms": 50},
                        window=4 << 20, keep=False)
    assert channel.wait_end(2.5)["code"] == 2
    channel.close()


@pytest.mark.own_agent
def test_background_writer_never_gets_epipe(agent, tmp_path):
    """Not after the end, not after the viewers left, not after remove (contract A1)."""
    link = agent.connect()
    result = tmp_path / "result"
    script = (f"trap '' PIPE; (sleep 0.4; i=0; while [ $i -lt 200 ]; do head -c 4096 /dev/zero || break; i=$((i+1)); "
              f"done; echo $i >{result}.tmp; mv {result}.tmp {result}) & exit 0")
    channel = link.open(start={"cmd": ["sh", "-c", script]})
    channel.wait_end()
    session = channel.id
    assert link.request("remove", id=session) == {}
    assert channel.wait_closed()["code"] == "removed"
    assert link.entry(session) is None
    link.cut()
    eventually(result.exists, "the writer to finish")
    assert result.read_text() == "200\n"
