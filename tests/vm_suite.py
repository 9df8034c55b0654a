#!/usr/bin/python3
"""The end-to-end suite against an agent in a VM, over real vsock: every test that needs no agent of its own.

ctest: timeout=1500 vm

Usage: vm_suite.py [PYTEST-ARGS]
"""
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "packaging/image"))

from vm import Vm  # noqa: E402


def main():
    # vhost-device-vsock does not tell the guest when the host's end is gone in the middle of something:
    # such links stay until agentd ends, and the tests leave hundreds.
    vm = Vm("base", memory=1024, cpus=2, append="agentd.max_connections=4096")
    try:
        vm.start()
        print(f"agentd answers {vm.wait_agent():.1f} s after the start of QEMU ({vm.accel})", flush=True)
        status = subprocess.call(["/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/e2e",
                                  f"--target={vm.target}", *sys.argv[1:]], cwd=ROOT)
        if status:
            print(vm.log())
        return status
    finally:
        vm.stop()


if __name__ == "__main__":
    sys.exit(main())
