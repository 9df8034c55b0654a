"""Ends from outside: signals, grace, timeouts, disconnects (sections 6, 7 and 10)."""
import signal
import time

import pytest

from harness import alive, eventually
from wire import AgentError

FAMILY = "sleep 300 & echo $!; (sleep 300 & echo $!; wait) & wait"  # prints the pids of a child and a grandchild


def open_sh(link, script, **start):
    return link.open(start={"cmd": ["sh", "-c", script], **start})


def pids(link, channel, count):
    """The first `count` numbers a command printed."""
    link.wait(lambda: channel.out.count(b"\n") >= count, f"{count} lines")
    return [int(line) for line in channel.out.split()[:count]]


def gone(*processes):
    eventually(lambda: not any(alive(pid) for pid in processes), f"the end of {processes}", 5)


# kill

@pytest.mark.parametrize("name, number", [("TERM", 15), (15, 15), ("KILL", 9), (9, 9), ("INT", 2), ("HUP", 1),
                                          ("USR1", 10), ("QUIT", 3), (64, 64)])
def test_kill_by_name_and_number(link, name, number):
    channel = link.open(start={"cmd": ["sleep", "300"], "rlimits": {"core": [0, 0]}})
    assert link.request("kill", id=channel.id, signal=name) == {}
    end = channel.finish().end
    assert (end["state"], end["by"], end["signal"]) == ("killed", "client", number)


def test_kill_is_term_to_the_group_by_default(link):
    channel = open_sh(link, FAMILY)
    link.wait(lambda: channel.out.count(b"\n") == 2, "two pids")
    link.request("kill", id=channel.id)
    assert channel.finish().end["signal"] == signal.SIGTERM


def test_signal_on_the_channel(link):
    channel = link.open(start={"cmd": ["sleep", "300"]})
    assert channel.request("signal", signal="INT") == {}
    end = channel.finish().end
    assert (end["state"], end["by"], end["signal"]) == ("killed", "client", signal.SIGINT)


@pytest.mark.own_agent
def test_to_leader_leaves_the_others(link):
    channel = open_sh(link, "sleep 300 >/dev/null 2>&1 & echo $!; wait")
    (child,) = pids(link, channel, 1)
    link.request("kill", id=channel.id, signal="KILL", to="leader")
    assert channel.finish().end["state"] == "killed"
    assert alive(child)


@pytest.mark.own_agent
@pytest.mark.parametrize("to", ["group", "tree"])
def test_to_group_and_tree_reach_grandchildren(link, to):
    """E2B#1034, infra#2933: children survived, resumed after a pause and went on billing."""
    channel = open_sh(link, FAMILY)
    family = pids(link, channel, 2)
    link.request("kill", id=channel.id, signal="KILL", to=to)
    channel.finish()
    gone(*family)


def test_sessions_after_a_tree_was_killed_live(link):
    """A cgroup that was killed once kills what is cloned into it ever after (seen on Linux 6.18): it is not to be
    used again."""
    for _ in range(3):
        channels = [link.open(start={"cmd": ["sleep", "300"]}) for _ in range(4)]
        for channel in channels:
            link.request("kill", id=channel.id, signal="KILL", to="tree")
        for channel in channels:
            assert channel.finish().end["state"] == "killed"
        for _ in range(8):
            end = link.sh("sleep 0.01; exit 3").end
            assert (end["state"], end.get("code")) == ("exited", 3), end


def test_grace_kills_what_ignores_term(link):
    channel = open_sh(link, "trap '' TERM; echo set; while :; do sleep 0.05; done")
    channel.wait_out(b"set\n")
    began = time.monotonic()
    link.request("kill", id=channel.id, signal="TERM", grace_ms=500)
    end = channel.finish().end
    assert (end["state"], end["by"], end["signal"]) == ("killed", "client", signal.SIGKILL)
    assert 0.4 < time.monotonic() - began < 3


