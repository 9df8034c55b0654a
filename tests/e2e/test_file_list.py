"""Directories and trees as lines (docs/protocol.md section 13: list).

ctest: timeout=600
"""
import errno
import os

import pytest

from archives import LATIN, fill, listing, nothing_left, paths, snapshot, tar, tree
from file_channel import FileChannel
from files import Files, from_wire, refused

pytestmark = pytest.mark.same_machine


def test_list(agent, link, tree):
    """The entries of stat, for one directory or all below it."""
    fill(tree / "a")
    lines, done = listing(link, tree / "a")
    assert done["entries"] == len(lines) == len(os.listdir(tree / "a")) and done["failed"] == 0
    assert all("path" not in line for line in lines)
    for line in lines:
        line.pop("atime_ns")
        same = Files(link).stat(os.fsencode(tree / "a") + b"/" + from_wire(line["name"]), follow=False)
        same.pop("atime_ns")
        assert line == same
    lines, done = listing(link, tree / "a", recursive=True)
    assert paths(lines) == sorted(path for path in snapshot(tree / "a") if path)
    assert listing(link, tree / "a", depth=2)[1]["entries"] == len(
        [path for path in snapshot(tree / "a") if path and path.count(b"/") < 2])


def test_list_hidden(agent, link, tree):
    (tree / "a" / ".git").mkdir(parents=True)
    (tree / "a" / ".git" / "x").write_bytes(b"")
    (tree / "a" / "y").write_bytes(b"")
    assert paths(listing(link, tree / "a", recursive=True, hidden=False)[0]) == [b"y"]
    assert paths(listing(link, tree / "a", recursive=True)[0]) == [b".git", b".git/x", b"y"]


def test_list_follow(agent, link, tree):
    """Links followed, and never in a circle."""
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "f").write_bytes(b"123")
    os.symlink("..", tree / "a" / "b" / "up")
    os.symlink("b", tree / "a" / "again")
    os.symlink("none", tree / "a" / "lost")
    lines, done = listing(link, tree / "a", recursive=True, follow=True)
    by_path = {line["path"]: line for line in lines if "errno" not in line}
    assert sorted(by_path) == ["again", "again/f", "again/up", "b", "b/f", "b/up", "lost"]
    assert by_path["again"]["type"] == "dir" and by_path["again/f"]["size"] == 3 and by_path["lost"]["type"] == "link"
    assert {line["path"]: line["errno"] for line in lines if "errno" in line} == {
        "b/up": errno.ELOOP, "again/up": errno.ELOOP}
    assert done == {"event": "done", "entries": 7, "failed": 2}


def test_list_errors(agent, link, tree):
    (tree / "a" / "locked").mkdir(parents=True, mode=0o755)
    os.chmod(tree / "a" / "locked", 0o700)
    lines, done = listing(link, tree / "a", recursive=True, user="nobody")
    assert done["failed"] == 1 and {"path": "locked", "errno": errno.EACCES} in lines
    (tree / "file").write_bytes(b"")
    with refused(errno.ENOTDIR):
        listing(link, tree / "file")
    with refused(errno.ENOENT):
        listing(link, tree / "none")


def test_list_any_name(agent, link, tree):
    (tree / "a").mkdir()
    os.mkdir(os.fsencode(tree) + b"/a/" + LATIN)
    open(os.fsencode(tree) + b"/a/" + LATIN + b"/\xfe", "wb").close()
    lines, _ = listing(link, os.fsencode(tree) + b"/a", recursive=True)
    assert paths(lines) == [LATIN, LATIN + b"/\xfe"]
    assert paths(listing(link, os.fsencode(tree) + b"/a/" + LATIN)[0]) == [b"\xfe"]


def test_list_longest_paths(agent, link, tree):
    """Names of control characters take six times their room in JSON, and paths may be long."""
    where = os.open(tree, os.O_PATH)
    for _ in range(40):
        os.mkdir(b"\1" * 255, dir_fd=where)
        deeper = os.open(b"\1" * 255, os.O_PATH, dir_fd=where)
        os.close(where)
        where = deeper
    os.close(where)
    lines, done = listing(link, tree, recursive=True)
    assert done == {"event": "done", "entries": 33, "failed": 1}
    (failed,) = [line for line in lines if "errno" in line]
    assert failed["errno"] == errno.ENAMETOOLONG and failed["path"] == "/".join(["\1" * 255] * 33)
    channel = tar(link, tree)
    assert channel.done["dirs"] == 17 and channel.done["first_failed"]["errno"] == errno.ENAMETOOLONG


def test_list_large_directory(agent, link, tree):
    """Slowly read, in little memory: what waits is not collected."""
    (tree / "a").mkdir()
    for i in range(20000):
        (tree / "a" / f"a file with a name of some length {i}").write_bytes(b"")
    before = agent.memory_kib()
    channel = FileChannel(link, "list", path=str(tree / "a"), auto=False, keep=False, window=65536).open()
    link.wait(lambda: channel.received == 65536, "the first lines")
    assert agent.memory_kib() - before < 4096
    channel.auto = True
    channel.grant(1 << 40)
    channel.finish()
    assert channel.done["entries"] == 20000


def test_list_odd_figures(agent, link, tree):
    """Times that 64 bits of nanoseconds do not hold, and holes as large as files can be: the former overflowed."""
    times = {"old": -1 << 33, "new": 1 << 33, "older": -1 << 40, "newer": 1 << 40, "before": -1}
    for name, seconds in times.items():
        with open(tree / name, "wb") as file:
            file.truncate(1 << 62)
        os.utime(tree / name, (seconds, seconds))
    lines, _ = listing(link, tree)
    assert {line["size"] for line in lines} == {1 << 62}
    most = (1 << 63) - 1024
    for line in lines:
        seconds = (tree / line["name"]).stat().st_mtime_ns // 10 ** 9
        assert line["mtime_ns"] == max(-most, min(most, seconds * 10 ** 9)), line
