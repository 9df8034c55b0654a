"""Archives, listings and batches through the agent, and what a tree is: for test_file_tar.py and test_file_batch.py."""
import collections
import hashlib
import json
import os
import stat
import struct

from file_channel import FileChannel
from files import from_wire, wire_name

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
