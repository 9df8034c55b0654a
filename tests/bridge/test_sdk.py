"""The official SDK, as it comes from npm, through everything that it has: tests/sdk/*.mjs, run by a Node of its own."""
import pytest

from sdk import FILES, run_file


@pytest.mark.seconds(280)
@pytest.mark.parametrize("name", [name for name in FILES if name != "machine.test.mjs"])
def test_sdk(bridge, name):
    """Every test of the file passes, and none is skipped."""
    run_file(bridge, name, "127.0.0.1")
