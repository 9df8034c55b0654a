"""Viewers that are slow, stopped or gone: policies, credit, bounded memory, nobody else disturbed (section 6)."""
import socket
import threading
import time

import pytest

from harness import LONG, eventually, under_asan
from outputs import LINES, check_seq, random_script, seq_script, told_hash
from wire import BINARY, REQ, frame, ws_encode

WHOLE = LINES * 8 * 4  # bytes of 4 MiB of seq
SEQ = ["sh", "-c", seq_script(0, LINES * 4)]


def test_lossless_stops_the_producer(link):
    channel = link.open(start={"cmd": SEQ, "ring": 262144}, window=65536, auto=False)
    link.wait(lambda: channel.received == 65536, "the window")
    head = settled_head(link, channel.id)
    assert head < WHOLE / 2, "the ring, the pipe and the window are far less than the whole"
    assert link.entry(channel.id)["state"] == "running"
    channel.flow()
    channel.finish(30)
    check_seq(channel.stdout)
    assert not channel.stdout.gaps and channel.stdout.offset == WHOLE


def settled_head(link, session):
    """The head of stdout once it has stopped moving."""
    last = -1
    while (head := link.entry(session)["out"]["head"]) != last:
        last = head
        link.idle(0.3)
    return head


def test_live_skips_with_a_gap(link):
    channel = link.open(start={"cmd": SEQ, "ring": 65536}, attach={"policy": "live"}, window=65536, auto=False)
    assert link.wait_end(channel.id)["end"]["code"] == 0, "a live viewer does not stop the producer"
    channel.flow()
    channel.finish()
    check_seq(channel.stdout)
    assert channel.stdout.gaps and channel.stdout.count + channel.stdout.missing() == WHOLE == channel.end["out"]
    assert channel.stdout.count <= 65536 + 65536 + (256 << 10), "the window, the ring, and one read of the agent"


def test_live_viewer_that_crawls(link):
    """Many gaps: bytes and gaps still add up, and every byte is at its offset."""
    script = f"for i in 1 2 3 4 5 6 7 8; do {seq_script(0, LINES // 2)}; sleep 0.05; done"
    channel = link.open(start={"cmd": ["sh", "-c", script], "ring": 65536}, attach={"policy": "live"}, window=0,
                        auto=False)
    total = 0
    while channel.closed is None:
        total += 20000
        channel.grant(total)
        link.wait(lambda: channel.received == total or channel.closed is not None, "the next 20000 bytes")
        time.sleep(0.03)
    assert channel.stdout.offset == LINES * 4 * 8 == channel.end["out"]
    assert len(channel.stdout.gaps) > 1
    period = LINES // 2 * 8
    at, data = 0, channel.out
    for gap_at, size in channel.stdout.gaps:
        part, data = data[:gap_at - at], data[gap_at - at:]
        assert_seq_at(part, at, period)
        at = gap_at + size
    assert_seq_at(data, at, period)


