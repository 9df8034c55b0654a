"""Fixtures and rules of the end-to-end suite; see docs/testing.md.

    /usr/bin/python3 -m pytest tests/e2e                       against build/dev/bin/agentd, one agent per test
    ... --target=unix:/run/agentd.sock | hybrid:... | vsock:...   against an agent that runs already

Markers: `agentd(...)` gives the test's agent a configuration; `own_agent` says that the test needs an agent of
its own for another reason, `same_machine` that it shares files or sockets with it. All are left out with --target.
`seconds(n)` allows a test more than 60 s.
"""
import contextlib

import pytest

import harness
import rules
from rules import no_hang, pytest_runtest_makereport  # pytest finds them here


def pytest_addoption(parser):
    parser.addoption("--target", help="run against the agent at this target instead of starting one per test")


def pytest_configure(config):
    rules.configure(config,
                    "agentd(*args, **config): command line and configuration of the test's own agent",
                    "own_agent: needs an agent process of its own",
                    "same_machine: shares files, processes or sockets with the agent")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--target"):
        return
    own = [item for item in items if any(map(item.get_closest_marker, ("own_agent", "agentd", "same_machine")))]
    config.hook.pytest_deselected(items=own)
    items[:] = [item for item in items if item not in own]


@pytest.fixture
def start_agent(request):
    """Starts agents: start_agent("--listen", …, rlimits={"NOFILE": 64}, max_sessions=4)."""
    request.node.started = []

    def start(*args, **config):
        agent = harness.Agent(*args, **config)
        request.node.started.append(agent)
        return agent
    yield start
    with contextlib.ExitStack() as all_of_them:
        for agent in request.node.started:
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
