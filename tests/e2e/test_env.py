"""The environment of commands: base < /etc/environment < the sandbox's < their own (section 17)."""
import base64
import subprocess
import time

import pytest

from harness import Tool, eventually
from system import crash, env_of, private_etc
from wire import AgentError

pytestmark = pytest.mark.own_agent


@pytest.fixture
def etc(start_agent):
    """(agent, its /etc)"""
    wrapper, folder = private_etc()
    yield start_agent(wrapper=wrapper), folder
    subprocess.run(["rm", "-r", folder], check=True)


def names(link):
    return link.request("sys.env")["env"]


def test_later_layers_win(etc):
    """Each layer overrides the one before, variable by variable, and null removes."""
    agent, folder = etc
    (folder / "environment").write_text("# for all\nA=etc\nB=etc\nexport C='e t#c'\nLANG=de_DE\nPATH=/usr/bin:/bin\n"
                                        "nonsense\n1X=1\nA-B=2\n  D = x\nE=v # w\n")
    link = agent.connect()
    link.request("sys.env", set={"B": "box", "F": "box", "HOME": "/var"})
    env = env_of(link, env={"F": "own", "G": "own", "C": None})
    assert env == {"A": "etc", "B": "box", "LANG": "de_DE", "PATH": "/usr/bin:/bin", "1X": "1", "E": "v", "F": "own",
                   "G": "own", "HOME": "/var", "USER": "root", "LOGNAME": "root", "SHELL": env["SHELL"]}
    assert env_of(link, clear_env=True, env={"ONLY": "1"}) == {"ONLY": "1"}


def test_path_of_the_sandbox_finds_programs(etc):
    """The PATH that counts for finding a command is the one it gets (a peer used its own)."""
    agent, folder = etc
    (folder / "bin").mkdir()
    tool = folder / "bin" / "only-here"
    tool.write_text("#!/bin/sh\necho found\n")
    tool.chmod(0o755)
    link = agent.connect()
    link.request("sys.env", set={"PATH": "/etc/bin:/usr/bin:/bin"})
    assert link.run(["only-here"]).out == b"found\n"


def test_a_terminal_says_what_it_is(link):
    """Its TERM goes over the sandbox's, the command's own goes over that; all else is as without a terminal."""
    link.request("sys.env", set={"TERM": "dumb", "A": "1"})
    plain, terminal = env_of(link), env_of(link, pty={"term": "vt100"})
    assert plain["TERM"] == "dumb" and terminal["TERM"] == "vt100" and terminal["A"] == "1"
    assert env_of(link, pty={})["TERM"] == "xterm-256color"
    assert env_of(link, pty={}, env={"TERM": "own"})["TERM"] == "own"
    assert "TERM" not in env_of(link, pty={}, env={"TERM": None})
    assert env_of(link, pty={"term": "vt52"}, clear_env=True) == {"TERM": "vt52"}


def test_a_changed_file_is_seen(etc):
    """Looked at once a second at most, and at the latest a second later; it may also go away, or be no file."""
    agent, folder = etc
    link = agent.connect()
    assert "NEW" not in env_of(link)
    (folder / "environment").write_text("NEW=1\n")
    eventually(lambda: env_of(link).get("NEW") == "1", "the new file to count", 3)
    (folder / "environment").write_text("NEW=2\n")
    eventually(lambda: env_of(link).get("NEW") == "2", "the change to count", 3)
    (folder / "environment").unlink()
    subprocess.run(["mkfifo", folder / "environment"], check=True)
    eventually(lambda: "NEW" not in env_of(link), "a FIFO to be no file", 3)


def test_a_large_file_counts_to_its_last_whole_line(etc):
    agent, folder = etc
    (folder / "environment").write_text("FIRST=1\n" + "V%05d=0123456789\n" * 5000 % tuple(range(5000)) + "LAST=1\n")
    env = env_of(agent.connect())
    assert env["FIRST"] == "1" and "LAST" not in env
    assert len([name for name in env if name.startswith("V")]) == (65536 - 8) // 18
    assert all(value == "0123456789" for name, value in env.items() if name.startswith("V0"))


