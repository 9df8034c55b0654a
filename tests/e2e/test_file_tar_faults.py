"""Archives that attack, clients that go away, agents that stop, disks that are full (docs/protocol.md section 13: tar,
untar).

ctest: timeout=600
"""
import contextlib
import errno
import os
import random
import shutil
import tarfile
import threading

import pytest

from archives import MIB, archive, fill, hidden, listing, nothing_left, snapshot, tar, tree, untar
from file_channel import FileChannel
from files import exchange, mounted, refused
from harness import eventually, under_asan
from wire import AgentError, LinkClosed

pytestmark = pytest.mark.same_machine


def test_names_that_lead_out(agent, link, tree):
    """Absolute names are relative, ".." ends it."""
    untar(link, tree / "out", archive(("/etc/passwd", b"x"), ("//abs//file", b"y")))
    assert (tree / "out" / "etc" / "passwd").read_bytes() == b"x"
    assert (tree / "out" / "abs" / "file").read_bytes() == b"y"
    for name in ("../evil", "a/../../evil", "..", "/../evil", "sub/.."):
        with refused(errno.EXDEV):
            untar(link, tree / "out", archive((name, b"x")))
    with refused(errno.EXDEV):
        untar(link, tree / "out", archive({"name": "h", "type": tarfile.LNKTYPE, "linkname": "../victim"}))
    assert sorted(os.listdir(tree)) == ["out"]


def test_links_that_lead_out(agent, link, tree):
    """A link of the archive, then a file through it."""
    (tree / "victim").mkdir()
    (tree / "victim" / "file").write_bytes(b"mine")
    for target in (str(tree / "victim"), "../victim", "sub/../../victim"):
        def attack(*members):
            shutil.rmtree(tree / "out", ignore_errors=True)
            with refused(errno.EXDEV):
                untar(link, tree / "out", archive(
                    {"name": "sub", "type": tarfile.DIRTYPE, "mode": 0o755},
                    {"name": "l", "type": tarfile.SYMTYPE, "linkname": target}, *members))
            assert os.listdir(tree / "victim") == ["file"]
            assert (tree / "victim" / "file").read_bytes() == b"mine"
        attack(("l/new", b"evil"))
        attack(("l/file", b"evil"))
        attack({"name": "l/dir/deep", "type": tarfile.DIRTYPE})
        attack({"name": "l/sym", "type": tarfile.SYMTYPE, "linkname": "x"})
        attack({"name": "hard", "type": tarfile.LNKTYPE, "linkname": "l/file"})
        shutil.rmtree(tree / "out", ignore_errors=True)
        # A directory of the name of the link replaces it, and its mode and time are its own.
        before = os.stat(tree / "victim")
        untar(link, tree / "out", archive(
            {"name": "sub", "type": tarfile.DIRTYPE, "mode": 0o755},
            {"name": "l", "type": tarfile.SYMTYPE, "linkname": target},
            {"name": "l", "type": tarfile.DIRTYPE, "mode": 0o777, "mtime": 1}, ("l/new", b"fine")))
        assert (tree / "out" / "l" / "new").read_bytes() == b"fine"
        assert os.stat(tree / "victim") == before
        # A file written over the link replaces the link.
        untar(link, tree / "out2", archive(
            {"name": "l", "type": tarfile.SYMTYPE, "linkname": str(tree / "victim" / "file")}, ("l", b"evil")))
        assert (tree / "victim" / "file").read_bytes() == b"mine"
        shutil.rmtree(tree / "out2")


def test_directory_mode_through_late_link(agent, link, tree):
    """A directory that becomes a link before its mode and time are set at the end."""
    (tree / "victim").mkdir(mode=0o700)
    before = os.stat(tree / "victim")
    untar(link, tree / "out", archive(
        {"name": "d", "type": tarfile.DIRTYPE, "mode": 0o777, "mtime": 1},
        {"name": "d", "type": tarfile.SYMTYPE, "linkname": "../victim"}))
    assert os.stat(tree / "victim") == before


def test_link_within(agent, link, tree):
    """A link that stays below the directory may be gone through."""
    untar(link, tree / "out", archive(
        {"name": "usr/lib", "type": tarfile.DIRTYPE, "mode": 0o755},
        {"name": "lib", "type": tarfile.SYMTYPE, "linkname": "usr/lib"}, ("lib/a.so", b"so"),
        {"name": "lib", "type": tarfile.DIRTYPE, "mode": 0o755}, ("lib/b.so", b"so")))
    assert sorted(os.listdir(tree / "out" / "usr" / "lib")) == ["a.so", "b.so"]
    assert os.path.islink(tree / "out" / "lib")


@pytest.mark.seconds(120)
def test_race_of_links(agent, link, tree):
    """Somebody swaps a directory for a link to elsewhere, all the time: nothing is ever made there."""
    out, victim = tree / "out", tree / "victim"
    (out / "d").mkdir(parents=True)
    victim.mkdir()
    os.symlink(victim, out / "swap")
    members = []
    for i in range(300):
        members += [(f"d/{i}/f", b"x" * 100), ("e/f", b"z"), (f"d/{i}.txt", b"y")]
    data = archive(*members)
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            exchange(out / "d", out / "swap")
    thread = threading.Thread(target=swap)
    thread.start()
    try:
        refusals = 0
        for _ in range(25):
            try:
                untar(link, out, data)
            except AgentError as error:
                assert error.errno in (errno.EXDEV, errno.ENOTDIR, errno.ELOOP, errno.ENOENT, errno.EAGAIN), error
                refusals += 1
    finally:
        stop.set()
        thread.join()
    assert os.listdir(victim) == []
    assert refusals > 0, "the race was not on"


