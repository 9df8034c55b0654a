"""Fixtures and rules of the end-to-end suite; see docs/testing.md.

    /usr/bin/python3 -m pytest tests/e2e                       against build/dev/bin/agentd, one agent per test
    ... --target=unix:/run/agentd.sock | hybrid:... | vsock:...   against an agent that runs already

Markers: `agentd(...)` gives the test's agent a configuration; `own_agent` says that the test needs an agent of
its own for another reason, `same_machine` that it shares files or sockets with it. All are left out with --target.
`seconds(n)` allows a test more than 60 s.
"""
import contextlib
import ctypes
import os
import signal

import pytest

import harness
from wire import Timeout

PR_SET_CHILD_SUBREAPER = 36
SECONDS = 60


def pytest_addoption(parser):
    parser.addoption("--target", help="run against the agent at this target instead of starting one per test")


def pytest_configure(config):
    for line in ("agentd(*args, **config): command line and configuration of the test's own agent",
                 "own_agent: needs an agent process of its own",
                 "same_machine: shares files, processes or sockets with the agent",
                 "seconds(n): how long the test may take"):
        config.addinivalue_line("markers", line)
    # What sessions leave behind becomes our child when their agent ends, so that it can be found and ended.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--target"):
        return
    own = [item for item in items if any(map(item.get_closest_marker, ("own_agent", "agentd", "same_machine")))]
    config.hook.pytest_deselected(items=own)
    items[:] = [item for item in items if item not in own]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which counts as failed in CI: {report.longrepr}"
    if report.failed:
        for agent in getattr(item, "agents", []):
            if agent.log_path.exists():
                report.sections.append(("log of agentd", agent.log()[-6000:]))


@pytest.fixture(autouse=True)
def no_hang(request):
    """The net under every other timeout."""
    marker = request.node.get_closest_marker("seconds")
    limit = marker.args[0] if marker else SECONDS
    if request.config.getoption("--target"):
        limit *= 4  # that may be in an emulated machine, on processors that others use, too

    def expired(*_):
        raise Timeout(f"the test ran for {limit}s")
    signal.signal(signal.SIGALRM, expired)
    signal.alarm(limit)
    yield
    signal.alarm(0)


@pytest.fixture
def start_agent(request):
    """Starts agents: start_agent("--listen", …, rlimits={"NOFILE": 64}, max_sessions=4)."""
    request.node.agents = []

    def start(*args, **config):
        agent = harness.Agent(*args, **config)
        request.node.agents.append(agent)
        return agent
    yield start
    with contextlib.ExitStack() as all_of_them:
        for agent in request.node.agents:
            all_of_them.callback(agent.stop)


@pytest.fixture
def agent(request):
    """The agent of this test."""
    target = request.config.getoption("--target")
    if target:
        agent = harness.Target(target)
        yield agent
        agent.stop()
        return
    marker = request.node.get_closest_marker("agentd")
    start = request.getfixturevalue("start_agent")
    yield start(*marker.args, **marker.kwargs) if marker else start()


@pytest.fixture
def link(agent):
    """One connection to the agent of this test, hello done."""
    return agent.connect()


@pytest.fixture
def relay(request):
    """Starts relays: relay(target, budgets=[…])."""
    started = []

    def start(*args, **how):
        started.append(harness.Relay(*args, **how))
        return started[-1]
    yield start
    for one in started:
        one.close()
