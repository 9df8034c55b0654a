"""Links that break: nothing lost, nothing twice (section 6, Resume)."""
import random
import threading
import time

import pytest

from harness import LONG
from outputs import LINES, check_seq, seq_script, sha
from resuming import Resuming, random_budgets
from wire import AgentError

CUTS = 200 if LONG else 50
WHOLE = LINES * 8


@pytest.mark.seconds(300 if LONG else 60)
def test_stream_both_ways_over_many_cut_links(agent):
    size = (80 << 20) if LONG else (20 << 20)
    data = random.Random(7).randbytes(size)
    client = Resuming(agent, {"cmd": ["cat"], "stdin": True}, data)
    channel = client.run(random_budgets(8, CUTS, 1 << 20))
    assert client.cuts >= CUTS
    assert channel.stdout.offset == size and not channel.stdout.gaps
    assert channel.stdout.hash() == sha(data)
    assert channel.end["state"] == "exited" and channel.end["code"] == 0


def test_cut_in_the_first_bytes(agent):
    """One process, although the client cannot know whether its first OPEN arrived."""
    client = Resuming(agent, {"cmd": ["sh", "-c", "echo $$; cat"], "stdin": True}, b"x" * 1000)
    channel = client.run(range(1400, 0, -23))  # the fewest first
    assert channel.stdout.count > 1000
    pid = client.channel.opened["pid"]
    assert channel.stdout.offset == len(b"%d\n" % pid) + 1000 and not channel.stdout.gaps


@pytest.mark.parametrize("ring, window", [(1 << 20, 1 << 20), (262144, 262144), (65536, 4096),
                                          (65536, 65536 + 131072), (0, 131072)])
def test_place_of_a_lossless_viewer_keeps_what_was_under_way(agent, ring, window):
    """What the agent sent and the client never got must still be there on return, however small the ring."""
    client = Resuming(agent, {"cmd": ["sh", "-c", seq_script(0, LINES * 2)], "ring": ring}, window=window)
    channel = client.run(random_budgets(ring + window, 12, 150000))
    assert not channel.stdout.gaps and channel.stdout.offset == WHOLE * 2
    reference = agent.connect().sh(seq_script(0, LINES * 2))
    assert channel.stdout.hash() == reference.stdout.hash()


@pytest.mark.parametrize("ring", [0, 65536, 1 << 20])
def test_window_of_a_held_place_is_bounded_by_the_ring(link, ring):
    """What is under way has to be kept, so it may not be more than there is room for."""
    spec = {"start": {"cmd": ["true"], "ring": ring}, "attach": {"viewer": "me", "hold_ms": 1000}}
    with pytest.raises(AgentError) as refused:
        link.open(window=ring + 131073, **spec)
    assert refused.value.code == "bad_message"
    link.open(window=ring + 131072, **spec).finish()
    spec["attach"]["hold_ms"] = 0
    link.open(window=1 << 30, **spec).finish()