@pytest.mark.own_agent
def test_grace_kills_the_rest_of_the_group(link):
    """The leader obeys TERM, its child does not: KILL goes to the same, though the leader has ended."""
    channel = open_sh(link, "(trap '' TERM; echo up; sleep 300) & wait")
    channel.wait_out(b"up\n")
    link.request("kill", id=channel.id, signal="TERM", grace_ms=300)
    end = channel.wait_end()
    assert (end["state"], end["signal"]) == ("killed", signal.SIGTERM)
    channel.wait_closed(5)  # the child held the pipe until KILL came


def test_grace_is_not_waited_for_when_term_does(link):
    channel = link.open(start={"cmd": ["sleep", "300"]})
    link.request("kill", id=channel.id, signal="TERM", grace_ms=60000)
    assert channel.finish(2).end["signal"] == signal.SIGTERM


def test_no_grace_means_no_kill(link):
    channel = open_sh(link, "trap 'echo caught' TERM; echo set; for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.1; done")
    channel.wait_out(b"set\n")
    link.request("kill", id=channel.id, signal="TERM", to="leader")
    channel.finish()
    assert channel.out == b"set\ncaught\n" and (channel.end["state"], channel.end["code"]) == ("exited", 0)


def test_signal_that_is_handled_is_not_a_kill(link):
    """`killed` needs a death by that signal: who exits by itself has exited."""
    channel = open_sh(link, "trap 'exit 3' USR1; echo set; while :; do sleep 0.05; done")
    channel.wait_out(b"set\n")
    link.request("kill", id=channel.id, signal="USR1", to="leader")
    assert channel.finish().end["code"] == 3 and channel.end["state"] == "exited"


def test_death_by_another_signal_after_a_kill(link):
    channel = open_sh(link, "trap '' USR1; echo set; sleep 0.3; kill -9 $$")
    channel.wait_out(b"set\n")
    link.request("kill", id=channel.id, signal="USR1")
    end = channel.finish().end
    assert (end["state"], end["signal"]) == ("signaled", signal.SIGKILL)


def test_stop_and_continue(link):
    channel = open_sh(link, "echo up; sleep 0.4; echo done")
    channel.wait_out(b"up\n")
    link.request("kill", id=channel.id, signal="STOP")
    link.idle(0.8)
    assert channel.end is None and link.entry(channel.id)["state"] == "running"
    link.request("kill", id=channel.id, signal="CONT")
    assert channel.finish().out == b"up\ndone\n"


def test_kill_of_a_stopped_process_with_grace(link):
    """TERM stays pending on a stopped process; KILL does not."""
    channel = link.open(start={"cmd": ["sleep", "300"]})
    link.request("kill", id=channel.id, signal="STOP")
    link.request("kill", id=channel.id, signal="TERM", grace_ms=300)
    assert channel.finish(5).end["state"] == "killed"


def test_kill_of_an_ended_session(link):
    """Contract A34: signals to the pid of a reaped leader can hit somebody else."""
    session = link.run(["true"]).id
    assert link.request("kill", id=session) == {"ended": True}
    assert link.request("kill", id=session, signal="KILL", to="tree", grace_ms=100) == {"ended": True}
    assert link.entry(session)["end"]["state"] == "exited"


def test_kill_of_a_session_that_did_not_start(agent, link):
    """It has pid 0, and kill(0) is the agent's own process group."""
    session = link.run(["/no/such/program"]).id
    for to in ("leader", "group", "tree"):
        assert link.request("kill", id=session, to=to) == {"ended": True}
    link.idle(0.2)
    assert link.notices == [] and agent.connect().request("ping") == {}


def test_kill_and_exit_race(link):
    """Whatever comes first, there is one end and it makes sense."""
    for _ in range(100):
        channel = link.open(start={"cmd": ["true"]}, wait=False)
        channel.wait_opened()
        answer = link.request("kill", id=channel.id, signal="KILL")
        end = channel.finish().end
        assert end["state"] in ("exited", "killed")
        assert answer in ({}, {"ended": True})
        if answer == {"ended": True}:
            assert end["state"] == "exited"


