"""init and agentd as PID 1 and 2 of namespaces of their own, on a tiny root: what needs no kernel of its own.

It needs root, busybox, and the static programs: `./dev static`.
"""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import pytest

from harness import ROOT, Target, accepts, children_of, eventually, proc_text
from test_cgroup import cgroup2_mount, remove

APPLETS = "sh grep sleep cat ls ps mount hostname kill id ip head wc seq true dd touch env test readlink umount".split()


def static(name):
    return pathlib.Path(os.environ.get(f"{name.upper()}_STATIC", ROOT / f"build/static/bin/{name}"))


class Machine(Target):
    """A root directory with busybox, init and agentd, and init running on it as PID 1."""

    def __init__(self, *words, wait=True):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="agentd-init-"))
        for name in "bin usr/sbin etc root proc sys dev run tmp srv".split():
            (self.root / name).mkdir(parents=True)
        shutil.copy("/bin/busybox", self.root / "bin")
        for name in APPLETS:
            (self.root / "bin" / name).symlink_to("busybox")
        shutil.copy(static("agentd"), self.root / "usr/sbin/agentd")
        shutil.copy(static("init"), self.root / "usr/sbin/agentd-init")
        (self.root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (self.root / "etc/hostname").write_text("machine-of-a-test\n")
        super().__init__(f"unix:{self.root}/srv/agent")
        # A cgroup of its own, so that its "/" is not everybody's.
        mount = cgroup2_mount()
        assert mount, "no cgroup v2 that can be written"
        self.cgroup = pathlib.Path(tempfile.mkdtemp(prefix="agentd-init-", dir=mount))
        self.log_path = self.root / "log"
        with open(self.log_path, "wb") as log:
            self.proc = subprocess.Popen(
                ["unshare", "--cgroup", "--pid", "--fork", "--kill-child", "--mount", "--uts", "--net", "--ipc",
                 "chroot", self.root, "/usr/sbin/agentd-init", "agentd.listen=unix:/srv/agent", *words],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=lambda: (self.cgroup / "cgroup.procs").write_text(str(os.getpid())))
        if wait:
            eventually(lambda: accepts(self.root / "srv/agent"), "agentd to listen", 15)

    def log(self):
        return self.log_path.read_text(errors="replace")

    def agent_pid(self):
        """agentd's pid as we see it, or None between two of them."""
        for init in children_of(self.proc.pid):
            for child in children_of(init):
                if proc_text(child, "comm") == "agentd\n":
                    return child
        return None

    def kill_agent(self):
        """kill -9, and wait for the next one to listen."""
        old = eventually(self.agent_pid, "an agentd")
        os.kill(old, signal.SIGKILL)
        eventually(lambda: self.agent_pid() not in (None, old), "another agentd")

    def wait(self):
        """How it ended: power off is SIGINT to the init of a namespace, reboot SIGHUP; unshare passes it on."""
        code = self.proc.wait(15)
        return {128 + signal.SIGINT: "off", -signal.SIGINT: "off", 128 + signal.SIGHUP: "reboot",
                -signal.SIGHUP: "reboot"}.get(code, code)

    def destroy(self):
        super().stop()
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.wait()
        remove(self.cgroup)
        shutil.rmtree(self.root)


@pytest.fixture
def machine():
    machines = []

    def boot(*words, **how):
        machines.append(Machine(*words, **how))
        return machines[-1]
    yield boot
    for one in machines:
        one.destroy()
