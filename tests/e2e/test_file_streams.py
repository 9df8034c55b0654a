"""Files read and written over channels (docs/protocol.md section 13), and what must hold when it goes wrong.

ctest: timeout=600
"""
import contextlib
import errno
import hashlib
import os
import pathlib
import random
import re
import socket
import subprocess
import tempfile
import threading
import time

import pytest

from archives import MIB, tree
from file_channel import FileChannel, read_file, write_file
from harness import LONG, Tool, eventually, open_files, programs
from wire import BINARY, AgentError, b64, ws_encode

pytestmark = pytest.mark.same_machine

NOBODY = 65534


@pytest.fixture
def small_disk():
    """A tmpfs of 4 MiB."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="small-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "small", path], check=True)
    yield path
    subprocess.run(["umount", path], check=True)
    path.rmdir()


@contextlib.contextmanager
def fails(code=errno.ENOENT, word="failed"):
    with pytest.raises(AgentError) as caught:
        yield caught
    assert caught.value.code == word, caught.value
    if code is not None:
        assert caught.value.errno == code, caught.value


def names(path):
    """Everything below, hidden names too."""
    return sorted(str(p.relative_to(path)) for p in path.rglob("*"))


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)


def threads(agent):
    return len(os.listdir(f"/proc/{agent.pid}/task"))


def open_below(agent, path):
    """What the agent has open there, deleted and nameless files included."""
    return [target for target in open_files(agent.pid).values() if target.startswith(str(path))]


def at_rest(agent, path):
    """No thread and no descriptor of a file operation left (idle threads stay for a second)."""
    eventually(lambda: threads(agent) == 1, "the threads to go")
    assert open_below(agent, path) == []


# ------------------------------------------------------------------------------------------------ reading

@pytest.mark.parametrize("size", [0, 1, 4096, 16384, 16385, 65520, 65521, 524288, 3 * MIB + 7])
def test_read_sizes(link, tree, size):
    """Every size at which a buffer, a frame or the ring changes hands."""
    data = noise(size)
    (tree / "f").write_bytes(data)
    got = read_file(link, f"{tree}/f")
    assert got.data == data
    assert got.done == {"event": "done", "bytes": size}
    assert [e["event"] for e in got.events] == ["entry", "done"]


def test_entry(link, tree):
    """The first event says what stat says."""
    path = tree / "né ws"
    path.write_bytes(b"12345")
    os.chmod(path, 0o4640)
    os.utime(path, ns=(1_600_000_000_123_456_789, 1_500_000_000_000_000_001))
    entry, st = read_file(link, str(path)).entry, path.stat()
    assert entry["name"] == "né ws" and entry["type"] == "file" and entry["size"] == 5
    assert entry["mode"] == 0o4640 and entry["uid"] == st.st_uid and entry["nlink"] == 1
    assert entry["mtime_ns"] == 1_500_000_000_000_000_001 and entry["ino"] == st.st_ino


def test_ranges(link, tree):
    """Parts of a file carry their offsets in it; what lies behind the end is nothing."""
    data = noise(200_000)
    (tree / "f").write_bytes(data)
    for offset, length in ((0, 10), (5, 0), (65520, 65520), (199_999, 5), (200_000, 5), (10 ** 12, 1), (1, None)):
        how = {} if length is None else {"length": length}
        got = read_file(link, f"{tree}/f", offset=offset, **how)
        part = data[offset:] if length is None else data[offset:offset + length]
        assert got.data == part and got.done["bytes"] == len(part)
        assert got.out.start == offset


def test_sparse(link, tree):
    """Holes come as gaps when that is asked for, as zeros otherwise, and the digest is the same."""
    with open(tree / "f", "wb") as f:
        f.write(b"a" * 4096)
        f.seek(10 * MIB)
        f.write(b"b" * 4096)
        f.truncate(20 * MIB)
    whole = hashlib.sha256((tree / "f").read_bytes()).hexdigest()
    got = read_file(link, f"{tree}/f", sparse=True, sha256=True)
    assert got.out.count < 3 * MIB and got.out.missing() + got.out.count == 20 * MIB
    assert got.done == {"event": "done", "bytes": 20 * MIB, "sha256": whole}
    plain = read_file(link, f"{tree}/f", sha256=True)
    assert plain.out.count == 20 * MIB and plain.done["sha256"] == whole and plain.out.hash() == whole
    part = read_file(link, f"{tree}/f", sparse=True, offset=MIB, length=10 * MIB)
    assert part.out.offset == 11 * MIB and part.data == (b"b" * 4096).ljust(part.out.count, b"\0")


def test_pseudo_files(link):
    """A size of 0 is not believed: /proc is read to its end, and by parts."""
    assert b"processor" in read_file(link, "/proc/cpuinfo").data
    whole = read_file(link, "/proc/cpuinfo").data
    assert read_file(link, "/proc/cpuinfo", offset=100, length=50).data == whole[100:150]
    assert read_file(link, "/sys/kernel/mm/transparent_hugepage/enabled").data


def test_read_errors(link, tree):
    """What is no file is said so, with the kernel's number or a word of its own."""
    os.mkfifo(tree / "fifo")
    (tree / "dir").mkdir()
    (tree / "loop").symlink_to("loop")
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(tree / "sock"))
    for name, code in (("missing", errno.ENOENT), ("dir", errno.EISDIR), ("loop", errno.ELOOP),
                       ("dir/x/y", errno.ENOENT), ("n" * 256, errno.ENAMETOOLONG)):
        with fails(code):
            read_file(link, f"{tree}/{name}")
    for path in (f"{tree}/fifo", f"{tree}/sock", "/dev/zero"):
        with fails(None, "special_file"):
            read_file(link, path)
    sock.close()
    for members in ({}, {"path": ""}, {"path": 5}, {"path": "/x", "offset": -1}, {"path": "/x", "length": "all"},
                    {"path": "/x", "root": "relative"}):
        with fails(None, "bad_message"):
            FileChannel(link, "read", **members).open().finish()
    with fails(None, "unknown_op"):
        FileChannel(link, "paint", path="/x").open().finish()


