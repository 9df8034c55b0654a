"""Batches of small files (docs/protocol.md section 13: batch_write, batch_read).

ctest: timeout=300
"""
import contextlib
import errno
import os
import pathlib
import random
import shutil
import stat
import struct

import pytest

from archives import HEAD, KEEP, MIB, batch_read, batch_write, hidden, nothing_left, record, snapshot, tree
from file_channel import FileChannel
from files import from_wire, mounted, refused
from harness import eventually
from wire import LinkClosed

pytestmark = pytest.mark.same_machine

NOBODY = 65534
LATIN = b"caf\xe9/\xff\n"


def content(size, seed=0):
    return random.Random(size * 31 + seed).randbytes(size)


SIZES = [0, 1, 4095, 4096, 65535, 65536, 65537, 300000, 3 * MIB]


def test_round_trip(agent, link, tree):
    """Sizes around every limit, directories that are missing, names of any bytes."""
    names = [b"size/%d" % size for size in SIZES] + [LATIN, b"a/b/c/d/e", b"top", b"n" * 255]
    data = {name: content(SIZES[i % len(SIZES)], i) for i, name in enumerate(names)}
    done = batch_write(link, tree / "new", b"".join(record(name, data[name]) for name in names))
    assert done == {"event": "done", "errors": [], "files": len(names), "bytes": sum(map(len, data.values())), "failed": 0}
    for name in names:
        path = os.fsencode(tree / "new") + b"/" + name
        with open(path, "rb") as file:
            assert file.read() == data[name]
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o644
    found, done = batch_read(link, tree / "new", names, max=4 * MIB)
    assert [one.path for one in found] == names
    assert all(one.data == data[one.path] and one.mode == 0o644 and one.errno == 0 for one in found)
    assert done == {"event": "done", "files": len(names), "bytes": sum(map(len, data.values())), "failed": 0}


def test_many(agent, link, tree):
    """More than a frame of names, asked for on stream 0."""
    names = [b"%d/%d" % (i % 50, i) for i in range(5000)]
    batch_write(link, tree, b"".join(record(name, name) for name in names))
    found, done = batch_read(link, tree, batch=b"".join(record(name) for name in names))
    assert [(one.path, one.data) for one in found] == [(name, name) for name in names]
    assert done["files"] == 5000


def test_same_name_again(agent, link, tree):
    """Two threads write, but what has one name is written in order: the last one wins, however it is spelled."""
    rng = random.Random(3)
    last, batch = {}, []
    for number in range(3000):
        name = rng.randrange(60)
        last[name] = b"%d " % number * rng.choice([1, 300, 20000])
        batch.append(record(rng.choice(["d/%d", "./d/%d", "d//%d", "d/./%d"]) % name, last[name]))
    done = batch_write(link, tree, b"".join(batch))
    assert (done["files"], done["failed"]) == (3000, 0)
    assert {int(name): (tree / "d" / name).read_bytes() for name in os.listdir(tree / "d")} == last


def in_all_shapes(tree, count):
    """Names in an order that mixes what the second thread reads with what it leaves to the first, and what each is to be."""
    rng = random.Random(5)
    wanted = {}
    for number in range(count):
        name = f"{number % 7}/{number}"
        size = rng.choice([0, 1, 10, 100, 4096, 4096, 4096, 65536, 65537, 200000])
        path = tree / name
        path.parent.mkdir(exist_ok=True)
        kind = rng.randrange(12)
        wanted[name] = content(size, number)
        if kind == 0:
            wanted[name] = errno.ENOENT
        elif kind == 1:
            wanted[name] = errno.EISDIR
            path.mkdir()
        elif kind == 2:
            (tree / "aim").mkdir(exist_ok=True)
            (tree / "aim" / str(number)).write_bytes(wanted[name])
            os.symlink(f"../aim/{number}", path)
        else:
            path.write_bytes(wanted[name])
    return wanted


def test_read_ahead_in_order(agent, link, tree):
    """Two threads read, and the answers are in order, whoever read them."""
    wanted = {f"small-{number}": b"%d" % number for number in range(100)}  # after which the second thread comes
    for name, data in wanted.items():
        (tree / name).write_bytes(data)
    wanted |= in_all_shapes(tree, 1000)
    found, done = batch_read(link, tree, list(wanted))
    assert [os.fsdecode(one.path) for one in found] == list(wanted)
    assert [one.errno or one.data for one in found] == list(wanted.values())
    failed = sum(isinstance(one, int) for one in wanted.values())
    assert (done["files"], done["failed"]) == (1100 - failed, failed)
    assert done["bytes"] == sum(len(one) for one in wanted.values() if not isinstance(one, int))