@pytest.mark.own_agent
def test_setsid_escapes_the_group_only(agent):
    """With a cgroup `tree` is cgroup.kill, which nobody escapes; without one it is the group."""
    link = agent.connect()
    channel = open_sh(link, "setsid sh -c 'echo $$; exec sleep 300' & wait")
    (escaped,) = pids(link, channel, 1)
    link.request("kill", id=channel.id, signal="KILL", to="group")
    channel.wait_end()
    assert alive(escaped)
    channel.close()
    if link.request("info")["cgroup"] is not None:
        channel = open_sh(link, "setsid sh -c 'echo $$; exec sleep 300' & wait")
        (caught,) = pids(link, channel, 1)
        link.request("kill", id=channel.id, signal="KILL", to="tree")
        channel.finish()
        gone(caught)


# timeout

def test_timeout(link):
    channel = link.open(start={"cmd": ["sleep", "300"], "timeout_ms": 400})
    assert 0 < link.entry(channel.id)["timeout_left_ms"] <= 400
    end = channel.finish().end
    assert (end["state"], end["signal"]) == ("timed_out", signal.SIGTERM)
    assert 400 <= end["wall_ms"] < 2000 and "by" not in end


@pytest.mark.own_agent
def test_timeout_ends_the_whole_tree(link):
    """Contract A9: only the leader died of a timeout; A10: everybody in the sandbox did."""
    bystander = link.open(start={"cmd": ["sleep", "300"]})
    channel = open_sh(link, FAMILY, timeout_ms=500)
    family = pids(link, channel, 2)
    channel.finish()
    gone(*family)
    assert link.entry(bystander.id)["state"] == "running"
    link.request("kill", id=bystander.id)


def test_timeout_of_what_ignores_term(link):
    channel = open_sh(link, "trap '' TERM; while :; do sleep 0.05; done", timeout_ms=300, kill_grace_ms=400)
    end = channel.finish().end
    assert (end["state"], end["signal"]) == ("timed_out", signal.SIGKILL)
    assert 700 <= end["wall_ms"] < 3000


def test_timeout_of_what_handles_term(link):
    channel = open_sh(link, "trap 'echo bye; exit 7' TERM; while :; do sleep 0.05; done", timeout_ms=300)
    end = channel.finish().end
    assert (end["state"], end["code"]) == ("timed_out", 7) and "signal" not in end
    assert channel.out == b"bye\n"


def test_timeout_does_not_touch_what_ended(link):
    channel = link.sh("exit 2", timeout_ms=300)
    link.idle(0.5)
    entry = link.entry(channel.id)
    assert entry["state"] == "exited" and "timeout_left_ms" not in entry


@pytest.mark.own_agent
def test_timeout_of_a_producer_that_waits_for_its_viewer(link):
    """It must end although nobody takes its output, and the output must still be there."""
    channel = link.open(start={"cmd": ["yes"], "timeout_ms": 400, "ring": 65536}, window=1000, auto=False)
    gone(channel.opened["pid"])
    channel.flow()
    channel.finish()
    assert channel.end["state"] == "timed_out"
    assert channel.stdout.offset == channel.end["out"] and not channel.stdout.gaps
    assert channel.out == (b"y\n" * channel.stdout.offset)[:channel.stdout.offset]


def test_timeout_runs_detached(link):
    session = link.request("start", start={"cmd": ["sleep", "300"], "timeout_ms": 300})["id"]
    assert link.wait_end(session)["state"] == "timed_out"


def test_client_kill_before_the_timeout(link):
    channel = link.open(start={"cmd": ["sleep", "300"], "timeout_ms": 5000})
    link.request("kill", id=channel.id)
    assert channel.finish().end["state"] == "killed"