def test_special(link, tree):
    """Devices and FIFOs when that is asked for."""
    got = read_file(link, "/dev/zero", special=True, length=300_000)
    assert got.data == bytes(300_000)
    os.mkfifo(tree / "fifo")
    channel = FileChannel(link, "read", path=f"{tree}/fifo", special=True).open()
    with open(tree / "fifo", "wb", buffering=0) as f:  # waits for the agent to have opened it
        for text in (b"one ", b"two ", b"three"):
            f.write(text)
            channel.link.wait(lambda: channel.data.endswith(text), "what was written")
    assert channel.finish().data == b"one two three"


def test_cut_meanwhile(link, tree):
    """A file that shrinks while it is read ends early and says how far it came."""
    (tree / "f").write_bytes(bytes(20 * MIB))
    channel = FileChannel(link, "read", path=f"{tree}/f", window=100_000, auto=False).open()
    link.wait(lambda: channel.received == 100_000, "the first of it")
    os.truncate(tree / "f", 1 * MIB)
    channel.auto, channel.size = True, MIB
    channel.grant(100 * MIB)
    done = channel.finish().done
    assert done["bytes"] == channel.out.count < 20 * MIB


def test_grows_meanwhile(link, tree):
    """A file that is written to all the time has an end: where it was at the open."""
    (tree / "f").write_bytes(bytes(5 * MIB))
    channel = FileChannel(link, "read", path=f"{tree}/f", window=1000, auto=False).open()
    link.wait(lambda: channel.entry, "the entry")
    with open(tree / "f", "ab") as f:
        f.write(b"x" * MIB)
    channel.auto, channel.size = True, MIB
    channel.grant(2 * MIB)
    assert channel.finish().out.count == 5 * MIB


# ------------------------------------------------------------------------------------------------ writing