def test_many_resuming_clients_at_once(agent):
    data = random.Random(3).randbytes(1 << 20)
    clients = [Resuming(agent, {"cmd": ["cat"], "stdin": True}, data) for _ in range(4)]
    threads = [threading.Thread(target=client.run, args=(random_budgets(seed, 10, 200000),))
               for seed, client in enumerate(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(client.channel.end and client.channel.stdout.hash() == sha(data) for client in clients)


def test_resume_after_the_end(agent):
    """The end state is still there, with all that was missed."""
    link = agent.connect()
    channel = link.open(start={"cmd": ["sh", "-c", "echo one; sleep 0.4; echo two; exit 7"]},
                        attach={"viewer": "me", "hold_ms": 5000})
    channel.wait_out(b"one\n")
    link.cut()
    time.sleep(0.8)
    again = channel.resume(agent.connect()).finish()
    assert again.out == b"one\ntwo\n" and again.end["code"] == 7


@pytest.mark.parametrize("retain_ms", [0, 300000])
def test_end_is_not_over_before_the_client_said_so(agent, retain_ms):
    """The link breaks when the agent has said all and the client has not answered CLOSE: it may not have got it."""
    link = agent.connect()
    start = {"cmd": ["sh", "-c", "echo all of it; exit 7"], "retain_ms": retain_ms}
    channel = link.open(start=start, answers=False, attach={"viewer": "me", "hold_ms": 9000})
    channel.wait_closed()
    link.idle(0.2)
    link.cut()
    link = agent.connect()
    link.wait_entry(channel.id, lambda entry: entry["held"] == 1, "the place to be held")
    again = link.open(id=channel.id, attach={"viewer": "me", "hold_ms": 9000}).finish()
    assert again.out == b"all of it\n" and again.end["code"] == 7
    entry = link.entry(channel.id)
    assert entry is None if retain_ms == 0 else entry["held"] == 0


def test_resume_without_start(agent):
    link = agent.connect()
    channel = link.open(start={"cmd": ["cat"], "stdin": True}, attach={"viewer": "me", "input": True, "hold_ms": 9000})
    channel.write(b"first ")
    channel.wait_acked(6)
    link.cut()
    again = channel.resume(agent.connect(), start=False)
    assert again.opened["stdin"]["offset"] == 6 and again.opened["new"] is False
    again.write(b"second", fin=True)
    assert again.finish().out == b"first second"


def test_unacknowledged_input_is_told_by_the_offset(agent):
    """Sent, then cut at once: whatever arrived is in stdin.offset, and the rest is sent again."""
    data = random.Random(4).randbytes(200000)
    for round_ in range(10):
        link = agent.connect()
        channel = link.open(start={"cmd": ["cat"], "stdin": True}, attach={"viewer": "me", "input": True,
                                                                          "hold_ms": 5000})
        channel.write(data[:20000 * round_])
        link.cut()
        again = channel.resume(agent.connect())
        at = again.offset
        assert at <= 20000 * round_
        again.write(data[at:], fin=True)
        assert again.finish().out == data


def test_input_offsets_belong_to_the_viewer(agent):
    """An unnamed viewer starts at 0 each time; a named one goes on; another name starts at 0."""
    link = agent.connect()
    channel = link.open(start={"cmd": ["cat"], "stdin": True}, attach={"viewer": "a", "input": True})
    channel.write(b"1234")
    channel.wait_acked(4)
    named = link.open(id=channel.id, attach={"viewer": "b", "input": True})
    unnamed = link.open(id=channel.id, attach={"input": True})
    again = agent.connect().open(id=channel.id, attach={"viewer": "a", "input": True})
    assert [c.opened["stdin"]["offset"] for c in (named, unnamed, again)] == [0, 0, 4]
    again.write(b"", fin=True)
    assert again.finish().end["code"] == 0


# taking over

@pytest.mark.parametrize("same_link", [True, False])
def test_second_attach_takes_the_place_over(agent, same_link):
    link = agent.connect()
    first = link.open(start={"cmd": ["cat"], "stdin": True}, attach={"viewer": "me", "input": True})
    first.write(b"by the first\n")
    first.wait_out(b"by the first\n")
    first.wait_acked(13)
    second = first.resume(link if same_link else agent.connect())
    assert first.wait_closed()["code"] == "taken_over"
    assert second.opened["stdin"]["offset"] == 13
    second.write(b"by the second\n", fin=True)
    assert second.finish().out == b"by the first\nby the second\n"


def test_take_over_of_a_viewer_that_does_not_read(agent):
    """OpenSandbox (NeMo-Gym#2893): a stale holder blocked the re-attach."""
    stale = agent.connect().open(start={"cmd": ["sh", "-c", seq_script(0, LINES)]}, window=50000, auto=False,
                                 attach={"viewer": "me", "hold_ms": 30000})
    stale.link.wait(lambda: stale.received == 50000, "the window")
    fresh = agent.connect().open(id=stale.id, attach={"viewer": "me", "hold_ms": 30000, "since": [50000, 0]}).finish()
    check_seq(fresh.stdout)
    assert fresh.stdout.offset == WHOLE and not fresh.stdout.gaps


def test_other_viewers_are_not_taken_over(link):
    first = link.open(start={"cmd": ["cat"], "stdin": True}, attach={"viewer": "a", "input": True})
    other = link.open(id=first.id, attach={"viewer": "b"})
    unnamed = link.open(id=first.id)
    link.open(id=first.id, attach={"viewer": "a", "input": True}).write(b"x", fin=True)
    assert first.wait_closed()["code"] == "taken_over"
    assert other.finish().out == unnamed.finish().out == b"x"


def test_take_over_of_a_held_place_by_a_name_in_another_session(link):
    """Names are of one session: the same name elsewhere is another viewer."""
    one = link.open(start={"cmd": ["cat"], "stdin": True}, attach={"viewer": "me", "input": True})
    two = link.open(start={"cmd": ["cat"], "stdin": True}, attach={"viewer": "me", "input": True})
    for channel in (one, two):
        channel.write(b"mine", fin=True)
        assert channel.finish().out == b"mine"


# held places

def stopped_and_cut(agent, hold_ms, **attach):
    """A lossless viewer that got 50000 bytes of a large output and whose link then breaks."""
    link = agent.connect()
    channel = link.open(start={"cmd": ["sh", "-c", seq_script(0, LINES * 4)], "ring": 262144}, window=50000, auto=False,
                        attach={"viewer": "me", "hold_ms": hold_ms, **attach})
    link.wait(lambda: channel.received == 50000, "the window")
    link.cut()
    return channel


def test_producer_waits_for_a_held_place(agent):
    channel = stopped_and_cut(agent, 20000)
    link = agent.connect()
    entry = link.wait_entry(channel.id, lambda entry: entry["held"] == 1, "the place to be held")
    assert entry["viewers"] == 0
    link.idle(0.7)
    entry = link.entry(channel.id)
    assert entry["state"] == "running" and entry["out"]["head"] < WHOLE * 2
    again = channel.resume(link)
    again.flow(50000)
    again.finish()
    check_seq(again.stdout)
    assert not again.stdout.gaps and again.stdout.offset == WHOLE * 4


def test_hold_expires(agent):
    channel = stopped_and_cut(agent, 700)
    link = agent.connect()
    link.wait_entry(channel.id, lambda entry: entry["held"] == 1, "the place to be held")
    entry = link.wait_end(channel.id, 5)
    assert entry["held"] == 0 and entry["end"]["code"] == 0
    again = channel.resume(link)
    again.flow(50000)
    again.finish()
    assert again.stdout.gaps, "the ring is far smaller than what was missed"
    assert again.stdout.gaps[0][0] == 50000
    check_seq(again.stdout)


def test_no_hold_by_default(agent):
    channel = stopped_and_cut(agent, 0)
    link = agent.connect()
    assert link.wait_end(channel.id, 5)["held"] == 0


def test_unnamed_and_live_viewers_are_not_held(agent):
    link = agent.connect()
    unnamed = link.open(start={"cmd": ["sh", "-c", seq_script(0, LINES * 4)]}, window=50000, auto=False,
                        attach={"policy": "live", "viewer": "me", "hold_ms": 20000})
    link.wait(lambda: unnamed.received == 50000, "the window")
    link.cut()
    assert agent.connect().wait_end(unnamed.id, 5)["held"] == 0


def test_leaving_gives_the_place_up(agent):
    """hold_ms is for links that break; CLOSE says that nobody will come back."""
    link = agent.connect()
    channel = link.open(start={"cmd": ["sh", "-c", seq_script(0, LINES * 4)]}, window=50000, auto=False,
                        attach={"viewer": "me", "hold_ms": 60000})
    link.wait(lambda: channel.received == 50000, "the window")
    session = channel.id
    channel.close()
    assert link.wait_end(session, 5)["held"] == 0


@pytest.mark.parametrize("code, held", [(1000, 0), (1001, 0), (1002, 1)])
def test_link_closed_in_order_gives_the_place_up(agent, code, held):
    link = agent.connect()
    channel = link.open(start={"cmd": ["sleep", "100"]}, attach={"viewer": "me", "hold_ms": 60000})
    link.close(code)
    link = agent.connect()
    link.wait_entry(channel.id, lambda entry: entry["viewers"] == 0, "the viewer to be gone")
    assert link.entry(channel.id)["held"] == held
    link.request("kill", id=channel.id, signal="KILL")


def test_held_place_can_be_taken_many_times(agent):
    channel = stopped_and_cut(agent, 20000)
    for _ in range(5):
        link = agent.connect()
        channel = channel.resume(link)
        link.wait(lambda: channel.received == 50000, "the window")
        link.cut()
    link = agent.connect()
    channel = channel.resume(link)
    channel.flow(50000)
    channel.finish()
    check_seq(channel.stdout)
    assert not channel.stdout.gaps


def test_ninth_named_viewer_is_too_many(link):
    first = link.open(start={"cmd": ["sleep", "100"]}, attach={"viewer": "v0"})
    for number in range(1, 8):
        link.open(id=first.id, attach={"viewer": f"v{number}"})
    with pytest.raises(AgentError) as refused:
        link.open(id=first.id, attach={"viewer": "v8"})
    assert refused.value.code == "too_many"
    link.open(id=first.id)
    link.open(id=first.id, attach={"viewer": "v7"})
    link.request("kill", id=first.id, signal="KILL")


def test_instance_stays_and_epoch_stays_over_reconnects(agent):
    one = agent.connect().hello
    two = agent.connect().hello
    assert (one["instance"], one["epoch"]) == (two["instance"], two["epoch"])


def test_200_attach_and_detach(agent):
    link = agent.connect()
    session = link.open(start={"cmd": ["sh", "-c", "echo here; sleep 100"]}).id
    fds = agent.settled_fds() if hasattr(agent, "proc") else None
    for number in range(200):
        attach = {"viewer": f"v{number % 5}", "hold_ms": 0} if number % 2 else {}
        channel = link.open(id=session, attach=attach)
        channel.wait_out(b"here\n")
        channel.close()
    entry = link.entry(session)
    assert entry["viewers"] == 1 and entry["held"] == 0 and entry["state"] == "running"
    assert fds is None or agent.settled_fds() <= fds
    link.request("kill", id=session, signal="KILL")
