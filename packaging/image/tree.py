"""A root file system to look into, without mounting it: a directory, a tar (docker export), an ext4 image.

A path is always one of that root: links are followed inside it.
"""
import os
import re
import stat
import subprocess
import tarfile

LINKS_MAX = 40
TYPES = {"regular": stat.S_IFREG, "directory": stat.S_IFDIR, "symlink": stat.S_IFLNK}


class TreeError(Exception):
    pass


class Entry:
    def __init__(self, path, mode, uid, size, link=None):
        self.path, self.mode, self.uid, self.size, self.link = path, mode, uid, size, link

    is_dir = property(lambda self: stat.S_ISDIR(self.mode))
    is_file = property(lambda self: stat.S_ISREG(self.mode))
    can_run = property(lambda self: self.is_file and self.mode & 0o111 != 0)


class Tree:
    """What the kinds have in common. lookup(path) gives the Entry of a path without links in it, or None."""

    def find(self, path):
        """The Entry behind all links, or None."""
        done, left = "", [part for part in path.split("/") if part]
        links = 0
        entry = self.lookup("/")
        while left:
            part = left.pop(0)
            if part in (".", ".."):
                done = os.path.dirname(done) if part == ".." else done
                continue
            entry = self.lookup(f"{done}/{part}")
            if entry is None:
                return None
            if entry.link is None:
                done = f"{done}/{part}"
                continue
            links += 1
            if links > LINKS_MAX:
                return None
            if entry.link.startswith("/"):
                done = ""
            left = [part for part in entry.link.split("/") if part] + left
        return self.lookup(done or "/")

    def text(self, path):
        """What a file says; "" when it is not there."""
        entry = self.find(path)
        return self.read(entry).decode(errors="replace") if entry and entry.is_file else ""

    def head(self, path, size=4096):
        entry = self.find(path)
        return self.read(entry)[:size] if entry and entry.is_file else b""


class Directory(Tree):
    def __init__(self, path):
        self.root = os.path.realpath(path)

    def lookup(self, path):
        full = self.root + path
        try:
            st = os.lstat(full)
        except OSError:
            return None
        return Entry(path, st.st_mode, st.st_uid, st.st_size, os.readlink(full) if stat.S_ISLNK(st.st_mode) else None)

    def read(self, entry):
        with open(self.root + entry.path, "rb") as file:
            return file.read()


class Tar(Tree):
    def __init__(self, path):
        self.tar = tarfile.open(path)
        self.members = {"/" + os.path.normpath(m.name).lstrip("./"): m for m in self.tar}

    def lookup(self, path):
        member = self.members.get(path)
        if member is None:
            return Entry("/", stat.S_IFDIR | 0o755, 0, 0) if path == "/" else None
        if member.islnk():
            return self.lookup("/" + os.path.normpath(member.linkname).lstrip("./"))
        kind = stat.S_IFDIR if member.isdir() else stat.S_IFLNK if member.issym() else \
            stat.S_IFREG if member.isfile() else 0
        return Entry(path, kind | member.mode, member.uid, member.size, member.linkname if member.issym() else None)

    def read(self, entry):
        return self.tar.extractfile(self.members[entry.path]).read()


class Ext4(Tree):
    def __init__(self, path):
        self.path = path

    def _debugfs(self, command):
        return subprocess.run(["debugfs", "-R", command, self.path], stdin=subprocess.DEVNULL, capture_output=True,
                              check=True).stdout

    def lookup(self, path):
        text = self._debugfs(f'stat "{path}"').decode(errors="replace")
        found = re.search(r"Type: (\w+)\s+Mode:\s+0?(\d+).*?User:\s+(\d+).*?Size: (\d+)", text, re.S)
        if not found:
            return None
        kind, mode, uid, size = found.groups()
        link = None
        if kind == "symlink":
            fast = re.search(r'Fast link dest: "(.*)"', text)
            link = fast[1] if fast else self._debugfs(f'cat "{path}"').decode(errors="replace")
        return Entry(path, TYPES.get(kind, 0) | int(mode, 8), int(uid), int(size), link)

    def read(self, entry):
        return self._debugfs(f'cat "{entry.path}"')


def open_tree(path):
    if os.path.isdir(path):
        return Directory(path)
    try:
        with open(path, "rb") as file:
            head = file.read(2048)
    except OSError as error:
        raise TreeError(f"{path}: {error.strerror}") from None
    if head[1080:1082] == b"\x53\xef":
        return Ext4(path)
    try:
        return Tar(path)
    except tarfile.TarError:
        raise TreeError(f"{path} is no directory, no tar and no ext4 image") from None