@pytest.mark.parametrize("size", [0, 1, 4096, 65520, 65521, 524288, 524289, 3 * MIB + 7])
def test_write_sizes(link, tree, size):
    data = noise(size)
    got = write_file(link, f"{tree}/f", data)
    assert (tree / "f").read_bytes() == data and got.done == {"event": "done", "bytes": size}
    assert (tree / "f").stat().st_mode & 0o7777 == 0o644
    assert names(tree) == ["f"]
    assert write_file(link, f"{tree}/g", data, size=size).done["bytes"] == size
    assert (tree / "g").read_bytes() == data


def test_mode_and_owner(link, tree):
    """A new file and the directories made for it belong to whose directory it is; a target keeps its own."""
    os.chown(tree, NOBODY, NOBODY)
    write_file(link, f"{tree}/a/b/c", b"1")
    for name in ("a", "a/b", "a/b/c"):
        st = (tree / name).stat()
        assert (st.st_uid, st.st_gid) == (NOBODY, NOBODY), name
    assert (tree / "a").stat().st_mode & 0o7777 == 0o755
    os.chmod(tree / "a/b/c", 0o751)
    os.chown(tree / "a/b/c", 12, 34)
    write_file(link, f"{tree}/a/b/c", b"2")
    st = (tree / "a/b/c").stat()
    assert (st.st_mode & 0o7777, st.st_uid, st.st_gid) == (0o751, 12, 34)
    write_file(link, f"{tree}/a/b/c", b"3", mode=0o600)
    assert (tree / "a/b/c").stat().st_mode & 0o7777 == 0o600
    write_file(link, f"{tree}/mine", b"", owner="self")
    assert (tree / "mine").stat().st_uid == 0
    write_file(link, f"{tree}/yours", b"", owner="77:88")
    assert (tree / "yours").stat().st_gid == 88
    with fails(errno.ENOENT):
        write_file(link, f"{tree}/x/y", b"", parents=False)


def test_as_user(link, tree):
    """Files are touched with the rights of the user who is named."""
    os.chown(tree, NOBODY, NOBODY)
    write_file(link, f"{tree}/f", b"x", user=f"{NOBODY}:{NOBODY}")
    (tree / "secret").write_bytes(b"s")
    os.chmod(tree / "secret", 0o600)
    with fails(errno.EACCES):
        read_file(link, f"{tree}/secret", user=f"{NOBODY}:{NOBODY}")
    assert read_file(link, f"{tree}/secret").data == b"s"


def test_symlink_target(link, tree):
    """A link that is written to stays one."""
    (tree / "real").write_bytes(b"old")
    (tree / "link").symlink_to("real")
    write_file(link, f"{tree}/link", b"new")
    assert (tree / "link").is_symlink() and (tree / "real").read_bytes() == b"new"
    assert names(tree) == ["link", "real"]


def test_confined(link, tree):
    """Nothing leaves a root, by name or by link."""
    (tree / "root").mkdir()
    (tree / "root/out").symlink_to("..")
    write_file(link, "in/it", b"x", root=f"{tree}/root")
    assert (tree / "root/in/it").read_bytes() == b"x"
    for path in ("../f", "out/f", "/../f", "in/../../f"):
        with fails(errno.EXDEV):
            write_file(link, path, b"x", root=f"{tree}/root")
        with fails(errno.EXDEV):
            read_file(link, path, root=f"{tree}/root")
    assert names(tree) == ["root", "root/in", "root/in/it", "root/out"]


def test_any_name(link, tree):
    """Names are bytes."""
    path = os.fsencode(str(tree)) + b"/\xff\xfe\n"
    write_file(link, b64(path), b"x")
    assert os.listdir(os.fsencode(str(tree))) == [b"\xff\xfe\n"]
    assert read_file(link, b64(path)).entry["name"] == b64(b"\xff\xfe\n")