def assert_seq_at(part, at, period):
    """The bytes are those of a seq repeated every `period` bytes."""
    for first in range(0, len(part) - 8, 997 * 8):
        line = (at + first) // 8 * 8
        text = b"%d\n" % (1000000 + line % period // 8)
        skip = (at + first) % 8
        assert part[first:first + 8 - skip] == text[skip:]


def test_live_viewer_that_keeps_up_misses_nothing(link):
    script = "for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep 0.02; done"
    channel = link.open(start={"cmd": ["sh", "-c", script], "ring": 65536}, attach={"policy": "live"}).finish()
    assert channel.out == b"1\n2\n3\n4\n5\n6\n7\n8\n9\n" and not channel.stdout.gaps


def test_slow_lossless_and_stopped_live_viewer_together(agent):
    slow = agent.connect().open(start={"cmd": ["sh", "-c", f"read x; {seq_script(0, LINES * 4)}"], "stdin": True,
                                       "ring": 65536}, attach={"input": True}, window=4096)
    link = agent.connect()
    live = link.open(id=slow.id, attach={"policy": "live"}, window=0, auto=False)
    slow.write(b"\n")
    slow.finish(30)
    check_seq(slow.stdout)
    assert not slow.stdout.gaps
    live.flow()
    live.finish()
    assert live.stdout.count + live.stdout.missing() == WHOLE
    assert live.stdout.gaps


def test_the_slowest_lossless_viewer_sets_the_pace(agent):
    stopped = agent.connect().open(start={"cmd": SEQ, "ring": 65536}, window=1000, auto=False)
    link = agent.connect()
    fast = link.open(id=stopped.id)
    link.idle(0.5)
    head = settled_head(link, stopped.id)
    assert head < WHOLE / 2 and fast.end is None
    stopped.close()
    fast.finish()
    check_seq(fast.stdout)
    assert fast.stdout.offset == WHOLE and fast.stdout.missing() == fast.opened["out"]["oldest"]


def test_stopped_viewer_does_not_stall_others_on_its_link(link):
    stopped = link.open(start={"cmd": ["yes"]}, window=1000, auto=False)
    link.wait(lambda: stopped.received == 1000, "the window")
    for _ in range(5):
        assert link.sh("echo ok").out == b"ok\n"
    big = link.sh(seq_script(0, LINES))
    check_seq(big.stdout)
    link.request("kill", id=stopped.id, signal="KILL")


def test_many_stopped_viewers_on_one_link(link):
    stopped = [link.open(start={"cmd": ["yes"], "ring": 65536}, window=1000, auto=False) for _ in range(20)]
    assert link.sh("echo ok").out == b"ok\n"
    for channel in stopped:
        link.request("kill", id=channel.id, signal="KILL")


def test_bulk_channels_share_the_link(link):
    """Each sends one frame in turn: none waits for another to be done."""
    channels = [link.open(start={"cmd": ["yes"]}, window=1 << 20, keep=False) for _ in range(4)]
    for channel in channels:
        channel.wait_bytes(8 << 20, 20)
    counts = [channel.received for channel in channels]
    for channel in channels:
        link.request("kill", id=channel.id, signal="KILL")
    assert max(counts) < 8 * min(counts), counts


def test_command_beside_bulk(link):
    bulk = link.open(start={"cmd": ["yes"]}, window=4 << 20, keep=False)
    bulk.wait_bytes(1 << 20)
    for _ in range(10):
        assert link.sh("echo ok", timeout=5).out == b"ok\n"
    link.request("kill", id=bulk.id, signal="KILL")


@pytest.mark.own_agent
def test_link_that_is_not_read_costs_no_more_than_window_and_ring(agent):
    """microsandbox grows from 1.7 MB to 1.2 GB when the client stops reading for 3 s."""
    link = agent.connect()
    link.run(["true"])
    before = agent.memory_kib()
    stopped = link.open(start={"cmd": ["yes"]}, window=1 << 30)
    other = agent.connect()
    for _ in range(30):
        assert other.sh("echo ok; sleep 0.1").out == b"ok\n"
    growth = agent.memory_kib() - before
    assert growth < (24 if under_asan() else 6) * 1024, f"{growth} KiB"
    other.request("kill", id=stopped.id, signal="KILL")
    other.request("ping")


@pytest.mark.own_agent
def test_live_viewer_that_is_not_read_costs_little(agent):
    """Its producer runs on for ever, so neither data nor notes of gaps may pile up for it."""
    link = agent.connect()
    link.run(["true"])
    before = agent.memory_kib()
    stopped = link.open(start={"cmd": ["yes"], "ring": 65536}, attach={"policy": "live"}, window=1 << 30, keep=False)
    time.sleep(3)
    growth = agent.memory_kib() - before
    assert growth < (24 if under_asan() else 6) * 1024, f"{growth} KiB"
    agent.connect().request("kill", id=stopped.id, signal="KILL")
    stopped.finish(30)
    assert stopped.stdout.count + stopped.stdout.missing() == stopped.end["out"] > 10 << 20


@pytest.mark.own_agent
def test_peer_that_sends_requests_and_never_reads(agent):
    """Unanswered control output is bounded: reading from this link stops, and goes on when it reads again."""
    busy = agent.connect()
    for number in range(100):
        busy.request("start", id=f"s{number}", start={"cmd": ["sh", "-c", ":", "x" * 300]})
    link = agent.connect()
    link.request("ping")
    before = agent.memory_kib()
    sent = send_unread(link, 10000)
    assert sent < 10000, "the agent took all requests although nobody took the answers"
    growth = agent.memory_kib() - before
    assert growth < (24 if under_asan() else 4) * 1024, f"{growth} KiB"
    assert busy.sh("echo ok").out == b"ok\n"
    link.wait(lambda: len(link.replies) == sent, f"{sent} answers", 30)
    assert all(len(answers) == 1 and answers[0]["sessions"] for answers in link.replies.values())


def send_unread(link, count):
    """Sends list requests without reading until the socket takes no more for a while; tells how many went whole."""
    link.sock.setblocking(True)
    link.sock.settimeout(1.0)
    requests = [ws_bytes(REQ, 1000 + number, {"op": "list"}) for number in range(count)]
    for number, request in enumerate(requests):
        try:
            gone = link.sock.send(request)
            if gone < len(request):
                link.sock.setblocking(False)
                link.send_raw(request[gone:])  # reads meanwhile: the last one has to go out whole
                return number + 1
        except (TimeoutError, socket.timeout):
            link.sock.setblocking(False)
            return number
    link.sock.setblocking(False)
    return count


def ws_bytes(kind, arg, payload):
    return ws_encode(BINARY, frame(kind, arg=arg, payload=payload).pack(), key=b"\1\2\3\4")


@pytest.mark.own_agent
def test_viewer_that_is_cut_off_in_the_middle_of_bulk(agent):
    link = agent.connect()
    channel = link.open(start={"cmd": ["sh", "-c", "head -c 20000000 /dev/zero; echo done >&2"]}, window=1 << 30)
    time.sleep(0.2)
    link.cut()
    other = agent.connect()
    assert other.wait_end(channel.id)["end"]["out"] == 20000000


@pytest.mark.seconds(600 if LONG else 60)
def test_fast_slow_and_stopped_viewer_of_both_streams(agent):
    """What the issue asks for with 1 GiB of each (E2E_LONG): all hashes equal. OpenComputer delivers 61 to 82 %."""
    size = (1 << 30) if LONG else (24 << 20)
    script = (f"f=$(mktemp); g=$(mktemp); head -c {size} /dev/urandom >$f; head -c {size} /dev/urandom >$g; "
              f"echo $(sha256sum <$f) $(sha256sum <$g); read go; cat $f & cat $g >&2; wait; rm $f $g")
    fast = agent.connect(timeout=300).open(start={"cmd": ["sh", "-c", script], "stdin": True}, keep=False,
                                           attach={"input": True}, window=4 << 20)
    link = fast.link
    fast.streams[1].keep = True
    link.wait(lambda: fast.out.endswith(b"\n"), "the hashes")
    told = [word.decode() for word in fast.out.split() if word != b"-"]
    since = [fast.stdout.offset, 0]
    fast.close()
    viewers = [Viewer(agent, fast.id, since, window, pause) for window, pause in
               ((4 << 20, 0), (65536, 0.0005), (1 << 20, 0))]
    viewers[2].stop_at = size // 3
    writer = agent.connect().open(id=fast.id, attach={"since": "now", "policy": "live", "input": True}, window=0)
    writer.write(b"\n", fin=True)
    for viewer in viewers:
        viewer.start()
    for viewer in viewers:
        viewer.join(300)
        assert viewer.error is None, viewer.error
        assert [viewer.channel.stdout.hash(), viewer.channel.stderr.hash()] == told
        assert viewer.channel.stdout.count == viewer.channel.stderr.count == size


class Viewer(threading.Thread):
    """Reads a session to its end, with a pause between reads, and perhaps one long stop."""

    def __init__(self, agent, session, since, window, pause):
        super().__init__(daemon=True)
        self.link = agent.connect(timeout=300)
        self.channel = self.link.open(id=session, attach={"since": since}, window=window, keep=False)
        self.pause, self.stop_at, self.error = pause, None, None

    def run(self):
        try:
            while self.channel.closed is None:
                self.link.pump(30)
                time.sleep(self.pause)
                if self.stop_at is not None and self.channel.stdout.count > self.stop_at:
                    time.sleep(1)
                    self.stop_at = None
        except BaseException as error:
            self.error = error


def test_random_bytes_to_a_viewer_with_a_tiny_window(link):
    channel = link.open(start={"cmd": ["sh", "-c", random_script(1 << 20)]}, window=3001).finish(30)
    assert channel.stdout.hash() == told_hash(channel) and channel.stdout.count == 1 << 20


@pytest.mark.agentd(store_max=8 << 20)
def test_stores_together_are_bounded(agent):
    """Over store_max rings stop growing: old output goes, with a gap, and offsets stay exact."""
    link = agent.connect()
    sessions = [link.request("start", start={"cmd": [*SEQ[:2], SEQ[2] + "; sleep 100"], "ring": 4 << 20})["id"]
                for _ in range(6)]
    for session in sessions:
        link.wait_entry(session, lambda entry: entry["out"]["head"] == WHOLE, "all output")
    assert link.request("info")["store_bytes"] <= (8 << 20) + 6 * 65536, "the bound, and what is just being read"
    for session in sessions:
        channel = link.open(id=session)
        channel.wait_live()
        assert channel.stdout.offset == WHOLE
        assert channel.stdout.missing() == channel.opened["out"]["oldest"]
        check_seq(channel.stdout)
        link.request("kill", id=session, signal="KILL")
        channel.finish()


@pytest.mark.agentd(store_max=8 << 20)
def test_ended_sessions_give_their_stores_first(agent):
    link = agent.connect()
    for _ in range(8):
        link.sh(seq_script(0, LINES), ring=1 << 20)
    assert link.request("info")["store_bytes"] <= 8 << 20
    fresh = link.open(start={"cmd": SEQ, "ring": 4 << 20}, window=0, auto=False)
    eventually(lambda: settled_head(link, fresh.id) > 0, "output")
    fresh.flow()
    fresh.finish()
    check_seq(fresh.stdout)
    assert not fresh.stdout.gaps, "a running lossless viewer does not pay for what has ended"
