"""A live upgrade: the same process, a new binary, every session byte for byte (sections 1, 3 and 10)."""
import hashlib
import os
import pathlib
import random
import shutil
import signal
import threading
import time

import pytest

import harness
from client import Link
from outputs import LINES, check_seq, seq_script, sha
from resuming import Resuming
from wire import AgentError, HttpRefused, LinkClosed

pytestmark = pytest.mark.own_agent
AGENTD = harness.binary("agentd")


def test_same_process_new_binary(agent, tmp_path):
    new = tmp_path / "agentd-new"
    shutil.copy(AGENTD, new)
    link = agent.upgrade(new)
    assert os.readlink(f"/proc/{agent.pid}/exe") == str(new)
    assert link.sh("echo new").out == b"new\n"


def test_idle_agent_again_and_again(agent):
    """No descriptor and no memory is left over from one upgrade to the next."""
    agent.upgrade().close()
    before = agent.settled_fds()
    for _ in range(5):
        agent.upgrade().close()
    assert agent.settled_fds() <= before


def test_everybody_is_told(agent):
    others = [agent.connect() for _ in range(5)]
    agent.upgrade()
    for link in others:
        assert link.expect_close(5) == 1012
        assert link.notices == ["upgrading"]


def test_running_session_goes_on(agent):
    link = agent.connect()
    channel = link.open(start={"cmd": ["sh", "-c", "echo before; read x; echo after $x; exit 5"], "stdin": True},
                        attach={"viewer": "me", "input": True, "hold_ms": 30000})
    channel.wait_out(b"before\n")
    channel.write(b"12")
    channel.wait_acked(2)
    again = channel.resume(agent.upgrade())
    assert again.opened["new"] is False and again.opened["pid"] == channel.opened["pid"]
    assert again.opened["stdin"] == {"open": True, "offset": 2}
    again.write(b"34\n")
    assert again.finish().out == b"before\nafter 1234\n" and again.end["code"] == 5


def test_ended_sessions_are_kept(agent):
    link = agent.connect()
    ends = [link.sh("echo out; echo error >&2; exit 3"), link.sh("kill -SEGV $$"), link.run(["/no/such/program"]),
            link.run(["sleep", "9"], timeout_ms=100), link.sh(seq_script(0, LINES), ring=65536)]
    keys = ("id", "state", "cmd", "cwd", "user", "pid", "started_ms", "ended_ms", "end", "out", "err", "ring",
            "user_us", "sys_us", "stdin")
    before = [{key: entry[key] for key in keys} for entry in link.request("list")["sessions"]]
    after_link = agent.upgrade()
    after = [{key: entry[key] for key in keys} for entry in after_link.request("list")["sessions"]]
    assert before == after
    for old in ends:
        new = after_link.open(id=old.id).finish()
        assert new.end == old.end and new.stdout.offset == old.stdout.offset
        assert old.out.endswith(new.out) and new.err == old.err
        assert new.stdout.missing() + len(new.out) == len(old.out)


def test_id_in_use_and_idempotent_start_survive(agent):
    link = agent.connect()
    start = {"cmd": ["sleep", "100"], "env": {"A": "1"}, "rlimits": {"nofile": [100, 200]}}
    first = link.open(id="mine", start=start)
    link = agent.upgrade()
    again = link.open(id="mine", start=start)
    assert again.opened["new"] is False and again.opened["pid"] == first.opened["pid"]
    with pytest.raises(AgentError) as refused:
        link.open(id="mine", start={**start, "env": {"A": "2"}})
    assert refused.value.code == "id_in_use"


