"""The official SDK on sandboxes that are machines: all that it does with others, and what only machines can do.

Needs the image "base": packaging/image/build --flavour base. The agents' file runs only with E2E_LONG: without KVM the
real CLI needs minutes to start.

ctest: timeout=1200 vm
"""
import pytest

from harness import LONG, ROOT
from sdk import FILES, run_file

GATEWAY = "10.0.2.2"  # the host, in QEMU's user-mode network


@pytest.mark.seconds(900)
@pytest.mark.bridge(driver="vm", image_dir=ROOT / "build/image")
@pytest.mark.parametrize("name", [name for name in FILES if LONG or name != "agent.test.mjs"])
def test_sdk(bridge, name):
    """Every test of the file passes, and none is skipped."""
    run_file(bridge, name, GATEWAY, 880)
