"""Archives of directories in and out (docs/protocol.md section 13: tar, untar), checked with GNU tar, Python's tarfile
and git.

ctest: timeout=600
"""
import errno
import io
import os
import shutil
import socket
import stat
import subprocess
import tarfile

import pytest

from archives import LONG, MIB, archive, fill, nothing_left, snapshot, tar, tree, untar
from file_channel import FileChannel
from files import refused
from wire import AgentError

pytestmark = pytest.mark.same_machine

NOBODY = 65534


def test_round_trip(agent, link, tree):
    """All of a tree comes back as it was: bytes, modes, times to the nanosecond, links of both kinds, any name."""
    fill(tree / "a")
    os.utime(tree / "a" / "empty", ns=(0, -1500000000))  # before 1970, which GNU tar finds odd
    channel = tar(link, tree / "a")
    assert channel.done["failed"] == channel.done["changed"] == channel.done["skipped"] == 0
    done = untar(link, tree / "b", channel.data)
    assert done["skipped"] == 0
    assert snapshot(tree / "b") == snapshot(tree / "a")
    assert done["files"] == channel.done["files"] and done["dirs"] == channel.done["dirs"]
    assert done["bytes"] == channel.done["bytes"]


def test_gnu_tar_reads_ours(agent, link, tree):
    """GNU tar finds nothing to complain about, and makes the same tree."""
    fill(tree / "a")
    data = tar(link, tree / "a").data
    (tree / "b").mkdir()
    result = subprocess.run(["tar", "-xpf", "-", "-C", tree / "b"], input=data, capture_output=True, check=True)
    assert result.stderr == b""
    assert snapshot(tree / "b") == snapshot(tree / "a")


def test_python_reads_ours(agent, link, tree):
    fill(tree / "a")
    with tarfile.open(fileobj=io.BytesIO(tar(link, tree / "a").data), errors="surrogateescape") as file:
        names = {os.fsencode(member.name).removeprefix(b"./") for member in file}
        assert names == {name or b"." for name in snapshot(tree / "a")}
        assert file.extractfile("plain").read() == b"plain\n"
        (deep,) = [member for member in file if member.name.endswith("/bottom")]
        assert file.extractfile(deep).read() == b"deep\n"


@pytest.mark.parametrize("form", ["gnu", "oldgnu", "posix"])
def test_gnu_tar_written(agent, link, tree, form):
    """The formats GNU tar writes."""
    fill(tree / "a")
    data = subprocess.run(["tar", f"--format={form}", "-cf", "-", "-C", tree / "a", "."], capture_output=True,
                          check=True).stdout
    done = untar(link, tree / "b", data)
    assert done["skipped"] == 0
    times = form == "posix"
    assert snapshot(tree / "b", times=times) == snapshot(tree / "a", times=times)


@pytest.mark.parametrize("form", ["ustar", "v7"])
def test_old_formats(agent, link, tree, form):
    (tree / "a" / "sub").mkdir(parents=True)
    (tree / "a" / "sub" / "file").write_bytes(b"old")
    os.symlink("file", tree / "a" / "sub" / "link")
    data = subprocess.run(["tar", f"--format={form}", "-cf", "-", "-C", tree / "a", "."], capture_output=True,
                          check=True).stdout
    untar(link, tree / "b", data)
    assert snapshot(tree / "b", times=False) == snapshot(tree / "a", times=False)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_python_written(agent, link, tree, form):
    fill(tree / "a")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, errors="surrogateescape") as file:
        file.add(tree / "a", ".")
    untar(link, tree / "b", out.getvalue())
    assert snapshot(tree / "b", times=False) == snapshot(tree / "a", times=False)


def test_git_repository(agent, link, tree):
    """A repository that was carried over is sound, and its work tree clean."""
    def git(where, *args):
        return subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", "-C", where, *args],
                              capture_output=True, check=True).stdout
    repository = tree / "repo"
    repository.mkdir()
    git(repository, "init", "-q")
    for i in range(40):
        path = repository / f"dir{i % 7}" / f"file{i}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"line {i}\n" * i)
        git(repository, "add", ".")
        if i % 4 == 0:
            git(repository, "commit", "-qm", f"commit {i}")
    os.symlink("file1", repository / "link")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "last")
    git(repository, "gc", "-q")
    git(repository, "branch", "other")
    untar(link, tree / "copy", tar(link, repository).data)
    git(tree / "copy", "fsck", "--full", "--strict")
    assert git(tree / "copy", "status", "--porcelain") == b""
    assert git(tree / "copy", "log", "--format=%H") == git(repository, "log", "--format=%H")


