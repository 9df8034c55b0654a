"""The VM of packaging/image as a fixture."""
import pathlib
import sys

import pytest

from harness import ROOT, Target, eventually
from wire import HttpRefused, LinkClosed

sys.path.insert(0, str(ROOT / "packaging/image"))

from vm import IMAGE, Vm  # noqa: E402, F401


class Guest(Target):
    """A running VM, as an agent to talk to."""

    def __init__(self, flavour="minimal", **how):
        self.vm = Vm(flavour, **how)
        self.own(self.vm)

    def own(self, vm):
        try:
            if vm.qemu is None:
                vm.start()
            vm.wait_agent()
        except BaseException:
            vm.stop()
            raise
        super().__init__(vm.target)

    # For the report of a failure.
    log_path = property(lambda self: self.vm.console)

    def log(self):
        return self.vm.log()

    def link(self, timeout=20):
        """A link, also when agentd is about to come back."""
        def attempt():
            try:
                return self.connect()
            except (OSError, LinkClosed, HttpRefused):
                return None
        return eventually(attempt, "a link", timeout)

    def pid(self):
        return self.link().request("info")["pid"]


class Forked(Guest):
    def __init__(self, vm):
        self.vm = vm
        vm.wake()
        self.own(vm)


@pytest.fixture
def guest(request):
    """Boots guests, and ends them."""
    guests = request.node.started = []

    def boot(*args, **how):
        guests.append(Guest(*args, **how))
        return guests[-1]

    def fork(parent):
        guests.append(Forked(parent.vm.fork()))
        return guests[-1]
    boot.fork = fork
    yield boot
    for one in guests:
        for link in one.links:
            link.cut()
        one.vm.stop()


def out(link, script, timeout=30):
    done = link.sh(script, timeout=timeout)
    assert done.end["state"] == "exited" and done.end["code"] == 0, (done.end, done.err)
    return done.out.decode()


def modules(version):
    return pathlib.Path(IMAGE / "kernel/lib/modules" / version / "kernel")
