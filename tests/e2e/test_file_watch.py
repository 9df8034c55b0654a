"""watch: what happens in a tree is told, all of it, in an order that makes sense; or `overflow` is."""
import base64
import multiprocessing
import os
import pathlib
import random
import shutil
import subprocess
import time

import pytest

from harness import eventually, open_files
from lines import Lines, from_wire
from wire import AgentError

pytestmark = pytest.mark.same_machine

KEEP = 4096  # events that a tree remembers


class Watch(Lines):
    """A watch, with a picture of the tree that is kept up by its events alone."""

    def __init__(self, link, path, begin=True, **spec):
        super().__init__(link, "watch", path, **spec)
        self.seen, self.applied, self.overflows = set(), 0, []
        if begin:
            self.begin()

    def begin(self):
        self.wait(lambda c: c.lines, "the first line")
        assert self.lines[0]["event"] == "watching" and set(self.lines[0]) == {"event", "cursor"}
        return self

    cursor = property(lambda self: f"{self.lines[0]['cursor'].partition('-')[0]}-{self.last()}")

    def last(self):
        return next((line["seq"] for line in reversed(self.lines) if "seq" in line), int(self.lines[0]["cursor"].partition("-")[2]))

    def told(self, after=1):
        """The events as (kind, path) or (kind, from, path)."""
        return [(e["kind"], *([from_wire(e["from"])] if "from" in e else []), from_wire(e["path"])) for e in self.lines[after:]]

    def wait_for(self, *event, timeout=None):
        event = (event[0], *(os.fsencode(name) for name in event[1:]))
        self.wait(lambda c: event in c.told(), f"{event}; told: {self.told()[-20:]}", timeout)

    def settle(self, path, timeout=30):
        """Until everything that was done before now has been told."""
        mark = pathlib.Path(path) / f".mark{time.monotonic_ns()}"
        at = len(self.lines)

        def told(kind):
            nonlocal at
            for at in range(at, len(self.lines)):
                if self.lines[at]["kind"] == kind and self.lines[at]["path"] == mark.name:
                    return True
            at = len(self.lines)
            return False
        mark.touch()
        self.wait(lambda c: told("create"), "the mark", timeout)
        mark.unlink()
        self.wait(lambda c: told("remove"), "its end", timeout)

    def picture(self):
        """What is there, by the events."""
        for event in self.lines[1 + self.applied:]:
            if event["kind"] == "overflow":
                self.overflows.append(event)
            self._apply(event["kind"], from_wire(event["path"]), from_wire(event.get("from", "")))
            self.applied += 1
        return {path for path in self.seen if b".mark" not in path}

    def _below(self, path):
        return {p for p in self.seen if p == path or p.startswith(path + b"/")}

    def _apply(self, kind, path, former):
        if kind == "create":
            self.seen.add(path)
        elif kind == "remove":
            self.seen -= self._below(path)
        elif kind == "rename":
            moved = self._below(former)
            self.seen -= moved | self._below(path)
            self.seen |= {path} | {path + p[len(former):] for p in moved}


def listing(top):
    top = os.fsencode(top)
    return {os.path.relpath(os.path.join(where, name), top) for where, dirs, files in os.walk(top) for name in dirs + files}


