#!/usr/bin/python3
"""The floor of `bench sandbox`: a saved machine copied, woken, asked and saved again with nothing around QEMU, by the steps of
packaging/image/vm.py. For each word on stdin (create, save, wake, end) a line with the milliseconds it took; before, a line
{"accel":..., "cold_ms":...}."""
import json
import pathlib
import signal
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "packaging/image"))

import vm


def until(done, timeout, what):
    deadline = time.monotonic() + timeout
    while not done():
        if time.monotonic() > deadline:
            raise vm.VmError(f"waited {timeout} s for {what() if callable(what) else what}")
        time.sleep(0.002)


def first_command(machine, agentctl):
    machine.wait_agent()
    subprocess.run([agentctl, "--connect", machine.target, "run", "--", "/bin/true"], check=True, stdin=subprocess.DEVNULL)


def main():
    agentctl = sys.argv[1]
    vm.until = until  # its own looks every 20 ms only
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    golden = vm.Vm(memory=256)
    other = None

    def took(begun):
        print(f"{(time.monotonic() - begun) * 1000:.3f}", flush=True)

    try:
        begun = time.monotonic()
        golden.start()
        first_command(golden, agentctl)
        cold = time.monotonic() - begun
        golden.save()
        print(json.dumps({"accel": golden.accel, "cold_ms": round(cold * 1000)}, separators=(",", ":")), flush=True)
        for line in sys.stdin:
            begun = time.monotonic()
            if line == "create\n":
                other = golden.fork()
                other.wake()
                first_command(other, agentctl)
            elif line == "save\n":
                other.save()
            elif line == "wake\n":
                other.wake()
                first_command(other, agentctl)
            else:
                other.stop()
                other = None
            took(begun)
        return 0
    finally:
        golden.stop()
        if other:
            other.stop()


if __name__ == "__main__":
    sys.exit(main())