def test_other_ways(link, tree):
    """replace_not, in_place, append and at."""
    path = f"{tree}/f"
    write_file(link, path, b"0123456789", how="replace_not")
    with fails(errno.EEXIST):
        write_file(link, path, b"no", how="replace_not")
    ino = (tree / "f").stat().st_ino
    write_file(link, path, b"abc", how="append")
    write_file(link, path, b"XY", how="at", offset=4)
    assert (tree / "f").read_bytes() == b"0123XY6789abc"
    write_file(link, path, b"short", how="in_place", mode=0o640)
    assert (tree / "f").read_bytes() == b"short" and (tree / "f").stat().st_mode & 0o7777 == 0o640
    assert (tree / "f").stat().st_ino == ino
    for how in ("in_place", "append"):
        write_file(link, f"{tree}/new/{how}", b"new", how=how)
        assert (tree / "new" / how).read_bytes() == b"new"
        assert (tree / "new" / how).stat().st_mode & 0o7777 == 0o644
    with fails(errno.ENOENT):
        write_file(link, f"{tree}/none", b"x", how="at", offset=1)
    write_file(link, path, b"far", how="at", offset=3 * MIB)
    assert (tree / "f").stat().st_size == 3 * MIB + 3
    os.mkfifo(tree / "fifo")
    for how in ("atomic", "in_place", "append", "at"):
        with fails(None, "special_file"):
            write_file(link, f"{tree}/fifo", b"x", how=how)
        with fails(errno.EISDIR):
            write_file(link, f"{tree}/new", b"x", how=how)
    for members in ({"how": "well"}, {"mode": 0o10000}, {"mode": -1}, {"offset": 5}, {"size": -1}, {"sha256": "ab"},
                    {"sha256": "A" * 64}):
        with fails(None, "bad_message"):
            write_file(link, path, b"", **members)


def test_holes(link, tree, tmp_path):
    """A jump leaves a hole, also one at the end; also in room that was reserved, as it is on a disk."""
    for base, size in ((tree, {}), (tree, {"size": 30 * MIB}), (tmp_path, {}), (tmp_path, {"size": 30 * MIB})):
        path = base / f"f{len(size)}"
        channel = FileChannel(link, "write", path=str(path), sha256=True, **size).open()
        channel.write(b"a" * 5000)
        channel.write(b"b" * 5000, at=10 * MIB)
        channel.write(fin=True, at=30 * MIB)
        assert channel.finish().done["bytes"] == 30 * MIB
        data = path.read_bytes()
        assert len(data) == 30 * MIB and data.rstrip(b"\0") == (b"a" * 5000).ljust(10 * MIB, b"\0") + b"b" * 5000
        assert path.stat().st_blocks * 512 < MIB
        assert channel.done["sha256"] == hashlib.sha256(data).hexdigest()
    with fails(None, "bad_offset"):
        FileChannel(link, "write", path=f"{tree}/f", how="append").open().write(b"x", at=1).finish()
    with fails(None, "bad_offset"):
        FileChannel(link, "write", path=f"{tree}/f").open().write(b"abc").write(b"x", at=1).finish()


def test_room_given_back(link, tmp_path):
    """A file that is written where it lies, and given up, keeps what came and not what was reserved for it."""
    (tmp_path / "f").write_bytes(b"old")
    channel = FileChannel(link, "write", path=f"{tmp_path}/f", how="in_place", size=30 * MIB).open().write(b"x" * 1000)
    eventually(lambda: (tmp_path / "f").stat().st_size == 1000, "the first of it")
    channel.close()
    eventually(lambda: (tmp_path / "f").stat().st_blocks * 512 < MIB, "the room")
    assert (tmp_path / "f").read_bytes() == b"x" * 1000


def test_digest(link, tree):
    """A digest that is given must result; else the target is what it was."""
    data = noise(300_000)
    digest = hashlib.sha256(data).hexdigest()
    assert write_file(link, f"{tree}/f", data, sha256=digest).done["sha256"] == digest
    with fails(errno.EBADMSG):
        write_file(link, f"{tree}/f", data + b"x", sha256=digest)
    assert (tree / "f").read_bytes() == data and names(tree) == ["f"]