def test_simple_changes(link, tmp_path):
    (tmp_path / "old").write_text("x")
    watch = Watch(link, tmp_path)
    (tmp_path / "new").write_text("hello")
    watch.wait_for("create", "new")
    watch.wait_for("modify", "new")
    os.chmod(tmp_path / "old", 0o600)
    watch.wait_for("attrib", "old")
    os.rename(tmp_path / "old", tmp_path / "older")
    watch.wait_for("rename", "old", "older")
    os.unlink(tmp_path / "older")
    watch.wait_for("remove", "older")
    (tmp_path / "dir").mkdir()
    watch.wait_for("create", "dir")
    assert watch.lines[-1]["dir"] is True and "dir" not in watch.lines[1]
    numbers = [line["seq"] for line in watch.lines[1:]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    watch.close()


def test_many_writes_are_few_lines(link, tmp_path):
    watch = Watch(link, tmp_path)
    with open(tmp_path / "log", "wb", buffering=0) as log:
        for _ in range(20000):
            log.write(b"x")
    watch.settle(tmp_path)
    assert 1 <= watch.told().count(("modify", b"log")) < 2000


def test_deep_trees_made_fast(link, tmp_path):
    """A directory is there before its watch is; what is made in it by then must be told all the same."""
    watch = Watch(link, tmp_path)
    for number in range(30):
        deep = tmp_path / "/".join(f"d{number}.{level}" for level in range(25))
        deep.mkdir(parents=True)
        (deep / "file").write_text("x")
        (deep.parent / "other").touch()
    watch.settle(tmp_path)
    assert watch.picture() == listing(tmp_path) and watch.overflows == []


def test_ten_thousand_files(link, tmp_path):
    watch = Watch(link, tmp_path)
    for number in range(10000):
        if number % 100 == 0:
            watch.settle(tmp_path)  # a client that reads
            (tmp_path / f"d{number // 100}").mkdir()
        (tmp_path / f"d{number // 100}" / f"file{number}").touch()
    watch.settle(tmp_path)
    assert watch.picture() == listing(tmp_path)
    assert watch.overflows == []


def test_renames(link, tmp_path):
    """Inside, into, out of; of files and of directories with things in them; onto what is there."""
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    for path in (tree / "a/b/c", tree / "e", outside / "in/side"):
        path.mkdir(parents=True)
    for path in (tree / "a/b/c/f", tree / "g", outside / "in/side/x", outside / "y"):
        path.write_text("x")
    watch = Watch(link, tree)
    watch.seen = listing(tree)
    os.rename(tree / "a/b", tree / "e/b2")
    watch.wait_for("rename", "a/b", "e/b2")
    (tree / "e/b2/c/new").touch()
    watch.wait_for("create", "e/b2/c/new")
    os.rename(outside / "in", tree / "in")
    watch.wait_for("create", "in/side/x")
    (tree / "in/side/z").touch()
    watch.wait_for("create", "in/side/z")
    os.rename(tree / "e/b2", outside / "gone")
    watch.wait_for("remove", "e/b2")
    (outside / "gone/c/unseen").touch()
    os.rename(outside / "y", tree / "g")
    watch.wait_for("create", "g")
    os.rename(tree / "g", tree / "in/side/x")
    watch.wait_for("rename", "g", "in/side/x")
    (tree / "empty").mkdir()
    os.rename(tree / "in/side", tree / "empty")
    watch.wait_for("rename", "in/side", "empty")
    (tree / "empty/after").touch()
    watch.wait_for("create", "empty/after")
    watch.settle(tree)
    assert watch.picture() == listing(tree)
    assert not any(b"unseen" in path for event in watch.told() for path in event[1:])


def test_out_and_anew_under_the_same_name(link, tmp_path):
    """The lone half of a rename must not be told after what came later under that name."""
    (tmp_path / "tree").mkdir()
    watch = Watch(link, tmp_path / "tree")
    for number in range(50):
        (tmp_path / "tree/f").write_text("1")
        os.rename(tmp_path / "tree/f", tmp_path / f"out{number}")
        (tmp_path / "tree/f").mkdir()
        (tmp_path / "tree/f/in").touch()
        os.rename(tmp_path / "tree/f", tmp_path / f"dir{number}")
    (tmp_path / "tree/f").touch()
    watch.settle(tmp_path / "tree")
    assert watch.picture() == {b"f"}


def somewhere(rng, base):
    while rng.random() < 0.75 and (names := sorted(e.name for e in os.scandir(base) if e.is_dir(follow_symlinks=False))):
        base = base / rng.choice(names)
    return base


def change_something(rng, tree, outside):
    """One random act among few names, so that they collide; what is not there or not empty is no matter."""
    try:
        base, to = somewhere(rng, tree), somewhere(rng, tree if rng.random() < 0.8 else outside)
        act, name = rng.random(), f"n{rng.randrange(12)}"
        if act < 0.3:
            (base / name).mkdir()
        elif act < 0.5:
            (base / name).write_text("x")
        elif act < 0.85:
            source = base if rng.random() < 0.85 else somewhere(rng, outside)
            os.rename(source / name, to / f"n{rng.randrange(12)}")
        elif (base / name).is_dir():
            shutil.rmtree(base / name)
        else:
            (base / name).unlink()
    except OSError:
        pass


def check_all_watched(watch, tree):
    """A file made in any directory is told of, under its right name."""
    start, expected = len(watch.lines), {b"check"}
    for where, _, _ in os.walk(os.fsencode(tree)):
        open(where + b"/check", "wb").close()
        expected.add(os.path.relpath(where + b"/check", os.fsencode(tree)))
    watch.settle(tree)
    assert {event[1] for event in watch.told(start) if event[0] == "create" and b".mark" not in event[1]} == expected


@pytest.mark.parametrize("seed", range(6))
def test_random_changes(link, tmp_path, seed):
    """Whatever is done, at any pace: the picture by events is the tree."""
    rng = random.Random(seed)
    tree, outside = tmp_path / "tree", tmp_path / "out"
    tree.mkdir()
    outside.mkdir()
    watch = Watch(link, tree)
    for step in range(1500):
        change_something(rng, tree, outside)
        if step % 300 == 0:
            watch.settle(tree)
        if rng.random() < 0.01:
            time.sleep(0.01)  # so that batches end anywhere
    watch.settle(tree)
    assert watch.picture() == listing(tree)
    assert watch.overflows == []
    check_all_watched(watch, tree)


@pytest.mark.parametrize("seed", range(3))
def test_random_changes_by_many(link, tmp_path, seed):
    """The same by three processes at once: what the agent finds is younger than what it is told. Renames that make no sense any
    more may end in an overflow; afterwards everything is watched all the same."""
    tree, outside = tmp_path / "tree", tmp_path / "out"
    tree.mkdir()
    outside.mkdir()
    watch = Watch(link, tree)

    def work(number):
        rng, end = random.Random(seed * 10 + number), time.monotonic() + 2
        while time.monotonic() < end:
            change_something(rng, tree, outside)
            if rng.random() < 0.3:
                time.sleep(rng.random() * 0.002)
    workers = [multiprocessing.get_context("fork").Process(target=work, args=(number,)) for number in range(3)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        link.request("ping")
    watch.settle(tree)
    picture = watch.picture()
    assert watch.overflows or picture == listing(tree)
    check_all_watched(watch, tree)


def test_git_at_work(link, tmp_path):
    """Branches that differ in hundreds of files and directories, switched to and fro."""
    def git(*args):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *args], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=30)
    git("init", "-q", "-b", "one")
    for branch in ("one", "two"):
        for number in range(300):
            path = tmp_path / f"{branch}{number % 7}/sub{number % 13}/f{number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(branch)
        git("add", "-A")
        git("commit", "-qm", branch)
        if branch == "one":
            git("checkout", "-qb", "two")
            git("rm", "-rq", ".")
    watch = Watch(link, tmp_path, exclude=".git/")
    watch.seen = {path for path in listing(tmp_path) if not path.startswith(b".git")}
    for branch in ("one", "two", "one", "two", "one"):
        git("checkout", "-q", branch)
        watch.settle(tmp_path)
    assert watch.picture() == {path for path in listing(tmp_path) if not path.startswith(b".git")}
    assert watch.overflows == []


