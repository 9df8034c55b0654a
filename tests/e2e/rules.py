"""What both suites of pytest have in common; each conftest.py takes it from here."""
import contextlib
import ctypes
import os
import signal

import pytest

from wire import Timeout

PR_SET_CHILD_SUBREAPER = 36
SECONDS = 60


def configure(config, *markers):
    """Makes the suite's markers known, and us the parent of what programs under test leave behind, so that it can be
    found and ended."""
    for line in (*markers, "seconds(n): how long the test may take"):
        config.addinivalue_line("markers", line)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A skip is a failure; a failure has the logs of what the test has started (`item.started`)."""
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
    if request.config.getoption("--target", None):
        limit *= 4  # that may be in an emulated machine, on processors that others use, too

    def expired(*_):
        raise Timeout(f"the test ran for {limit}s")
    signal.signal(signal.SIGALRM, expired)
    signal.alarm(limit)
    yield
    signal.alarm(0)
