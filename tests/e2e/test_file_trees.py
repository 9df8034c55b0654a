"""Removing and copying files and whole trees (section 13), and what must never be."""
import errno
import hashlib
import os
import stat
import threading

import pytest

from files import bound, exchange, files, mounted, refused, root_only, top, tree
from wire import AgentError

pytestmark = [pytest.mark.own_agent, root_only]


# removing

def test_remove(files, top):
    tree(top, {"f": "", "d": {"x": ""}, "e": {}, "keep": {"k": ""}})
    os.symlink(top / "keep", top / "link")
    assert files.remove(top / "f") == {"removed": 1}
    assert files.remove(top / "e") == {"removed": 1}
    with refused(errno.ENOTEMPTY):
        files.remove(top / "d")
    os.symlink("../keep", top / "d/link")
    assert files.remove(top / "d", recursive=True) == {"removed": 3}
    assert files.remove(f"{top}/link/", recursive=True) == {"removed": 1}
    assert (top / "keep/k").exists(), "links are not followed"
    with refused(errno.ENOENT):
        files.remove(top / "f")
    assert files.remove(top / "f", missing_ok=True) == {"removed": 0}
    assert files.remove(top / "a/b", missing_ok=True, recursive=True) == {"removed": 0}


@pytest.mark.parametrize("path", ["/", "//", "/tmp/../", "/.", "/../.."])
def test_remove_refuses_the_root(files, path):
    with refused():
        files.remove(path, recursive=True)
    assert os.path.isdir("/tmp")


def test_remove_refuses_mounts(files, top):
    """Those of another file system and those of the same: `rm -r` of a bind mount once cost a home."""
    tree(top, {"home": {"precious": "x"}, "d": {"m": {}, "b": {}}})
    with mounted(top / "d/m", "tmpfs"), bound(top / "home", top / "d/b"):
        tree(top / "d/m", {"x": ""})
        for path in ("d", "d/m", "d/b"):
            with refused(errno.EBUSY):
                files.remove(top / path, recursive=True)
        assert (top / "d/m/x").exists() and (top / "home/precious").exists()
    assert files.remove(top / "d", recursive=True)["removed"] >= 1


def make_deep(top, name, levels):
    """Directories within one another, deeper than a path can say."""
    here = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def test_remove_a_deep_tree(files, top):
    """Deeper than a path can be long, and than a recursion should go."""
    make_deep(top, "dir-dir-dir", 1000)
    assert files.du(top / "dir-dir-dir")["dirs"] == 1000
    assert files.remove(top / "dir-dir-dir", recursive=True) == {"removed": 1000}


def test_too_deep_a_tree(files, top):
    """The limit is told as ELOOP, and the tree is left as it is."""
    make_deep(top, "d", 1030)
    with refused(errno.ELOOP):
        files.du(top / "d")
    with refused(errno.ELOOP):
        files.remove(top / "d", recursive=True)
    os.system(f"rm -rf '{top}/d'")


def test_remove_while_links_change(files, top):
    """A directory that becomes a link to elsewhere in the middle of it: nothing elsewhere is touched."""
    tree(top, {"precious": {f"p{i}": "" for i in range(20)}})
    over = threading.Event()

    def swap():
        while not over.is_set():
            exchange(top / "d/a", top / "d/b")
    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for i in range(30):
            tree(top, {f"new{i}": {"a": {f"x{k}": "" for k in range(20)}}})
            os.symlink(top / "precious", top / f"new{i}/b")
            os.rename(top / f"new{i}", top / "d")
            try:
                files.remove(top / "d", recursive=True)
            except AgentError as error:  # it changed under our hands
                assert error.errno in (errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR), error
                os.rename(top / "d", top / f"rest{i}")
    finally:
        over.set()
        thread.join()
    assert len(os.listdir(top / "precious")) == 20


# copying

