"""Archives, listings and batches through the agent, what a tree is, and one to work on: for test_file_tar.py,
test_file_list.py and test_file_batch.py."""
import collections
import hashlib
import io
import json
import os
import pathlib
import random
import shutil
import stat
import struct
import tarfile
import tempfile

import pytest

from file_channel import FileChannel
from files import from_wire, wire_name
from harness import eventually, open_files
from wire import Timeout

MIB = 1 << 20
LONG = "long-" + "n" * 250
LATIN = b"caf\xe9 \xff\n\t"
KEEP = 0xFFFFFFFF
HEAD = struct.Struct(">QIHH")
Record = collections.namedtuple("Record", "path data mode errno")


def tar(link, path, **how):
    """The channel of a finished `tar`; `.data` is the archive."""
    return FileChannel(link, "tar", path=wire_name(path), **how).open().finish()


def untar(link, path, archive, **how):
    """What `done` says of an archive that was unpacked."""
    channel = FileChannel(link, "untar", path=wire_name(path), **how).open()
    return channel.write(archive, fin=True).finish().done


def listing(link, path, **how):
    """(lines, done) of a `list`."""
    channel = FileChannel(link, "list", path=wire_name(path), **how).open().finish()
    return [json.loads(line) for line in channel.data.splitlines()], channel.done


def paths(lines):
    return sorted(from_wire(line.get("path", line.get("name"))) for line in lines)


# batches

def record(path, data=b"", mode=KEEP, errno=0):
    raw = os.fsencode(path)
    return HEAD.pack(len(data), mode, errno, len(raw)) + raw + data


def records(data):
    """The records in a byte string."""
    found, at = [], 0
    while at < len(data):
        size, mode, errno, length = HEAD.unpack_from(data, at)
        at += HEAD.size
        path = data[at:at + length]
        at += length
        found.append(Record(path, data[at:at + size], mode, errno))
        at += size
    assert at == len(data)
    return found


def batch_write(link, path, batch, **how):
    channel = FileChannel(link, "batch_write", path=wire_name(path), **how).open()
    return channel.write(batch, fin=True).finish().done


def batch_read(link, path, names=None, batch=None, **how):
    """(records, done)."""
    if names is not None:
        how["paths"] = [wire_name(name) for name in names]
    channel = FileChannel(link, "batch_read", path=wire_name(path), **how).open()
    if batch is not None:
        channel.write(batch, fin=True)
    channel.finish()
    return records(channel.data), channel.done


# trees

def snapshot(top, owners=True, times=True, fifos=True):
    """Everything below a directory as a dict: path to (type, mode, content, owner, mtime, names of the same file)."""
    top = os.fsencode(top)
    found, inodes = {}, collections.defaultdict(list)

    def visit(path):
        info = os.lstat(os.path.join(top, path))
        kind = stat.S_IFMT(info.st_mode)
        content = None
        if kind == stat.S_IFREG:
            with open(os.path.join(top, path), "rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            inodes[info.st_ino].append(path)
        elif kind == stat.S_IFLNK:
            content = os.readlink(os.path.join(top, path))
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            content = info.st_rdev
        if kind == stat.S_IFSOCK or (kind == stat.S_IFIFO and not fifos):
            return
        mode = 0 if kind == stat.S_IFLNK else stat.S_IMODE(info.st_mode)
        found[path] = [kind, mode, content, (info.st_uid, info.st_gid) if owners else None,
                       info.st_mtime_ns if times else None, ()]
        if kind == stat.S_IFDIR:
            for name in os.listdir(os.path.join(top, path)):
                visit(os.path.join(path, name) if path else name)
    visit(b"")
    for same in inodes.values():
        for path in same:
            found[path][5] = tuple(sorted(same))
    return found


def hidden(top):
    """Temporary names that were left behind."""
    return [os.path.join(where, name) for where, dirs, files in os.walk(os.fsencode(top))
            for name in dirs + files if name.startswith(b".agentd")]


# a tree

@pytest.fixture
def tree():
    """A directory on tmpfs, where there is one."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = pathlib.Path(tempfile.mkdtemp(prefix="tar-", dir=base))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(autouse=True)
def nothing_left(tree, agent):
    """No operation leaves a descriptor or a temporary name behind, however it ends."""
    before, known = agent.settled_fds(), open_files(agent.pid)
    yield
    for link in agent.links:
        link.cut()
    try:
        eventually(lambda: agent.fds() <= before, "descriptors to be closed")
    except Timeout:
        raise Timeout(f"still open: {open_files(agent.pid).items() - known.items()}") from None
    assert hidden(tree) == []


def fill(top):
    """A tree with something of everything."""
    top.mkdir()
    (top / "plain").write_bytes(b"plain\n")
    (top / "empty").write_bytes(b"")
    (top / "large").write_bytes(random.Random(1).randbytes(3 * MIB + 17))
    (top / "exact").write_bytes(b"x" * 65536)
    (top / "block").write_bytes(b"y" * 512)
    (top / LONG).write_bytes(b"long\n")
    pathlib.Path(os.fsdecode(os.fsencode(top) + b"/" + LATIN)).write_bytes(b"latin\n")
    deep = top
    for _ in range(14):
        deep = deep / ("d" * 240)
    deep.mkdir(parents=True)
    (deep / "bottom").write_bytes(b"deep\n")
    (top / "run.sh").write_bytes(b"#!/bin/sh\n")
    (top / "run.sh").chmod(0o755)
    (top / "secret").write_bytes(b"s")
    (top / "secret").chmod(0o400)
    (top / "empty dir").mkdir()
    (top / "closed").mkdir()
    (top / "closed" / "inside").write_bytes(b"i")
    os.link(top / "plain", top / "closed" / "same")
    os.link(top / "plain", top / "zz-same")
    os.symlink("plain", top / "link")
    os.symlink("/nowhere/at/all", top / "lost")
    os.symlink("closed", top / "dirlink")
    os.symlink("t/" * 1500, top / "longlink")
    with open(top / "sparse", "wb") as file:
        file.truncate(2 * MIB)
        file.seek(MIB)
        file.write(b"middle")
    for i, path in enumerate(sorted(top.rglob("*"))):
        os.utime(path, ns=(10 ** 18 + i, 1500000000123456789 + i * 1000003), follow_symlinks=False)
    os.utime(top / "block", ns=(0, 0))
    os.chmod(top / "closed", 0o555)
    os.utime(top, ns=(0, 1234567890 * 10 ** 9 + 5))


def archive(*members, **how):
    """An archive of TarInfo members: (name, data), or keyword arguments for one."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", errors="surrogateescape", **how) as file:
        for member in members:
            if isinstance(member, tuple):
                member = {"name": member[0], "data": member[1]}
            data = member.pop("data", b"")
            info = tarfile.TarInfo(member.pop("name"))
            info.size = len(data)
            for key, value in member.items():
                setattr(info, key, value)
            file.addfile(info, io.BytesIO(data))
    return out.getvalue()
