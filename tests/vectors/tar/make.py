#!/usr/bin/python3
"""Makes the archives beside it, with GNU tar and with Python's tarfile, and beside each what is in it (X.txt) as
tests/unit/test_tar.c tells it: type path>link mode uid:gid size time major,minor, and the data.

The texts are written from what was put into the archives, not from reading them. Run again only to add one.
"""
import io
import os
import pathlib
import subprocess
import tarfile
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
LONG = "d" * 60 + "/" + "e" * 60 + "/" + "f" * 90
LATIN = b"caf\xe9"
TIME = 1600000000
TYPES = {"file": 0, "hard": 1, "link": 2, "dir": 5, "fifo": 6}


def members(long_names, fifo=True):
    """(type, path, link, mode, data) in the order in which they are archived."""
    yield "dir", b"sub/", b"", 0o755, b""
    yield "file", b"sub/one", b"", 0o644, b"first\n"
    yield "hard", b"sub/two", b"sub/one", 0o644, b""
    yield "link", b"sub/sym", b"../elsewhere", 0o777, b""
    if fifo:
        yield "fifo", b"sub/fifo", b"", 0o600, b""
    yield "file", LATIN, b"", 0o755, b"x" * 700
    if long_names:
        yield "file", LONG.encode(), b"", 0o400, b"long"
        yield "link", b"deep", LONG.encode(), 0o777, b""


def text(fraction, *what):
    out = b""
    for kind, path, link, mode, data in members(*what):
        out += b"\n%d %s>%s %o %d:%d %d %d.%09d 0,0 %s" % (
            TYPES[kind], path, link, mode, 4242, 99, len(data), TIME, fraction, data)
    return out


def gnu(name, form, *what, fraction=0):
    with tempfile.TemporaryDirectory() as top:
        names = []
        for kind, path, link, mode, data in members(*what):
            full = os.path.join(top.encode(), path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            if kind == "dir":
                os.makedirs(full, exist_ok=True)
            elif kind == "file":
                pathlib.Path(os.fsdecode(full)).write_bytes(data)
            elif kind == "hard":
                os.link(os.path.join(top.encode(), link), full)
            elif kind == "link":
                os.symlink(link, full)
            else:
                os.mkfifo(full)
            if kind != "link":
                os.chmod(full, mode)
            names.append(path.rstrip(b"/"))
        ns = TIME * 10 ** 9 + fraction
        for kind, path, *_ in members(*what):
            os.utime(os.path.join(top.encode(), path.rstrip(b"/")), ns=(ns, ns), follow_symlinks=False)
        subprocess.run(["tar", f"--format={form}", "--no-recursion", "--owner=:4242", "--group=:99", "-b1",
                        "-cf", str(HERE / f"{name}.tar"), "-C", top, *names], check=True)
    (HERE / f"{name}.txt").write_bytes(text(fraction, *what))


def python(name, form, *what, fraction=0):
    kinds = {"file": tarfile.REGTYPE, "hard": tarfile.LNKTYPE, "link": tarfile.SYMTYPE, "dir": tarfile.DIRTYPE,
             "fifo": tarfile.FIFOTYPE}
    with tarfile.open(HERE / f"{name}.tar", "w", format=form, errors="surrogateescape") as tar:
        for kind, path, link, mode, data in members(*what):
            info = tarfile.TarInfo(os.fsdecode(path))
            info.type, info.linkname, info.mode, info.size = kinds[kind], os.fsdecode(link), mode, len(data)
            info.uid, info.gid, info.mtime = 4242, 99, TIME + fraction / 10 ** 9 if fraction else TIME
            tar.addfile(info, io.BytesIO(data))
    (HERE / f"{name}.txt").write_bytes(text(fraction, *what))


gnu("gnu", "gnu", True)
gnu("oldgnu", "oldgnu", True)
gnu("ustar", "ustar", False)
gnu("v7", "v7", False, False)
gnu("posix", "posix", True, fraction=250000000)
python("py_gnu", tarfile.GNU_FORMAT, True)
python("py_pax", tarfile.PAX_FORMAT, True, fraction=500000000)
python("py_ustar", tarfile.USTAR_FORMAT, False)
