"""Runs a file of tests/sdk against a bridge."""
import os
import re
import subprocess

from harness import ROOT
from messages_api import MessagesApi

FILES = sorted(path.name for path in (ROOT / "tests/sdk").glob("*.test.mjs"))
NODE = ROOT / "build/sdk/node_modules/node/bin/node"
CLAUDE = ROOT / "build/claude/node_modules/.bin/claude"


def run_file(bridge, name, host, timeout=270, slower=1):
    """host: this machine's address as a sandbox sees it; slower: how much longer than here things take there."""
    with MessagesApi() as api:
        url = api.url.replace("127.0.0.1", host)
        run = subprocess.run(
            [NODE, "--test", "--test-reporter=tap", ROOT / "tests/sdk" / name], capture_output=True, text=True, timeout=timeout,
            env={"PATH": os.environ["PATH"], "SDK_DIR": str(ROOT / "build/sdk"), "OPENCOMPUTER_API_URL": bridge.url,
                 "OPENCOMPUTER_API_KEY": bridge.key, "MESSAGES_URL": url, "CLAUDE": str(CLAUDE), "SLOWER": str(slower)})
    counts = {word: int(count) for word, count in re.findall(r"^# (pass|fail|cancelled|skipped|todo) (\d+)$", run.stdout, re.M)}
    assert run.returncode == 0, run.stdout[-12000:] + run.stderr[-4000:] + bridge.log()[-3000:]
    assert counts["pass"] > 0 and not any(count for word, count in counts.items() if word != "pass"), counts