def same(a, b):
    """Two files alike in what a copy keeps."""
    one, two = os.lstat(a), os.lstat(b)
    assert (one.st_mode, one.st_size, one.st_mtime_ns) == (two.st_mode, two.st_size, two.st_mtime_ns), (a, b)
    if stat.S_ISREG(one.st_mode):
        with open(a, "rb") as x, open(b, "rb") as y:
            assert hashlib.sha256(x.read()).digest() == hashlib.sha256(y.read()).digest()
    elif stat.S_ISLNK(one.st_mode):
        assert os.readlink(a) == os.readlink(b)


def test_copy_a_file(files, top):
    data = os.urandom(20_000_000)
    tree(top, {"f": data})
    (top / "f").chmod(0o751)
    os.utime(top / "f", ns=(1, 2))
    assert files.copy(top / "f", to=f"{top}/g") == {"files": 1, "bytes": len(data)}
    same(top / "f", top / "g")
    with refused(errno.EEXIST):
        files.copy(top / "f", to=f"{top}/g", replace=False)
    tree(top, {"h": "older"})
    files.copy(top / "h", to=f"{top}/g")
    assert (top / "g").read_text() == "older"
    os.symlink("h", top / "l")
    files.copy(top / "l", to=f"{top}/i")
    assert not (top / "i").is_symlink() and (top / "i").read_text() == "older"
    with refused(errno.EISDIR):
        files.copy(top, to=f"{top}/x")
    with refused(errno.EISDIR):
        os.mkdir(top / "dir")
        files.copy(top / "f", to=f"{top}/dir")


def test_copy_keeps_holes(files, top):
    with open(top / "f", "wb") as f:
        f.seek(50_000_000)
        f.write(b"middle")
        f.truncate(100_000_000)
    got = files.copy(top / "f", to=f"{top}/g")
    same(top / "f", top / "g")
    assert (top / "g").stat().st_blocks * 512 < 1_000_000 and got["bytes"] < 1_000_000


def test_copy_of_a_pseudo_file(files, top):
    """It says it has no bytes."""
    files.copy("/proc/version", to=f"{top}/v")
    with open("/proc/version", "rb") as f:
        assert (top / "v").read_bytes() == f.read()


def test_copy_a_tree(files, top):
    tree(top, {"a": {"f": "text", "empty": {}, "locked": {"g": b"\0" * 100_000}, "h": ""}})
    os.symlink("../nowhere", top / "a/link")
    os.mkfifo(top / "a/fifo", 0o640)
    (top / "a/locked").chmod(0o500)
    (top / "a/h").chmod(0)
    for path in ("a/f", "a/empty", "a/locked", "a"):
        os.utime(top / path, ns=(10, 1_234_567_890_123_456_789))
    assert files.copy(top / "a", to=f"{top}/b", recursive=True) == {"files": 5, "bytes": 100_004}
    for path in ("", "/f", "/empty", "/locked", "/locked/g", "/h", "/link", "/fifo"):
        same(f"{top}/a{path}", f"{top}/b{path}")


def test_copy_into_an_existing_tree(files, top):
    """It is filled: what is there and not in the source stays."""
    tree(top, {"a": {"f": "new", "d": {"x": "1"}}, "b": {"f": "old", "other": "kept", "d": {"y": "2"}}})
    os.symlink("/etc/passwd", top / "b/d/x")
    files.copy(top / "a", to=f"{top}/b", recursive=True)
    assert (top / "b/f").read_text() == "new" and (top / "b/other").read_text() == "kept"
    assert (top / "b/d/y").read_text() == "2"
    assert not (top / "b/d/x").is_symlink() and (top / "b/d/x").read_text() == "1", "a link there is replaced"
    with refused(errno.EEXIST):
        files.copy(top / "a", to=f"{top}/b", recursive=True, replace=False)


def test_copy_into_itself(files, top):
    tree(top, {"a": {"f": "x", "sub": {"g": ""}}})
    with refused(errno.EINVAL):
        files.copy(top / "a", to=f"{top}/a/sub/copy", recursive=True)


def test_copy_refuses_special_files(files, top):
    os.mkfifo(top / "fifo")
    with refused(code="special_file"):
        files.copy(top / "fifo", to=f"{top}/x")