@pytest.mark.seconds(120)
def test_streams_in_flight(agent):
    """Sessions with streams both ways, resumed over several upgrades: all hashes equal."""
    data = random.Random(5).randbytes(4 << 20)
    count = 100 if harness.LONG else 20
    script = f"for i in 1 2 3 4 5 6 7 8; do {seq_script(0, 20000)}; sleep 0.1; done; exit 9"
    cats = [Resuming(agent, {"cmd": ["cat"], "stdin": True}, data) for _ in range(count // 4)]
    slow = [Resuming(agent, {"cmd": ["sh", "-c", "sleep 1.2; sha256sum"], "stdin": True}, data)
            for _ in range(count // 4)]
    printers = [Resuming(agent, {"cmd": ["sh", "-c", script]}) for _ in range(count // 2)]
    everybody = cats + slow + printers
    failures = []
    threads = [threading.Thread(target=run_through_upgrades, args=(client, failures), daemon=True)
               for client in everybody]
    for thread in threads:
        thread.start()
    for _ in range(3):
        time.sleep(0.4)
        agent.upgrade().close()
    for thread in threads:
        thread.join(90)
    assert not failures, failures[0]
    for client in cats:
        assert client.channel.stdout.hash() == sha(data) and client.channel.end["code"] == 0
    for client in slow:
        assert client.channel.stdout.offset == len(f"{sha(data)}  -\n") and client.channel.end["code"] == 0
    expected = hashlib.sha256(b"".join(b"%d\n" % n for n in range(1000000, 1020000)) * 8).hexdigest()
    for client in printers:
        assert client.channel.stdout.hash() == expected and client.channel.end["code"] == 9
    assert all(not client.channel.stdout.gaps for client in everybody)
    assert any(client.cuts for client in everybody)


def run_through_upgrades(client, failures):
    try:
        client.run([])
    except BaseException as error:
        failures.append(error)


def test_detached_output_goes_on_being_drained(agent):
    link = agent.connect()
    script = f"for i in 1 2 3 4 5 6 7 8; do {seq_script(0, 10000)}; sleep 0.1; done"
    session = link.request("start", start={"cmd": ["sh", "-c", script]})["id"]
    for _ in range(3):
        link = agent.upgrade()
        time.sleep(0.1)
    link.wait_end(session)
    channel = link.open(id=session).finish()
    assert channel.out == b"".join(b"%d\n" % n for n in range(1000000, 1010000)) * 8


def test_blocked_producer_stays_blocked(agent):
    """The place of a lossless viewer is held over the upgrade, and the ring with it."""
    link = agent.connect()
    channel = link.open(start={"cmd": ["sh", "-c", seq_script(0, LINES * 4)], "ring": 262144}, window=50000,
                        auto=False, attach={"viewer": "me", "hold_ms": 30000})
    link.wait(lambda: channel.received == 50000, "the window")
    link = agent.upgrade()
    time.sleep(0.5)
    again = channel.resume(link)
    again.flow(50000)
    again.finish()
    check_seq(again.stdout)
    assert not again.stdout.gaps and again.stdout.offset == LINES * 4 * 8


def test_order_between_the_streams_survives(agent):
    link = agent.connect()
    live = link.sh("for i in 1 2 3 4; do echo o$i; sleep 0.03; echo e$i >&2; sleep 0.03; done")
    replay = agent.upgrade().open(id=live.id).finish()
    assert replay.order == live.order


def test_input_that_was_acknowledged_survives(agent):
    """It is in the agent, not yet in the pipe: the child has not read any of it."""
    link = agent.connect()
    data = random.Random(6).randbytes(262144)
    channel = link.open(start={"cmd": ["sh", "-c", "sleep 1; sha256sum"], "stdin": True},
                        attach={"viewer": "me", "input": True, "hold_ms": 30000})
    channel.write(data, fin=True)
    channel.wait_acked(len(data))
    again = channel.resume(agent.upgrade())
    assert again.opened["stdin"]["offset"] == len(data)
    assert again.finish().out.split()[0].decode() == sha(data)


def test_timers_go_on(agent):
    link = agent.connect()
    timed = link.request("start", id="timed", start={"cmd": ["sleep", "100"], "timeout_ms": 1500})["id"]
    left = link.request("start", id="left", start={"cmd": ["sleep", "100"], "disconnect_ms": 1500})["id"]
    short = link.run(["true"], retain_ms=1500).id
    stubborn = link.request("start", id="stubborn", start={
        "cmd": ["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"], "timeout_ms": 200,
        "kill_grace_ms": 1300})["id"]
    time.sleep(0.5)
    link = agent.upgrade()
    assert 0 < link.entry(timed)["timeout_left_ms"] <= 1000
    end = link.wait_end(timed)["end"]
    assert end["state"] == "timed_out" and 1500 <= end["wall_ms"] < 3000
    end = link.wait_end(left)["end"]
    assert (end["state"], end["by"]) == ("killed", "disconnect")
    end = link.wait_end(stubborn)["end"]
    assert (end["state"], end["signal"]) == ("timed_out", 9)
    harness.eventually(lambda: link.entry(short) is None, "the retained session to go", 5)


def test_kill_escalation_goes_on(agent):
    link = agent.connect()
    channel = link.open(start={"cmd": ["sh", "-c", "trap '' TERM; echo set; while :; do sleep 0.05; done"]})
    channel.wait_out(b"set\n")
    link.request("kill", id=channel.id, signal="TERM", grace_ms=1000)
    end = agent.upgrade().wait_end(channel.id)["end"]
    assert (end["state"], end["by"], end["signal"]) == ("killed", "client", 9)


def test_children_that_exit_around_the_upgrade(agent):
    """Before, during or after: each exit code is known, none becomes agent_lost."""
    link = agent.connect()
    for round_ in range(3):
        ids = [link.request("start", start={"cmd": ["sh", "-c", f"sleep 0.{number:02d}; echo {number}; exit {number}"]})
               ["id"] for number in range(60)]
        link = agent.upgrade()
        for number, session in enumerate(ids):
            end = link.wait_end(session)["end"]
            assert (end["state"], end.get("code")) == ("exited", number)
            assert link.open(id=session).finish().out == b"%d\n" % number
    assert agent.children() == []


def test_background_writer_over_an_upgrade(agent, tmp_path):
    """Of a session that has ended: its pipe is kept, so the writer gets no EPIPE, and what it writes arrives."""
    result = tmp_path / "result"
    script = f"trap '' PIPE; (sleep 1; echo later && echo fine >{result}) & echo hi"
    link = agent.connect()
    channel = link.open(start={"cmd": ["sh", "-c", script]})
    channel.wait_end()
    again = agent.upgrade().open(id=channel.id)
    assert again.finish().out == b"hi\nlater\n" and result.read_text() == "fine\n"


def test_sessions_started_after_an_upgrade(agent):
    link = agent.upgrade()
    ids = {link.run(["true"]).id for _ in range(10)}
    link = agent.upgrade()
    more = {link.run(["true"]).id for _ in range(10)}
    assert len(ids | more) == 20, "the agent's own ids do not repeat"
    assert {entry["id"] for entry in link.request("list")["sessions"]} == ids | more


def test_sigterm_after_an_upgrade(agent):
    link = agent.connect()
    pid = link.request("start", start={"cmd": ["sleep", "100"]})["pid"]
    agent.upgrade()
    agent.terminate()
    assert agent.proc.wait(15) == 0
    assert not harness.alive(pid)


@pytest.mark.agentd(token="upgrade-token", max_sessions=5)
def test_configuration_survives(agent):
    link = agent.connect(token="upgrade-token")
    link.ask("upgrade", path=AGENTD)
    assert link.expect_close(15) == 1012
    with pytest.raises(HttpRefused):
        agent.connect(token="another")
    assert agent.connect(token="upgrade-token").hello["limits"]["sessions"] == 5


def connect_with_retry(agent):
    """A link although an upgrade may be under way."""
    deadline = time.monotonic() + 15
    while True:
        try:
            return agent.connect()
        except (LinkClosed, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


# upgrades that must not happen

def unfit(tmp_path, kind):
    path = tmp_path / "unfit"
    if kind == "missing":
        return path
    if kind == "directory":
        path.mkdir()
        return path
    if kind == "true":
        return pathlib.Path("/bin/true")
    contents = {"not executable": pathlib.Path(AGENTD).read_bytes(), "empty": b"", "not a program": b"hello\n",
                "hangs": b"#!/bin/sh\nexec sleep 1000\n", "fails": b"#!/bin/sh\nexit 1\n",
                "cut short": pathlib.Path(AGENTD).read_bytes()[:20000]}
    path.write_bytes(contents[kind])
    path.chmod(0o644 if kind == "not executable" else 0o755)
    return path


@pytest.mark.parametrize("kind", ["missing", "directory", "true", "not executable", "empty", "not a program", "hangs",
                                  "fails", "cut short"])
def test_unfit_binary_changes_nothing(agent, tmp_path, kind):
    """After exec it would be too late to find out."""
    link = agent.connect(timeout=25)
    channel = link.open(start={"cmd": ["cat"], "stdin": True}, attach={"input": True, "viewer": "me"})
    channel.write(b"before ")
    channel.wait_out(b"before ")
    fds = agent.settled_fds()
    with pytest.raises(AgentError) as error:
        link.request("upgrade", path=str(unfit(tmp_path, kind)))
    assert error.value.code == "failed" and error.value.error["message"]
    if kind in ("missing", "not executable"):
        assert error.value.errno == {"missing": 2, "not executable": 13}[kind]
    assert link.notices == []
    channel.write(b"after", fin=True)
    assert channel.finish().out == b"before after"
    other = agent.connect()
    assert other.hello["epoch"] == link.hello["epoch"]
    assert agent.settled_fds() <= fds + 1


def test_others_are_served_while_a_hanging_binary_is_tried(agent, tmp_path):
    link = agent.connect(timeout=25)
    asked = link.ask("upgrade", path=str(unfit(tmp_path, "hangs")))
    other = agent.connect()
    began = time.monotonic()
    for _ in range(5):
        assert other.sh("echo ok").out == b"ok\n"
    assert time.monotonic() - began < 3
    with pytest.raises(AgentError):
        link.answer(asked)


def test_upgrade_after_a_failed_one(agent, tmp_path):
    link = agent.connect()
    with pytest.raises(AgentError):
        link.request("upgrade", path=str(unfit(tmp_path, "missing")))
    assert agent.upgrade().sh("echo fine").out == b"fine\n"


def test_two_upgrades_at_once(agent):
    """One wins; the other is refused or is over with its link. There is one agent afterwards."""
    links = [agent.connect() for _ in range(2)]
    links[0].ask("upgrade", path=AGENTD)
    try:
        links[1].ask("upgrade", path=AGENTD)
    except LinkClosed:
        pass  # the first one was quicker than we are
    harness.eventually(lambda: connect_with_retry(agent).hello["epoch"] > links[0].hello["epoch"], "an upgrade")
    assert agent.connect().request("info")["pid"] == agent.pid


def test_new_connections_during_the_upgrade_wait(agent):
    """The listening socket never closes: a client is not refused, at worst it waits."""
    refused, stop = [], threading.Event()

    def knock():
        while not stop.is_set():
            try:
                Link.connect(agent.target).cut()
            except LinkClosed:
                pass  # accepted by the old one on its way out
            except OSError as error:
                refused.append(error)
    thread = threading.Thread(target=knock)
    thread.start()
    for _ in range(3):
        link = connect_with_retry(agent)
        link.ask("upgrade", path=AGENTD)
        link.expect_close(15)
    stop.set()
    thread.join()
    assert not [error for error in refused if isinstance(error, ConnectionRefusedError)], refused


def test_a_signal_that_comes_with_the_upgrade_is_heard(start_agent):
    """Both wait for an agent that stands still: it goes over to the new program first. A signal whose handler had run, and
    which the loop had yet to see, was lost with the old one."""
    for _ in range(5):
        agent = start_agent()
        link = agent.connect()
        os.kill(agent.pid, signal.SIGSTOP)
        link.ask("upgrade", path=AGENTD)
        agent.terminate()
        os.kill(agent.pid, signal.SIGCONT)
        assert agent.proc.wait(15) == 0


def test_an_agent_that_stops_refuses_an_upgrade(agent):
    """It took one, with its listening sockets already gone."""
    link = agent.connect()
    channel = link.open(start={"cmd": ["sh", "-c", "trap '' TERM; echo set; while :; do sleep 0.05; done"]})
    channel.wait_out(b"set\n")
    agent.terminate()
    harness.eventually(lambda: "info stopping" in agent.log(), "a stop")
    with pytest.raises(AgentError) as error:
        link.request("upgrade", path=AGENTD)
    assert error.value.code == "stopping"
    assert agent.proc.wait(30) == 0