def test_root(agent, link, tree):
    """With a root neither the directory nor what is in it leads out."""
    (tree / "r" / "in").mkdir(parents=True)
    (tree / "out").mkdir()
    os.symlink(tree / "out", tree / "r" / "bad")
    data = archive(("f", b"x"))
    untar(link, "in/new", data, root=str(tree / "r"))
    assert (tree / "r" / "in" / "new" / "f").read_bytes() == b"x"
    for path in ("bad", "../out", "in/../../out"):
        with refused(errno.EXDEV):
            untar(link, path, data, root=str(tree / "r"))
        with refused(errno.EXDEV):
            tar(link, path, root=str(tree / "r"))
        with refused(errno.EXDEV):
            listing(link, path, root=str(tree / "r"))
    assert os.listdir(tree / "out") == []


# ------------------------------------------------------------------------------------------------------- faults

def test_client_goes_away_in_the_middle(agent, tree):
    """At any byte of an upload: what has a name is whole, and nothing else is there."""
    sizes = {f"f{i}": size for i, size in enumerate([10, 70000, 65536, 0, 300000, 5000, 65537])}
    data = archive(*[(name, b"x" * size) for name, size in sizes.items()])
    idle, memory = agent.settled_fds(), agent.memory_kib()
    for seed in range(25):
        link = agent.connect(cut_after=random.Random(seed).randrange(2000, len(data)))
        out = tree / f"out{seed}"
        with contextlib.suppress(LinkClosed):
            untar(link, out, data)
        link.cut()
        eventually(lambda: agent.fds() <= idle, "the operation to end")
        for name in os.listdir(out) if out.exists() else []:
            assert (out / name).stat().st_size == sizes[name], name
    assert agent.memory_kib() - memory < (16384 if under_asan() else 4096)  # it has threads' caches, too


def test_client_closes(agent, link, tree):
    """CLOSE in the middle of an entry."""
    idle = agent.settled_fds()
    channel = FileChannel(link, "untar", path=str(tree / "out")).open()
    channel.write(archive(("a", b"a" * 1000), ("b", b"b" * 200000))[:100000])
    eventually((tree / "out" / "a").exists, "the first file")
    channel.close()
    eventually(lambda: agent.fds() <= idle, "the operation to end")
    assert os.listdir(tree / "out") == ["a"]


@pytest.mark.own_agent
def test_agent_stops_meanwhile(start_agent, tree):
    """SIGTERM with archives under way in both directions: an orderly end, and nothing half."""
    agent = start_agent()
    link = agent.connect()
    (tree / "a").mkdir()
    (tree / "a" / "large").write_bytes(b"x" * 8 * MIB)
    down = FileChannel(link, "tar", path=str(tree / "a"), auto=False, window=65536).open()
    link.wait(lambda: down.received == 65536, "the first bytes")
    up = FileChannel(link, "untar", path=str(tree / "out")).open()
    up.write(archive(("a", b"a" * 1000), ("b", b"b" * 200000))[:100000])
    eventually((tree / "out" / "a").exists, "the first file")
    agent.terminate()
    assert agent.proc.wait(15) == 0
    assert os.listdir(tree / "out") == ["a"]


def test_many_at_once(agent, link, tree):
    """On one link, next to each other, each with little credit at a time."""
    (tree / "a").mkdir()
    for i in range(50):
        (tree / "a" / f"{i}").write_bytes(random.Random(i).randbytes(i * 997))
    want = snapshot(tree / "a")
    channels = [FileChannel(link, "tar", path=str(tree / "a"), window=4096 + 1000 * i).open() for i in range(16)]
    for i, channel in enumerate(channels):
        channel.finish()
        assert channel.data == channels[0].data
    ups = [FileChannel(link, "untar", path=str(tree / f"out{i}")).open() for i in range(16)]
    data = channels[0].data
    for at in range(0, len(data), 70000):
        for up in ups:
            up.write(data[at:at + 70000], fin=at + 70000 >= len(data))
    for i, up in enumerate(ups):
        up.finish()
        assert snapshot(tree / f"out{i}") == want


def test_download_cut(agent, tree):
    fill(tree / "a")
    for seed in range(6):
        link = agent.connect(cut_after=random.Random(seed).randrange(2000, 3 * MIB))
        with contextlib.suppress(LinkClosed):
            tar(link, tree / "a")


def test_disk_full(agent, link, tree):
    """ENOSPC as such; what is there is whole."""
    disk = tree / "disk"
    disk.mkdir()
    with mounted(disk, "tmpfs", "size=1m"):
        for size in (30000, 200000):
            with refused(errno.ENOSPC):
                untar(link, disk / "out", archive(*[(f"f{i}", b"x" * size) for i in range(100)]))
            assert {(disk / "out" / name).stat().st_size for name in os.listdir(disk / "out")} == {size}
            shutil.rmtree(disk / "out")
        assert hidden(disk) == []
        assert os.statvfs(disk).f_bfree == os.statvfs(disk).f_blocks


def test_read_only(agent, link, tree):
    disk = tree / "disk"
    disk.mkdir()
    with mounted(disk, "tmpfs", "ro"):
        with refused(errno.EROFS):
            untar(link, disk / "out", archive(("f", b"x")))