def test_announced_size(link, tree):
    """More or less than was announced is an error, and nothing is left."""
    for size in (9, 11, 10 ** 6):
        with fails(None, "bad_message"):
            write_file(link, f"{tree}/d/f", b"0123456789", size=size)
    assert names(tree) == []


def test_one_round_trip(link, tree):
    """A small file needs no answer between OPEN and FIN, and many may be under way at once."""
    channels = [FileChannel(link, "write", path=f"{tree}/{i}") for i in range(100)]
    frames = b""
    for i, channel in enumerate(channels):
        for what in (channel.open_frame(), channel.data_frame(b"%d" % i, fin=True)):
            frames += ws_encode(BINARY, what.pack())
    link.send_raw(frames)
    for channel in channels:
        channel.finish()
    assert {int(n): (tree / n).read_text() for n in names(tree)} == {i: str(i) for i in range(100)}


def test_slow_client(link, tree):
    """A client that waits for OPENED, and that sends byte by byte, is served as well."""
    channel = FileChannel(link, "write", path=f"{tree}/f", presume=False).open().wait_opened()
    for i in range(300):
        channel.write(bytes([i & 255]))
    channel.write(fin=True)
    channel.finish()
    assert (tree / "f").read_bytes() == bytes(i & 255 for i in range(300))


@pytest.mark.seconds(240)
def test_large(link, tree):
    """300 MiB there and back, by its digest."""
    block = noise(MIB)
    sha = hashlib.sha256()
    channel = FileChannel(link, "write", path=f"{tree}/f", size=300 * MIB).open()
    for i in range(300):
        part = i.to_bytes(4, "big") + block[4:]
        sha.update(part)
        channel.write(part, timeout=30)
    channel.write(fin=True)
    assert channel.finish().done["bytes"] == 300 * MIB
    got = FileChannel(link, "read", path=f"{tree}/f", keep=False).open().finish(120)
    assert got.out.hash() == sha.hexdigest() and got.out.count == 300 * MIB


# ------------------------------------------------------------------------------------------------ going wrong

def test_credit_overrun(link, tree):
    """More than the window closes the channel, and nothing is left."""
    channel = FileChannel(link, "write", path=f"{tree}/f", presume=False, how="atomic").open()
    window = link.hello["limits"]["file_window"]
    os.mkfifo(tree / "fifo")
    sent = 0
    while channel.closed is None and sent < 100 * MIB:
        link.send_ws(BINARY, channel.data_frame(bytes(65520)).pack(), key=b"\0\0\0\0")
        sent += 65520
        if sent > window:
            with contextlib.suppress(Exception):
                link.pump(0)
    assert channel.wait_closed()["code"] == "credit_overrun"
    assert names(tree) == ["fifo"]


@pytest.mark.seconds(120)
def test_killed_client(agent, tree):
    """A link that breaks anywhere in an upload or a download leaves no name, no descriptor, no thread."""
    (tree / "big").write_bytes(noise(30 * MIB))
    rng = random.Random(5)
    before = agent.settled_fds()
    for i in range(60 if LONG else 24):
        link = agent.connect()
        link.cut_after = rng.randrange(1, 20 * MIB)
        with contextlib.suppress(Exception):
            if i % 2:
                write_file(link, f"{tree}/made/deep/up", noise(MIB) * 20, **({"size": 20 * MIB} if i % 4 == 1 else {}))
            else:
                read_file(link, f"{tree}/big", sha256=True)
        link.cut()
    at_rest(agent, tree)
    assert set(names(tree)) <= {"big", "made", "made/deep", "made/deep/up"}
    assert not (tree / "made/deep/up").exists() or (tree / "made/deep/up").stat().st_size == 20 * MIB
    eventually(lambda: agent.fds() <= before, "the descriptors")


