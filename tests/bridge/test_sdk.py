"""The official SDK, as it comes from npm, through everything that it has: tests/sdk/*.mjs, run by a Node of its own."""
import os
import re
import subprocess

import pytest

from harness import ROOT
from messages_api import MessagesApi

FILES = sorted(path.name for path in (ROOT / "tests/sdk").glob("*.test.mjs"))
NODE = ROOT / "build/sdk/node_modules/node/bin/node"
CLAUDE = ROOT / "build/claude/node_modules/.bin/claude"


@pytest.mark.seconds(280)
@pytest.mark.parametrize("name", FILES)
def test_sdk(bridge, name):
    """Every test of the file passes, and none is skipped."""
    with MessagesApi() as api:
        run = subprocess.run(
            [NODE, "--test", "--test-reporter=tap", ROOT / "tests/sdk" / name], capture_output=True, text=True, timeout=270,
            env={"PATH": os.environ["PATH"], "SDK_DIR": str(ROOT / "build/sdk"), "OPENCOMPUTER_API_URL": bridge.url,
                 "OPENCOMPUTER_API_KEY": bridge.key, "MESSAGES_URL": api.url, "CLAUDE": str(CLAUDE)})
    counts = {word: int(count) for word, count in re.findall(r"^# (pass|fail|cancelled|skipped|todo) (\d+)$", run.stdout, re.M)}
    assert run.returncode == 0, run.stdout[-12000:] + run.stderr[-4000:]
    assert counts["pass"] > 0 and not any(count for word, count in counts.items() if word != "pass"), counts