def test_read_ahead_of_what_says_nothing(agent, link):
    """Files that say size 0, and have bytes."""
    found, done = batch_read(link, "/proc/sys/kernel", ["ostype"] * 300)
    assert [one.data for one in found] == [b"Linux\n"] * 300 and done["files"] == 300


@pytest.mark.parametrize("at", [0, 100, 112, 113, 120, 127, 128])
def test_read_ahead_of_no_path(agent, link, tree, at):
    """It ends where it stands, behind answers for all before it."""
    (tree / "a").write_bytes(b"x")
    channel = FileChannel(link, "batch_read", path=str(tree), paths=["a"] * at + [""] + ["a"] * (300 - at)).open()
    with refused(code="bad_message"):
        channel.finish()


@pytest.mark.parametrize("at", [1, 50, 300])
def test_read_ahead_of_a_client_that_goes_away(agent, tree, at):
    """Neither thread is left, nor a descriptor, wherever the client stopped to read."""
    for name in range(1000):
        (tree / str(name)).write_bytes(b"x" * 4096)
    idle = agent.settled_fds()
    for _ in range(5):
        link = agent.connect()
        channel = FileChannel(link, "batch_read", path=str(tree), paths=[str(name) for name in range(1000)], auto=False,
                              keep=False, window=at * 4096).open()
        link.wait(lambda: channel.received == at * 4096, "the first bytes")
        link.cut()
        eventually(lambda: agent.fds() <= idle, "the operation to end")


def test_both_threads_read_with_the_users_rights(agent, link, tree):
    for name in range(600):
        (tree / str(name)).write_bytes(b"x")
        (tree / str(name)).chmod(0o600 if name % 3 == 0 else 0o644)
    found, _ = batch_read(link, tree, [str(name) for name in range(600)], user="nobody")
    assert [one.errno for one in found] == [errno.EACCES if name % 3 == 0 else 0 for name in range(600)]


def test_both_threads_have_the_users_rights(agent, link, tree):
    (tree / "d").mkdir()
    os.chown(tree / "d", NOBODY, NOBODY)
    (tree / "closed").mkdir(mode=0o700)
    names = [f"{where}/{number}" for number in range(100) for where in ("d", "closed")]
    done = batch_write(link, tree, b"".join(record(name, b"x") for name in names), user="nobody", owner="self")
    assert (done["files"], done["failed"]) == (100, 100)
    assert {one["errno"] for one in done["errors"]} == {errno.EACCES}
    assert {(tree / "d" / name).stat().st_uid for name in os.listdir(tree / "d")} == {NOBODY}


def test_modes(agent, link, tree):
    """As said, else that of the target, else 0644; a mode is exact, whatever the umask."""
    (tree / "old").write_bytes(b"old")
    (tree / "old").chmod(0o751)
    (tree / "other").write_bytes(b"old")
    batch_write(link, tree, record("old", b"new") + record("other", b"new", 0o600) + record("fresh", b"new", 0o666)
                + record("suid", b"new", 0o4755) + record("none", b"new", 0))
    modes = {os.fsdecode(name): entry[1] for name, entry in snapshot(tree).items() if name}
    assert modes == {"old": 0o751, "other": 0o600, "fresh": 0o666, "suid": 0o4755, "none": 0}


def test_owners(agent, link, tree):
    (tree / "d").mkdir()
    os.chown(tree / "d", NOBODY, 4242)
    (tree / "d" / "there").write_bytes(b"")
    os.chown(tree / "d" / "there", 7, 8)
    batch_write(link, tree / "d", record("there", b"1") + record("new", b"2") + record("sub/new", b"3")
                + record("sub/large", b"4" * 100000))
    owners = {os.fsdecode(name): entry[3] for name, entry in snapshot(tree / "d").items() if name}
    mine = (NOBODY, 4242)
    assert owners == {"there": (7, 8), "new": mine, "sub": mine, "sub/new": mine, "sub/large": mine}
    batch_write(link, tree / "d", record("of-user", b"1"), user="nobody", owner="self")
    assert (tree / "d" / "of-user").stat().st_uid == NOBODY


def test_existing(agent, link, tree):
    """Replaced in one step: who has the old file open goes on reading it; a link stays one."""
    (tree / "file").write_bytes(b"old")
    (tree / "target").write_bytes(b"old")
    os.symlink("target", tree / "link")
    os.symlink("not-yet", tree / "dangling")
    with open(tree / "file", "rb") as before:
        batch_write(link, tree, record("file", b"new") + record("link", b"new") + record("dangling", b"new"))
        assert before.read() == b"old"
    assert (tree / "file").read_bytes() == (tree / "target").read_bytes() == (tree / "not-yet").read_bytes() == b"new"
    assert os.path.islink(tree / "link") and os.path.islink(tree / "dangling")