def test_names_of_any_bytes(link, tmp_path):
    watch = Watch(link, tmp_path)
    name = b"\xff\xfe\n\"\\"
    os.mkdir(os.fsencode(tmp_path) + b"/" + name)
    open(os.fsencode(tmp_path) + b"/" + name + b"/\x01", "wb").close()
    watch.wait_for("create", name + b"/\x01")
    assert watch.lines[1]["path"] == {"b64": base64.b64encode(name).decode()}


def test_one_level_and_exclude(link, tmp_path):
    for name in ("sub", "node_modules", "keep"):
        (tmp_path / name).mkdir()
    flat = Watch(link, tmp_path, recursive=False)
    picky = Watch(link, tmp_path, exclude=["node_modules/", "*.{tmp,swp}"])
    for path in ("sub/f", "node_modules/f", "keep/x.tmp", "top", "x.swp"):
        (tmp_path / path).touch()
    os.rename(tmp_path / "x.swp", tmp_path / "kept")
    os.rename(tmp_path / "kept", tmp_path / "y.tmp")
    flat.settle(tmp_path)
    picky.settle(tmp_path)
    assert flat.picture() == {b"top", b"y.tmp"}
    assert picky.told()[:2] == [("create", b"sub/f"), ("create", b"top")]
    assert ("create", b"kept") in picky.told() and ("remove", b"kept") in picky.told()
    assert not any(b"node_modules" in e[1] or b".tmp" in e[-1] or b".swp" in e[1] for e in picky.told())
    with pytest.raises(AgentError):
        Watch(link, tmp_path, exclude=["[a"])


