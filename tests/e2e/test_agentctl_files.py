"""agentctl on files: cp both ways, cat, ls and the small ones; what it says, how it ends."""
import errno
import fcntl
import hashlib
import json
import os
import pty
import re
import select
import signal
import stat
import struct
import subprocess
import termios
import time

import pytest

import harness
from files import mounted
from harness import Tool, binary, eventually, program_env

pytestmark = [pytest.mark.own_agent]


def ctl(agent, *args, data=None, timeout=50.0):
    stdin = subprocess.DEVNULL if data is None else subprocess.PIPE
    return Tool(agent.target, *map(str, args), stdin=stdin).finish(data, timeout)


def fine(agent, *args, **how):
    code, out, err = ctl(agent, *args, **how)
    assert (code, err) == (0, b""), (args, code, err)
    return out


def sha(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


@pytest.fixture
def here(tmp_path):
    path = tmp_path / "here"
    path.mkdir()
    return path


@pytest.fixture
def there(tmp_path):
    path = tmp_path / "there"
    path.mkdir()
    return path


def big_file(path, size=100 << 20):
    with open(path, "wb") as f:
        block = os.urandom(1 << 20)
        for i in range(size >> 20):
            f.write(i.to_bytes(8, "big") + block[8:])
    return path


# cp

@pytest.mark.seconds(200)
def test_cp_100_mib_both_ways(agent, here, there):
    big_file(here / "big")
    fine(agent, "cp", here / "big", f":{there}/", timeout=90)
    assert sha(there / "big") == sha(here / "big")
    fine(agent, "cp", f":{there}/big", here / "back", timeout=90)
    assert sha(here / "back") == sha(here / "big")


@pytest.mark.parametrize("size", [0, 1, 65520, 262144, 262145, 1 << 20])
def test_cp_sizes(agent, here, there, size):
    (here / "f").write_bytes(os.urandom(size))
    fine(agent, "cp", here / "f", f":{there}/f")
    fine(agent, "cp", f":{there}/f", here / "g")
    assert (here / "f").read_bytes() == (there / "f").read_bytes() == (here / "g").read_bytes()


def test_cp_destinations(agent, here, there):
    """As cp does: a name, a directory, several into a directory; parents over there are made."""
    for name in ("a", "b"):
        (here / name).write_text(name)
    fine(agent, "cp", here / "a", f":{there}/x/y/new")
    assert (there / "x/y/new").read_text() == "a"
    fine(agent, "cp", here / "a", f":{there}")
    assert (there / "a").read_text() == "a"
    fine(agent, "cp", here / "a", here / "b", f":{there}/many")
    assert (there / "many/b").read_text() == "b"
    fine(agent, "cp", f":{there}/many/a", f":{there}/many/b", here)
    fine(agent, "cp", f":{there}/many/b", here / "a")
    assert (here / "a").read_text() == "b"


def test_cp_modes(agent, here, there):
    """A program stays one; a target that is there keeps its mode."""
    (here / "run").write_text("#!/bin/sh")
    (here / "run").chmod(0o755)
    (here / "text").write_text("x")
    (here / "text").chmod(0o600)
    fine(agent, "cp", here / "run", here / "text", f":{there}/")
    assert stat.S_IMODE((there / "run").stat().st_mode) == 0o755
    (there / "text").chmod(0o640)
    fine(agent, "cp", here / "text", f":{there}/")
    assert stat.S_IMODE((there / "text").stat().st_mode) == 0o640
    fine(agent, "cp", f":{there}/run", f":{there}/text", here / "..")
    assert stat.S_IMODE((here / "../run").stat().st_mode) == 0o755
    (here / "text").chmod(0o604)
    fine(agent, "cp", f":{there}/text", here)
    assert stat.S_IMODE((here / "text").stat().st_mode) == 0o604


def test_cp_to_what_is_no_file(agent, there, here):
    (there / "f").write_bytes(b"to stdout")
    os.symlink("/proc/self/fd/1", here / "out")
    code, out, err = ctl(agent, "cp", f":{there}/f", here / "out")
    assert (code, out) == (0, b"to stdout"), err
    assert (here / "out").is_symlink()
    os.mkfifo(here / "fifo")
    reader = subprocess.Popen(["cat", here / "fifo"], stdout=subprocess.PIPE)
    fine(agent, "cp", f":{there}/f", here / "fifo")
    assert reader.communicate()[0] == b"to stdout"
    os.symlink(here / "real", here / "link")
    (here / "real").write_text("old")
    fine(agent, "cp", f":{there}/f", here / "link")
    assert (here / "link").is_symlink() and (here / "real").read_bytes() == b"to stdout"
    os.symlink("nowhere", here / "dangling")
    assert ctl(agent, "cp", f":{there}/f", here / "dangling")[0] == 1
    assert (here / "dangling").is_symlink() and not (here / "nowhere").exists()


def test_cp_of_proc(agent, here):
    fine(agent, "cp", ":/proc/version", here / "v")
    with open("/proc/version", "rb") as f:
        assert (here / "v").read_bytes() == f.read()


@pytest.mark.parametrize("args, says", [
    (["{here}/none", ":{there}/x"], "cannot read {here}/none: No such file or directory"),
    ([":{there}/none", "{here}/x"], "cannot read {there}/none: No such file or directory"),
    (["{here}", ":{there}/x"], "{here} is a directory (-r)"),
    ([":{there}", "{here}/x"], "{there} is a directory (-r)"),
    ([":{there}/f", "{here}/none/x"], "cannot write {here}/none/x: No such file or directory"),
    (["{here}/f", ":{there}/f/x"], "cannot write {there}/f/x: Not a directory"),
    (["{here}/f", ":{there}/fifo"], "cannot write {there}/fifo: "),
    ([":{there}/fifo", "{here}/x"], "cannot read {there}/fifo: "),
])
def test_cp_says_what_is_wrong(agent, here, there, args, says):
    (here / "f").write_text("x")
    (there / "f").write_text("x")
    os.mkfifo(there / "fifo")
    code, out, err = ctl(agent, "cp", *[arg.format(here=here, there=there) for arg in args])
    assert (code, out) == (1, b"") and says.format(here=here, there=there) in err.decode(), err
    assert sorted(os.listdir(here)) == ["f"] and sorted(os.listdir(there)) == ["f", "fifo"]


def test_cp_wants_one_side(agent, here):
    for args in (("a", "b"), (":a", ":b"), ("a", ":b", ":c"), (":a", "b", "c")):
        assert ctl(agent, "cp", *args)[0] == 125
    assert ctl(agent, "cp", "a")[0] == 125


def test_cp_goes_on_behind_an_error(agent, here, there):
    (here / "b").write_text("b")
    code, _, err = ctl(agent, "cp", here / "a", here / "b", f":{there}")
    assert code == 1 and (there / "b").read_text() == "b" and err.count(b"\n") == 1


def make_tree(top):
    (top / "sub/deep").mkdir(parents=True)
    (top / "empty").mkdir()
    (top / "f").write_bytes(os.urandom(300_000))
    (top / "sub/run").write_text("#!/bin/sh\n")
    (top / "sub/run").chmod(0o755)
    (top / "sub/deep/zero").write_bytes(b"")
    (top / ("long" * 40)).write_text("a name over a hundred bytes")
    with open(os.path.join(os.fsencode(top), b"raw\xff\xfe"), "wb") as f:
        f.write(b"any byte")
    os.symlink("../nowhere", top / "sub/link")
    (top / "sub/deep").chmod(0o750)
    os.utime(top / "sub/run", (1_500_000_000, 1_500_000_000))


def shape(top):
    """Everything a copied tree must have."""
    found = {}
    for root, dirs, names in os.walk(os.fsencode(top)):
        for name in dirs + names:
            path = os.path.join(root, name)
            st = os.lstat(path)
            what = os.readlink(path) if stat.S_ISLNK(st.st_mode) else stat.S_IMODE(st.st_mode)
            content = sha(path) if stat.S_ISREG(st.st_mode) else None
            found[os.path.relpath(path, os.fsencode(top))] = (stat.S_IFMT(st.st_mode), what, content)
    return found


def test_cp_r_both_ways(agent, here, there):
    make_tree(here)
    fine(agent, "cp", "-r", here, f":{there}/copy")
    assert shape(there / "copy") == shape(here)
    assert (there / "copy/sub/run").stat().st_mtime == 1_500_000_000
    fine(agent, "cp", "-r", f":{there}/copy", here / "../back")
    assert shape(here / "../back") == shape(here)
    assert (here / "../back/sub/run").stat().st_mtime == 1_500_000_000
    fine(agent, "cp", "-r", f":{there}/copy", here / "..")
    assert shape(here / "../copy") == shape(here)


def test_cp_r_into_an_existing_directory(agent, here, there):
    (here / "d").mkdir()
    (here / "d/f").write_text("1")
    fine(agent, "cp", "-r", here / "d", f":{there}")
    fine(agent, "cp", "-r", f"{here}/d/", f":{there}/d/")
    assert (there / "d/f").read_text() == (there / "d/d/f").read_text() == "1"


def test_cp_r_is_not_led_astray(agent, here, there):
    """A link that lies where the copy goes is not gone through."""
    (there / "src/d").mkdir(parents=True)
    (there / "src/d/f").write_text("evil")
    (here / "outside").mkdir()
    (here / "copy").mkdir()
    os.symlink(here / "outside", here / "copy/d")
    code, _, err = ctl(agent, "cp", "-r", f":{there}/src/", here / "copy2")
    assert code == 0, err
    os.rename(here / "copy", here / "src")
    code, _, err = ctl(agent, "cp", "-r", f":{there}/src", here)
    assert code == 1 and b"d/ is left out" in err and os.listdir(here / "outside") == []


def test_cp_leaves_no_half_file(agent, here, there):
    """kill -9 in the middle, either way: the old file is whole, and there is no other."""
    big_file(here / "big", 64 << 20)
    (there / "big").write_text("old")
    fds = agent.settled_fds()
    for i in range(4):
        tool = Tool(agent.target, "cp", str(here / "big"), f":{there}/big")
        eventually(lambda: agent.fds() > fds + 1, "the copy to begin")
        tool.proc.kill()
        tool.finish()
        eventually(lambda: agent.fds() <= fds, "the agent to give it up")
    assert os.listdir(there) == ["big"]
    if (there / "big").stat().st_size == 3:
        assert (there / "big").read_text() == "old"
    else:
        assert sha(there / "big") == sha(here / "big")
    big_file(there / "other", 64 << 20)
    for i, number in enumerate((signal.SIGKILL, signal.SIGTERM, signal.SIGINT)):
        (here / "d").mkdir(exist_ok=True)
        (here / "d/other").write_text("old")
        tool = Tool(agent.target, "cp", f":{there}/other", str(here / "d"))
        eventually(lambda: agent.fds() > fds, "the copy to begin")
        tool.proc.send_signal(number)
        code = tool.finish()[0]
        assert os.listdir(here / "d") == ["other"]
        assert code == 0 or (here / "d/other").read_text() == "old"


def test_cp_r_killed_leaves_nothing_half(agent, here, there):
    """kill -9 in the middle of a directory, either way: every file that is there is whole."""
    (here / "d").mkdir()
    for i in range(300):
        (here / f"d/{i}").write_bytes(os.urandom(100_000))
    fds = agent.settled_fds()
    for i in range(3):
        tool = Tool(agent.target, "cp", "-r", str(here / "d"), f":{there}/up{i}")
        eventually(lambda: (there / f"up{i}/5").exists() or tool.proc.poll() is not None, "some files to be there")
        tool.proc.kill()
        tool.finish()
        eventually(lambda: agent.fds() <= fds, "the agent to give it up")
        for path in (there / f"up{i}").iterdir():
            assert path.read_bytes() == (here / "d" / path.name).read_bytes(), path
        tool = Tool(agent.target, "cp", "-r", f":{here}/d", str(there / f"down{i}"))
        eventually(lambda: (there / f"down{i}/5").exists() or tool.proc.poll() is not None, "some files to be there")
        tool.proc.kill()
        tool.finish()
        eventually(lambda: agent.fds() <= fds, "the agent to give it up")
        for path in (there / f"down{i}").iterdir():
            assert path.name.startswith(".agentctl") or path.read_bytes() == (here / "d" / path.name).read_bytes()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
def test_cp_to_a_full_disk(agent, here, there):
    """The target is as it was, nothing else is there, and it is said."""
    (here / "f").write_bytes(os.urandom(3 << 20))
    with mounted(there, "tmpfs", "size=2m"):
        (there / "f").write_text("old")
        code, _, err = ctl(agent, "cp", here / "f", f":{there}/f")
        assert code == 1 and b"No space left" in err
        code, _, err = Tool(agent.target, "cp", "/dev/stdin", f":{there}/f", stdin=open(here / "f", "rb")).finish()
        assert code == 1 and b"No space left" in err
        assert os.listdir(there) == ["f"] and (there / "f").read_text() == "old"
        (there / "f").unlink()
    (there / "big").write_bytes(os.urandom(3 << 20))
    with mounted(here, "tmpfs", "size=2m"):
        (here / "f").write_text("old")
        code, _, err = ctl(agent, "cp", f":{there}/big", here / "f")
        assert code == 1 and b"No space left" in err
        assert os.listdir(here) == ["f"] and (here / "f").read_text() == "old"


def on_terminal(agent, *args, width=100):
    """Runs agentctl with a terminal for stderr: (code, what it showed)."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    proc = subprocess.Popen([binary("agentctl"), "--connect", agent.target, *map(str, args)], stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=follower, env=program_env())
    harness.programs.add(proc)
    os.close(follower)
    shown = b""
    deadline = time.monotonic() + 50
    while time.monotonic() < deadline:
        if not select.select([leader], [], [], 1)[0]:
            continue
        try:
            shown += os.read(leader, 65536)
        except OSError:  # EIO: nobody has it open any more
            break
    os.close(leader)
    code = proc.wait(10)
    harness.programs.discard(proc)
    return code, shown.decode()


@pytest.mark.seconds(150)
def test_cp_shows_progress_on_a_terminal(agent, here, there):
    big_file(here / "big", 300 << 20)
    code, shown = on_terminal(agent, "cp", here / "big", f":{there}/")
    assert code == 0, shown
    steps = [int(percent) for percent in re.findall(r" (\d+)%", shown)]
    assert len(steps) >= 2 and steps == sorted(steps) and steps[-1] == 100
    assert re.search(r"ETA \d+:\d\d", shown) and re.search(r"\d[KMG]/s", shown) and "[==" in shown
    last = shown.rstrip().split("\r")[-1]
    assert "100%" in last and "300M" in last
    assert all(len(re.sub(r"\x1b\[K", "", line)) <= 100 for line in re.split(r"[\r\n]+", shown))
    code, shown = on_terminal(agent, "cp", "-q", f":{there}/big", here / "back")
    assert (code, shown) == (0, "")
    code, shown = on_terminal(agent, "cp", f":{there}/big", here / "back")
    assert code == 0 and "100%" in shown


# the others

def test_cat(agent, there):
    data = os.urandom(5_000_000)
    (there / "f").write_bytes(data)
    (there / "g").write_bytes(b"end\n")
    assert fine(agent, "cat", there / "f", there / "g") == data + b"end\n"
    code, out, err = ctl(agent, "cat", there / "none", there, there / "g")
    assert (code, out) == (1, b"end\n")
    assert b"none: No such file" in err and b"Is a directory" in err


def test_cat_into_nothing(agent, there):
    """`agentctl cat big | head -c 1`"""
    big_file(there / "f", 20 << 20)
    read_end, write_end = os.pipe()
    tool = Tool(agent.target, "cat", str(there / "f"), stdout=write_end)
    os.close(write_end)
    assert os.read(read_end, 1)
    os.close(read_end)
    assert tool.finish()[0] == 141


def test_cat_waits_for_its_reader(agent, there):
    """What nobody takes is not taken from the agent; nothing is lost."""
    big_file(there / "f", 20 << 20)
    read_end, write_end = os.pipe()
    tool = Tool(agent.target, "cat", str(there / "f"), stdout=write_end)
    os.close(write_end)
    time.sleep(0.3)
    digest = hashlib.sha256()
    while data := os.read(read_end, 65536):
        digest.update(data)
    os.close(read_end)
    assert tool.finish()[0] == 0 and digest.hexdigest() == sha(there / "f")


def test_ls(agent, there):
    (there / "b").write_text("12345")
    (there / ".hidden").write_text("")
    (there / "a").mkdir()
    os.symlink("b", there / "link")
    os.utime(there / "b", (1_700_000_000, 1_700_000_000))
    (there / "b").chmod(0o4750)
    (there / "a").chmod(0o1777)
    assert fine(agent, "ls", there) == b"a\nb\nlink\n"
    assert fine(agent, "ls", "-a", there) == b".hidden\na\nb\nlink\n"
    lines = fine(agent, "ls", "-l", there).decode().splitlines()
    assert lines[0].startswith("drwxrwxrwt") and lines[1].startswith("-rwsr-x---")
    assert re.search(r" 5 2023-11-1[45] \d\d:\d\d b$", lines[1])
    assert lines[2].startswith("lrwxrwxrwx") and lines[2].endswith("link -> b")
    assert [entry["name"] for entry in json.loads(fine(agent, "ls", "--json", there))] == ["a", "b", "link"]
    assert json.loads(fine(agent, "ls", "--json", there / "a")) == []
    assert fine(agent, "ls", there / "b").decode() == f"{there}/b\n"
    code, _, err = ctl(agent, "ls", there / "none")
    assert code == 1 and b"cannot list" in err and b"No such file" in err


def test_ls_of_many(agent, there):
    names = [f"{i:05}" for i in range(2500)]
    for name in names:
        (there / name).touch()
    assert fine(agent, "ls", there).decode().split() == names
    assert [entry["name"] for entry in json.loads(fine(agent, "ls", "--json", there))] == names


def test_ls_of_strange_names(agent, there):
    """As they are where a program reads them; on a terminal they cannot move the cursor."""
    raw = os.path.join(os.fsencode(there), b"a\xff\x1b[2J\n")
    with open(raw, "wb"):
        pass
    assert fine(agent, "ls", there) == b"a\xff\x1b[2J\n\n"


def test_rm_mkdir_mv_stat_du(agent, there):
    fine(agent, "mkdir", there / "a", there / "b")
    code, _, err = ctl(agent, "mkdir", there / "a", there / "x/y", there / "c")
    assert code == 1 and b"File exists" in err and b"No such file" in err and (there / "c").is_dir()
    fine(agent, "mkdir", "-p", there / "a", there / "x/y")
    (there / "f").write_text("123")
    fine(agent, "mv", there / "f", there / "x/y")
    fine(agent, "mv", there / "x/y/f", there / "g")
    assert (there / "g").read_text() == "123"
    assert ctl(agent, "mv", there / "none", there / "g")[0] == 1
    assert b"size 3" in fine(agent, "stat", there / "g")
    assert json.loads(fine(agent, "stat", "--json", there / "g"))["size"] == 3
    assert fine(agent, "du", there / "g").split()[0] in (b"4.0K", b"512", b"0")
    assert json.loads(fine(agent, "du", "--json", there))["dirs"] == 6
    code, _, err = ctl(agent, "rm", there / "x", there / "none", there / "g")
    assert code == 1 and b"Directory not empty" in err and b"none: No such file" in err and not (there / "g").exists()
    fine(agent, "rm", "-f", there / "none")
    fine(agent, "rm", "-r", there / "x", there / "a")
    code, _, err = ctl(agent, "rm", "-rf", "/")
    assert code == 1 and b"cannot remove /" in err


def test_root_and_user(agent, there):
    if os.geteuid() != 0:
        return
    (there / "f").write_text("x")
    (there / "f").chmod(0o600)
    assert fine(agent, "cat", "--root", there, "/f") == b"x"
    assert ctl(agent, "cat", "--root", there, "../x")[0] == 1
    code, _, err = ctl(agent, "cat", "--as", "54321", there / "f")
    assert code == 1 and b"Permission denied" in err


def test_glob_and_grep(agent, there):
    (there / "d").mkdir()
    (there / "d/a.c").write_text("int main;\nno\nMAIN\n")
    (there / "b.txt").write_text("main street\n")
    assert sorted(fine(agent, "glob", "**/*.c", there).decode().split()) == ["d/a.c"]
    out = fine(agent, "grep", "main", there).decode()
    assert sorted(out.splitlines()) == ["b.txt:1:main street", "d/a.c:1:int main;"]
    assert sorted(fine(agent, "grep", "-i", "--glob", "*.c", "main", there).decode().splitlines()) == [
        "d/a.c:1:int main;", "d/a.c:3:MAIN"]
    assert json.loads(fine(agent, "grep", "--json", "-F", "main;", there))["line"] == 1
    assert ctl(agent, "grep", "nothing-like-it", there)[0] == 1
    code, _, err = ctl(agent, "grep", "(", there)
    assert code == 2 and err
    assert ctl(agent, "glob", "*.none", there)[0] == 1


def test_a_link_that_breaks_is_said(agent, there, relay):
    """In the middle of a file: exit code 125, and no half file."""
    big_file(there / "f", 8 << 20)
    broken = relay(agent.target, budgets=[3 << 20] * 50)
    code, out, err = Tool(f"unix:{broken.path}", "cat", str(there / "f")).finish()
    assert code == 125 and b"link broke" in err and len(out) < 8 << 20
    code, _, err = Tool(f"unix:{broken.path}", "cp", f":{there}/f", str(there / "copy")).finish()
    assert code == 125 and b"link broke" in err and os.listdir(there) == ["f"]


def lines_of(tool):
    """Its stdout, line by line, each of which must come in time."""
    return iter(tool.proc.stdout.readline, b"")


def test_watch(agent, there):
    tool = Tool(agent.target, "watch", "--json", str(there))
    lines = lines_of(tool)
    assert json.loads(next(lines))["event"] == "watching"
    (there / "new").write_text("x")
    first = json.loads(next(lines))
    assert (first["kind"], first["path"]) == ("create", "new")
    tool.proc.terminate()
    tool.finish()


def test_watch_for_people(agent, there):
    tool = Tool(agent.target, "watch", str(there))
    fds = [tool.proc.stdout.fileno()]
    count = 0
    while not select.select(fds, [], [], 0.2)[0]:  # it says nothing when it stands
        (there / f"f{count}").touch()
        count += 1
        assert count < 100
    assert re.match(rb"create +f\d+\n", tool.proc.stdout.readline())
    tool.proc.kill()
    tool.finish()


def test_watch_goes_on_after_a_break(agent, there, relay):
    """What changed while there was no link is told when there is one again."""
    broken = relay(agent.target, budgets=[1200])
    tool = Tool(f"unix:{broken.path}", "watch", "--json", str(there))
    lines = lines_of(tool)
    assert json.loads(next(lines))["event"] == "watching"
    seen, made = set(), 0
    while broken.cuts == 0 or len(seen) < made:
        if broken.cuts == 0 or made % 5:
            (there / f"f{made}").mkdir()
            made += 1
        line = json.loads(next(lines))
        if line.get("kind") == "create":
            assert line["path"] not in seen
            seen.add(line["path"])
    assert seen == {f"f{i}" for i in range(made)}
    tool.proc.kill()
    tool.finish()


# completion

def complete(*words):
    script = ("source packaging/agentctl.bash; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); "
              "_agentctl agentctl \"${@: -1}\" \"${@: -2:1}\"; printf '%s\\n' \"${COMPREPLY[@]}\"")
    env = {**os.environ, "PATH": os.path.dirname(binary("agentctl")) + ":" + os.environ["PATH"]}
    out = subprocess.run(["bash", "-c", script, "bash", *words], cwd=harness.ROOT, env=env, capture_output=True,
                         check=True, text=True)
    assert out.stderr == ""
    return set(out.stdout.split("\n")) - {""}


def test_completion_knows_all_commands_and_options(agent):
    """What --help says is what can be completed: a command or option that is new must be in both."""
    commands = set(re.findall(r"^  (\w+) +\S", fine(agent, "--help").decode().split("Options")[0], re.M))
    assert {"run", "cp", "watch"} < commands and complete("agentctl", "") == commands
    for command in commands:
        options = set(re.findall(r"^ +(?:-\w )?(--[\w-]+)", fine(agent, command, "--help").decode(), re.M))
        assert complete("agentctl", command, "--") == options, command
        assert re.search(rf"^\.(It )?Cm {command}\b|Cm stat \| du", (harness.ROOT / "docs/man/agentctl.1").read_text(),
                         re.M)


def test_completion_of_names(agent, there, here):
    (there / "file").touch()
    (there / "other").touch()
    words = ("agentctl", "--connect", agent.target, "cat")
    assert complete(*words, f"{there}/f") == {f"{there}/file"}
    assert complete(*words, f"{there}/") == {f"{there}/file", f"{there}/other"}
    assert complete("agentctl", "cp", f"{here.parent}/he") == {str(here)}
    session = agent.connect().request("start", start={"cmd": ["true"]})["id"]
    assert complete("agentctl", "--connect", agent.target, "kill", session[:2]) == {session}