def test_names_are_told_and_values_never(agent, link):
    """No value is in an answer, in the log, or in what `list` says."""
    secret = "hunter2-5d41402a"
    answer = link.request("sys.env", set={"TOKEN": secret, "A": "1"})
    assert answer == {"env": ["A", "TOKEN"], "bytes": len(f"TOKEN={secret}") + 1 + 4}
    link.run(["true"])
    assert link.request("sys.env", set={"A": None})["env"] == ["TOKEN"]
    told = str(link.request("list")) + str(link.request("info")) + str(link.request("sys.log")) + agent.log()
    assert secret not in told
    assert env_of(link)["TOKEN"] == secret
    assert link.request("sys.env", clear=True, set={"B": ""}) == {"env": ["B"], "bytes": 3}
    assert env_of(link)["B"] == "" and "TOKEN" not in env_of(link)
    assert link.request("sys.env", clear=True) == {"env": [], "bytes": 0}


def test_values_of_any_bytes(link):
    link.request("sys.env", set={"RAW": {"b64": base64.b64encode(b"\xff\xfe=\n x").decode()}})
    assert env_of(link)["RAW"] == "\xff\xfe=\n x"


def test_it_survives_an_upgrade(agent, link):
    """The variables lie in the arena, with the sessions."""
    link.request("sys.env", set={f"V{i}": str(i) * 50 for i in range(100)})
    link = agent.upgrade()
    assert len(names(link)) == 100 and env_of(link)["V42"] == "42" * 50
    link.request("sys.env", set={"V42": "new"})
    link = agent.upgrade()
    assert env_of(link)["V42"] == "new" and env_of(link)["V43"] == "43" * 50


def test_it_survives_a_crash(agent, link, start_agent):
    """The next agent finds it where the one that was killed left it."""
    link.request("sys.env", set={"A": "1", "B": "x" * 70 * 100})
    link.request("sys.env", set={"A": "2"})
    link = crash(agent, start_agent).connect()
    assert names(link) == ["A", "B"]
    env = env_of(link)
    assert env["A"] == "2" and env["B"] == "x" * 7000


def test_the_limit(agent, link):
    """128 KiB in all; what would pass it changes nothing. Names that fill more than a frame are cut, and say so."""
    for i in range(4):
        link.request("sys.env", set={f"{n:03}-" + chr(65 + i) * 300: "v" for n in range(100)})
    answer = link.request("sys.env")
    assert answer["cut"] is True and 0 < len(answer["env"]) < 400 and answer["bytes"] == 400 * 307
    with pytest.raises(AgentError) as failed:
        link.request("sys.env", set={"BIG": "x" * 20000})
    assert failed.value.code == "too_large"
    assert link.request("sys.env")["bytes"] == 400 * 307
    link.request("sys.env", clear=True)
    room = 131072
    link.request("sys.env", set={"A": "x" * 60000})
    link.request("sys.env", set={"B": "x" * 60000})
    left = room - 2 * 60003
    assert link.request("sys.env", set={"C": "x" * (left - 3)})["bytes"] == room
    with pytest.raises(AgentError):
        link.request("sys.env", set={"D": ""})
    assert len(env_of(link)["C"]) == left - 3


@pytest.mark.parametrize("bad", [{"set": {"": "x"}}, {"set": {"A=B": "x"}}, {"set": {"A": 1}}, {"set": ["A"]},
                                 {"set": {"A": "a\0b"}}, {"clear": "yes"}])
def test_bad_requests_change_nothing(link, bad):
    link.request("sys.env", set={"A": "1"})
    with pytest.raises(AgentError) as failed:
        link.request("sys.env", **bad)
    assert failed.value.code == "bad_message"
    assert names(link) == ["A"]


def test_many_variables_cost_no_square(link):
    """A start that replaces thousands of the sandbox's variables takes no longer for it (the search is not linear)."""
    link.request("sys.env", set={f"V{i}": "x" for i in range(5000)})
    began = time.monotonic()
    env = env_of(link, env={f"V{i}": "y" for i in range(4000)})
    assert time.monotonic() - began < 2
    assert sum(env[f"V{i}"] == "y" for i in range(5000)) == 4000


def test_agentctl_env(agent, link):
    def tool(*args):
        return Tool(agent.target, *args).finish()
    assert tool("env", "A=1", "B=2 3", "A=4") == (0, b"A\nB\n", b"")
    assert env_of(link)["A"] == "4" and env_of(link)["B"] == "2 3"
    assert tool("env", "-U", "A", "C=") == (0, b"B\nC\n", b"")
    assert tool("env", "--json") == (0, b'{"env":["B","C"],"bytes":9}\n', b"")
    code, out, err = tool("env", "nonsense")
    assert code == 125 and not out and b"KEY=VALUE" in err