def test_one_file(link, tmp_path):
    """Written, replaced by a rename as careful editors do it, moved away and made anew as vim does it."""
    path = tmp_path / "conf"
    path.write_text("1")
    (tmp_path / "unrelated").touch()
    watch = Watch(link, path)
    path.write_text("22")
    watch.wait_for("modify", "conf")
    (tmp_path / "conf.new").write_text("3")
    os.rename(tmp_path / "conf.new", path)
    watch.wait_for("create", "conf")
    path.write_text("after it")
    count = watch.told().count(("modify", b"conf"))
    watch.wait(lambda c: c.told().count(("modify", b"conf")) >= count, "one more modify")
    os.rename(path, tmp_path / "conf~")
    path.write_text("4")
    watch.wait_for("remove", "conf")
    assert watch.told().index(("remove", b"conf")) < len(watch.told()) - 1
    path.unlink()
    watch.wait(lambda c: c.told()[-1] == ("remove", b"conf"), "the last remove")
    assert {event[1] for event in watch.told()} == {b"conf"}


def test_vim_saves(link, tmp_path):
    path = tmp_path / "text"
    path.write_text("one\n")
    watch = Watch(link, tmp_path)
    watch.seen = listing(tmp_path)
    for how in ("set backupcopy=no", "set backupcopy=yes"):
        subprocess.run(["vim", "-Nu", "NONE", "-es", "-c", how, "-c", "normal ox", "-c", "wq", str(path)], check=True, timeout=30,
                       stdin=subprocess.DEVNULL, env={**os.environ, "TERM": "dumb", "HOME": str(tmp_path / "..")})
    watch.settle(tmp_path)
    assert watch.picture() == listing(tmp_path) == {b"text"}
    assert any(event[-1] == b"text" and event[0] in ("create", "modify", "rename") for event in watch.told())


def test_end_of_the_top(link, tmp_path):
    for act in (shutil.rmtree, lambda top: os.rename(top, tmp_path / "elsewhere")):
        top = tmp_path / "top"
        (top / "sub").mkdir(parents=True)
        watch = Watch(link, top)
        act(top)
        watch.wait(lambda c: c.closed == {}, "an orderly end")
        assert watch.told()[-1] == ("remove", b"")
    with pytest.raises(AgentError) as info:
        Watch(link, tmp_path / "top")
    assert info.value.code == "failed" and info.value.error["errno"] == 2


def test_cursor_misses_nothing(agent, tmp_path):
    """The link breaks; what happens until the client is back is told then."""
    watch = Watch(agent.connect(), tmp_path)
    (tmp_path / "before").touch()
    watch.settle(tmp_path)
    cursor, former = watch.cursor, watch
    watch.link.cut()
    for number in range(1000):
        (tmp_path / f"while{number}").touch()
    link = agent.connect()
    again = Watch(link, tmp_path, since=cursor)
    again.settle(tmp_path)
    again.seen = former.picture()
    assert again.lines[1]["seq"] == former.last() + 1 and again.lines[0]["cursor"] == cursor
    assert again.picture() == listing(tmp_path) and again.overflows == []
    # Resumed in the middle: no event twice.
    middle = f"{cursor.partition('-')[0]}-{again.lines[500]['seq']}"
    third = Watch(link, tmp_path, since=middle)
    third.wait(lambda c: c.last() >= again.last(), "the rest")
    assert third.lines[1:] == again.lines[501:]