@pytest.mark.parametrize("size", [5, 100000])
def test_one_that_fails(agent, link, tree, size):
    """What cannot be written is told, and the rest is written."""
    (tree / "dir").mkdir()
    (tree / "file").write_bytes(b"")
    os.mkfifo(tree / "fifo")
    data = content(size)
    names = ["first", "dir", "second", "file/below", "n" * 256, "fifo", "..", "last"]
    done = batch_write(link, tree, b"".join(record(name, data) for name in names))
    assert done["files"] == 3 and done["failed"] == 5
    assert [(one["index"], one["errno"]) for one in done["errors"]] == [
        (1, errno.EISDIR), (3, errno.ENOTDIR), (4, errno.ENAMETOOLONG), (5, errno.ENXIO), (6, errno.EINVAL)]
    assert [one["path"] for one in done["errors"]] == [names[one["index"]] for one in done["errors"]]
    for name in ("first", "second", "last"):
        assert (tree / name).read_bytes() == data


def test_many_that_fail(agent, link, tree):
    """100 of them are told, and fewer when their names are long."""
    (tree / "file").write_bytes(b"")
    done = batch_write(link, tree, b"".join(record(f"file/{i}", b"x") for i in range(300)))
    assert done["failed"] == 300 and [one["index"] for one in done["errors"]] == list(range(100))
    done = batch_write(link, tree, b"".join(record(b"file/" + b"\xff" * 4000, b"x") for i in range(300)))
    assert done["failed"] == 300 and 5 < len(done["errors"]) < 100
    assert from_wire(done["errors"][0]["path"]) == b"file/" + b"\xff" * 4000


def test_read_errors(agent, link, tree):
    (tree / "fine").write_bytes(b"fine")
    (tree / "large").write_bytes(b"x" * 1001)
    (tree / "exact").write_bytes(b"x" * 1000)
    os.mkfifo(tree / "fifo")
    os.symlink("fine", tree / "link")
    os.symlink("fifo", tree / "to-fifo")
    os.symlink("none", tree / "lost")
    wanted = {"none": errno.ENOENT, "fine": 0, "large": errno.EFBIG, "exact": 0, "fifo": errno.ENXIO, ".": errno.EISDIR,
              "link": 0, "to-fifo": errno.ENXIO, "lost": errno.ENOENT, "none/deep": errno.ENOENT,
              "fine/deep": errno.ENOTDIR, "n" * 256: errno.ENAMETOOLONG}
    found, done = batch_read(link, tree, list(wanted), max=1000)
    assert {os.fsdecode(one.path): one.errno for one in found} == wanted
    assert {os.fsdecode(one.path): one.data for one in found if not one.errno} == {
        "fine": b"fine", "exact": b"x" * 1000, "link": b"fine"}
    assert done["files"] == 3 and done["failed"] == 9
    assert all(one.data == b"" for one in found if one.errno)
    assert not (tree / "none").exists(), "reading makes no directories"
    with refused(code="bad_message"):
        batch_read(link, tree, ["x"], max=4 * MIB + 1)
    with refused(code="bad_message"):
        batch_read(link, tree, [""])


def test_pseudo_files(agent, link):
    """What says size 0 is read until its end."""
    found, _ = batch_read(link, "/proc", ["self/status", "cpuinfo", "version"])
    assert b"Umask" in found[0].data
    assert found[2].data == pathlib.Path("/proc/version").read_bytes()


def test_growing_pseudo_file(agent, link):
    """Up to `max`, and not a byte more."""
    size = len(pathlib.Path("/proc/kallsyms").read_bytes())
    found, _ = batch_read(link, "/proc", ["kallsyms"], max=4096)
    assert found[0].errno == (errno.EFBIG if size > 4096 else 0)


@pytest.mark.parametrize("raw, words", [
    (record("a", b"xyz")[:-1], "record 0 is cut"),
    (record("a", b"xyz") + b"\0", "record 1 is cut"),
    (record("a", b"xyz")[:16], "record 0 is cut"),
    (HEAD.pack(100000, KEEP, 0, 1) + b"a" + b"x" * 50, "record 0 is cut"),
    (record("", b"x"), "a path of 1 to"),
    (record("a" * 4096, b"x"), "a path of 1 to"),
    (record("a\0b", b"x"), "a NUL"),
])
def test_bad_records(agent, link, tree, raw, words):
    with refused(code="bad_message") as caught:
        batch_write(link, tree, raw)
    assert caught is None
    for name in os.listdir(tree):
        assert (tree / name).read_bytes() == b"xyz"


def test_record_with_bytes_to_read(agent, link, tree):
    with refused(code="bad_message"):
        batch_read(link, tree, batch=record("a", b"x"))


