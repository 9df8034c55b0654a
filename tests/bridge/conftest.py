"""Fixtures of the bridge's end-to-end suite; see docs/testing.md.

    /usr/bin/python3 -m pytest tests/bridge        against build/dev/bin/bridge, one bridge per test

Markers: `bridge(*options, **settings)` gives the test's bridge options (driver=, env=, and any option by its name),
`agentd(**config)` the test's agent a configuration, `seconds(n)` allows a test more than 60 s.
"""
import contextlib
import ctypes
import os
import pathlib
import signal
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

import harness
import host
from wire import Timeout

PR_SET_CHILD_SUBREAPER = 36
SECONDS = 60


def pytest_configure(config):
    for line in ("bridge(*options, **settings): options of the test's own bridge",
                 "agentd(*args, **config): command line and configuration of the test's own agent",
                 "seconds(n): how long the test may take"):
        config.addinivalue_line("markers", line)
    # What sandboxes leave behind becomes our child, so that it can be found and ended.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which counts as failed in CI: {report.longrepr}"
    if report.failed:
        for program in getattr(item, "started", []):
            with contextlib.suppress(OSError):
                report.sections.append((f"log of {type(program).__name__}", program.log()[-6000:]))


@pytest.fixture(autouse=True)
def no_hang(request):
    """The net under every other timeout."""
    marker = request.node.get_closest_marker("seconds")
    limit = marker.args[0] if marker else SECONDS

    def expired(*_):
        raise Timeout(f"the test ran for {limit}s")
    signal.signal(signal.SIGALRM, expired)
    signal.alarm(limit)
    yield
    signal.alarm(0)


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