@pytest.mark.seconds(120)
def test_many_small_files(agent, link, tree):
    """10 000 files, both ways, checked by GNU tar."""
    for i in range(100):
        where = tree / "a" / f"{i:02}"
        where.mkdir(parents=True)
        for j in range(100):
            (where / f"{j:02}.txt").write_bytes(b"%d\n" % (i * j))
    channel = tar(link, tree / "a")
    assert channel.done["files"] == 10000 and channel.done["dirs"] == 101
    assert untar(link, tree / "b", channel.data)["files"] == 10000
    result = subprocess.run(["tar", "-dpf", "-", "-C", tree / "b"], input=channel.data, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr[:500]


# ---------------------------------------------------------------------------------------------------------- tar

def names_in(data):
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as file:
        return sorted(file.getnames())


def test_one_file(agent, link, tree):
    (tree / "one").write_bytes(b"1" * 1000)
    os.symlink("one", tree / "to-one")
    with tarfile.open(fileobj=io.BytesIO(tar(link, tree / "one").data)) as file:
        assert file.getnames() == ["one"] and file.extractfile("one").read() == b"1" * 1000
    assert names_in(tar(link, tree / "to-one").data) == ["to-one"]


def test_exclude(agent, link, tree):
    for name in ("a.o", "a.c", "sub/b.o", "sub/b.c", "sub/keep/x", "node_modules/deep/file", "sub/node_modules/f"):
        (tree / "t" / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / "t" / name).write_bytes(b"")
    data = tar(link, tree / "t", exclude=["*.o", "node_modules", "sub/keep"]).data
    assert names_in(data) == [".", "a.c", "sub", "sub/b.c"]
    assert names_in(tar(link, tree / "t", exclude=["/a.c", "s?b/*"]).data) == [
        ".", "a.o", "node_modules", "node_modules/deep", "node_modules/deep/file", "sub"]
    assert names_in(tar(link, tree / "t", exclude=["**/*.o", "{a.c,node_modules}", "sub/**/f"]).data) == [
        ".", "sub", "sub/b.c", "sub/keep", "sub/keep/x"]
    for bad in (["x"] * 65, ["[a"], ["x" * 5000]):
        with refused(code="bad_message"):
            tar(link, tree / "t", exclude=bad)


def test_sockets_are_skipped(agent, link, tree):
    (tree / "t").mkdir()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tree / "t" / "sock"))
        os.mkfifo(tree / "t" / "fifo")
        channel = tar(link, tree / "t")
    assert channel.done["skipped"] == 1
    assert names_in(channel.data) == [".", "fifo"]


def test_what_cannot_be_read_is_told(agent, link, tree):
    """As another user: the rest is there, and `done` names the first that is not."""
    (tree / "t" / "locked").mkdir(parents=True)
    (tree / "t" / "fine").write_bytes(b"fine")
    (tree / "t" / "secret").write_bytes(b"secret")
    os.chmod(tree / "t" / "secret", 0o600)
    os.chmod(tree / "t" / "locked", 0o700)
    channel = tar(link, tree / "t", user="nobody")
    assert channel.done["failed"] == 2
    assert channel.done["first_failed"]["errno"] == errno.EACCES
    assert channel.done["first_failed"]["path"] in ("secret", "locked")
    assert names_in(channel.data) == [".", "fine", "locked"]


@pytest.mark.parametrize("grow", [False, True])
def test_file_that_changes(agent, link, tree, grow):
    """It is filled up, or cut, so that the archive stays sound; and `changed` says so."""
    (tree / "t").mkdir()
    (tree / "t" / "file").write_bytes(b"x" * 4 * MIB)
    channel = FileChannel(link, "tar", path=str(tree / "t"), auto=False, window=65536).open()
    channel.wait_opened()
    link.wait(lambda: channel.received == 65536, "the first bytes")
    os.truncate(tree / "t" / "file", 5 * MIB if grow else 2 * MIB)
    channel.auto = True
    channel.grant(1 << 40)
    channel.finish()
    assert channel.done["changed"] == 1
    with tarfile.open(fileobj=io.BytesIO(channel.data)) as file:
        content = file.extractfile("file").read()
    assert len(content) == 4 * MIB
    assert content == b"x" * 4 * MIB if grow else content == b"x" * 2 * MIB + bytes(2 * MIB)


