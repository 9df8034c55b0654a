"""What the tests need around the client: an agentd process to talk to, and relays that cut links."""
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from client import Link
from wire import Timeout

ROOT = pathlib.Path(__file__).resolve().parents[2]
LONG = bool(os.environ.get("E2E_LONG"))
SANITIZERS = re.compile(r"ERROR: AddressSanitizer|runtime error|LeakSanitizer|broken invariant")


def binary(name):
    """The program under test: env AGENTD or AGENTCTL, else the dev build's."""
    return str((ROOT / os.environ.get(name.upper(), f"build/dev/bin/{name}")).resolve())


def program_env():
    """The environment of programs under test, with a canary that must never reach a session."""
    env = {**os.environ, "AGENTD_E2E_CANARY": "leaked"}
    # A small quarantine, so that tests of memory see what the agent holds and not what it has freed.
    env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "detect_leaks=1") + ":quarantine_size_mb=4"
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    return env


def under_asan():
    with open(binary("agentd"), "rb") as program:
        return b"__asan_init" in program.read()


def eventually(done, what, timeout=10.0):
    """Polls until done() gives something true, and gives it back."""
    deadline = time.monotonic() + timeout
    while not (result := done()):
        if time.monotonic() > deadline:
            raise Timeout(f"waited {timeout}s for {what}")
        time.sleep(0.01)
    return result


def accepts(path):
    """Whether somebody listens on a unix socket: its file is there a moment before."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def alive(pid):
    """Whether the process runs; a zombie, whoever has yet to reap it, does not."""
    stat = proc_text(pid, "stat")
    return stat != "" and stat.rpartition(")")[2].split()[0] not in "ZX"


def proc_text(pid, name):
    """A file of /proc/PID, or "" when the process is gone, which it may be at any moment."""
    try:
        return pathlib.Path(f"/proc/{pid}/{name}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def children_of(pid):
    tasks = pathlib.Path(f"/proc/{pid}/task").glob("*")
    return [int(child) for task in tasks for child in proc_text(pid, f"task/{task.name}/children").split()]


def open_files(pid):
    """What each descriptor of a process is open on; those that close meanwhile are left out."""
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            pass
    return found


class Target:
    """An agent that is reached by a target string; its process is none of our business."""

    def __init__(self, target):
        self.target = target
        self.links = []
        self.serial = random.randrange(16 ** 8)

    def connect(self, **how):
        how.setdefault("token", os.environ.get("E2E_TOKEN"))
        link = Link.connect(self.target, **how)
        self.links.append(link)
        return link

    def bare(self, **how):
        """A connection that has said nothing yet."""
        link = Link(self.target, **how)
        self.links.append(link)
        return link

    def new_id(self, name="t"):
        self.serial += 1
        return f"{name}-{self.serial:x}"

    def stop(self):
        for link in self.links:
            link.cut()


class Agent(Target):
    """An agentd of the test's own, on a socket in a directory of its own."""

    def __init__(self, *args, directory=None, rlimits=None, user=None, wrapper=(), token=None, **config):
        self.dir = pathlib.Path(directory or tempfile.mkdtemp(prefix="agentd-e2e-"))
        self.owns_dir = directory is None
        self.socket = self.dir / "agentd.sock"
        super().__init__(f"unix:{self.socket}")
        self.log_path = self.dir / f"agentd.{time.monotonic_ns()}.log"
        if user is not None:
            os.chown(self.dir, user, -1)
        if token is not None:
            (self.dir / "token").write_text(token + "\n")
            config["token_file"] = self.dir / "token"
        self.command = [*wrapper, binary("agentd"), "--listen", f"unix:{self.socket}", *args]
        if config:
            self.command += ["--config", str(self._write_config(config))]
        self.told_to_end = False
        self.proc = self._spawn(rlimits or {}, user)
        self.pid = self.proc.pid
        try:
            self._wait_accepting()
        except BaseException:
            self.kill()
            self._forget()
            raise

    def _write_config(self, config):
        path = self.dir / "agentd.conf"
        path.write_text("# written by a test\n" + "".join(f"{key} = {value}\n" for key, value in config.items()))
        return path

    def _spawn(self, rlimits, user):
        """In a session of its own: a signal to `process group 0` by mistake must not end the tests."""
        def prepare():
            for name, value in rlimits.items():
                resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
        ids = {} if user is None else {"user": user, "group": user, "extra_groups": []}
        with open(self.log_path, "wb") as log:
            proc = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=program_env(),
                                    preexec_fn=prepare, start_new_session=True, **ids)
        programs.add(proc)
        return proc

    def _wait_accepting(self):
        def accepting():
            if self.proc.poll() is not None:
                raise AssertionError(f"agentd ended with {self.proc.returncode} at its start:\n{self.log()}")
            return accepts(self.socket)
        eventually(accepting, "agentd to accept", 15)

    # what it holds

    def log(self):
        return self.log_path.read_text(errors="replace")

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def children(self):
        """Its children that are not zombies."""
        return [child for child in children_of(self.pid) if alive(child)]

    def rollup(self, name):
        """A line of smaps_rollup, in KiB."""
        text = pathlib.Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        return int(re.search(rf"^{name}:\s+(\d+)", text, re.M).group(1))

    def pss_kib(self):
        return self.rollup("Pss")

    def memory_kib(self):
        """What it has written to, for tests of growth: Pss moves when other agents come and go, too."""
        return self.rollup("Private_Dirty") + self.rollup("Shared_Dirty")

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def settled_fds(self):
        """The number of descriptors once it has stopped changing: closing is asynchronous."""
        last = self.fds()
        for _ in range(100):
            time.sleep(0.05)
            now = self.fds()
            if now == last:
                break
            last = now
        return last

    def upgrade(self, path=None):
        """Upgrades it in place; gives a link to the agent that came after."""
        link = self.connect()
        before = link.hello
        link.ask("upgrade", path=str(path or binary("agentd")))
        assert link.expect_close(15) == 1012
        assert link.notices == ["upgrading"]
        assert not link.replies, "there is no answer to an upgrade that succeeds"
        link = self.connect(timeout=15)
        assert link.hello["instance"] == before["instance"] and link.hello["epoch"] == before["epoch"] + 1
        assert link.hello["boot_id"] == before["boot_id"]
        assert link.request("info")["pid"] == self.pid
        return link

    # its end

    def terminate(self):
        self.told_to_end = True
        self.proc.send_signal(signal.SIGTERM)

    def kill(self):
        """An unclean end, as by the kernel."""
        self.told_to_end = True
        self.proc.kill()
        self.proc.wait()

    def stop(self):
        """Ends it by SIGTERM and checks how it went: exit 0, within 15 s, nothing found by a sanitizer."""
        super().stop()
        killed_by_test = self.proc.returncode == -signal.SIGKILL
        ended = self.proc.poll() is not None and not self.told_to_end
        try:
            if self.proc.poll() is None and not self.told_to_end:
                self.terminate()
            code = self.proc.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()
            code = "still running 15 s after SIGTERM"
        log = self.log()
        self._forget()
        found = SANITIZERS.search(log)
        assert not found, f"the agent's log has {found.group()!r}:\n{log[-8000:]}"
        assert not ended, f"agentd ended by itself, with {code}:\n{log[-4000:]}"
        assert code == 0 or killed_by_test, f"agentd ended with {code}:\n{log[-4000:]}"


    def _forget(self):
        programs.discard(self.proc)
        reap_orphans()
        if self.owns_dir:
            shutil.rmtree(self.dir, ignore_errors=True)