def test_aborted_parents(agent, link, tree):
    """The directories made for a file that is given up go with it, unless somebody uses them."""
    channel = FileChannel(link, "write", path=f"{tree}/a/b/c/f").open().write(b"x")
    eventually(lambda: (tree / "a/b/c").exists(), "the parents")
    (tree / "a/other").write_bytes(b"")
    channel.close()
    eventually(lambda: names(tree) == ["a", "a/other"], "the rest to go")
    at_rest(agent, tree)


def test_no_space(agent, link, small_disk):
    """A full disk in the middle of an upload is told at once, the target is untouched, the room is given back."""
    (small_disk / "f").write_bytes(b"old")
    channel = FileChannel(link, "write", path=f"{small_disk}/f").open()
    channel.write(bytes(20 * MIB))
    assert channel.closed["errno"] == errno.ENOSPC and channel.tx_used < 6 * MIB
    assert (small_disk / "f").read_bytes() == b"old" and names(small_disk) == ["f"]
    at_rest(agent, small_disk)
    st = os.statvfs(small_disk)
    assert st.f_bfree * st.f_bsize > 3 * MIB
    write_file(link, f"{small_disk}/f", bytes(MIB))


def test_no_space_known(link, small_disk):
    """With a size that is known beforehand no byte is taken."""
    for how in ("atomic", "in_place", "append"):
        channel = FileChannel(link, "write", path=f"{small_disk}/{how}", size=20 * MIB, how=how).open()
        assert channel.wait_closed()["errno"] == errno.ENOSPC
    write_file(link, f"{small_disk}/f", bytes(3 * MIB), size=3 * MIB)


def test_reader_that_stops(agent, link, tree):
    """Who does not read holds up nobody, not even on the same link."""
    (tree / "big").write_bytes(bytes(30 * MIB))
    stopped = [FileChannel(link, "read", path=f"{tree}/big", auto=False, window=w).open() for w in (0, 1, 300_000) * 5]
    write_file(link, f"{tree}/f", b"x" * MIB)
    assert read_file(link, f"{tree}/f").out.count == MIB
    other = agent.connect()
    assert read_file(other, f"{tree}/big", keep=False).out.count == 30 * MIB
    assert [c.received for c in stopped] == [0, 1, 300_000] * 5
    for channel in stopped:
        channel.close()
    at_rest(agent, tree)


def test_hung_read(agent, link, tree):
    """A FIFO that nobody writes to holds its own thread; and lets go when the client does."""
    os.mkfifo(tree / "fifo")
    hung = [FileChannel(link, "read", path=f"{tree}/fifo", special=True).open() for _ in range(20)]
    eventually(lambda: len(open_below(agent, tree / "fifo")) == 20, "the FIFO to be opened")
    for i in range(20):
        write_file(link, f"{tree}/{i}", b"x" * i)
        assert read_file(link, f"{tree}/{i}").data == b"x" * i
    assert threads(agent) >= 21
    for channel in hung[:10]:
        channel.close()
    eventually(lambda: len(open_below(agent, tree / "fifo")) == 10, "those that were closed to go")
    link.cut()
    at_rest(agent, tree)


@pytest.mark.agentd(max_channels=400)
def test_too_many(agent, link, tree):
    """There are so many streams at once and no more; those that are refused cost nothing."""
    before = agent.settled_fds()
    os.mkfifo(tree / "fifo")
    all_of_them = [FileChannel(link, "read", path=f"{tree}/fifo", special=True).open() for _ in range(250)]
    link.wait(lambda: all(c.opened or c.refused for c in all_of_them), "250 answers", 20)
    refused = [c.refused for c in all_of_them if c.refused]
    assert len(refused) == 250 - 192 and {r["code"] for r in refused} == {"too_many"}
    assert link.request("ping") == {}
    for channel in all_of_them:
        if not channel.refused:
            channel.close()
    at_rest(agent, tree)
    assert agent.settled_fds() <= before
    assert write_file(link, f"{tree}/f", b"x").done


