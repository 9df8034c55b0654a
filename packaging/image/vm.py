#!/usr/bin/python3
"""A sandbox VM: QEMU with vsock, from what packaging/image/build made. `./dev vm` and the tests use it.

    packaging/image/vm.py [--flavour minimal] [--memory 512] [--cpus 1] [--append WORDS] [--wait-only | COMMAND [ARG...]]

Boots, waits for the agent, runs COMMAND (agentctl's arguments; default: a shell), powers off. With --wait-only one line
of JSON says where the agent is, and the machine stays until stdin ends. The disk is an overlay that is thrown away. Without KVM it is emulated; which of the two works is found out once, by trying.
"""
import argparse
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from qmp import Qmp, QmpError

TOP = pathlib.Path(__file__).resolve().parents[2]
IMAGE = TOP / "build/image"
KVM_TRIAL = 8.0  # seconds for a guest that takes one, if KVM is real
BOOT = 60.0


class VmError(Exception):
    pass


class Vm:
    """One machine in a directory of its own. start() returns when QEMU runs; wait_agent() when agentd answers.

    Its memory is a file and its vsock device can be unplugged, so that it can be saved and woken: QEMU does not save a
    machine with that device in place, and what lies in a file need not be written twice.
    """

    next_cid = 1000 + os.getpid() % 100000

    def __init__(self, flavour="minimal", memory=256, cpus=1, append="", accel=None, disk=None):
        for name in ("vmlinuz", "initramfs.img", f"{flavour}.ext4"):
            if not (IMAGE / name).exists():
                raise VmError(f"no {IMAGE / name}: run ./dev image")
        if not (IMAGE / "vhost-device-vsock").exists() and not has_vhost():
            raise VmError("no vsock device: run ./dev image")
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="agentd-vm-"))
        self.flavour, self.memory, self.cpus, self.append = flavour, memory, cpus, append
        self.accel = accel
        self.disk = disk or self.dir / "disk.qcow2"
        self.console = self.dir / "console"
        Vm.next_cid += 1
        self.cid = Vm.next_cid
        self.qemu = self.vsock = self.qmp = None
        self.started = None

    @property
    def target(self):
        return f"vsock:{self.cid}:1024" if has_vhost() else f"hybrid:{self.dir}/vsock:1024"

    def start(self):
        if not self.disk.exists():
            run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", IMAGE / f"{self.flavour}.ext4", self.disk)
        self.accel = self.accel or accelerator()
        self._run(self._vsock_backend(), ["-device", self._vsock_device()])

    def _run(self, backend, more):
        self.started = time.monotonic()
        self.qemu = subprocess.Popen([
            "qemu-system-x86_64", "-name", "agentd", "-nodefaults", "-no-user-config", "-nographic", "-no-reboot",
            "-machine", "q35", "-cpu", "host" if self.accel == "kvm" else "max", "-accel", self.accel,
            "-smp", str(self.cpus), "-m", str(self.memory),
            "-object", f"memory-backend-file,id=ram,size={self.memory}M,share=on,mem-path={self.dir}/ram",
            "-numa", "node,memdev=ram", "-device", "pcie-root-port,id=port0,chassis=1",
            "-kernel", IMAGE / "vmlinuz", "-initrd", IMAGE / "initramfs.img",
            "-append", f"console=ttyS0 quiet loglevel=4 panic=-1 {self.append}",
            "-drive", f"file={self.disk},if=virtio,format=qcow2,cache=unsafe", "-device", "virtio-rng-pci",
            "-serial", f"file:{self.console}", "-qmp", f"unix:{self.dir}/qmp,server=on,wait=off", *backend, *more],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(self.dir / "qemu.log", "wb"),
            start_new_session=True)
        self.qmp = Qmp(self.dir / "qmp")

    def _vsock_device(self):
        what = f"vhost-vsock-pci,guest-cid={self.cid}" if has_vhost() else "vhost-user-vsock-pci,chardev=vsock"
        return f"{what},id=vsock0,bus=port0"

    def _vsock_backend(self):
        if has_vhost():
            return []
        sock = self.dir / "vhost"
        for left in (sock, self.dir / "vsock"):
            left.unlink(missing_ok=True)
        self.vsock = subprocess.Popen(
            [IMAGE / "vhost-device-vsock", "--vm", f"guest-cid={self.cid},uds-path={self.dir}/vsock,socket={sock}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(self.dir / "vhost.log", "wb"),
            start_new_session=True)
        until(sock.exists, 5, "vhost-device-vsock to listen")
        return ["-chardev", f"socket,id=vsock,path={sock}"]

    def wait_agent(self, timeout=BOOT):
        """Seconds from the start of QEMU until a connection to the agent stood."""
        def answers():
            if self.qemu.poll() is not None:
                raise VmError(f"QEMU ended:\n{self.log()}")
            return self.dial()
        until(self._driver_is_ready, timeout, lambda: f"the guest's vsock driver; its console:\n{self.log()}")
        if self.vsock:
            until(self._queues_taken, timeout, lambda: f"the guest's buffers; its console:\n{self.log()}")
        until(answers, timeout, lambda: f"agentd in the VM; its console:\n{self.log()}")
        return time.monotonic() - self.started

    def _driver_is_ready(self):
        """vhost-device-vsock never answers again when it is dialed before the guest has given it buffers."""
        try:
            status = self.qmp.ask("x-query-virtio-status", path="/machine/peripheral/vsock0/virtio-backend")
        except QmpError:
            if self.qemu.poll() is not None:
                raise VmError(f"QEMU ended:\n{self.log()}") from None
            return False
        return any("DRIVER_OK" in word for word in status["status"]["statuses"])

    def _queues_taken(self):
        """Whether vhost-device-vsock waits for the guest's two queues, which it does from when it has been given them: both
        are in one epoll of its."""
        for info in pathlib.Path(f"/proc/{self.vsock.pid}/fdinfo").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if {"0", "1"} <= set(re.findall(r"data:\s*([0-9a-f]+)", info.read_text())):
                    return True
        if self.vsock.poll() is not None:
            raise VmError("vhost-device-vsock ended")
        return False

    def dial(self):
        """Whether something accepts on port 1024 of the guest."""
        try:
            if has_vhost():
                with socket.socket(socket.AF_VSOCK) as s:
                    s.settimeout(5)
                    s.connect((self.cid, 1024))
                    return True
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(5)
                s.connect(f"{self.dir}/vsock")
                s.sendall(b"CONNECT 1024\n")
                return s.recv(64).startswith(b"OK ")
        except OSError:
            return False

    def log(self):
        text = ""
        for path in (self.console, self.dir / "qemu.log", self.dir / "vhost.log"):
            if path.exists():
                text += path.read_text(errors="replace")[-4000:]
        return text

    def save(self, timeout=30):
        """Memory and device state to files, QEMU ends. Links to the agent should be closed before."""
        self.qmp.ask("device_del", id="vsock0")
        self.qmp.wait("DEVICE_DELETED", timeout, device="vsock0")
        self.qmp.ask("stop")
        self._ignore_shared()
        self.qmp.ask("migrate", uri=f"exec:cat >{self.dir}/state")
        until(lambda: self.qmp.ask("query-migrate").get("status") in ("completed", "failed"), timeout, "the state")
        if self.qmp.ask("query-migrate")["status"] != "completed":
            raise VmError("QEMU could not save its state")
        self.qmp.ask("quit")
        self._end_processes()

    def wake(self, timeout=30):
        """The saved machine goes on, with a new vsock device."""
        self._run(self._vsock_backend(), ["-incoming", "defer"])
        self._ignore_shared()
        self.qmp.ask("migrate-incoming", uri=f"exec:cat {self.dir}/state")
        until(lambda: self.qmp.ask("query-status")["status"] not in ("inmigrate", "prelaunch"), timeout, "the state")
        self.qmp.ask("cont")
        driver, _, rest = self._vsock_device().partition(",")
        device = dict(word.split("=") for word in rest.split(","))
        self.qmp.ask("device_add", driver=driver, **{k: int(v) if v.isdigit() else v for k, v in device.items()})

    def fork(self):
        """A copy of the saved machine, with a disk overlay, a memory and a CID of its own."""
        other = Vm(self.flavour, self.memory, self.cpus, self.append, self.accel)
        run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", self.disk, other.disk)
        for name in ("ram", "state"):
            run("cp", "--sparse=always", "--reflink=auto", self.dir / name, other.dir / name)
        return other

    def _ignore_shared(self):
        self.qmp.ask("migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}])

    def wait_off(self, timeout=30):
        """Until the machine has powered itself off."""
        self.qemu.wait(timeout)

    def _end_processes(self):
        if self.qmp:
            self.qmp.close()
            self.qmp = None
        for process in (self.qemu, self.vsock):
            if process and process.poll() is None:
                process.kill()
            if process:
                process.wait()

    def stop(self):
        self._end_processes()
        shutil.rmtree(self.dir, ignore_errors=True)


def run(*command):
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise VmError(f"{command[0]}: {done.stderr.strip()}")


def until(done, timeout, what):
    deadline = time.monotonic() + timeout
    while not done():
        if time.monotonic() > deadline:
            raise VmError(f"waited {timeout} s for {what() if callable(what) else what}")
        time.sleep(0.02)


def has_vhost():
    return os.access("/dev/vhost-vsock", os.R_OK | os.W_OK)


def accelerator():
    """kvm where a stock guest really boots with it, else tcg; a /dev/kvm that cannot boot one exists, too."""
    remembered = IMAGE / "accelerator"
    if remembered.exists():
        return remembered.read_text().strip()
    answer = "tcg"
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        trial = Vm(accel="kvm")
        try:
            trial.start()
            trial.wait_agent(KVM_TRIAL)
            answer = "kvm"
        except (VmError, QmpError, OSError):
            pass
        finally:
            trial.stop()
    remembered.write_text(answer + "\n")
    return answer


def main():
    parser = argparse.ArgumentParser(description="Boots a sandbox VM and gives a shell in it.")
    parser.add_argument("--flavour", default="minimal")
    parser.add_argument("--memory", type=int, default=512, help="MiB")
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--append", default="", help="words for the kernel's command line")
    parser.add_argument("--wait-only", action="store_true", help="tell where the agent is, stay until stdin ends")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="agentctl's arguments, e.g. run -- uname -a")
    args = parser.parse_args()
    vm = Vm(args.flavour, args.memory, args.cpus, args.append)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        vm.start()
        took = vm.wait_agent()
        if args.wait_only:
            print(json.dumps({"target": vm.target, "accel": vm.accel, "up_ms": round(took * 1000),
                              "initramfs_bytes": (IMAGE / "initramfs.img").stat().st_size}, separators=(",", ":")), flush=True)
            sys.stdin.buffer.read()
            return 0
        print(f"+ up after {took:.1f} s ({vm.accel}); agentctl --connect {vm.target}", file=sys.stderr)
        agentctl = [TOP / "build/release/bin/agentctl", "--connect", vm.target]
        return subprocess.call([*agentctl, *(args.command or ["pty"])])
    except (VmError, QmpError) as error:
        print(f"vm: {error}", file=sys.stderr)
        return 1
    finally:
        vm.stop()


if __name__ == "__main__":
    sys.exit(main())