def test_disk_full(agent, link, tree):
    """ENOSPC ends it, the file it came at is not there, those before are."""
    disk = tree / "disk"
    disk.mkdir()
    with mounted(disk, "tmpfs", "size=1m"):
        for size in (50000, 150000):
            with refused(errno.ENOSPC):
                batch_write(link, disk, b"".join(record(f"{i}", b"x" * size) for i in range(50)))
            assert {(disk / name).stat().st_size for name in os.listdir(disk)} == {size}
            assert hidden(disk) == []
            for name in os.listdir(disk):
                (disk / name).unlink()
        (disk / "old").write_bytes(b"old")
        with refused(errno.ENOSPC):
            batch_write(link, disk, record("old", b"x" * 2 * MIB))
        assert (disk / "old").read_bytes() == b"old"
    with mounted(disk, "tmpfs", "ro"):
        with refused(errno.EROFS):
            batch_write(link, disk, record("a", b"a"))


def test_root(agent, link, tree):
    """Nothing is read or written outside of a root, however the path is written."""
    (tree / "r" / "in").mkdir(parents=True)
    (tree / "secret").write_bytes(b"secret")
    (tree / "r" / "fine").write_bytes(b"fine")
    os.symlink(tree / "secret", tree / "r" / "in" / "abs")
    os.symlink("../../secret", tree / "r" / "in" / "rel")
    os.symlink("../..", tree / "r" / "in" / "up")
    os.symlink("../fine", tree / "r" / "in" / "good")
    names = ["abs", "rel", "up/secret", "../../secret", "good", "../fine", "/fine"]
    found, _ = batch_read(link, "in", names, root=str(tree / "r"))
    assert [one.errno for one in found] == [errno.EXDEV] * 4 + [0] * 3
    assert all(one.data == b"fine" for one in found[4:])
    done = batch_write(link, "in", b"".join(record(name, b"new") for name in names), root=str(tree / "r"))
    assert [(one["index"], one["errno"]) for one in done["errors"]] == [(i, errno.EXDEV) for i in range(4)]
    assert (tree / "secret").read_bytes() == b"secret" and (tree / "r" / "fine").read_bytes() == b"new"
    assert sorted(os.listdir(tree)) == ["r", "secret"]


def test_client_goes_away(agent, tree):
    """At any byte: what is there is whole."""
    batch = b"".join(record(f"{i}/f{i}", b"x" * size) for i, size in enumerate([100, 70000, 65536, 0, 200000] * 4))
    idle = agent.settled_fds()
    for seed in range(20):
        link = agent.connect(cut_after=random.Random(seed).randrange(1500, len(batch)))
        with contextlib.suppress(LinkClosed):
            batch_write(link, tree / str(seed), batch)
        link.cut()
        eventually(lambda: agent.fds() <= idle, "the operation to end")
        for path in (tree / str(seed)).rglob("f*"):
            assert path.stat().st_size == [100, 70000, 65536, 0, 200000][int(path.name[1:]) % 5]


def test_directory_removed_meanwhile(agent, link, tree):
    """Between two files in it: it is made again."""
    channel = FileChannel(link, "batch_write", path=str(tree)).open()
    channel.write(record("d/a", b"x" * 20000))
    eventually((tree / "d" / "a").exists, "the first file")
    shutil.rmtree(tree / "d")
    done = channel.write(record("d/b", b"y" * 20000), fin=True).finish().done
    assert done["files"] == 2 and os.listdir(tree / "d") == ["b"]


def test_absolute_paths(agent, link, tree):
    (tree / "a").mkdir()
    batch_write(link, "/", record(os.fsencode(tree / "a" / "x"), b"1") + record(os.fsencode(tree / "b" / "y"), b"2"))
    found, _ = batch_read(link, tree / "a", ["x", str(tree / "b" / "y")])
    assert [one.data for one in found] == [b"1", b"2"]


def test_slow_reader(agent, link, tree):
    """Memory does not grow with what waits."""
    for i in range(64):
        (tree / f"{i}").write_bytes(b"x" * MIB)
    before = agent.memory_kib()
    channel = FileChannel(link, "batch_read", path=str(tree), paths=[str(i) for i in range(64)], auto=False, keep=False,
                          window=65536).open()
    link.wait(lambda: channel.received == 65536, "the first bytes")
    assert agent.memory_kib() - before < 6 * 1024
    channel.auto = True
    channel.grant(1 << 40)
    channel.finish()
    assert channel.done["bytes"] == 64 * MIB


def test_head_layout():
    """The example of the document, byte by byte."""
    assert record("a/b", b"hi", 0o644) == struct.pack(">Q", 2) + b"\0\0\1\xa4" + b"\0\0" + b"\0\3" + b"a/b" + b"hi"