def test_stale_cursors_overflow(agent, tmp_path):
    link = agent.connect()
    watch = Watch(link, tmp_path)
    old = watch.cursor
    for number in range(KEEP + 10):
        (tmp_path / f"f{number}").touch()
    watch.settle(tmp_path)
    for cursor in (old, "0123456789abcdef-5", "x", "-", old.partition("-")[0] + "-99999999", "9" * 200 + "-1", old + "x"):
        stale = Watch(link, tmp_path, since=cursor)
        stale.wait(lambda c: len(c.lines) > 1, "overflow")
        assert stale.lines[1]["kind"] == "overflow" and stale.lines[1]["path"] == ""
        (tmp_path / "now").touch()
        stale.wait_for("create", "now")
        (tmp_path / "now").unlink()
        stale.close()


def test_slow_watcher_alone_misses(agent, tmp_path):
    """It is told `overflow`, costs no memory, and the other one gets everything."""
    slow = Watch(agent.connect(), tmp_path, auto=False, window=200)
    fast = Watch(agent.connect(), tmp_path)
    before = memory(agent)
    for number in range(30000):
        (tmp_path / f"a-rather-long-name-for-a-file-{number % 3000}-{number}").touch()
        if number % 100 == 0:
            fast.settle(tmp_path)
    fast.settle(tmp_path, timeout=50)
    assert fast.picture() == listing(tmp_path)
    assert fast.overflows == []
    assert memory(agent) - before < 24 << 20
    slow.auto, slow.size = True, 1 << 20
    slow.grant(1 << 20)
    slow.wait(lambda c: any(e.get("kind") == "overflow" for e in c.lines), "overflow")
    (tmp_path / "at last").touch()
    slow.wait_for("create", "at last")


test_slow_watcher_alone_misses = pytest.mark.seconds(120)(test_slow_watcher_alone_misses)


def memory(agent):
    return int(pathlib.Path(f"/proc/{agent.pid}/statm").read_text().split()[1]) * 4096


