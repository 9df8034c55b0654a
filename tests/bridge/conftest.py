"""Fixtures of the bridge's end-to-end suite; see docs/testing.md.

    /usr/bin/python3 -m pytest tests/bridge        against build/dev/bin/bridge, one bridge per test

Markers: `bridge(*options, **settings)` gives the test's bridge options (driver=, env=, and any option by its name),
`agentd(**config)` the test's agent a configuration, `seconds(n)` allows a test more than 60 s.
"""
import contextlib
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

import harness
import host
import rules
from rules import no_hang, pytest_runtest_makereport  # pytest finds them here


def pytest_configure(config):
    rules.configure(config,
                    "bridge(*options, **settings): options of the test's own bridge",
                    "agentd(*args, **config): command line and configuration of the test's own agent")


@pytest.fixture
def started(request):
    """What the test has started, to be stopped and checked in reverse."""
    request.node.started = []
    yield request.node.started
    with contextlib.ExitStack() as all_of_them:
        for program in request.node.started:
            all_of_them.callback(program.stop)


@pytest.fixture
def start_bridge(started):
    """Starts bridges: start_bridge("--access-log", driver="external")."""
    def start(*options, **settings):
        bridge = host.Bridge(*options, wait=False, **settings)
        started.append(bridge)
        return bridge.start()
    return start


@pytest.fixture
def start_agent(started):
    """Starts agents for bridge.adopt()."""
    def start(*args, **config):
        agent = harness.Agent(*args, **config)
        started.append(agent)
        return agent
    return start


@pytest.fixture
def agent(request, start_agent):
    """An agent of the test's own, as another control plane would have started it."""
    marker = request.node.get_closest_marker("agentd")
    return start_agent(*marker.args, **marker.kwargs) if marker else start_agent()


@pytest.fixture
def bridge(request, start_bridge):
    """The bridge of this test."""
    marker = request.node.get_closest_marker("bridge")
    return start_bridge(*marker.args, **marker.kwargs) if marker else start_bridge()


@pytest.fixture
def sandbox(bridge):
    """The id of a running sandbox of this test's bridge."""
    return bridge.create()