@pytest.mark.parametrize("how", ["timeout", "disconnect", "client"])
def test_kill_that_was_due_later_hits_nobody_else(link, how):
    """The tree obeyed TERM. Its pids, and its cgroup, may belong to somebody else when the grace is over."""
    start = {"cmd": ["sleep", "300"], "kill_grace_ms": 600}
    if how != "client":
        start[f"{how}_ms"] = 100
    session = link.request("start", start=start)["id"]
    if how == "client":
        link.request("kill", id=session, to="tree", grace_ms=600)
    link.wait_end(session)
    deadline = time.monotonic() + 1.2
    while time.monotonic() < deadline:
        end = link.sh("sleep 0.1; exit 3").end
        assert (end["state"], end.get("code")) == ("exited", 3), end


# disconnect

def test_disconnect_ends_what_nobody_watches(agent):
    """Contract A11: maxRunAfterDisconnect never worked."""
    first = agent.connect()
    channel = first.open(start={"cmd": ["sleep", "300"], "disconnect_ms": 500})
    first.idle(0.8)
    link = agent.connect()
    assert "disconnect_left_ms" not in link.entry(channel.id)
    first.cut()
    entry = link.wait_entry(channel.id, lambda entry: "disconnect_left_ms" in entry, "the countdown")
    assert 0 <= entry["disconnect_left_ms"] <= 500 and entry["state"] == "running"
    end = link.wait_end(channel.id, 5)["end"]
    assert (end["state"], end["by"], end["signal"]) == ("killed", "disconnect", signal.SIGTERM)


def test_disconnect_is_called_off_by_an_attach(agent):
    first = agent.connect()
    channel = first.open(start={"cmd": ["sleep", "300"], "disconnect_ms": 700})
    first.cut()
    link = agent.connect()
    link.wait_entry(channel.id, lambda entry: "disconnect_left_ms" in entry, "the countdown")
    again = link.open(id=channel.id)
    assert "disconnect_left_ms" not in link.entry(channel.id)
    link.idle(1.2)
    assert again.end is None
    session = again.id
    again.close()
    assert link.wait_end(session, 5)["end"]["by"] == "disconnect"


def test_disconnect_counts_from_the_last_viewer(link):
    one = link.open(start={"cmd": ["sleep", "300"], "disconnect_ms": 300})
    two = link.open(id=one.id)
    one.close()
    link.idle(0.6)
    assert two.end is None and link.entry(two.id)["state"] == "running"
    session = two.id
    two.close()
    assert link.wait_end(session, 5)["end"]["by"] == "disconnect"


def test_disconnect_counts_after_a_start_with_nobody_attached(link):
    session = link.request("start", start={"cmd": ["sleep", "300"], "disconnect_ms": 300})["id"]
    assert link.wait_end(session, 5)["end"]["by"] == "disconnect"


def test_disconnect_of_what_ignores_term(link):
    script = "trap '' TERM; while :; do sleep 0.05; done"
    start = {"cmd": ["sh", "-c", script], "disconnect_ms": 300, "kill_grace_ms": 300}
    session = link.request("start", start=start)["id"]
    end = link.wait_end(session, 5)["end"]
    assert (end["by"], end["signal"]) == ("disconnect", signal.SIGKILL)


@pytest.mark.own_agent
def test_disconnect_ends_the_whole_tree(agent):
    link = agent.connect()
    channel = open_sh(link, FAMILY, disconnect_ms=300)
    family = pids(link, channel, 2)
    link.cut()
    gone(*family)


def test_no_disconnect_by_default(agent):
    link = agent.connect()
    session = link.open(start={"cmd": ["sleep", "300"]}).id
    link.cut()
    link = agent.connect()
    link.idle(1)
    entry = link.entry(session)
    assert entry["state"] == "running" and "disconnect_left_ms" not in entry
    link.request("kill", id=session)


def test_unknown_signal(link):
    channel = link.open(start={"cmd": ["sleep", "300"]})
    for name in ("FOO", "", 256, 10 ** 9):
        with pytest.raises(AgentError) as error:
            link.request("kill", id=channel.id, signal=name)
        assert error.value.code == "bad_message", name
    link.request("kill", id=channel.id)