def test_kernel_overflow_is_told(agent, link, tmp_path):
    """More than the kernel keeps while the agent stands still: `overflow`, and what was made meanwhile is watched."""
    watch = Watch(link, tmp_path)
    os.kill(agent.pid, 19)
    try:
        limit = int(pathlib.Path("/proc/sys/fs/inotify/max_queued_events").read_text())
        for number in range(limit // 2 + 200):
            (tmp_path / f"f{number}").touch()
            (tmp_path / f"f{number}").unlink()
        (tmp_path / "made/mean/while").mkdir(parents=True)
    finally:
        os.kill(agent.pid, 18)
    watch.wait(lambda c: any(e.get("kind") == "overflow" for e in c.lines), "overflow", 30)
    (tmp_path / "made/mean/while/f").touch()
    watch.wait_for("create", "made/mean/while/f")


def test_too_many_directories_for_the_kernel(start_agent, tmp_path):
    """ENOSPC at the beginning is an error; later it is an overflow of the directory concerned."""
    few = ["unshare", "--user", "--map-root-user", "sh", "-c", 'echo 20 >/proc/sys/user/max_inotify_watches && exec "$@"', "sh"]
    agent = start_agent(wrapper=few)  # a limit of its own: the machine's would be everybody's
    (tmp_path / "many").mkdir()
    watch = Watch(agent.connect(), tmp_path / "many")
    for number in range(40):
        (tmp_path / f"many/d{number}/e").mkdir(parents=True)
    watch.wait(lambda c: any(e.get("kind") == "overflow" and e.get("errno") == 28 for e in c.lines), "overflow for ENOSPC")
    with pytest.raises(AgentError) as info:
        Watch(agent.connect(), tmp_path)
    assert info.value.code == "failed" and info.value.error["errno"] == 28
    assert any(line.get("path", "").startswith("d") and line["kind"] == "overflow" for line in watch.lines[1:])


def inotifies(agent):
    return sum("inotify" in path for path in open_files(agent.pid).values())


def test_shared_and_let_go(agent, tmp_path):
    """Two watchers, one watch; clients that die leave nothing behind but what a cursor may ask for, and that ends too."""
    links = [agent.connect() for _ in range(5)]
    base = inotifies(agent)
    watches = [Watch(link, tmp_path) for link in links]
    assert inotifies(agent) == base + 1
    (tmp_path / "f").touch()
    for watch in watches:
        watch.wait_for("create", "f")
    (tmp_path / "gone").mkdir()
    for _ in range(20):
        Watch(links[0], tmp_path / "gone", recursive=False, exclude="x").close()
    assert inotifies(agent) == base + 2
    (tmp_path / "gone").rmdir()
    for link in links:
        link.cut()
    # The one whose top is gone goes at once, the other is kept for a minute.
    eventually(lambda: inotifies(agent) == base + 1, "the ended tree to be let go")


def test_watchers_are_limited(agent, tmp_path):
    """1024 watchers and not one more; trees without watchers make room for new ones."""
    links = [agent.connect() for _ in range(2)]
    for number in range(1024):
        watch = Watch(links[number % 2], tmp_path, begin=False, window=1000)
    watch.begin()  # it stands, for all of them; OPENED alone says that it is being made
    with pytest.raises(AgentError) as info:
        Watch(links[0], tmp_path)
    assert info.value.code == "too_many"
    (tmp_path / "f").touch()
    for channel in list(links[0].channels.values()):
        channel.begin().wait_for("create", "f")


def test_clients_killed_at_random(agent, tmp_path):
    """A client that dies at any moment of a watch or search leaves no descriptor and no thread."""
    rng = random.Random(5)
    for number in range(300):
        (tmp_path / f"d{number % 10}").mkdir(exist_ok=True)
        (tmp_path / f"d{number % 10}/f{number}").write_text("needle\n" * 2000)
    fds = pathlib.Path(f"/proc/{agent.pid}/fd")
    eventually(lambda: len(list(fds.iterdir())), "descriptors")
    before = len(list(fds.iterdir()))
    for _ in range(40):
        link = agent.connect()
        Lines(link, "grep", tmp_path, pattern="needle", window=rng.choice([0, 1000, 1 << 20]))
        Watch(link, tmp_path, begin=False, window=rng.choice([0, 1000]))
        (tmp_path / "d0/f0").touch()
        try:
            link.pump(rng.random() * 0.02)
        finally:
            link.cut()
    eventually(lambda: len(list(fds.iterdir())) <= before + 1, "all descriptors but the kept tree's to be closed")
    tasks = pathlib.Path(f"/proc/{agent.pid}/task")
    eventually(lambda: len(list(tasks.iterdir())) == 1, "no thread to be left", 15)


def test_root_is_not_left(link, tmp_path):
    (tmp_path / "in").mkdir()
    os.symlink("/etc", tmp_path / "out")
    watch = Watch(link, "/in", root=str(tmp_path))
    (tmp_path / "in/f").touch()
    watch.wait_for("create", "f")
    with pytest.raises(AgentError):
        Watch(link, "out", root=str(tmp_path))


def test_user_without_rights(link, tmp_path):
    (tmp_path / "shut").mkdir(mode=0o700)
    tmp_path.chmod(0o700)
    with pytest.raises(AgentError) as info:
        Watch(link, tmp_path, user="65534")
    assert info.value.error["errno"] == 13


def test_idle_watch_does_not_wake(agent, link, tmp_path):
    Watch(link, tmp_path)
    tasks = pathlib.Path(f"/proc/{agent.pid}/task")
    eventually(lambda: len(list(tasks.iterdir())) == 1, "the worker to go", 15)

    def switches():
        status = pathlib.Path(f"/proc/{agent.pid}/status").read_text()
        return sum(int(line.split()[1]) for line in status.splitlines() if "ctxt_switches" in line)
    before = switches()
    time.sleep(2)
    assert switches() - before <= 2
