"""The official SDK on sandboxes that are machines: all that it does with others, and what only machines can do.

Needs the image "base": packaging/image/build --flavour base.

ctest: timeout=1200 vm
"""
import pytest

from harness import ROOT
from host import Bridge
from sdk import FILES, run_file

GATEWAY = "10.0.2.2"  # the host, in QEMU's user-mode network
SLOWER = 4  # an emulated machine, on processors that others use, too


@pytest.fixture(scope="module")
def bridge():
    """One for all, so that the image is booted and its golden snapshot made only once."""
    one = Bridge(driver="vm", image_dir=ROOT / "build/image")
    yield one
    one.stop()


@pytest.mark.seconds(900)
@pytest.mark.parametrize("name", FILES)
def test_sdk(bridge, name):
    """Every test of the file passes, and none is skipped."""
    run_file(bridge, name, GATEWAY, 880, SLOWER)