def test_tree_that_vanishes(agent, link, tree):
    """Files and directories that go while the archive is made: it stays sound."""
    for i in range(200):
        (tree / "t" / f"{i}" / "sub").mkdir(parents=True)
        (tree / "t" / f"{i}" / "sub" / "file").write_bytes(b"x" * 20000)
    channel = FileChannel(link, "tar", path=str(tree / "t"), auto=False, window=65536).open()
    link.wait(lambda: channel.received == 65536, "the first bytes")
    for i in range(0, 200, 2):
        shutil.rmtree(tree / "t" / f"{i}")
    channel.auto = True
    channel.grant(1 << 40)
    channel.finish()
    assert len(names_in(channel.data)) > 300


def test_special_and_missing(agent, link, tree):
    os.mkfifo(tree / "fifo")
    with refused(code="special_file"):
        tar(link, tree / "fifo")
    with refused(errno.ENOENT):
        tar(link, tree / "none")
    with refused(code="bad_message"):
        tar(link, tree, owner="archive")


# -------------------------------------------------------------------------------------------------------- untar

def test_strip(agent, link, tree):
    data = archive({"name": "top", "type": tarfile.DIRTYPE, "mode": 0o700}, ("top/a", b"a"), ("top/sub/b", b"b"),
                   ("loose", b"l"), {"name": "top/hard", "type": tarfile.LNKTYPE, "linkname": "top/a"})
    done = untar(link, tree / "out", data, strip=1)
    assert sorted(os.listdir(tree / "out")) == ["a", "hard", "sub"]
    assert os.path.samefile(tree / "out" / "a", tree / "out" / "hard")
    assert (tree / "out" / "sub" / "b").read_bytes() == b"b"
    assert done["skipped"] == 1
    assert untar(link, tree / "two", data, strip=2)["files"] == 1
    assert (tree / "two" / "b").read_bytes() == b"b"


def test_owners(agent, link, tree):
    """To whom the directory belongs, by default; the archive's only on demand."""
    members = [{"name": "d", "type": tarfile.DIRTYPE, "uid": 1, "gid": 2, "mode": 0o755},
               {"name": "d/f", "data": b"x", "uid": 1, "gid": 2, "mode": 0o6755},
               {"name": "d/big", "data": b"x" * 100000, "uid": 1, "gid": 2, "mode": 0o4755},
               {"name": "d/l", "type": tarfile.SYMTYPE, "linkname": "f", "uid": 1, "gid": 2},
               {"name": "implied/f", "data": b"y", "uid": 1, "gid": 2}]
    data = archive(*members)

    def owned(**how):
        out = tree / f"out{len(os.listdir(tree))}"
        out.mkdir()
        os.chown(out, NOBODY, 12345)
        untar(link, out, data, **how)
        found = snapshot(out)
        return {path: entry[3] for path, entry in found.items() if path}, found[b"d/f"][1], found[b"d/big"][1]
    every = [b"d", b"d/f", b"d/big", b"d/l", b"implied", b"implied/f"]
    assert owned() == ({path: (NOBODY, 12345) for path in every}, 0o755, 0o755)
    assert owned(owner="self") == ({path: (0, 0) for path in every}, 0o755, 0o755)
    assert owned(owner="77:88") == ({path: (77, 88) for path in every}, 0o755, 0o755)
    assert owned(owner="archive") == ({**{path: (1, 2) for path in every}, b"implied": (0, 0)}, 0o6755, 0o4755)


def test_as_user(agent, link, tree):
    """With the rights of a user, also into directories that end up closed to it."""
    (tree / "out").mkdir()
    os.chown(tree / "out", NOBODY, NOBODY)
    data = archive({"name": "d", "type": tarfile.DIRTYPE, "mode": 0o555, "mtime": 1000},
                   {"name": "d/e", "type": tarfile.DIRTYPE, "mode": 0o500, "mtime": 2000}, ("d/e/f", b"x"), ("d/g", b"y"))
    untar(link, tree / "out", data, user="nobody")
    found = snapshot(tree / "out")
    assert found[b"d"][1] == 0o555 and found[b"d/e"][1] == 0o500
    assert found[b"d"][4] == 1000 * 10 ** 9 and found[b"d/e"][4] == 2000 * 10 ** 9
    assert {entry[3] for entry in found.values()} == {(NOBODY, NOBODY)}
    (tree / "mine").mkdir(mode=0o755)
    with refused(errno.EACCES):
        untar(link, tree / "mine", data, user="nobody")