def test_echo_beside_download(agent, link, tree):
    """A key goes to `cat` and back while a file is fetched on the same link: as with output, it waits for little."""
    with open(tree / "big", "wb") as f:
        f.truncate(1 << 30)
    cat = link.open(start={"cmd": ["cat"], "stdin": True}, attach={"input": True})
    bulk = FileChannel(link, "read", path=f"{tree}/big", keep=False).open()
    link.wait(lambda: bulk.received > 0, "the first of the file")
    times, before = [], bulk.received
    while len(times) < 100:
        t, want = time.monotonic(), cat.stdout.count + 1
        cat.write(b"k")
        link.wait(lambda: cat.stdout.count == want, "the echo")
        times.append(time.monotonic() - t)
    assert bulk.received > before
    assert sorted(times)[90] < 0.3, sorted(times)  # this client hashes what it gets; agentd is not what is slow
    bulk.close()
    cat.write(fin=True)
    cat.finish()


def test_stop_with_streams(start_agent, tree):
    """SIGTERM in the middle of everything: the agent ends in order."""
    agent = start_agent()
    link = agent.connect()
    os.mkfifo(tree / "fifo")
    (tree / "big").write_bytes(bytes(10 * MIB))
    FileChannel(link, "read", path=f"{tree}/fifo", special=True).open()
    FileChannel(link, "read", path=f"{tree}/big", auto=False, window=100_000).open()
    FileChannel(link, "write", path=f"{tree}/up").open().write(bytes(200_000))
    link.request("ping")
    agent.terminate()
    assert agent.proc.wait(15) == 0
    assert names(tree) == ["big", "fifo"]


def test_upgrade_with_streams(agent, link, tree):
    """The agent is replaced in the middle of everything: what was not finished is as if it never began."""
    os.mkfifo(tree / "fifo")
    (tree / "big").write_bytes(bytes(10 * MIB))
    FileChannel(link, "read", path=f"{tree}/fifo", special=True).open()
    FileChannel(link, "read", path=f"{tree}/big", auto=False, window=100_000).open()
    FileChannel(link, "write", path=f"{tree}/dir/up").open().write(bytes(200_000))
    eventually(lambda: (tree / "dir").exists(), "the upload to begin")
    after = agent.upgrade()
    assert open_below(agent, tree) == [] and not (tree / "dir/up").exists()
    assert [n for n in names(tree) if n != "dir"] == ["big", "fifo"]
    write_file(after, f"{tree}/dir/up", b"x")
    at_rest(agent, tree)


@pytest.mark.seconds(120)
def test_killed_program(agent, tree):
    """A client that is killed with SIGKILL at any moment, in either direction."""
    (tree / "src").write_bytes(noise(60 * MIB))
    before, rng = agent.settled_fds(), random.Random(7)
    for i in range(40 if LONG else 16):
        args = (f"{tree}/src", f":{tree}/up") if i % 2 else (f":{tree}/src", f"{tree}/down")
        tool = Tool(agent.target, "cp", *args)
        time.sleep(rng.random() * 0.25)  # the moment is what is random here
        tool.proc.kill()
        tool.proc.communicate()
        programs.discard(tool.proc)
    eventually(lambda: agent.fds() <= before, "the descriptors")
    at_rest(agent, tree)
    ours = [n for n in names(tree) if not re.match(r"\.?down", n) and "agentctl" not in n]
    assert set(ours) <= {"src", "up"}
    assert not (tree / "up").exists() or (tree / "up").stat().st_size == 60 * MIB


def test_many_threads_of_clients(agent, tree):
    """Eight clients at once, each with files of its own, all bytes right."""
    errors = []

    def client(number):
        try:
            link = agent.connect()
            for i in range(15):
                data = noise(random.Random(number * 100 + i).randrange(1, 400_000), i)
                write_file(link, f"{tree}/{number}/{i}", data)
                assert read_file(link, f"{tree}/{number}/{i}").data == data
        except BaseException as e:  # noqa: told below
            errors.append(e)

    crowd = [threading.Thread(target=client, args=(n,)) for n in range(8)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert not errors, errors
    assert not [n for n in names(tree) if re.search(r"\.agentd", n)]
    at_rest(agent, tree)