def reap_orphans():
    """Kills what sessions left behind. They come to us because rules.configure() made us a subreaper."""
    for pid in set(children_of(os.getpid())) - {program.pid for program in programs}:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


programs = set()  # what the tests run themselves, as Popen: not to be taken for orphans


class Tool:
    """An agentctl run: `Tool(target, "run", "--", "true")`; everything it prints is collected."""

    def __init__(self, target, *args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE):
        command = [binary("agentctl"), *(["--connect", target] if target else []), *args]
        self.proc = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, env=program_env())
        programs.add(self.proc)

    def finish(self, data=None, timeout=30.0):
        """Feeds it, waits for its end; gives (exit code, stdout, stderr)."""
        try:
            out, err = self.proc.communicate(data, timeout)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            out, err = self.proc.communicate()
            raise Timeout(f"{command_line(self.proc)} still ran after {timeout}s; so far {out[-500:]!r}, "
                          f"on stderr {err[-500:]!r}") from None
        finally:
            programs.discard(self.proc)
        assert not SANITIZERS.search(err.decode(errors="replace")), err.decode(errors="replace")
        return self.proc.returncode, out, err


def command_line(proc):
    return " ".join(proc.args)


class Relay:
    """A unix socket in front of a target. With `budgets`, the nth connection is torn after so many bytes."""

    def __init__(self, target, budgets=(), hybrid_port=None):
        self.target, self.hybrid_port = target, hybrid_port
        self.budgets = list(budgets)
        self.cuts = 0
        self.dir = tempfile.mkdtemp(prefix="relay-")
        self.path = f"{self.dir}/s"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(64)
        self.open = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            budget = self.budgets.pop(0) if self.budgets else None
            threading.Thread(target=self._carry, args=(near, budget), daemon=True).start()

    def _carry(self, near, budget):
        if self.hybrid_port is not None and not self._answer_connect(near):
            return
        far = socket.socket(socket.AF_UNIX)
        far.connect(self.target.removeprefix("unix:"))
        lock, left = threading.Lock(), [budget]
        self.open.append((near, far))
        for source, sink in ((near, far), (far, near)):
            threading.Thread(target=self._pump, args=(source, sink, lock, left), daemon=True).start()

    def _answer_connect(self, near):
        """The hybrid handshake of Firecracker, Cloud Hypervisor and vhost-device-vsock."""
        line = b""
        while not line.endswith(b"\n"):
            byte = near.recv(1)
            if not byte:
                return False
            line += byte
        if line != b"CONNECT %d\n" % self.hybrid_port:
            near.close()
            return False
        near.sendall(b"OK 1073741824\n")
        return True

    def _pump(self, source, sink, lock, left):
        try:
            while data := source.recv(65536):
                with lock:
                    allowed = len(data) if left[0] is None else min(left[0], len(data))
                    left[0] = None if left[0] is None else left[0] - allowed
                sink.sendall(data[:allowed])
                if allowed < len(data):
                    self.cuts += 1
                    break
        except OSError:
            pass
        tear(source, sink)

    def cut_all(self):
        for pair in self.open:
            tear(*pair)
        self.open.clear()

    def close(self):
        self.listener.close()
        self.cut_all()
        shutil.rmtree(self.dir, ignore_errors=True)


def tear(*sockets):
    for sock in sockets:
        try:
            sock.shutdown(socket.SHUT_RDWR)  # also wakes the thread that reads it; close would not
        except OSError:
            pass
        sock.close()