@pytest.mark.own_agent
def test_agent_without_privileges(start_agent, tree):
    """As an ordinary user: everything is its own, nothing else differs."""
    fill(tree / "a")
    subprocess.run(["chown", "-Rh", f"{NOBODY}:{NOBODY}", tree / "a"], check=True)
    (tree / "out").mkdir()
    os.chown(tree / "out", NOBODY, NOBODY)
    agent = start_agent(user=NOBODY)
    link = agent.connect()
    data = tar(link, tree / "a").data
    want = snapshot(tree / "a")
    for owner in ("parent", "self", "archive", f"{NOBODY}:{NOBODY}", "0:0"):
        for _ in range(2):  # into nothing, and over what is there
            untar(link, tree / "out" / owner[0], data, owner=owner)
        found = snapshot(tree / "out" / owner[0])
        assert {**found, b"": want[b""]} == want  # the top was there the second time
    untar(link, tree / "out" / "dev", archive({"name": "n", "type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3},
                                              {"name": "s", "mode": 0o4755, "uid": 0}), owner="archive")
    assert snapshot(tree / "out" / "dev")[b"s"][1] == 0o755, "set-user of a user that was not meant"


def test_replacing(agent, link, tree):
    """What is there gives way; what a link points to is left alone."""
    out = tree / "out"
    (out / "dir").mkdir(parents=True)
    (out / "emptydir").mkdir()
    (out / "file").write_bytes(b"old")
    (out / "file2").write_bytes(b"old")
    (out / "dir" / "kept").write_bytes(b"kept")
    (tree / "outside").write_bytes(b"outside")
    os.symlink(tree / "outside", out / "link")
    os.symlink("dir", out / "dirlink")
    os.mkfifo(out / "fifo")
    os.link(out / "file", out / "other-name")
    os.chmod(out / "file", 0o600)
    data = archive({"name": "file", "data": b"new", "mode": 0o644}, ("link", b"new"), ("fifo", b"new"), ("emptydir", b"new"),
                   {"name": "dir", "type": tarfile.DIRTYPE, "mode": 0o755}, ("dir/added", b"new"),
                   ("dirlink/through", b"new"), {"name": "file2", "type": tarfile.SYMTYPE, "linkname": "x"},
                   {"name": "hard", "type": tarfile.LNKTYPE, "linkname": "file"})
    for _ in range(2):  # the second time everything is there
        untar(link, out, data)
        found = snapshot(out)
        new = found[b"dir/added"][2]
        assert {found[name][2] for name in (b"file", b"link", b"fifo", b"emptydir", b"dir/through", b"hard")} == {new}
        assert found[b"file"][1] == 0o644 and found[b"file"][5] == (b"file", b"hard")
        assert (out / "dir" / "kept").read_bytes() == b"kept"
        assert (out / "other-name").read_bytes() == b"old", "a file is replaced, not written to"
        assert os.readlink(out / "file2") == "x"
        assert (tree / "outside").read_bytes() == b"outside"
    with refused(errno.EISDIR):
        untar(link, out, archive(("dir", b"file")))
    with refused(errno.EISDIR):
        untar(link, out, archive({"name": "dir", "type": tarfile.SYMTYPE, "linkname": "y"}))
    with refused(errno.ENOTDIR):
        untar(link, out, archive(("file/below", b"x")))
    untar(link, out, archive({"name": "file", "type": tarfile.DIRTYPE, "mode": 0o755}, ("file/below", b"x")))
    assert (out / "file" / "below").read_bytes() == b"x"


def test_top_directory(agent, link, tree):
    """"./" concerns a directory that was made, and not one that was there."""
    data = archive({"name": "./", "type": tarfile.DIRTYPE, "mode": 0o711, "mtime": 12345}, ("./a", b""))
    untar(link, tree / "new", data)
    assert snapshot(tree / "new")[b""][1] == 0o711 and os.stat(tree / "new").st_mtime == 12345
    (tree / "old").mkdir(mode=0o755)
    untar(link, tree / "old", data)
    assert snapshot(tree / "old")[b""][1] == 0o755 and os.stat(tree / "old").st_mtime != 12345


def test_devices(agent, link, tree):
    """Only as root, and only when the archive's owners are wanted."""
    data = archive({"name": "null", "type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3, "mode": 0o666},
                   {"name": "fifo", "type": tarfile.FIFOTYPE, "mode": 0o622}, ("file", b""))
    assert untar(link, tree / "a", data)["skipped"] == 2
    assert os.listdir(tree / "a") == ["file"]
    assert untar(link, tree / "b", data, owner="archive")["skipped"] == 0
    found = snapshot(tree / "b")
    assert found[b"null"][:3] == [stat.S_IFCHR, 0o666, os.makedev(1, 3)]
    assert found[b"fifo"][:2] == [stat.S_IFIFO, 0o622]
    (tree / "c").mkdir()
    os.chown(tree / "c", NOBODY, NOBODY)
    assert untar(link, tree / "c", data, owner="archive", user="nobody")["skipped"] == 2


@pytest.mark.parametrize("broken, number, words", [
    (lambda data: data[:-1500], errno.EBADMSG, "cut"),
    (lambda data: data[:700], errno.EBADMSG, "cut"),
    (lambda data: b"", errno.EBADMSG, "cut, after 0 bytes"),
    (lambda data: data[:1024] + b"x" + data[1025:], errno.EBADMSG, "byte 1024"),
    (lambda data: b"\x1f\x8b" + data[2:], errno.EBADMSG, "compressed"),
    (lambda data: os.urandom(4096), errno.EBADMSG, "byte 0"),
])
def test_broken(agent, link, tree, broken, number, words):
    """What is wrong is said, with its place; what came before it is there."""
    data = archive(("first", b"1" * 500), ("second", b"2" * 5000), format=tarfile.USTAR_FORMAT)
    data = data[:1024 + 512 + 5120] + bytes(1024)
    with pytest.raises(AgentError) as caught:
        untar(link, tree / "out", broken(data))
    assert caught.value.errno == number and words in str(caught.value), caught.value
    for name in os.listdir(tree / "out"):
        assert (tree / "out" / name).stat().st_size in (500, 5000)


SPARSE = [["--format=gnu"], ["--format=posix"], ["--format=posix", "--sparse-version=1.0"]]


@pytest.mark.parametrize("form", SPARSE)
def test_sparse(agent, link, tree, form):
    """Sparse files as GNU tar writes them: the holes are holes again."""
    (tree / "a").mkdir()
    layouts = {"hole": ([], 10 * MIB), "begin": ([0], 3 * MIB), "end": ([3 * MIB - 5], 3 * MIB), "tiny": ([], 100),
               "some": ([MIB, 3 * MIB, 3 * MIB + 4096], 5 * MIB + 1), "many": (range(0, 40 * MIB, 65536), 40 * MIB),
               LONG: ([MIB], 2 * MIB)}
    for name, (places, size) in layouts.items():
        with open(tree / "a" / name, "wb") as file:
            file.truncate(size)
            for place in places:
                file.seek(place)
                file.write(b"12345" if name == "end" else b"data %d" % place)
    (tree / "a" / "zz plain").write_bytes(b"plain")
    data = subprocess.run(["tar", "-S", *form, "-cf", "-", "-C", tree / "a", "."], check=True, capture_output=True).stdout
    assert b"GNUSparseFile" in data or form == ["--format=gnu"]
    done = untar(link, tree / "b", data)
    assert done["files"] == len(layouts) + 1
    assert snapshot(tree / "b", times=False) == snapshot(tree / "a", times=False)
    for name in layouts:
        assert (tree / "b" / name).stat().st_blocks <= (tree / "a" / name).stat().st_blocks + 8, name


@pytest.mark.parametrize("version", ["0.0", "0.1"])
def test_old_sparse_is_refused(agent, link, tree, version):
    (tree / "a").mkdir()
    with open(tree / "a" / "f", "wb") as file:
        file.truncate(10 * MIB)
    data = subprocess.run(["tar", "-S", "--format=posix", f"--sparse-version={version}", "-cf", "-", "-C", tree / "a", "."],
                          check=True, capture_output=True).stdout
    with pytest.raises(AgentError, match="old kind"):
        untar(link, tree / "out", data)
